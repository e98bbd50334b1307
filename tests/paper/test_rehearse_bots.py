"""`scripts/rehearse-bots` starts its paper exchange, and a bot that is installed here trades on it."""

from __future__ import annotations

import stat
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import requests

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "rehearse-bots"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module, in the environment of the tests."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # else there were a file scripts/rehearse-botsc
    spec = spec_from_loader("rehearse_bots", SourceFileLoader("rehearse_bots", str(SCRIPT)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", Path(sys.executable).parent)
    return module


def test_its_paper_exchange_starts_with_prices_that_walk_and_the_key_of_the_bots(script: Any) -> None:
    with script.paper_exchange() as url:
        assert requests.get(f"{url}/fapi/v1/ping", timeout=5).json() == {}
        assert requests.get(f"{url}/paper/ledger", timeout=5).json()["orders"] == []
        opened = requests.post(f"{url}/fapi/v1/listenKey", headers={"X-MBX-APIKEY": "demo"}, timeout=5)
    assert opened.status_code == 200


def test_an_exchange_that_does_not_start_is_said(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(script, "VENV", tmp_path)
    program(tmp_path / "gate", "exit 2")

    with pytest.raises(SystemExit, match="the paper exchange did not start"), script.paper_exchange():
        pass


def test_a_bot_on_ccxt_pro_trades_and_its_fills_are_those_of_the_ledger(
    script: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ccxt", reason="the test group `clients` is not installed")

    assert script.rehearse(Path(sys.executable), script.BOTS / "ccxt_bot.py", 4), capfd.readouterr()

    assert capfd.readouterr().out.startswith("good: ccxt.pro ")


def program(path: Path, does: str) -> None:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_it_passes_over_an_interpreter_that_does_not_run(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GATE_PYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path / "python3.12", "exit 127")
    with pytest.raises(SystemExit, match=r"needs Python 3\.12 or newer"):
        script.newer_python()

    program(tmp_path / "python3.13", "exit 0")
    assert script.newer_python() == str(tmp_path / "python3.13")


def test_it_takes_no_other_interpreter_than_the_named_one(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / "named", "exit 1")
    program(tmp_path / "python3.12", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GATE_PYTHON", str(tmp_path / "named"))

    with pytest.raises(SystemExit, match="GATE_PYTHON"):
        script.newer_python()
