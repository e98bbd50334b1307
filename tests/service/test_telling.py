"""What is told of what is heard, round by round: the store is real, and no round waits for its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from gate import AsyncGate
from gate.exchange.binance import BinanceFutures
from gate.exchange.port import SymbolConfig
from gate.executor import Executor, OrderState, OrderUpdate
from gate.service.metrics import Metrics
from gate.service.pulse import Pulse
from gate.service.results import Asked
from gate.service.settings import read_settings
from gate.service.streams import STORE_FAILURES, Streams, Update
from gate.service.taker_rates import TakerRates
from gate.service.told import ToldOrder
from gate.service.updating import Updating
from gate.store.connect import plain_client
from gate.values.intent import Intent
from tests.executor.conftest import asked  # noqa: F401  # a fixture
from tests.service.desk import RESULTS, Desk, become
from tests.service.test_updates import OPEN, ORDERS

ASKED = Asked("sig-1", "BTCUSDT", "BUY", 3, Decimal(300), Decimal(100))
NEW = ToldOrder(ASKED, state="NEW", order_id="81")
WAITS = 30
"""So many rounds without a result take about two minutes: as long as one is waited for."""


def an_update(number: int = 1, state: str = "FILLED", order_id: str = "81", **more: object) -> OrderUpdate:
    filled = OrderUpdate(
        client_order_id=f"g-{number:032}",
        symbol="BTCUSDT",
        side="BUY",
        state=OrderState(state),
        order_id=order_id,
        filled_quantity=Decimal(3),
        average_price=Decimal(100),
        time_ms=1_700_000_000_000,
    )
    return structs.replace(filled, **more)


@dataclass
class Rig:
    """The updates of a service that does nothing else."""

    desk: Desk
    updating: Updating
    streams: Streams
    executor: Executor
    pulse: Pulse

    async def hears(self, *updates: OrderUpdate) -> None:
        async def come() -> AsyncIterator[OrderUpdate]:
            for each in updates:
                yield each

        await self.updating.keep_hearing(come())

    async def rounds(self, count: int = 1) -> None:
        for _ in range(count):
            for heard in self.updating._orders.values():
                heard.due_s = 0
            await self.updating._round()

    def result(self, told: ToldOrder = NEW, number: int = 1) -> None:
        self.desk.client.set(f"{ORDERS}g-{number:032}", told.packed())

    def told(self) -> list[str]:
        return [row["client_order_id"][-1] + row["reason"] for row in self.desk.updates()]

    @property
    def waiting(self) -> list[str]:
        return [key[-1] for key in self.updating._orders]


@pytest.fixture
async def rig(desk: Desk) -> AsyncIterator[Rig]:
    async with rigged(desk) as rig:
        yield rig


@asynccontextmanager
async def rigged(desk: Desk) -> AsyncIterator[Rig]:
    settings = read_settings({}, {}, "quantum", host="here", pid=1)
    client = plain_client(desk.url, 1_500)
    pulse, streams = Pulse("me", "quantum", settings.stream, settings.group), Streams(client, settings)
    async with (
        AsyncGate.from_url(desk.url) as gate,
        BinanceFutures("key", "secret", base_url=desk.paper.url, streams=False) as exchange,
    ):
        executor, rates = Executor(gate, exchange), TakerRates(exchange)
        yield Rig(
            desk,
            Updating(settings, gate, executor, streams, pulse, Metrics(pulse), rates),
            *(streams, executor, pulse),
        )
    await client.aclose()


async def test_an_update_that_no_result_follows_is_given_up_and_others_have_their_time(rig: Rig) -> None:
    await rig.hears(an_update(1))
    await rig.rounds(WAITS)
    await rig.hears(an_update(2))
    await rig.rounds(10)
    assert rig.waiting == ["2"]


async def test_a_store_that_is_away_takes_nothing_of_the_time_for_a_result(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.hears(an_update())
    await rig.rounds(WAITS - 2)
    with monkeypatch.context() as patch:
        patch.setattr(rig.streams, "_client", plain_client("redis://127.0.0.1:1/0", 1_500))
        with pytest.raises(STORE_FAILURES):
            await rig.rounds()
    await rig.rounds(WAITS // 2)
    rig.result()
    await rig.rounds()
    assert rig.told() == ["1FILLED"]


async def test_nor_do_results_that_are_refused(rig: Rig) -> None:
    await rig.hears(an_update())
    rig.pulse.results = "OOM"
    await rig.rounds(2 * WAITS)
    rig.pulse.results = "ok"
    rig.result()
    await rig.rounds()
    assert rig.told() == ["1FILLED"]


async def test_a_refused_update_is_told_however_long_the_store_has_refused_it(rig: Rig) -> None:
    rig.result()
    rig.desk.client.set(RESULTS, "not a stream")
    await rig.hears(an_update())
    [heard] = rig.updating._orders.values()
    heard.tries = 5_000  # hours of it
    await rig.rounds(2 * WAITS)
    rig.desk.client.delete(RESULTS)
    await rig.rounds()
    assert rig.told() == ["1FILLED"]
    assert not rig.waiting


@pytest.mark.parametrize("harm", [{"average_price": Decimal("NaN")}, {"order_id": "²"}], ids=str)
async def test_an_order_of_which_nothing_can_be_told_stops_no_other(rig: Rig, harm: dict[str, Any]) -> None:
    for number, told in ((1, replace_state("EXPIRED" if "order_id" in harm else "NEW", "81")), (2, NEW)):
        rig.result(told, number)
    await rig.hears(structs.replace(an_update(1), **harm), an_update(2))
    await rig.rounds(2)
    assert rig.told() == ["2FILLED"]


async def test_a_younger_order_under_an_id_waits_for_its_own_result(rig: Rig) -> None:
    rig.result(replace_state("FILLED", "81"))
    await rig.hears(an_update(order_id="82"))
    await rig.rounds(3)
    assert (rig.told(), rig.waiting) == ([], ["1"])
    rig.result(replace_state("FILLED", "82"))
    await rig.rounds()
    assert (rig.told(), rig.waiting) == ([], []), "the result has told it"


async def test_it_is_told_all_the_same_where_no_result_comes(rig: Rig) -> None:
    """A second delivery of an intent has none, as long as the mark of the first one's result is there."""
    rig.result(replace_state("EXPIRED", "81"))
    await rig.hears(an_update(order_id="82"))
    await rig.rounds(WAITS + 2)
    assert (rig.told(), rig.waiting) == (["1FILLED"], [])


