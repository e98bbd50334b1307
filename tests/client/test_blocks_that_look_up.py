"""A block whose permit says verify asks the exchange for an order of before first: one order per intent."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis
from binance import AsyncClient, Client

from gate import AsyncGate, FoundOrder, Gate, Phase, Policy, Reason
from gate.exchange.order_finder import find_order, find_order_async
from gate.paper import Fault, FaultKind, PaperExchange
from gate.values.errors import InvalidField
from gate.values.found_order import CLOCKS_APART_MS
from tests.client import account as at
from tests.client.blocks import ROOMY, forget, on, place, place_async, stop
from tests.servers.store import PrivateStore, Store


def test_what_the_store_has_forgotten_is_found_at_the_exchange_and_not_sent_again(
    gate: Gate, client: Client, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    intent = at.entry()
    place(gate, client, intent)
    forget(redis_client)

    with gate.guard(intent) as permit:
        assert not permit
        assert isinstance(permit.found, FoundOrder)
        assert (permit.reason, permit.found.status) == ("FOUND", "FILLED")
        assert permit.found.order_id in permit.detail

    [order] = paper_exchange.ledger()
    record = gate.lookup(intent.id)
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, str(order["orderId"]))
    assert place(gate, client, intent) == Reason.DUPLICATE


def test_a_conditional_order_is_found_too(
    gate: Gate, client: Client, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    intent = at.exit_(side="SELL", order_type="STOP_MARKET", trigger_price="90000")
    place(gate, client, at.entry("in"))
    with gate.guard(intent) as permit:
        order = client.futures_create_order(**stop(intent, clientAlgoId=permit.client_order_id))
        permit.placed(order["algoId"])
    forget(redis_client)

    with gate.guard(intent) as permit:
        assert not permit
        assert permit.found is not None
        assert permit.found.order_id == str(order["algoId"])


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
def test_what_the_exchange_does_not_have_is_sent(
    gate: Gate, client: Client, redis_client: redis.Redis, paper_exchange: PaperExchange, exits: bool
) -> None:
    place(gate, client, at.entry("in"))
    forget(redis_client)

    assert place(gate, client, at.intent(exits, side="SELL" if exits else "BUY")) == "PLACED"

    assert len(paper_exchange.ledger()) == 2


def test_without_find_order_a_permit_that_says_verify_is_false_and_the_intent_is_in_doubt(
    store: Store, redis_client: redis.Redis, client: Client, paper_exchange: PaperExchange
) -> None:
    intent = at.entry()
    with Gate.from_url(store.url, policy=ROOMY) as gate:
        place(gate, client, intent)
        forget(redis_client)

        assert place(gate, client, intent) == "MEMORY_LOST"

        record = gate.lookup(intent.id)
        assert record is not None
        assert (record.phase, record.note.partition(" ")[0]) == (Phase.UNKNOWN, "MEMORY_LOST")
        assert "cooldown_symbol" not in on(gate), "nothing was sent"
    assert len(paper_exchange.ledger()) == 1


def test_a_block_may_bring_its_own_find_order(store: Store, redis_client: redis.Redis) -> None:
    asked: list[tuple[str, str]] = []

    def find(symbol: str, client_order_id: str) -> FoundOrder | None:
        asked.append((symbol, client_order_id))
        return FoundOrder("77")

    forget(redis_client)
    with Gate.from_url(store.url) as gate, gate.guard(at.entry(), find_order=find) as permit:
        assert permit.reason == "FOUND"

    assert asked == [("BTCUSDT", permit.client_order_id)]


def test_a_gate_of_an_own_client_takes_find_order_too(redis_client: redis.Redis) -> None:
    forget(redis_client)
    gate = Gate(client=redis_client, find_order=lambda symbol, client_order_id: FoundOrder("77"))
    with gate, gate.guard(at.entry()) as permit:
        assert permit.reason == "FOUND"


def test_an_order_of_an_earlier_use_of_the_id_is_not_the_intents(store: Store, redis_client: redis.Redis) -> None:
    intent = at.entry()
    old = FoundOrder("77", time_ms=intent.timestamp_ms - CLOCKS_APART_MS - 1)
    forget(redis_client)

    with Gate.from_url(store.url, find_order=lambda symbol, client_order_id: old) as gate, gate.guard(intent) as permit:
        assert permit
        permit.unsent("TEST")


def test_absence_counts_only_when_no_order_of_before_can_be_accepted_any_more(
    gate: Gate, redis_client: redis.Redis
) -> None:
    """The first answer is "no such order"; the order is still on its way, and shows up before the window ends."""
    asked = 0

    def shows_up_late(symbol: str, client_order_id: str) -> FoundOrder | None:
        nonlocal asked
        asked += 1
        return None if asked == 1 else FoundOrder("77")

    forget(redis_client, ago_ms=0)
    with gate.guard(at.exit_(), find_order=shows_up_late) as permit:
        assert permit.reason == "FOUND"
    assert asked == 2


@pytest.mark.parametrize("window_ms", [5_000, 10_000])
def test_an_entry_waits_as_long_as_the_services_own_recv_window(
    redis_client: redis.Redis, store: Store, window_ms: int
) -> None:
    """A minute of memory is enough; right after the gate's own wait, a longer recvWindow needs more."""

    class Finder:
        recv_window_ms = window_ms
        asked = 0

        def __call__(self, symbol: str, client_order_id: str) -> FoundOrder | None:
            self.asked += 1
            return FoundOrder("77") if self.asked == 2 else None

    finder = Finder()
    forget(redis_client, ago_ms=ROOMY.lock_ttl_ms + 6_500)
    redis_client.hset(at.STATE, "lost", 1)
    with Gate.from_url(store.url, policy=ROOMY, find_order=finder) as gate, gate.guard(at.entry()) as permit:
        assert permit.reason == ("ADMITTED" if window_ms == 5_000 else "FOUND")


