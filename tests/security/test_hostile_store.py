"""A store that answers what no Redis would: nothing but the documented errors comes of it, and no order."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from gate import (
    AsyncGate,
    Gate,
    GateError,
    Intent,
    Outcome,
    Permit,
    Policy,
    Reason,
    Settled,
    StoreError,
    StoreFailure,
    Verdict,
)
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor, Terminal
from gate.paper import PaperExchange
from gate.protocol.scripts import SCRIPTS
from gate.store.shapes import SHAPES
from gate.values.log_words import LONGEST
from tests.client import account as at
from tests.client.gates import AnyGate, AwaitedGate
from tests.executor.conftest import paper
from tests.security.log_lines import read_back, written
from tests.servers.hostile import HostileStore, bulk, many

__all__ = ["paper"]

DIGITS = "9" * 5000
NOW = str(time.time_ns() // 1_000_000)
NO_LINES = {
    "nil": b"$-1\r\n",
    "a nil list": b"*-1\r\n",
    "a number": b":1\r\n",
    "OK": b"+OK\r\n",
    "an empty text": bulk(""),
    "an unknown reason": bulk("BECAUSE -1 x"),
    "an admission without its fields": bulk("admitted"),
    "an admission of 5,000 digits": bulk(f"admitted t {DIGITS} fp {NOW} BTCUSDT BUY {DIGITS} {DIGITS} - {DIGITS}"),
    "an admission with an exponent": bulk(f"admitted t 1 fp {NOW} BTCUSDT BUY 30000 0 - 1E999999999"),
    "a denial without its wait": bulk("HALTED"),
    "a denial with a wait of 5,000 digits": bulk(f"SAFE_MODE {DIGITS} x"),
    "an age that is none": bulk("STALE -2 x"),
    "an age of 5,000 digits": bulk(f"STALE -2 {DIGITS}"),
    "a moment of 5,000 digits": bulk(f"MEMORY_YOUNG 1 {DIGITS}"),
    "a mismatch without the policy": bulk("POLICY_MISMATCH -1"),
    "observed and nothing more": bulk("OBSERVED"),
    "ADMITTED as a denial": bulk("ADMITTED 1 x"),
    "a list": many(bulk("admitted")),
    "a list in lists": b"*1\r\n" * 6 + b"$-1\r\n",
    "a list with an error": b"*2\r\n-ERR no\r\n:1\r\n",
    "surrogates": bulk("HALTED -1 \ud800\udfff"),
    "bytes that are no UTF-8": bulk(b"HALTED -1 \xff\xfe\x80"),
    "10 MB": bulk("x" * 10_000_000),
    "a denial of 10 MB": bulk("HALTED -1 " + "x" * 10_000_000),
    "a record of 10 MB": bulk("DUPLICATE -2 " + "x " * 5_000_000),
    "an error of 10 MB": b"-ERR " + b"x" * 10_000_000 + b"\r\n",
    "an error that is no UTF-8": b"-ERR \xff\xfe\r\n",
    "not RESP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a length of 5,000 digits": b"$" + DIGITS.encode() + b"\r\n",
    "a list of 4 billion": b"*4294967295\r\n",
    "a number beyond 64 bits": b":99999999999999999999\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "a big number": b"(" + DIGITS.encode() + b"\r\n",
    "a double": b",inf\r\n",
    "a truth": b"#t\r\n",
}

READABLE = {
    "a denial of 10 MB": Reason.HALTED,
    "surrogates": Reason.HALTED,
    "bytes that are no UTF-8": Reason.HALTED,
    "a record of 10 MB": Reason.DUPLICATE,
    "a mismatch without the policy": Reason.POLICY_MISMATCH,
}
"""Denials all the same: a person may write a switch's text in any encoding, and of any length."""


@pytest.fixture(params=["Gate", "AsyncGate"])
def open_on(request: pytest.FixtureRequest) -> Iterator[Callable[[HostileStore], AnyGate]]:
    opened: list[AnyGate] = []

    def open_one(store: HostileStore, policy: Policy | None = None) -> AnyGate:
        if request.param == "Gate":
            opened.append(Gate.from_url(store.url, policy=policy, timeout_ms=5_000))
        else:
            opened.append(AwaitedGate(AsyncGate.from_url(store.url, policy=policy, timeout_ms=5_000)))
        return opened[-1]

    yield open_one
    for gate in opened:
        gate.close()


@pytest.fixture
def hostile() -> Iterator[HostileStore]:
    with HostileStore() as store:
        yield store


