"""From the replaced service's guards to the gate, beside them first, and back again: docs/adopt.md, run.

At every step: no order twice, none lost, no key of others touched.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from binance import Client

from gate import Gate, Outcome, Penalty, Policy, Reason, Remedy
from gate.blocking import BlockingExecutor
from gate.executor import Execution, Terminal
from gate.paper import Account, Fault, FaultKind, PaperExchange
from tests.adoption.old_service import (
    FILLED,
    OldService,
    delete_exec_keys,
    delete_safety_keys,
    safety_kernel_says_safe_mode,
    telemetry_of_safe_mode,
    verified,
)
from tests.client import account as at
from tests.servers.store import Store

WHY = "the old service has stopped"
OTHERS = (
    "quantum:positions:BTCUSDT",
    "quantum:rate:BTCUSDT",
    "quantum:execution:health",
    "acct7:exec:lock:BTCUSDT:BUY",
)


class BesideService(OldService):
    """The old service with the gate beside it: four lines more, and the old guards decide."""

    def __init__(self, gate: Gate, store: redis.Redis, client: Client) -> None:
        super().__init__(store, client)
        self.gate = gate
        self.gate_says: list[Reason] = []

    def handle(self, payload: Mapping[str, Any]) -> str:
        with self.gate.guard(payload) as held:
            self.gate_says.append(held.verdict.reason)
            if not held:  # a person's halt, or no sound answer
                return str(held.verdict.reason)
            said = super().handle(payload)
            if said == FILLED:
                held.placed(self.order_id)
            else:
                held.unsent("OLD_GUARDS", said)
            return said


def signal(symbol: str, side: str = "BUY") -> dict[str, Any]:
    """An intent as the strategies write it."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    return {
        "symbol": symbol,
        "side": side,
        "confidence": 0.72,
        "position_size_usd": 200.0,
        "leverage": 1,
        "timestamp": now,
        "model": "ensemble",
    }


def deliver(store: redis.Redis, *payloads: Mapping[str, Any], prefix: str = "quantum") -> None:
    for payload in payloads:
        fields: Any = {"event_type": "trade.intent", "payload": json.dumps(payload), "source": "ai"}
        store.xadd(f"{prefix}:stream:trade.intent", fields)


def client_of(paper: PaperExchange) -> Client:
    client = Client(paper.key, paper.secret, ping=False)
    client.FUTURES_URL = paper.futures_url
    return client


def orders(paper: PaperExchange) -> Counter[str]:
    return Counter(str(row["symbol"]) for row in paper.ledger())


@pytest.fixture
def paper() -> Iterator[PaperExchange]:
    with PaperExchange(accounts=[Account(key="key", secret="secret")]) as paper:  # noqa: S106  # of a paper account
        yield paper


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def others_untouched(redis_client: redis.Redis) -> Iterator[None]:
    """The store is shared with others, and the gate's account is new to it."""
    redis_client.flushall()
    for key in OTHERS:
        redis_client.set(key, "1")
    held = {key: at.contents(redis_client)[key] for key in OTHERS}
    yield
    now = at.contents(redis_client)
    assert {key: now.get(key) for key in OTHERS} == held


def test_beside_the_gate_the_old_guards_decide_as_they_do_alone(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, stack: ExitStack
) -> None:
    """In the first version the gate's record made their SETNX fail: no order at all."""
    alone_at = stack.enter_context(PaperExchange(accounts=[Account(key="solo", secret="solo")]))  # noqa: S106
    alone = OldService(redis_client, client_of(alone_at), "solo")
    gate = stack.enter_context(Gate.from_url(store.url, policy=Policy(mode="observe")))
    beside = BesideService(gate, redis_client, client_of(paper))
    symbols = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "NEARUSDT", "XRPUSDT")
    first = [signal(symbol) for symbol in symbols]
    signals = [first[0], first[0], signal("BTCUSDT", "SELL"), *first[1:], first[2], signal("ADAUSDT")]
    for prefix in ("solo", "quantum"):
        deliver(redis_client, *signals, prefix=prefix)
    for each in (alone_at, paper):
        each.inject(Fault(kind=FaultKind.ERROR, code=-2019, times=1))

    assert beside.take() == alone.take()
    assert orders(paper) == orders(alone_at)

    def kept(prefix: str) -> dict[str, Any]:
        keys = [key for key in at.keys(redis_client) if key.startswith((f"{prefix}:exec:", f"{prefix}:safety:"))]
        return {key.partition(":")[2]: (redis_client.get(key), redis_client.ttl(key) > 0) for key in keys}

    assert kept("quantum") == kept("solo"), "key by key"
    assert Reason.DUPLICATE in beside.gate_says
    assert not redis_client.exists("quantum:observe:safety:halt")