@pytest.mark.parametrize(
    ("scope", "exits", "reason"), [("entries", False, "HALTED"), ("all", True, "HALTED"), ("entries", True, "ADMITTED")]
)
def test_a_halt_during_the_search_stops_what_it_binds(
    gate: Gate, redis_client: redis.Redis, scope: str, exits: bool, reason: str
) -> None:
    def find(symbol: str, client_order_id: str) -> FoundOrder | None:
        gate.halt(by="ops", reason="print", scope=scope)
        return None

    forget(redis_client)
    with gate.guard(at.intent(exits), find_order=find) as permit:
        assert permit.reason == reason
        assert bool(permit) is (reason == "ADMITTED")


@pytest.mark.parametrize("exits", [True, False])
def test_a_store_that_is_lost_during_the_search_stops_entries_only(private_store: PrivateStore, exits: bool) -> None:
    def find(symbol: str, client_order_id: str) -> FoundOrder | None:
        private_store.stop()
        return None

    with private_store.client() as client:
        forget(client)
    with Gate.from_url(private_store.url, find_order=find) as gate, gate.guard(at.intent(exits)) as permit:
        assert bool(permit) is exits


async def test_async_a_halt_during_the_search_stops_an_entry(async_gate: AsyncGate, redis_client: redis.Redis) -> None:
    async def find(symbol: str, client_order_id: str) -> FoundOrder | None:
        await async_gate.halt(by="ops", reason="print")
        return None

    forget(redis_client)
    async with async_gate.guard(at.entry(), find_order=find) as permit:
        assert not permit
        assert permit.reason == "HALTED"


def test_a_look_up_that_fails_is_tried_again(
    gate: Gate, client: Client, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    forget(redis_client)
    paper_exchange.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET"))

    assert place(gate, client, at.entry()) == "PLACED"


def test_what_can_not_be_found_out_is_in_doubt_and_not_sent(
    store: Store, redis_client: redis.Redis, client: Client, paper_exchange: PaperExchange
) -> None:
    brief = Policy(lock_ttl_ms=1_000)
    forget(redis_client)
    paper_exchange.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", times=1000))
    with Gate.from_url(store.url, policy=brief, find_order=find_order(client)) as gate:
        with gate.guard(at.entry()) as permit:
            assert not permit
            assert permit.reason == "MEMORY_LOST"
            assert permit.settlement
        record = gate.lookup("sig-1")
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert paper_exchange.ledger() == []


def test_refused_keys_end_the_look_up_at_once_and_stop_entries(
    gate: Gate, client: Client, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    forget(redis_client)
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, method="GET", status=401, code=-2015, times=1))

    with gate.guard(at.entry()) as permit:
        assert permit.reason == "-2015"
        assert "the API key is wrong here" in permit.detail

    assert "safe_mode" in on(gate)