def permit(**changes: Any) -> Permit:
    figures: dict[str, Any] = {
        "intent_id": "sig-1",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "token": "t",
        "fence": 1,
        "client_order_id": "g-1",
        "deadline_ms": int(NOW) + 30_000,
        "expires_ns": time.monotonic_ns() + 30_000_000_000,
    }
    return Permit(**(figures | changes))


OpenOn = Callable[..., AnyGate]


@pytest.mark.parametrize("what", NO_LINES)
@pytest.mark.parametrize("exits", [False, True])
def test_a_verdict_that_cannot_be_read_is_store_error(
    hostile: HostileStore, open_on: OpenOn, what: str, exits: bool
) -> None:
    hostile.answers["evaluate"] = NO_LINES[what]
    with written() as lines:
        verdict = open_on(hostile).evaluate(at.intent(exits))
    assert not verdict
    assert verdict.permit is None
    assert verdict.reason is READABLE.get(what, Reason.STORE_ERROR)
    assert len(verdict.detail) <= LONGEST
    assert verdict.detail.encode()
    for line in filter(None, lines):
        assert len(line) < 3 * LONGEST
        read_back(line)


@pytest.mark.parametrize("what", NO_LINES)
def test_a_settlement_that_cannot_be_read_is_store_error(hostile: HostileStore, open_on: OpenOn, what: str) -> None:
    hostile.answers["settle"] = NO_LINES[what]
    settlement = open_on(hostile).settle(permit(), Outcome.placed("1"))
    assert settlement.status is Settled.STORE_ERROR
    assert len(settlement.detail) <= LONGEST


@pytest.mark.parametrize("what", NO_LINES)
def test_no_last_look_that_cannot_be_read_lets_an_order_pass(hostile: HostileStore, open_on: OpenOn, what: str) -> None:
    hostile.answers["last_look"] = NO_LINES[what]
    look = open_on(hostile).last_look(permit(), needed_ms=10)
    assert not look
    assert len(look.detail) <= LONGEST
    assert len(look.reason) <= 64


