"""How hard the fuzz tries: 50 examples of each reader; as many as GATE_FUZZ says for a longer run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EFFORT = settings(
    max_examples=int(os.environ.get("GATE_FUZZ", "50")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
