"""A server that a script can take over is told of where a person looks."""

from __future__ import annotations

import pytest

from gate.values.server import server_facts


@pytest.mark.parametrize(
    ("name", "version", "hole"),
    [
        ("redis", "7.0.15", True),
        ("redis", "7.2.10", True),
        ("redis", "7.2.11", False),
        ("redis", "7.4.5", True),
        ("redis", "8.0.4", False),
        ("redis", "8.2.1", True),
        ("redis", "8.4.0", False),
        ("valkey", "7.2.10", True),
        ("valkey", "8.0.6", False),
        ("valkey", "8.1.3", True),
        ("valkey", "9.1.2", False),
        ("redis", "unstable", False),
        ("redis", "9" * 30, False),
    ],
)
def test_a_server_with_a_known_hole_is_told_of(name: str, version: str, hole: bool) -> None:
    info = f"redis_version:7.2.4\nvalkey_version:{version}\n" if name == "valkey" else f"redis_version:{version}\n"
    facts = server_facts(info)
    assert facts.has_known_hole is hole
    assert any("CVE-2025-49844" in each for each in facts.complaints) is hole