ASKED: dict[str, Callable[[AnyGate], object]] = {
    "status": lambda gate: gate.status(),
    "lookup": lambda gate: gate.lookup("sig-1"),
    "in_doubt": lambda gate: gate.in_doubt(),
    "inspect": lambda gate: gate.inspect(at.entry()),
    "halt_in_force": lambda gate: gate.halt_in_force(),
    "policy_in_force": lambda gate: gate.policy_in_force(),
    "ever_run": lambda gate: gate.ever_run(),
    "observers": lambda gate: gate.observers(),
    "seen_services": lambda gate: gate.seen_services(),
    "claim_account": lambda gate: gate.claim_account("d"),
    "claim_prefix": lambda gate: gate.claim_prefix("d"),
    "leave_account": lambda gate: gate.leave_account("d", "d"),
    "leave_trace": lambda gate: gate.leave_trace(),
    "absences": lambda gate: gate.absences(60_000),
    "give_back": lambda gate: gate.give_back(),
    "still_out": lambda gate: gate.still_out(),
    "leftovers": lambda gate: gate.leftovers(),
    "audit": lambda gate: gate.audit(),
    "recent_intents": lambda gate: gate.recent_intents(),
    "diagnose": lambda gate: gate.diagnose(),
    "halt": lambda gate: gate.halt(by="ops", reason="a"),
    "resume": lambda gate: gate.resume(by="ops", reason="a"),
    "reset": lambda gate: gate.reset("all", by="ops", reason="a"),
    "init": lambda gate: gate.init(by="ops", reason="a"),
    "apply_policy": lambda gate: gate.apply_policy(Policy(), by="ops", reason="a"),
}
NEVER_RAISE = {"claim_account", "claim_prefix", "leave_account", "leave_trace", "give_back"}
ODD = {
    **{what: NO_LINES[what] for what in ("nil", "a nil list", "a number", "OK", "a list", "a list with an error")},
    **{what: NO_LINES[what] for what in ("not RESP", "a list of 4 billion", "a map", "a big number", "a truth")},
    "an empty list": b"*0\r\n",
    "a list of a nil": b"*1\r\n$-1\r\n",
    "two texts": many(bulk("a"), bulk("b")),
    "three texts": many(bulk("a"), bulk("b"), bulk("c")),
    "numbers as texts": many(bulk("1"), bulk("2"), bulk("3"), bulk("4"), bulk("5")),
    "5,000 digits": many(bulk(DIGITS), bulk(DIGITS)),
    "5,000 digits alone": bulk(DIGITS),
    "infinity": many(bulk("inf"), bulk("inf")),
    "a page": many(bulk("0"), many(bulk("quantum:exec:lock:x"), bulk("quantum:exec:rate:symbol:y"))),
    "1 MB": bulk("x" * 1_000_000),
    "an entry of a stream": many(many(bulk(f"{NOW}-0"), many(bulk("what"), bulk("settled as absent")))),
    "an entry that is none": many(many(bulk(DIGITS), many(bulk("what")))),
    "a list of 1 MB": many(bulk("9 " * 500_000), bulk("x" * 1_000_000)),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("call", ASKED)
def test_whatever_a_store_answers_only_documented_errors_come_of_it(
    hostile: HostileStore, open_on: OpenOn, call: str, what: str
) -> None:
    hostile.answers["*"] = ODD[what]
    failed = ""
    try:
        ASKED[call](open_on(hostile))
    except StoreFailure as failure:
        failed = str(failure)
    assert len(failed) <= 2 * LONGEST
    assert not (failed and call in NEVER_RAISE)


def test_every_command_that_is_sent_has_a_shape(hostile: HostileStore, open_on: OpenOn) -> None:
    for answer in ODD.values():
        hostile.answers["*"] = answer
        for call in ASKED.values():
            try:
                call(open_on(hostile))
            except GateError:
                continue
    scripts = set(SCRIPTS)
    assert set(hostile.asked) - scripts <= SHAPES.keys()


def test_an_identity_of_10_mb_is_a_short_word(hostile: HostileStore, open_on: OpenOn) -> None:
    hostile.answers["identify"] = bulk("x" * 10_000_000 + "\nredis_version:" + "7" * 5_000_000)
    seen: list[list[bytes]] = []

    def evaluated(words: list[bytes]) -> bytes:
        seen.append(words)
        return bulk("HALTED -1 x")

    hostile.answers["evaluate"] = evaluated
    assert open_on(hostile).evaluate(at.entry()).reason is Reason.HALTED
    assert max(map(len, seen[0])) < LONGEST


def test_a_store_that_names_a_new_policy_each_time_gets_an_end(hostile: HostileStore, open_on: OpenOn) -> None:
    """A caller that follows asks again under each policy that it learns of."""
    count = 0

    def another(_: list[bytes]) -> bytes:
        nonlocal count
        count += 1
        policy = Policy(max_in_flight=count)
        figures = " ".join(f"{name}={text}" for name, text in policy.texts().items())
        return bulk(f"POLICY_MISMATCH -1 {policy.fingerprint} {figures}")

    hostile.answers["evaluate"] = another
    verdict = open_on(hostile).evaluate(at.entry())
    assert verdict.reason is Reason.POLICY_MISMATCH
    assert count < 10
    count = 0

    def inspected(_: list[bytes]) -> bytes:
        nonlocal count
        count += 1
        return many(bulk(NOW), bulk(f"other-{count}"))

    def state(_: list[bytes]) -> bytes:
        policy = Policy(max_in_flight=count)
        figures = " ".join(f"{name}={text}" for name, text in policy.texts().items())
        return many(bulk(policy.fingerprint), bulk(figures), *[bulk("1")] * 3)

    hostile.answers |= {"inspect": inspected, "HMGET": state}
    assert open_on(hostile).inspect(at.entry())
    assert count < 10


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        *(("margin_buffer", each) for each in ("1E-999999999", f"0.{'0' * 5000}1", DIGITS, "1E999999999", "NaN")),
        *(("lock_ttl_ms", each) for each in (DIGITS, "1E9", "\u0661\u0662")),
    ],
)
def test_a_policy_in_force_with_monstrous_figures_is_a_problem_and_no_more(
    hostile: HostileStore, open_on: OpenOn, name: str, figure: str
) -> None:
    hostile.answers["HMGET"] = _state({**Policy().texts(), name: figure})
    found = open_on(hostile).policy_in_force()
    assert found is not None
    assert found.policy is None
    assert found.problem
    assert len(found.problem) <= LONGEST


def _state(texts: dict[str, str]) -> bytes:
    from gate.values.policy import _fingerprint  # the attacker knows it too

    figures = " ".join(f"{name}={text}" for name, text in texts.items())
    return many(bulk(_fingerprint(texts)), bulk(figures), bulk(DIGITS), bulk("x" * 5000), bulk("y"))


