"""Each script of examples/ does what it teaches, as a process, on a real store and the paper exchange."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gate import Gate, Reason
from gate.paper import Fault, FaultKind, PaperExchange
from tests.servers.session import declare_whole
from tests.servers.store import Store

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MEMORY = "quantum:exec:state"

Signal = dict[str, object]
Run = Callable[..., list[str]]


@pytest.fixture
def run(store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange) -> Run:
    """Runs an example with lines on its input, or runs the command that its docstring shows. Gives what it prints."""
    remember_since(redis_client, 1)

    def run(script: str, *lines: Signal | bytes, as_shown: bool = False) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", shown(script)] if as_shown else [sys.executable, EXAMPLES / script],
            input=b"".join(line if isinstance(line, bytes) else f"{json.dumps(line)}\n".encode() for line in lines),
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "GATE_URL": store.url,
                "GATE_EXCHANGE_URL": paper_exchange.url,
                "BINANCE_API_KEY": paper_exchange.key,
                "BINANCE_API_SECRET": paper_exchange.secret,
            },
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert paper_exchange.secret.encode() not in done.stdout + done.stderr
        return done.stdout.decode().splitlines()

    return run


def shown(script: str) -> str:
    """The commands that the docstring of an example shows: gate init if it needs that, then an intent and its pipe to
    the example."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / script).read_text("utf-8"))) or ""
    first = "    gate init " if "    gate init " in docstring else "    echo "
    return textwrap.dedent(docstring[docstring.index(first) :])


def remember_since(client: redis.Redis, since_ms: int) -> None:
    """The store has been whole since then. Permits of a younger store say verify."""
    declare_whole(client)
    client.hset(MEMORY, mapping={"fence": 1, "since": since_ms})


def signal(name: str, symbol: str = "BTCUSDT", **more: object) -> Signal:
    terms: Signal = {"id": name, "symbol": symbol, "side": "BUY", "quantity": "0.05", "timestamp": now_ms(), **more}
    return {name: value for name, value in terms.items() if value is not None}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_every_example_has_a_test_here() -> None:
    tested = Path(__file__).read_text("utf-8")
    assert [path.name for path in EXAMPLES.iterdir() if path.is_file() and f'"{path.name}"' not in tested] == []


SENT = {"drop_in.py": "PLACED", "observe.py": "PLACED", "executor.py": "FILLED", "blocking.py": "FILLED"}
"""The word by which each example says that the exchange has the order."""

BAD_LINES: tuple[bytes, ...] = (
    b"\n",  # skipped, as the next one
    b" \t\r\n",
    b"not json\n",
    b'{"id": "cut", "symbol": "BTCU\n',
    b"[1, 2]\n",
    b"7\n",
    b"\xff\xfe\x00\n",
    b"[" * 100_000 + b"\n",
    b'{"id": "a", "quantity": 1e99999999999999999999}\n',
    b'{"\\ud800\\n": 1}\n',
    b'{"id": "no-symbol", "side": "BUY", "quantity": "0.05"}\n',
)


@pytest.mark.parametrize("script", SENT)
def test_the_commands_that_an_example_shows_work_as_pasted_on_an_empty_store(
    run: Run, redis_client: redis.Redis, paper_exchange: PaperExchange, script: str
) -> None:
    redis_client.flushall()

    *initialised, said = run(script, as_shown=True)

    assert ["counts as whole" in line for line in initialised[:1]] == ([] if script == "observe.py" else [True])
    assert SENT[script] in said
    assert len(paper_exchange.ledger()) == 1


def test_the_examples_run_one_after_the_other_as_pasted(
    run: Run, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    """Each has a symbol of its own: a second entry of one symbol within 30 s is RATE_SYMBOL."""
    redis_client.flushall()
    for script in SENT:
        assert SENT[script] in run(script, as_shown=True)[-1]
    assert len({order["symbol"] for order in paper_exchange.ledger()}) == len(SENT)


@pytest.mark.parametrize("script", SENT)
def test_a_blank_or_bad_line_stops_neither_the_entries_nor_the_exits_around_it(
    run: Run, paper_exchange: PaperExchange, script: str
) -> None:
    before, after = signal("before"), signal("after", "ETHUSDT")
    said = run(script, before, *BAD_LINES, after)
    leave = run(script, b"oops\n", signal("out", side="SELL", reduce_only=True), b"oops")

    invalid = sorted(int(line.split()[2].rstrip(":")) for line in said if line.startswith("INVALID line "))
    assert invalid == list(range(4, len(BAD_LINES) + 2))  # line 1 is good, 2 and 3 are blank
    assert all(line.partition(": ")[2] for line in said if line.startswith("INVALID"))
    assert sum(SENT[script] in line for line in said) == 2
    assert len(said) == len(invalid) + 2
    assert sorted(line.split(":")[0] for line in leave if line.startswith("INVALID")) == [
        "INVALID line 1",
        "INVALID line 3",
    ]
    orders = [(order["symbol"], order["side"], order["reduceOnly"]) for order in paper_exchange.ledger()]
    assert sorted(orders[:2]) == [("BTCUSDT", "BUY", False), ("ETHUSDT", "BUY", False)]
    assert orders[2:] == [("BTCUSDT", "SELL", True)]


def test_drop_in_places_an_order_once(run: Run, paper_exchange: PaperExchange, store: Store) -> None:
    twice = signal("a")
    placed, again = run("drop_in.py", twice, twice)

    [order] = paper_exchange.ledger()
    assert placed == f"PLACED {order['orderId']}"
    assert again.startswith("DENIED DUPLICATE")
    with Gate.from_url(store.url) as gate:
        record = gate.lookup("a")
        assert record is not None
        assert record.note == str(order["orderId"])


def test_drop_in_closes_a_position_with_a_reduce_only_order(run: Run, paper_exchange: PaperExchange) -> None:
    run("drop_in.py", signal("in"), signal("out", side="SELL", reduce_only=True))

    assert [order["reduceOnly"] for order in paper_exchange.ledger()] == [False, True]


def test_drop_in_settles_what_a_refusal_means(run: Run, paper_exchange: PaperExchange, store: Store) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=-2019, method="POST"))

    [refused] = run("drop_in.py", signal("a"))

    assert refused.startswith("REJECTED -2019")
    with Gate.from_url(store.url) as gate:
        assert {"failures", "cooldown_symbol"} <= {each.name for each in gate.status().standing}


