"""The command line, run in this process against the shared store."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from binance import Client
from click.testing import CliRunner, Result

from gate.cli.program import program
from gate.paper import PaperExchange
from tests.servers.store import Store

Run = Callable[..., Result]
EVAL = ("eval", "--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200", "--commit")
"""Admits an entry, which is out then."""

# click 8.1 keeps what is printed and what is complained of apart when it is told to, later ones always.
_APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


_KEYS = ("API_KEY", "API_SECRET", "TESTNET_API_KEY", "TESTNET_SECRET_KEY")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = ("GATE_EXCHANGE_URL", *(f"BINANCE_{name}" for name in _KEYS))
    for name in ("GATE_URL", "REDIS_URL", "GATE_PREFIX", "GATE_CONFIG", "NO_COLOR", *exchange):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def short(tmp_path: Any) -> tuple[str, str]:
    """The options for a policy whose permits live for 2.5 s: a halt doesn't wait for longer."""
    file = tmp_path / "gate.toml"
    file.write_text("[policy]\nlock_ttl_ms = 2500\n")
    return "--config", str(file)


@pytest.fixture
def bare() -> Run:
    """Runs `gate` without naming a store: bare("status")."""

    def run(*words: str, **options: Any) -> Result:
        result = CliRunner(**_APART).invoke(program, list(words), prog_name="gate", **options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def gate(store: Store, redis_client: redis.Redis, bare: Run) -> Run:
    """Runs `gate` on the emptied shared store: gate("eval", "--id", "a", …)."""

    def run(*words: str, **options: Any) -> Result:
        return bare("--url", store.url, *words, **options)

    return run


@pytest.fixture
def gate_json(gate: Run) -> Callable[..., Any]:
    """Runs `gate` with --json, and returns the parsed output."""

    def run(*words: str, **options: Any) -> Any:
        result = gate(*words, "--json", **options)
        assert result.stdout.count("\n") == 1, result.stdout
        assert result.stderr == ""
        return json.loads(result.stdout)

    return run


@pytest.fixture
def at_hand(paper_exchange: PaperExchange, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The keys of the paper exchange, in the environment; and a client of the account."""
    monkeypatch.setenv("BINANCE_API_KEY", paper_exchange.key)
    monkeypatch.setenv("BINANCE_API_SECRET", paper_exchange.secret)
    monkeypatch.setenv("GATE_EXCHANGE_URL", paper_exchange.url)
    client = Client(paper_exchange.key, paper_exchange.secret, ping=False)
    client.FUTURES_URL = paper_exchange.futures_url
    return client


def some_trade(client: Client) -> None:
    """Two positions, a limit order and two stops."""
    place = client.futures_create_order
    place(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    place(symbol="ETHUSDT", side="SELL", type="MARKET", quantity="0.1")
    mark = float(client.futures_mark_price(symbol="BTCUSDT")["markPrice"])
    place(symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.01", price=int(mark * 0.9), timeInForce="GTC")
    place(symbol="BTCUSDT", side="SELL", type="STOP_MARKET", quantity="0.01", stopPrice=int(mark * 0.8))
    place(symbol="ETHUSDT", side="BUY", type="STOP_MARKET", quantity="0.1", stopPrice=100_000, reduceOnly="true")


def held(client: Client) -> list[str]:
    return [each["symbol"] for each in client.futures_position_information()]