def test_a_scan_without_an_end_gets_one(
    hostile: HostileStore, open_on: OpenOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.client.leftovers.MOST_PAGES", 50)
    hostile.answers |= {"SCAN": many(bulk("7"), many(bulk("quantum:exec:lock:x"))), "control": many(b":1\r\n")}
    assert open_on(hostile).reset("cooldowns", by="ops", reason="a").changed == ()
    assert hostile.asked.count("SCAN") < 10
    hostile.answers["SCAN"] = many(bulk("7"), many())
    with pytest.raises(StoreError, match="end of its keys"):
        open_on(hostile).leftovers()


@pytest.mark.parametrize("kind", ["Gate", "AsyncGate"])
def test_a_text_that_comes_byte_by_byte_holds_nobody_for_ever(kind: str, hostile: HostileStore) -> None:
    given: dict[str, Any] = {"timeout_ms": 50}
    asked = (
        Gate.from_url(hostile.url, **given) if kind == "Gate" else AwaitedGate(AsyncGate.from_url(hostile.url, **given))
    )
    with closing(asked):
        asked.evaluate(at.exit_("first"))  # connects
        hostile.drips_s = 0.01
        hostile.answers["evaluate"] = bulk("x" * 1_000_000)  # three hours
        verdict = asked.evaluate(at.exit_())
    assert (verdict.admitted, verdict.reason) == (False, Reason.STORE_UNAVAILABLE)


def test_memory_stays_in_bounds_whatever_is_said(hostile: HostileStore) -> None:
    """A long text is read once. What is kept of it is short."""
    hostile.answers["evaluate"] = bulk("HALTED -1 " + "x" * 10_000_000)
    with Gate.from_url(hostile.url, timeout_ms=5_000) as gate:
        kept = [gate.evaluate(at.exit_(id=f"sig-{number}")) for number in range(20)]
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kept += [gate.evaluate(at.exit_(id=f"sig-{number}")) for number in range(20, 60)]
        after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(len(each.detail) for each in kept) <= 60 * LONGEST
    assert after_kb - before_kb < 100_000, "40 replies of 10 MB were kept"


@pytest.mark.parametrize("exits", [False, True])
@pytest.mark.parametrize(
    "what", ["nil", "OK", "a list", "an unknown reason", "10 MB", "a list of 4 billion", "not RESP"]
)
async def test_an_executor_gives_an_execution_whatever_the_store_says(
    hostile: HostileStore, paper: PaperExchange, what: str, exits: bool
) -> None:
    hostile.answers["*"] = NO_LINES[what]
    async with (
        AsyncGate.from_url(hostile.url, policy=Policy(exits_without_store=False), timeout_ms=5_000) as gate,
        BinanceFutures(paper.key, paper.secret, base_url=paper.url) as exchange,
    ):
        execution = await Executor(gate, exchange).execute(at.intent(exits, timestamp=time.time_ns() // 1_000_000))
    assert (execution.state, execution.reason) == (Terminal.DENIED, "STORE_ERROR")
    assert paper.ledger() == []


@pytest.mark.parametrize("settled", ["nil", "OK", "a list", "an unknown reason", "10 MB"])
def test_a_guarded_block_ends_whatever_the_store_says(hostile: HostileStore, settled: str) -> None:
    def admitted(words: list[bytes]) -> bytes:
        token = next(word for word in words if len(word) == 16).decode()
        return bulk(f"admitted {token} 1 fp {NOW} BTCUSDT BUY 30000 0 - 0")

    hostile.answers |= {"*": NO_LINES[settled], "evaluate": admitted}
    with Gate.from_url(hostile.url, policy=Policy(), timeout_ms=5_000) as gate, gate.guard(at.entry()) as held:
        pass
    assert held.settlement is None or held.settlement.status in (Settled.STORE_ERROR, Settled.STORE_UNAVAILABLE)


@pytest.mark.parametrize("reserve", ["1E999999999", "1E-999999999", "-1E999999999", "sNaN", "Infinity"])
def test_a_reserve_of_any_size_gets_a_verdict(hostile: HostileStore, open_on: OpenOn, reserve: str) -> None:
    hostile.answers["evaluate"] = bulk("HALTED -1 x")
    verdict: Verdict = open_on(hostile).evaluate(at.entry(), reserve=Decimal(reserve))
    assert verdict.reason in (Reason.INVALID, Reason.HALTED)


def test_an_intent_with_more_digits_than_python_prints_gets_a_verdict(hostile: HostileStore, open_on: OpenOn) -> None:
    asked: dict[str, Any] = {"id": 10**5000, "symbol": "BTCUSDT", "side": "BUY", "timestamp": 10**5000}
    for name in ("notional", "quantity", "leverage", "price", "ai_size_usd", "reduce_only", "close", "callback_rate"):
        assert open_on(hostile).evaluate({**asked, name: 10**5000}).reason is Reason.INVALID
    assert isinstance(at.entry(), Intent)