def test_an_answer_that_is_no_order_proves_nothing(store: Store, redis_client: redis.Redis) -> None:
    async def of_another_world(symbol: str, client_order_id: str) -> None:
        return None

    answers: list[Any] = []

    def keeps(symbol: str, client_order_id: str) -> Any:
        answers.append(of_another_world(symbol, client_order_id))
        return answers[-1]

    forget(redis_client)
    brief = Policy(lock_ttl_ms=1_000)
    with Gate.from_url(store.url, policy=brief, find_order=keeps) as gate, gate.guard(at.entry()) as permit:
        assert permit.reason == "MEMORY_LOST"
        assert "TypeError" in permit.detail
    for each in answers:
        each.close()


def test_where_the_policy_only_observes_the_services_own_guards_decide(store: Store, redis_client: redis.Redis) -> None:
    forget(redis_client)
    with Gate.from_url(store.url, policy=Policy(mode="observe")) as gate, gate.guard(at.entry()) as permit:
        assert permit.permit.verify
        assert permit


async def test_async_what_the_store_has_forgotten_is_found(
    async_gate: AsyncGate, async_client: AsyncClient, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    intent = at.entry()
    assert await place_async(async_gate, async_client, intent) == "PLACED"
    forget(redis_client)

    assert await place_async(async_gate, async_client, intent) == "FOUND"
    assert await place_async(async_gate, async_client, at.entry("new", "ETHUSDT")) == "PLACED"

    assert [order["symbol"] for order in paper_exchange.ledger()] == ["BTCUSDT", "ETHUSDT"]


async def test_async_a_search_that_is_cancelled_leaves_the_intent_in_doubt(
    async_gate: AsyncGate, redis_client: redis.Redis
) -> None:
    searching = asyncio.Event()

    async def find(symbol: str, client_order_id: str) -> FoundOrder | None:
        searching.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def run() -> None:
        async with async_gate.guard(at.entry(), find_order=find):
            raise AssertionError("the block must not run")

    forget(redis_client)
    task = asyncio.create_task(run())
    await searching.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = await async_gate.lookup("sig-1")
    assert record is not None
    assert record.phase is Phase.UNKNOWN


async def test_async_a_look_up_that_fails_is_tried_again(
    async_gate: AsyncGate, async_client: AsyncClient, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    forget(redis_client)
    paper_exchange.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET"))

    assert await place_async(async_gate, async_client, at.entry()) == "PLACED"


def test_the_ready_made_find_order_tells_the_recv_window_of_its_client(client: Client) -> None:
    finder = find_order(client)
    assert finder.recv_window_ms == 10_000
    client.REQUEST_RECVWINDOW = 60_000
    assert finder.recv_window_ms == 60_000
    client.REQUEST_RECVWINDOW = None
    assert finder.recv_window_ms == 5_000, "the exchange's own"


async def test_each_ready_made_find_order_refuses_the_other_client(client: Client, async_client: AsyncClient) -> None:
    with pytest.raises(InvalidField, match="is not python-binance's Client"):
        find_order(async_client)
    with pytest.raises(InvalidField, match="is not python-binance's AsyncClient"):
        find_order_async(client)
    with pytest.raises(InvalidField):
        find_order(object())


def test_a_block_finds_the_order_of_an_exit_that_is_dated_ahead(
    gate: Gate, client: Client, redis_client: redis.Redis, paper_exchange: PaperExchange
) -> None:
    place(gate, client, at.entry("in"))
    intent = at.exit_(side="SELL", timestamp=time.time_ns() // 1_000_000 + 2 * CLOCKS_APART_MS)
    place(gate, client, intent)
    forget(redis_client)

    assert place(gate, client, intent) == "FOUND"
    assert len(paper_exchange.ledger()) == 2