def replace_state(state: str, order_id: str) -> ToldOrder:
    return ToldOrder(ASKED, state=state, order_id=order_id)


async def test_orders_of_other_programs_make_room_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gate.service.updating._MOST_ORDERS", 2)
    await rig.hears(an_update(1, intent_id="sig-1"), an_update(2))
    await rig.rounds()
    await rig.hears(an_update(3, intent_id="sig-3"))
    assert rig.waiting == ["1", "3"]
    assert "UPDATE LOST" not in caplog.text
    await rig.hears(an_update(4))
    assert rig.waiting == ["3", "4"]
    assert "UPDATE LOST" in caplog.text


def stand_open(rig: Rig, *orders: ToldOrder, noted_ms: int = 1) -> None:
    for number, told in enumerate(orders):
        rig.result(told, number)
        rig.desk.client.zadd(OPEN, {f"g-{number:032}": noted_ms + number})


async def remembered(rig: Rig) -> None:
    """Names what is open to the executor, and waits until the exchange was asked."""
    await rig.updating._remember()
    assert rig.executor._news._gaps._closing is not None
    await rig.executor._news._gaps._closing


async def test_each_open_order_of_before_is_asked_for_once(
    rig: Rig,
    asked: list[str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gate.service.updating._TOGETHER", 1)
    for number in range(2):
        sent = an_intent(number, order_type="LIMIT", price="90000", quantity="0.002")
        execution = await rig.executor.execute(sent)
        rig.desk.client.set(f"{ORDERS}{execution.client_order_id}", NEW.packed())
        rig.desk.client.zadd(OPEN, {str(execution.client_order_id): number})
    asked.clear()
    async with rigged(rig.desk) as after, after.executor:
        await remembered(after)
    assert asked.count("GET /fapi/v1/order") == 2
    assert rig.desk.client.zcard(OPEN) == 2


def an_intent(number: int, **more: str) -> Intent:
    stamp_ms = time.time_ns() // 1_000_000
    return Intent(id=f"sig-{number}", symbol="BTCUSDT", side="BUY", timestamp=stamp_ms, **more)  # type: ignore[arg-type]


async def test_an_order_that_the_exchange_has_forgotten_is_never_asked_for_again(
    rig: Rig,
    asked: list[str],  # noqa: F811
) -> None:
    stand_open(rig, *[NEW] * 5)
    async with rig.executor:
        await remembered(rig)
    await rig.rounds(3)
    assert asked.count("GET /fapi/v1/order") == 5
    assert rig.desk.client.zcard(OPEN) == 0
    assert {0 < int(rig.desk.client.pttl(f"{ORDERS}g-{n:032}")) <= 3_600_000 for n in range(5)} == {True}


@pytest.mark.parametrize(("noted_ms", "left"), [(4_000_000_000_000, 1), (1, 0)])
async def test_an_order_in_doubt_stays_open_as_long_as_it_may_still_appear(rig: Rig, noted_ms: int, left: int) -> None:
    stand_open(rig, ToldOrder(ASKED), noted_ms=noted_ms)
    async with rig.executor:
        await remembered(rig)
    await rig.rounds()
    assert rig.desk.client.zcard(OPEN) == left


async def test_where_too_many_orders_are_open_the_newest_are_asked_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.followed_orders._MOST_OPEN", 2)
    stand_open(rig, NEW, NEW, NEW)
    await rig.updating._remember()
    assert [each[-1] for each in rig.executor._news._orders.open] == ["1", "2"]


async def test_what_an_order_in_doubt_has_come_to_is_told_at_the_next_start(rig: Rig) -> None:
    execution = await rig.executor.execute(an_intent(1, notional="300"))
    assert execution.client_order_id is not None
    rig.desk.client.set(ORDERS + execution.client_order_id, ToldOrder(ASKED).packed())
    rig.desk.client.zadd(OPEN, {execution.client_order_id: 1})
    async with rigged(rig.desk) as after:
        updates = after.executor.updates()
        async with after.executor:
            await remembered(after)
        await after.hears(*[each async for each in updates])
        await after.rounds()
    [row] = rig.desk.updates()
    assert (row["intent_id"], row["reason"], row["order_id"]) == ("sig-1", "FILLED", execution.order_id)
    assert rig.desk.client.zcard(OPEN) == 0


async def test_what_has_ended_or_cannot_be_read_is_not_asked_for(rig: Rig) -> None:
    stand_open(rig, replace_state("FILLED", "81"), NEW, NEW)
    rig.desk.client.set(f"{ORDERS}g-{1:032}", "x")
    await rig.updating._remember()
    assert [each[-1] for each in rig.executor._news._orders.open] == ["2"]


async def test_an_order_that_is_gone_and_cannot_be_closed_keeps_no_update_back(rig: Rig) -> None:
    rig.desk.client.set(OPEN, "not a set")
    rig.result()
    rig.updating._is_gone(f"g-{0:032}")
    await rig.hears(an_update())
    await rig.rounds()
    assert (rig.told(), rig.updating._gone) == (["1FILLED"], set())


async def test_a_liquidation_that_another_service_has_told_is_told_once(rig: Rig) -> None:
    for _ in range(2):
        await rig.hears(an_update(state="LIQUIDATED"))
        await rig.rounds()
    assert rig.told() == ["1LIQUIDATED"]


async def test_of_each_order_the_newest_updates_wait(rig: Rig) -> None:
    await rig.hears(*[a_part(of_order) for of_order in range(1, 31)])
    rig.result()
    await rig.rounds()
    assert [row["filled_quantity"] for row in rig.desk.updates()] == [str(each) for each in range(11, 31)]


def a_part(filled: int) -> OrderUpdate:
    return an_update(state="PARTIALLY_FILLED", filled_quantity=Decimal(filled))


async def test_what_is_heard_while_an_update_is_told_follows_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it pushes out what is just told."""
    update, rest = rig.streams.update, [a_part(each) for each in range(2, 22)]

    async def meanwhile(updates: Sequence[Update], keep_ms: int) -> list[bool | Exception]:
        replies = await update(updates, keep_ms)
        await rig.hears(*rest)
        return replies

    rig.result()
    await rig.hears(a_part(1))
    with monkeypatch.context() as patch:
        patch.setattr(rig.streams, "update", meanwhile)
        await rig.rounds()
    await rig.rounds()
    assert [row["filled_quantity"] for row in rig.desk.updates()] == [str(each) for each in range(1, 22)]


@pytest.mark.parametrize("step", ["told_of", "update"])
async def test_an_order_that_is_lost_in_the_middle_of_a_round_stops_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    ask = getattr(rig.streams, step)

    async def meanwhile(*words: object) -> object:
        replies = await ask(*words)
        rig.updating._orders.popitem(last=False)
        return replies

    for number in (1, 2):
        rig.result(number=number)
    await rig.hears(an_update(1), an_update(2))
    with monkeypatch.context() as patch:
        patch.setattr(rig.streams, step, meanwhile)
        await rig.rounds()
    assert "2FILLED" in rig.told()
    assert not rig.waiting
    assert "can't be told" not in caplog.text


async def test_the_service_that_has_sent_an_order_tells_of_it_first(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gate.service.updating._SENDER_FIRST_S", 3600.0)
    for number in (1, 2):
        rig.result(number=number)
    await rig.hears(an_update(1), an_update(2, intent_id="sig-2"))
    await rig.updating._round()
    assert rig.told() == ["2FILLED"]
    await rig.rounds()
    assert rig.told() == ["2FILLED", "1FILLED"]


async def test_what_is_refused_is_not_sent_anew_with_each_round(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gate.service.updating._FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr("gate.service.updating._LONGEST_PAUSE_S", 3600.0)
    rig.result()
    rig.desk.client.set(RESULTS, "not a stream")
    await rig.hears(an_update())
    await rig.rounds()
    rig.desk.client.delete(RESULTS)
    await rig.updating._round()
    assert rig.told() == []


@asynccontextmanager
async def telling(rig: Rig) -> AsyncIterator[None]:
    going_on = asyncio.create_task(rig.updating.keep_telling())
    try:
        yield
        assert not going_on.done()
    finally:
        while not going_on.done():  # redis-py may take a cancellation for a time-out of its own
            going_on.cancel()
            await asyncio.wait([going_on], timeout=0.5)


async def test_whatever_fails_updates_are_told_and_each_in_its_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The open orders can't be read, a round breaks, and the result comes later than its update."""
    monkeypatch.setattr("gate.service.updating._FIRST_PAUSE_S", 0.01)
    rig.desk.client.set(OPEN, "not a set")
    told_of, rounds = rig.streams.told_of, list[Sequence[str]]()

    async def breaks_once(keys: Sequence[str]) -> list[bytes | None]:
        rounds.append(keys)
        if len(rounds) == 1:
            raise LookupError("a mistake of ours")
        return await told_of(keys)

    monkeypatch.setattr(rig.streams, "told_of", breaks_once)
    await rig.hears(an_update(intent_id="sig-1"))
    async with telling(rig):
        await become(lambda: len(rounds) > 2)
        rig.result()
        await become(rig.told)
    assert rig.told() == ["1FILLED"]
    said = [record.message for record in caplog.records if record.name == "gate.service"]
    assert sum(each.startswith("OPEN ORDERS NOT READ") for each in said) == 1
    assert "telling updates failed" in said


async def test_all_that_is_gone_is_closed_though_nothing_more_is_heard(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.service.updating._TOGETHER", 1)
    stand_open(rig, *[NEW] * 3)
    async with rig.executor, telling(rig):
        await become(lambda: rig.desk.client.zcard(OPEN) == 0)


class Hanging(BinanceFutures):
    """Doesn't answer for ETHUSDT, and breaks at XRPUSDT."""

    def __init__(self, paper_url: str) -> None:
        super().__init__("key", "secret", base_url=paper_url, streams=False)
        self.asked = list[str]()
        self.hangs = True

    async def symbol_config(self, symbol: str) -> SymbolConfig:
        self.asked.append(symbol)
        if symbol == "ETHUSDT":
            try:
                await asyncio.Event().wait()
            finally:
                self.hangs = False
        if symbol == "XRPUSDT":
            raise LookupError(symbol)
        return await super().symbol_config(symbol)


async def test_rates_are_read_together_and_a_silence_is_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Hanging(desk.paper.url)
    async with exchange:
        rates = TakerRates(exchange)
        assert await rates.rate("BTCUSDT")
        for _ in range(2):
            told = await rates.rates(["ETHUSDT", "BTCUSDT", "SOLUSDT", "XRPUSDT"], within_s=1)
            assert told["BTCUSDT"] == told["SOLUSDT"] is not None
            assert told["ETHUSDT"] is told["XRPUSDT"] is None
        assert not exchange.hangs, "nobody waits for it any more"
        assert sorted(exchange.asked) == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
        exchange.asked.clear()
        monkeypatch.setattr("gate.service.taker_rates._UNTOLD_AGE_S", -1)
        for symbol in ("BTCUSDT", "NONEUSDT", "NONEUSDT"):
            assert (await rates.rate(symbol) is None) == (symbol == "NONEUSDT")
        assert exchange.asked == ["NONEUSDT", "NONEUSDT"], "what is known counts for longer"
