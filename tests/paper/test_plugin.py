"""Another project gets the fixture by installing the package."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

THEIR_TEST = """
import pytest
from binance import Client
from gate.paper import Account

def test_a_bot(paper_exchange):
    client = Client(paper_exchange.key, paper_exchange.secret, ping=False)
    client.FUTURES_URL = paper_exchange.futures_url
    client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    assert len(paper_exchange.ledger()) == 1

@pytest.mark.paper(accounts=[Account(balance="50")], limits=None)
def test_a_poor_bot(paper_exchange):
    assert paper_exchange.wallets()["USDT"] == 50
    assert paper_exchange.ledger() == []
"""


def test_another_project_s_tests_run_on_it(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIR_TEST)
    named = [] if entry_points(group="pytest11", name="gate_paper") else ["-p", "gate.paper.pytest_plugin"]
    plugin = [*named, "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", *plugin, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