def test_a_persons_halt_holds_the_old_service_too_and_loses_nothing(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, stack: ExitStack
) -> None:
    """In the first version it stopped nobody that observed, and said nothing."""
    gate = stack.enter_context(Gate.from_url(store.url, policy=Policy(mode="observe")))
    beside = BesideService(gate, redis_client, client_of(paper))
    gate.halt(by="ops", reason="CPI print")
    one = signal("BTCUSDT")
    deliver(redis_client, one)
    assert beside.take() == ["HALTED"]
    assert orders(paper) == Counter()
    gate.resume(by="ops", reason="over")
    deliver(redis_client, one, one)
    assert beside.take() == [FILLED, "IDEMPOTENCY_SKIP"], "the halt has not used it up"
    assert orders(paper) == Counter(["BTCUSDT"])


class Journey:
    """The account after the switch: three signals sent by the old guards, two by the gate."""

    def __init__(self, store: Store, client: redis.Redis, paper: PaperExchange, stack: ExitStack) -> None:
        self.client, self.paper = client, paper
        # Before: the old service alone.
        old = OldService(client, client_of(paper))
        self.first = signal("BTCUSDT")
        deliver(client, self.first, self.first)
        assert old.take() == [FILLED, "IDEMPOTENCY_SKIP"]

        # Beside: the gate observes.
        with Gate.from_url(store.url, policy=Policy(mode="observe")) as observing:
            beside = BesideService(observing, client, client_of(paper))
            self.second, self.third = signal("ETHUSDT"), signal("BNBUSDT")
            deliver(client, self.second, self.second, self.third)
            assert beside.take() == [FILLED, "IDEMPOTENCY_SKIP", FILLED]
            assert beside.gate_says == [Reason.ADMITTED, Reason.DUPLICATE, Reason.ADMITTED]
        safety, processed = verified(client)
        assert (safety, processed) == ([], 3), "what they verify is the old guards', as ever"

        # The switch: the old service has stopped, in the middle of two things that it does in two steps.
        client.set("quantum:exec:lock:NEARUSDT:BUY", "1")
        client.persist("quantum:exec:rate:global")
        self.gate = stack.enter_context(Gate.from_url(store.url))
        [observer] = self.gate.status().observers
        assert observer.name
        found = self.gate.leftovers()
        assert {each.key for each in found.found if each.remedy is Remedy.DELETE} == {
            "quantum:exec:lock:NEARUSDT:BUY",
            "quantum:exec:rate:global",
            *(f"quantum:exec:rate:symbol:{symbol}" for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT")),
        }
        self.gate.clear_leftovers(found, by="ops", reason=WHY)
        self.gate.init(by="ops", reason=WHY)

        # After: the executor.
        executor = BlockingExecutor(store.url, paper.key, paper.secret, base_url=paper.url, recv_window_ms=200)
        self.executor = stack.enter_context(executor)
        for sent_by_the_old in (self.first, self.second, self.third):
            assert self.told(sent_by_the_old) == (Terminal.DENIED, Reason.DUPLICATE)
        self.fourth, self.fifth = signal("SOLUSDT"), signal("NEARUSDT")
        assert self.filled(self.fourth)
        assert self.filled(self.fifth)
        assert self.told(self.fourth) == (Terminal.DENIED, Reason.DUPLICATE)
        self.sent = {"BTCUSDT": 1, "ETHUSDT": 1, "BNBUSDT": 1, "SOLUSDT": 1, "NEARUSDT": 1}
        assert orders(paper) == self.sent

    def execute(self, payload: Mapping[str, Any]) -> Execution:
        return self.executor.execute(payload)

    def told(self, payload: Mapping[str, Any]) -> tuple[Terminal, str]:
        execution = self.execute(payload)
        return execution.state, execution.reason

    def filled(self, payload: Mapping[str, Any]) -> bool:
        execution = self.execute(payload)
        assert execution.state is Terminal.FILLED, (execution.reason, execution.detail)
        return True


@pytest.fixture
def after(store: Store, redis_client: redis.Redis, paper: PaperExchange, stack: ExitStack) -> Journey:
    return Journey(store, redis_client, paper, stack)


def test_after_the_switch_deleting_the_safety_keys_is_obeyed(after: Journey) -> None:
    """Their first roll-back. While a trip is on, their programs read it as they always did."""
    client = after.client
    permit = at.admitted(after.gate.evaluate(at.entry("trip", "XRPUSDT")))
    penalty = Penalty(safe_mode=True, cooldown_symbol_ms=300_000, cooldown_global_ms=300_000)
    assert after.gate.settle(permit, Outcome.rejected(-2019, penalty=penalty))
    assert safety_kernel_says_safe_mode(client)
    assert telemetry_of_safe_mode(client) == 1
    safety, processed = verified(client)
    assert {"quantum:safety:safe_mode", "quantum:safety:cooldown_global"} <= set(safety)
    assert processed == 6
    sixth = signal("DOGEUSDT")
    assert after.told(sixth) == (Terminal.DENIED, Reason.SAFE_MODE)
    assert orders(after.paper) == after.sent

    delete_safety_keys(client)

    assert not safety_kernel_says_safe_mode(client)
    assert after.filled(sixth), "it was not used up"
    assert orders(after.paper) == {**after.sent, "DOGEUSDT": 1}


def test_after_the_switch_deleting_the_exec_keys_makes_no_second_order(after: Journey) -> None:
    """Their second roll-back. In the first version one intent was filled twice."""
    delete_exec_keys(after.client)

    assert after.told(after.fourth) == (Terminal.DENIED, Reason.MEMORY_YOUNG), "an order may be on its way"
    at.wait_out(after.client)
    assert after.execute(after.fourth).state is Terminal.FILLED, "its order is found, and told"
    assert after.execute(after.fourth).reason == Reason.DUPLICATE
    assert orders(after.paper) == after.sent
    assert after.filled(signal("DOGEUSDT"))


def test_back_to_the_old_code_no_signal_is_sent_again_and_none_is_lost(after: Journey) -> None:
    """Their third roll-back. The gate's windows are lists, which the old code can't read: they go first."""
    after.executor.close()
    client = after.client
    client.delete("quantum:exec:rate:global", *client.keys("quantum:exec:rate:symbol:*"))
    client.delete("quantum:observe:exec:state", "quantum:observe:exec:inflight")

    old = OldService(client, client_of(after.paper))
    new = [signal("DOGEUSDT"), signal("SOLUSDT")]
    deliver(client, after.first, after.fourth, after.fifth, *new)
    skipped = ["IDEMPOTENCY_SKIP"] * 3
    assert old.take() == [*skipped, FILLED, FILLED]
    assert orders(after.paper) == {**after.sent, "DOGEUSDT": 1, "SOLUSDT": 2}


def test_and_forward_again_the_gate_goes_on_where_it_was(after: Journey) -> None:
    client = after.client
    client.delete("quantum:exec:rate:global", *client.keys("quantum:exec:rate:symbol:*"))
    old, sixth = OldService(client, client_of(after.paper)), signal("DOGEUSDT")
    deliver(client, sixth)
    assert old.take() == [FILLED]
    after.gate.clear_leftovers(after.gate.leftovers(), by="ops", reason=WHY)
    after.gate.init(by="ops", reason=WHY)
    for sent in (after.first, after.fourth, sixth):
        assert after.told(sent) == (Terminal.DENIED, Reason.DUPLICATE)
    assert after.filled(signal("ADAUSDT"))
    assert orders(after.paper) == {**after.sent, "DOGEUSDT": 1, "ADAUSDT": 1}
