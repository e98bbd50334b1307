"""`import gate` is light: it has every public name, and loads each only on its first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gate


def test_every_public_name_is_there() -> None:
    for name in gate.__all__:
        assert getattr(gate, name).__name__ == name
    assert set(gate.__all__) <= set(dir(gate))
    with pytest.raises(AttributeError, match="has no attribute 'Gatekeeper'"):
        _ = gate.Gatekeeper  # type: ignore[attr-defined]


def test_importing_it_loads_no_client() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import gate, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"redis", "rich", "aiohttp", "binance", "prometheus_client"}
