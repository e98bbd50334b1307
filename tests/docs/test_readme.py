"""The README's commands and code work as it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis
from binance import Client
from binance.exceptions import BinanceAPIException

from gate import Gate, Intent, Phase, Policy
from gate.paper import Fault, FaultKind, PaperExchange
from gate.values.guards import GUARDS
from gate.values.policy import read_setting
from tests.client.account import wait_out
from tests.servers.store import Store

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DEFAULT_URL = "redis://127.0.0.1:6379/0"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_screen_has_the_two_commands_and_the_executor_and_the_block_follows() -> None:
    first_screen = "\n".join(README.splitlines()[:40])
    assert "scripts/demo" in first_screen
    assert "scripts/test" in first_screen
    assert "executor.execute(" in first_screen
    assert "gate.guard(" in "\n".join(README.splitlines()[:60])


def _commands() -> list[str]:
    [block] = [block for block in _blocks("sh") if "gate eval" in block]
    return [line for line in block.splitlines() if line.startswith("gate ")]


def test_the_gate_commands_run_one_after_the_other_as_pasted(
    store: Store, redis_client: redis.Redis, tmp_path: Path
) -> None:
    config = tmp_path / "gate.toml"
    config.write_text("[policy]\nlock_ttl_ms = 2500\n")  # the halt waits for the permit that was taken before
    redis_client.flushall()  # as a reader's store: only the first command lets entries go
    printed = {}
    for command in _commands():
        program, *arguments = shlex.split(command)
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            env={**os.environ, "GATE_URL": store.url, "GATE_CONFIG": str(config)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert "Traceback" not in done.stderr
        printed[command] = done.stdout

    assert "client order id" in printed["gate show sig-81"]
    assert "sig-81" in printed["gate intents"]
    assert [line.split("   ")[-1] for line in printed["gate audit"].splitlines()[2:]] == [
        "a new account",
        "CPI print",
        "print is out",
        "checked the account",
        "a listing",
    ]
    assert {line.split()[1] for line in printed} == {
        "init",
        "eval",
        "status",
        "show",
        "halt",
        "resume",
        "reset",
        "policy",
        "intents",
        "audit",
        "doctor",
    }


def _terms(intent: Intent) -> dict[str, str]:
    return {"symbol": intent.symbol, "side": intent.side, "type": "MARKET", "quantity": str(intent.quantity)}


def _fresh(name: str = "readme", **more: Any) -> Intent:
    given = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01", **more}
    return Intent(id=name, timestamp=time.time_ns() // 1_000_000, **given)


OnIntent = Callable[[Intent], tuple[str, object]]


@contextmanager
def _block(store: Store, paper: PaperExchange, *, short: bool = False) -> Iterator[OnIntent]:
    """The README's block as it stands, on a store and a paper exchange, with a placement of one's own."""
    code = next(block for block in _blocks("python") if "on_intent" in block).replace(DEFAULT_URL, store.url)
    given = {"key": paper.key, "secret": paper.secret, "terms": _terms, "short_of_margin": lambda intent: short}
    names: dict[str, Any] = dict(given)
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # our own README
    names["client"].FUTURES_URL = paper.futures_url
    with closing(names["client"].session), names["gate"]:
        yield names["on_intent"]


def test_the_block_places_an_order_and_denies_its_duplicate(
    store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    with _block(store, paper_exchange) as on_intent:
        said, answer = on_intent(_fresh())

        assert (said, on_intent(_fresh())) == ("PLACED", ("DUPLICATE", None))
    assert isinstance(answer, dict)
    assert [order["orderId"] for order in paper_exchange.ledger()] == [answer["orderId"]]


def test_the_block_finds_the_order_that_a_store_without_memory_has_forgotten(
    store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    intent = _fresh()
    with _block(store, paper_exchange) as on_intent:
        on_intent(intent)
        redis_client.flushall()
        assert on_intent(intent)[0] == "MEMORY_YOUNG"
        wait_out(redis_client)

        assert on_intent(intent) == ("FOUND", None)
        assert on_intent(intent)[0] == "DUPLICATE"

    assert len(paper_exchange.ledger()) == 1


def test_the_block_sends_an_exit_that_only_reduces(
    store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    with _block(store, paper_exchange) as on_intent:
        on_intent(_fresh("in"))
        on_intent(_fresh("out", side="SELL", reduce_only=True))

    assert [order["reduceOnly"] for order in paper_exchange.ledger()] == [False, True]


def test_the_block_settles_what_an_exception_means_and_lets_it_go_on(
    store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=-2019))
    with _block(store, paper_exchange) as on_intent, pytest.raises(BinanceAPIException):
        on_intent(_fresh())

    assert {"failures", "cooldown_symbol"} <= _on(store)


def test_the_blocks_own_margin_check_costs_what_the_exchanges_refusal_costs(
    store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    with _block(store, paper_exchange, short=True) as on_intent:
        assert on_intent(_fresh()) == ("INSUFFICIENT_MARGIN", None)

    assert {"failures", "cooldown_symbol"} <= _on(store)
    assert paper_exchange.ledger() == []


def _on(store: Store) -> set[str]:
    with Gate.from_url(store.url) as gate:
        return {each.name for each in gate.status().standing}


@pytest.mark.parametrize("refused", [True, False])
def test_the_example_without_a_block_settles_what_an_exception_means(
    store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange, refused: bool
) -> None:
    [example] = [block for block in _blocks("python") if "outcome_of(" in block]
    if refused:
        paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=-2019))
    client = Client(paper_exchange.key, paper_exchange.secret, ping=False)
    client.FUTURES_URL = paper_exchange.futures_url
    with Gate.from_url(store.url) as gate, closing(client.session):
        names = {"gate": gate, "intent": _fresh(), "client": client, "terms": _terms}
        with pytest.raises(BinanceAPIException) if refused else nullcontext():
            exec(compile(example, "README.md", "exec"), names)  # noqa: S102  # likewise
        record = gate.lookup("readme")

    if refused:
        assert {"failures", "cooldown_symbol"} <= _on(store)
    else:
        assert record is not None
        assert record.phase is Phase.PLACED


async def test_the_executor_example_fills_an_order(store: Store, redis_client: redis.Redis) -> None:
    [example] = [block for block in _blocks("python") if "with Executor(" in block]
    imports, _, example = example.partition("\n\n")
    body = "".join(f"    {line}\n" for line in example.splitlines())
    names: dict[str, object] = {}
    code = f"{imports}\n\nasync def example(url, key, secret, paper_url, intent, print):\n{body}"
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # likewise
    intent = Intent(id="readme", symbol="BTCUSDT", side="BUY", notional="500", timestamp=time.time_ns() // 1_000_000)
    printed: list[tuple[object, ...]] = []
    example_of_readme = names["example"]
    assert callable(example_of_readme)
    with PaperExchange() as paper:
        await example_of_readme(
            store.url, paper.key, paper.secret, paper.url, intent, lambda *said: printed.append(said)
        )

    assert printed[0][0] == "FILLED"


def test_the_example_without_an_event_loop_fills_an_order(store: Store, redis_client: redis.Redis) -> None:
    [example] = [block for block in _blocks("python") if "BlockingExecutor(" in block]
    intent = Intent(id="readme", symbol="BTCUSDT", side="BUY", notional="500", timestamp=time.time_ns() // 1_000_000)
    printed: list[tuple[object, ...]] = []
    with PaperExchange() as paper:
        names = {
            "url": store.url,
            "key": paper.key,
            "secret": paper.secret,
            "paper_url": paper.url,
            "intent": intent,
            "print": lambda *said: printed.append(said),
        }
        exec(compile(example, "README.md", "exec"), names)  # noqa: S102  # likewise

    assert printed[0][0] == "FILLED"


def test_the_table_of_guards_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| .* \| (.*) \|$", README, re.MULTILINE)
    assert rows == [(guard.reason, guard.exits) for guard in GUARDS]


def test_everything_that_the_examples_import_is_there() -> None:
    """The documented import paths stay, wherever the code behind them moves."""
    lines = [line for block in _blocks("python") for line in block.splitlines() if line.startswith("from gate")]
    assert {line.split()[1] for line in lines} >= {
        "gate",
        "gate.blocking",
        "gate.exchange.binance",
        "gate.exchange.consequences",
        "gate.exchange.order_finder",
        "gate.executor",
    }
    for line in lines:
        exec(line, {})  # noqa: S102  # our own README


def test_the_config_example_is_a_policy() -> None:
    [example] = _blocks("toml")
    applied = dict([read_setting(re.findall(r"--set (\S+)", line)[0]) for line in _commands() if "--set" in line])
    assert Policy.from_mapping(tomllib.loads(example)["policy"]) == Policy.from_mapping(applied)