def test_drop_in_finds_the_order_that_a_store_without_memory_has_forgotten(
    run: Run, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    first = signal("a")
    run("drop_in.py", first)
    redis_client.flushdb()
    remember_since(redis_client, now_ms() - 60_000)

    [again] = run("drop_in.py", first)

    [order] = paper_exchange.ledger()
    assert again == f"PLACED {order['orderId']} by an earlier delivery"


def test_drop_in_sends_once_it_knows_that_there_is_no_earlier_order(
    run: Run, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    remember_since(redis_client, now_ms() - 60_000)

    [placed] = run("drop_in.py", signal("a"))

    [order] = paper_exchange.ledger()
    assert placed == f"PLACED {order['orderId']}"


def test_drop_in_sends_nothing_while_an_earlier_order_can_not_be_looked_up(
    run: Run, redis_client: redis.Redis, paper_exchange: PaperExchange, store: Store
) -> None:
    remember_since(redis_client, now_ms() - 60_000)
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, method="GET", status=401, code=-2015))

    [unknown] = run("drop_in.py", signal("a"))

    assert unknown.startswith("DENIED -2015 nothing was sent: -2015 Invalid API-key")
    assert paper_exchange.ledger() == []
    with Gate.from_url(store.url) as gate:
        assert gate.evaluate(signal("b")).reason is Reason.SAFE_MODE


@pytest.mark.parametrize("script", ["drop_in.py", "observe.py"])
def test_what_the_service_can_not_send_is_invalid(run: Run, paper_exchange: PaperExchange, script: str) -> None:
    unsized = signal("a", quantity=None)
    limit = signal("b", order_type="LIMIT", price="100")
    said = run(script, unsized, limit, signal("c", quantity=None, notional="500"), signal("d", colour="red"))

    assert [line.partition(" ")[0] for line in said] == ["INVALID"] * 4
    assert paper_exchange.ledger() == []


def test_executor_fills_each_intent_once(run: Run, paper_exchange: PaperExchange) -> None:
    twice = signal("a")
    said = run("executor.py", twice, signal("b", "ETHUSDT", quantity=None, notional="500.5"), twice)

    words = sorted(line.split()[:2] for line in said if "again" not in line)
    assert words == [["a", "DENIED"], ["a", "FILLED"], ["b", "FILLED"]]
    assert {order["symbol"] for order in paper_exchange.ledger()} == {"BTCUSDT", "ETHUSDT"}
    assert len(paper_exchange.ledger()) == 2


def test_executor_says_what_may_be_delivered_again(run: Run) -> None:
    said = run("executor.py", signal("a", quantity="50"))

    assert said[0].startswith("a REJECTED_MARGIN")
    assert said[1] == "a may be delivered again, while it is fresh"


def test_blocking_fills_each_intent_once(run: Run, paper_exchange: PaperExchange) -> None:
    twice = signal("a")
    said = run("blocking.py", twice, signal("b", "ETHUSDT", quantity=None, notional="500.5"), twice)

    assert sorted(line.split()[:2] for line in said) == [["a", "DENIED"], ["a", "FILLED"], ["b", "FILLED"]]
    assert len(paper_exchange.ledger()) == 2


def test_observe_lets_the_old_guards_decide_and_says_where_the_gate_disagrees(
    run: Run, paper_exchange: PaperExchange
) -> None:
    twice = signal("a")
    both, only_old, neither = run("observe.py", twice, signal("b"), twice)

    first, second = paper_exchange.ledger()
    assert both == f"a old guards: ADMITTED, gate would say: ADMITTED, PLACED {first['orderId']}"
    assert only_old == f"b old guards: ADMITTED, gate would say: RATE_SYMBOL, PLACED {second['orderId']}"
    assert neither == "a old guards: SEEN, gate would say: DUPLICATE"


def test_observe_sends_what_the_old_guards_admit_though_the_gate_would_call_it_stale(
    run: Run, paper_exchange: PaperExchange
) -> None:
    [said] = run("observe.py", signal("a", timestamp=now_ms() - 3_600_000))

    [order] = paper_exchange.ledger()
    assert said == f"a old guards: ADMITTED, gate would say: STALE, PLACED {order['orderId']}"


def test_observe_takes_back_what_the_old_guards_deny(run: Run, redis_client: redis.Redis, store: Store) -> None:
    redis_client.set("bot:seen:a", 1)

    [denied] = run("observe.py", signal("a"))

    assert denied == "a old guards: SEEN, gate would say: ADMITTED"
    with Gate.from_url(store.url) as gate:
        assert gate.lookup("a") is None
