"""What comes of an order after the exchange has it is told to whoever listens, once, and loses nothing at a gap."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from binance import Client
from msgspec import structs

from gate import Intent
from gate.exchange.answers import decode_order
from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure, Failure
from gate.exchange.streams.order_updates import update_of
from gate.executor import Execution, Executor, OrderState, OrderUpdate, Terminal
from gate.executor.updates import Updates
from gate.paper import Fault, FaultKind, PaperExchange
from tests.executor.conftest import Desk, until
from tests.executor.listening import Listening, listening
from tests.executor.test_fill_price import hits, look_up_fault
from tests.paper.conftest import futures_client


@pytest.fixture
async def heard(desk: Desk) -> AsyncIterator[Desk]:
    """A desk whose exchange hears."""
    async with listening(desk.paper) as exchange:
        yield Desk(desk.gate, exchange, Executor(desk.gate, exchange), desk.paper, desk.numbers)


def ears(desk: Desk) -> Listening:
    assert isinstance(desk.exchange, Listening)
    return desk.exchange


@pytest.fixture
def client(paper: PaperExchange) -> Client:
    return futures_client(paper)


async def told(updates: Updates, number: int) -> list[OrderUpdate]:
    """The next so many; and that there aren't more."""
    async with asyncio.timeout(10):
        got = [await anext(updates) for _ in range(number)]
    await asyncio.sleep(0)
    assert not updates.unread
    return got


def states(got: list[OrderUpdate]) -> list[tuple[str, Decimal]]:
    return [(each.state.value, each.filled_quantity) for each in got]


async def test_during_a_ban_no_gap_is_closed(heard: Desk, asked: list[str]) -> None:
    ban = Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v3/positionRisk", retry_after_s=3600)
    heard.paper.inject(ban)
    async with heard.executor:
        with pytest.raises(ExchangeFailure):
            await heard.exchange.positions("BTCUSDT")
        asked.clear()
        heard.executor._news._gaps.missed()
        for _ in range(3):
            await heard.exchange.positions("BTCUSDT")
    assert set(asked) == {"GET /fapi/v3/positionRisk"}


async def test_fills_are_told_with_the_whole_quantity_and_the_average_price(heard: Desk) -> None:
    updates = heard.executor.updates()
    intent = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
    execution = await heard.executor.execute(intent)
    assert execution.state is Terminal.PLACED
    heard.paper.set_price("BTCUSDT", "89999.9", depth="0.001")
    heard.paper.set_price("BTCUSDT", "89999.9")

    first, second = await told(updates, 2)

    assert states([first, second]) == [("PARTIALLY_FILLED", Decimal("0.001")), ("FILLED", Decimal("0.002"))]
    assert {each.intent_id for each in (first, second)} == {intent.id}
    assert {each.order_id for each in (first, second)} == {execution.order_id}
    assert second.average_price == Decimal(90_000)
    assert (second.symbol, second.side, second.client_order_id) == ("BTCUSDT", "BUY", execution.client_order_id)
    assert (second.fee, second.fee_asset) == (Decimal("0.018"), "USDT")
    assert second.time_ms == heard.orders(intent)[0]["updateTime"]
    assert not second.alarming


async def test_cancellations_and_expiries_are_told(heard: Desk, client: Client) -> None:
    updates = heard.executor.updates()
    resting = await heard.executor.execute(heard.intent(quantity="0.002", order_type="LIMIT", price="90000"))
    client.futures_cancel_order(symbol="BTCUSDT", origClientOrderId=resting.client_order_id)
    assert [each.state for each in await told(updates, 1)] == [OrderState.CANCELLED]

    at_once = heard.intent(quantity="0.002", order_type="LIMIT", price="90000", time_in_force="IOC")
    await heard.executor.execute(at_once)
    (expired,) = await told(updates, 1)
    assert (expired.state, expired.intent_id) == (OrderState.EXPIRED, at_once.id)


async def test_what_is_not_filled_is_0_whatever_decimals_the_exchange_writes_it_with(
    heard: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of a Decimal of 0.00000000 is 0E-8."""
    assert heard.paper._venue is not None
    symbols: Any = heard.paper._venue.exchange.market.symbols
    monkeypatch.setitem(symbols, "BTCUSDT", structs.replace(symbols["BTCUSDT"], quantity_precision=8))
    updates = heard.executor.updates()
    resting = await heard.executor.execute(heard.intent(quantity="0.002", order_type="LIMIT", price="90000"))
    answer = client.futures_cancel_order(symbol="BTCUSDT", origClientOrderId=resting.client_order_id)
    (cancelled,) = await told(updates, 1)

    assert answer["executedQty"] == "0.00000000"
    assert (str(resting.filled_quantity), str(cancelled.filled_quantity)) == ("0", "0")


async def test_a_stop_is_told_when_it_fires_and_when_what_it_became_is_filled(heard: Desk) -> None:
    await heard.executor.execute(heard.intent(quantity="0.01"))
    updates = heard.executor.updates()
    stop = heard.intent(side="SELL", quantity="0.01", reduce_only=True, order_type="STOP_MARKET", trigger_price="95000")
    execution = await heard.executor.execute(stop)
    heard.paper.set_price("BTCUSDT", "94000")

    fired, filled = await told(updates, 2)

    assert states([fired, filled]) == [("TRIGGERED", Decimal(0)), ("FILLED", Decimal("0.01"))]
    assert {each.order_id for each in (fired, filled)} == {execution.order_id}
    assert filled.actual_order_id == str(heard.orders(stop)[0]["orderId"])
    assert (filled.intent_id, filled.average_price) == (stop.id, Decimal(94_000))


async def test_a_stop_that_is_refused_when_it_fires_is_an_alert(heard: Desk, caplog: pytest.LogCaptureFixture) -> None:
    updates = heard.executor.updates()
    stop = heard.intent(quantity="0.01", order_type="STOP_MARKET", trigger_price="105000")
    assert (await heard.executor.execute(stop)).state is Terminal.PLACED
    heard.balance("1")
    with caplog.at_level(logging.ERROR, "gate"):
        heard.paper.set_price("BTCUSDT", "106000")
        fired, refused = await told(updates, 2)

    assert (fired.state, fired.alarming) == (OrderState.TRIGGERED, False)
    assert (refused.state, refused.alarming, refused.intent_id) == (OrderState.REJECTED, True, stop.id)
    assert "argin" in refused.detail
    assert [record.message.split()[0] for record in caplog.records if record.levelno == logging.ERROR] == [
        "UNPROTECTED"
    ]


def _lose(desk: Desk, what: str) -> None:
    """Has events get lost: all, or those of what a stop became."""
    if what != "nothing":
        event = "*" if what == "all" else "ORDER_TRADE_UPDATE"
        desk.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event=event, times=100))


async def _end_of_a_stop(updates: Updates) -> OrderUpdate:
    async with asyncio.timeout(10):
        while not (update := await anext(updates)).state.ended:
            pass
    return update


async def _stop(desk: Desk, **size: Any) -> Intent:
    intent = desk.intent(side="SELL", reduce_only=True, order_type="STOP_MARKET", trigger_price="95000", **size)
    assert (await desk.executor.execute(intent)).state is Terminal.PLACED
    return intent


@pytest.mark.parametrize("size", [{"quantity": "0.5"}, {"quantity": None, "close_position": True}], ids=["size", "all"])
@pytest.mark.parametrize("lost", ["nothing", "what it became", "all"])
async def test_a_stop_that_fires_and_leaves_a_part_open_is_an_alert(
    heard: Desk, caplog: pytest.LogCaptureFixture, size: dict[str, Any], lost: str
) -> None:
    await heard.executor.execute(heard.intent(quantity="0.5"))
    async with heard.executor as executor:
        stop = await _stop(heard, **size)
        updates = executor.updates()
        _lose(heard, lost)
        with caplog.at_level(logging.ERROR, "gate"):
            heard.paper.set_price("BTCUSDT", "94000", depth="0.1")
            if lost == "all":
                ears(heard).gap()
            last = await _end_of_a_stop(updates)

    assert (last.state, last.filled_quantity, last.intent_id) == (OrderState.EXPIRED, Decimal("0.1"), stop.id)
    assert (last.leaves_open, last.alarming, last.after_gap) == (True, True, lost != "nothing")
    assert [record.message.split()[0] for record in caplog.records if record.levelno == logging.ERROR] == [
        "UNPROTECTED"
    ]


async def _expired(desk: Desk, executor: Executor, client: Client) -> Updates:
    """What is told of a stop that fires after its position was closed."""
    await desk.executor.execute(desk.intent(quantity="0.5"))
    await _stop(desk, quantity="0.5")
    updates = executor.updates()
    client.futures_create_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.5")
    return updates


async def test_during_a_ban_nothing_is_asked_for_an_alarm(
    heard: Desk, client: Client, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with heard.executor as executor:
        updates = await _expired(heard, executor, client)
        ears(heard).lives = False
        monkeypatch.setattr(heard.exchange, "rest_ms", lambda *_: 30_000)
        asked.clear()
        heard.paper.set_price("BTCUSDT", "94000")
        last = await _end_of_a_stop(updates)

    assert (last.state, last.alarming) == (OrderState.EXPIRED, True)
    assert "GET /fapi/v3/positionRisk" not in asked


async def test_the_end_of_a_stop_is_told_though_the_executor_ends_first(heard: Desk, client: Client) -> None:
    async with heard.executor as executor:
        updates = await _expired(heard, executor, client)
        heard.paper.set_price("BTCUSDT", "94000")
        await until(lambda: executor._news._looking)
    assert [each.state async for each in updates][-1] is OrderState.EXPIRED


async def test_a_bug_in_the_look_for_an_alarm_keeps_no_end_back(
    heard: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def has_a_bug(symbol: str) -> Any:
        raise ValueError("a bug")

    async with heard.executor as executor:
        updates = await _expired(heard, executor, client)
        ears(heard).lives = False
        monkeypatch.setattr(heard.exchange, "positions", has_a_bug)
        heard.paper.set_price("BTCUSDT", "94000")
        last = await _end_of_a_stop(updates)

    assert (last.state, last.alarming) == (OrderState.EXPIRED, True)


async def test_a_look_up_of_one_order_that_fails_is_made_up_for(heard: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    find = heard.exchange.find_order

    async def fails_once(*words: Any, **more: Any) -> Any:
        monkeypatch.setattr(heard.exchange, "find_order", find)
        raise ExchangeFailure(Failure(may_exist=True, code="HTTP_503"))

    await heard.executor.execute(heard.intent(quantity="0.5"))
    async with heard.executor as executor:
        await _stop(heard, quantity=None, close_position=True)
        updates = executor.updates()
        monkeypatch.setattr(heard.exchange, "find_order", fails_once)
        _lose(heard, "what it became")
        heard.paper.set_price("BTCUSDT", "94000")
        last = await _end_of_a_stop(updates)

    assert (last.state, last.after_gap) == (OrderState.FILLED, True)


async def test_of_one_order_whose_events_are_lost_no_other_is_asked_for(heard: Desk, asked: list[str]) -> None:
    async with heard.executor as executor:
        await heard.executor.execute(heard.intent(quantity="0.5"))
        for number in range(3):
            resting = heard.intent(quantity="0.002", order_type="LIMIT", price=f"{90_000 - number}")
            await executor.execute(resting)
        await _stop(heard, quantity=None, close_position=True)
        updates = executor.updates()
        _lose(heard, "what it became")
        asked.clear()
        heard.paper.set_price("BTCUSDT", "94000")
        last = await _end_of_a_stop(updates)

    assert last.state is OrderState.FILLED
    assert [each for each in asked if each in ("GET /fapi/v1/order", "GET /fapi/v1/algoOrder")] == [
        "GET /fapi/v1/algoOrder",
        "GET /fapi/v1/order",
    ]


@pytest.mark.parametrize("lost", ["nothing", "what it became", "all"])
async def test_a_stop_that_closes_all_is_told_as_filled(heard: Desk, lost: str) -> None:
    await heard.executor.execute(heard.intent(quantity="0.5"))
    async with heard.executor as executor:
        await _stop(heard, quantity=None, close_position=True)
        updates = executor.updates()
        _lose(heard, lost)
        heard.paper.set_price("BTCUSDT", "94000")
        if lost == "all":
            ears(heard).gap()
        last = await _end_of_a_stop(updates)

    assert (last.state, last.filled_quantity, last.alarming) == (OrderState.FILLED, Decimal("0.5"), False)


@pytest.mark.parametrize("left", ["0", "0.3"])
async def test_a_stop_that_fires_for_more_than_is_open_alarms_where_something_is(heard: Desk, left: str) -> None:
    """In hedge mode the exchange refuses such a one as a whole; an ordinary scale-out leads there."""
    await heard.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    await heard.exchange.hedge_mode()
    await until(lambda: heard.exchange.live("BTCUSDT"))
    await heard.executor.execute(heard.intent(quantity="0.5", position_side="LONG"))
    async with heard.executor as executor:
        await _stop(heard, quantity="0.5", position_side="LONG")
        taken = str(Decimal("0.5") - Decimal(left))
        await executor.execute(heard.intent(side="SELL", quantity=taken, reduce_only=True, position_side="LONG"))
        updates = executor.updates()
        heard.paper.set_price("BTCUSDT", "94000")
        last = await _end_of_a_stop(updates)

    assert (last.state, last.filled_quantity) == (OrderState.EXPIRED, Decimal(0))
    assert last.alarming is (left != "0")


async def test_a_liquidation_is_an_alert_and_told_once(heard: Desk, caplog: pytest.LogCaptureFixture) -> None:
    heard.balance("150")
    await heard.executor.execute(heard.intent(notional="900", leverage=10))
    updates = heard.executor.updates()
    heard.paper.inject(Fault(kind=FaultKind.DOUBLE_EVENT, event="*", times=100))
    with caplog.at_level(logging.ERROR, "gate"):
        heard.paper.set_price("BTCUSDT", "80000", mark="80000")
        (gone,) = await told(updates, 1)

    assert (gone.state, gone.alarming, gone.symbol, gone.side) == (OrderState.LIQUIDATED, True, "BTCUSDT", "SELL")
    assert gone.intent_id is None
    assert [record.message.split()[0] for record in caplog.records if record.levelno == logging.ERROR] == ["LIQUIDATED"]


@pytest.mark.parametrize("status", ["NEW_INSURANCE", "NEW_ADL"])
async def test_an_order_by_which_the_exchange_closes_a_position_is_an_alert_and_no_gap(
    heard: Desk, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    """Whatever its client order id: the status alone says it."""
    updates = heard.executor.updates()
    order = {"c": "theirs", "s": "BTCUSDT", "S": "SELL", "i": 7, "X": status, "x": "TRADE", "o": "MARKET", "ap": "5"}
    with caplog.at_level(logging.WARNING, "gate"):
        for filled in ("0", "0.01"):
            ears(heard).tell({"e": "ORDER_TRADE_UPDATE", "T": 1, "o": order | {"z": filled}})
        (gone,) = await told(updates, 1)

    assert (gone.state, gone.alarming, gone.filled_quantity) == (OrderState.LIQUIDATED, True, Decimal("0.01"))
    assert (gone.order_id, gone.detail) == ("7", status)
    assert [record.message.split()[0] for record in caplog.records] == ["LIQUIDATED"]


@pytest.mark.parametrize(("filled", "state"), [("0", OrderState.NEW), ("0.01", OrderState.LIQUIDATED)])
@pytest.mark.parametrize("status", ["NEW_INSURANCE", "NEW_ADL"])
def test_an_answer_tells_of_such_an_order_as_its_event_does(status: str, filled: str, state: OrderState) -> None:
    answer = {"orderId": 7, "clientOrderId": "theirs", "status": status, "executedQty": filled, "avgPrice": "5"}
    update = update_of(decode_order(answer), "BTCUSDT", conditional=False)

    assert update is not None
    assert update.state is state


async def test_doubled_events_are_told_once_and_orders_of_others_never(heard: Desk, client: Client) -> None:
    updates = heard.executor.updates()
    heard.paper.inject(Fault(kind=FaultKind.DOUBLE_EVENT, event="*", times=100))
    client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01", newClientOrderId="by-hand"
    )
    intent = heard.intent(quantity="0.01")
    await heard.executor.execute(intent)

    assert [(each.intent_id, each.state) for each in await told(updates, 1)] == [(intent.id, OrderState.FILLED)]


async def test_what_was_lost_at_a_gap_is_asked_for(heard: Desk) -> None:
    async with heard.executor as executor:
        updates = executor.updates()
        resting = [
            heard.intent(quantity="0.002", order_type="LIMIT", price=price) for price in ("90000", "80000", "70000")
        ]
        for intent in resting:
            await executor.execute(intent)
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.set_price("BTCUSDT", "79999.9")
        ears(heard).gap()
        got = await told(updates, 2)
        ears(heard).gap()
        heard.paper.clear_faults()
        heard.paper.set_price("BTCUSDT", "69999.9")
        (last,) = await told(updates, 1)

    assert {each.intent_id for each in got} == {resting[0].id, resting[1].id}
    assert {(each.state, each.after_gap, each.average_price) for each in got} == {
        (OrderState.FILLED, True, Decimal(90_000)),
        (OrderState.FILLED, True, Decimal(80_000)),
    }
    assert (last.intent_id, last.after_gap) == (resting[2].id, False)


async def test_an_order_of_an_earlier_life_is_told_too(heard: Desk) -> None:
    execution = await Executor(heard.gate, heard.exchange).execute(
        heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
    )
    async with Executor(heard.gate, heard.exchange) as another:
        updates = another.updates()
        ears(heard).gap()
        assert another._news._gaps._closing is not None
        await another._news._gaps._closing
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.set_price("BTCUSDT", "89999.9")
        ears(heard).gap()
        (filled,) = await told(updates, 1)

    assert (filled.client_order_id, filled.intent_id) == (execution.client_order_id, None)


async def test_an_order_that_has_ended_before_is_told_once_it_is_named(heard: Desk) -> None:
    intent = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
    execution = await Executor(heard.gate, heard.exchange).execute(intent)
    assert execution.client_order_id is not None
    heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
    heard.paper.set_price("BTCUSDT", "89999.9")
    async with Executor(heard.gate, heard.exchange) as another:
        updates = another.updates()
        another.remember("BTCUSDT", execution.client_order_id, intent.id)
        (filled,) = await told(updates, 1)

    assert (filled.state, filled.intent_id, filled.after_gap) == (OrderState.FILLED, intent.id, True)


async def test_an_order_of_before_that_the_exchange_has_forgotten_is_asked_for_once(
    heard: Desk, asked: list[str]
) -> None:
    async with heard.executor as executor:
        executor.remember("BTCUSDT", f"g-{0:032}", "sig-1")
        for _ in range(2):
            assert executor._news._gaps._closing is not None
            await executor._news._gaps._closing
            ears(heard).gap()
    assert asked.count("GET /fapi/v1/order") == 1


async def test_nothing_is_asked_of_an_order_that_is_known_or_has_ended(heard: Desk, asked: list[str]) -> None:
    async with heard.executor as executor:
        resting = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
        sent = await executor.execute(resting)
        asked.clear()
        executor.remember("BTCUSDT", str(sent.client_order_id), resting.id)
        assert executor._news._gaps._closing is None
        heard.paper.set_price("BTCUSDT", "89999.9")
        (order,) = [executor._news._orders.known(each.client_order_id) for each in await told(executor.updates(), 1)]
        assert order is not None
        assert await executor._news._gaps._ask_for(str(sent.client_order_id), order) is None
    assert "GET /fapi/v1/order" not in asked


async def test_after_a_gap_orders_of_others_are_not_asked_for(heard: Desk, client: Client, asked: list[str]) -> None:
    client.futures_create_order(
        symbol="BTCUSDT",
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        price="90000",
        quantity="0.002",
        newClientOrderId="by-hand",
    )
    async with heard.executor as executor:
        asked.clear()
        ears(heard).gap()
        await closed(executor)
    assert "GET /fapi/v1/openOrders" in asked
    assert "GET /fapi/v1/order" not in asked


async def test_an_exchange_that_does_not_answer_at_once_is_asked_again_and_nobody_is_troubled(
    heard: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0,) * 5)
    async with heard.executor as executor:
        updates = executor.updates()
        await executor.execute(heard.intent(quantity="0.002", order_type="LIMIT", price="90000"))
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/openOrders"))
        heard.paper.inject(look_up_fault(FaultKind.HTML_502))
        heard.paper.set_price("BTCUSDT", "89999.9")
        ears(heard).gap()
        assert [each.state for each in await told(updates, 1)] == [OrderState.FILLED]
    assert "isn't known yet" not in caplog.text


async def closed(executor: Executor) -> None:
    """Nothing is left to ask for."""
    assert executor._news._gaps._closing is not None
    async with asyncio.timeout(10):
        await executor._news._gaps._closing


async def rest_and_fill_unheard(heard: Desk, *prices: str) -> list[Execution]:
    """Orders that rest, and of which those above 79999.9 fill without an event."""
    resting = [heard.intent(quantity="0.002", order_type="LIMIT", price=price) for price in prices]
    sent = [await heard.executor.execute(intent) for intent in resting]
    heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
    heard.paper.set_price("BTCUSDT", "79999.9")
    return sent


async def test_a_look_up_that_fails_keeps_back_no_other_and_only_it_is_asked_again(
    heard: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0,) * 5)
    monkeypatch.setattr("gate.executor.order_gaps._AT_ONCE", 1)
    async with heard.executor as executor:
        updates = executor.updates()
        sent = await rest_and_fill_unheard(heard, "90000", "85000", "80000")
        heard.paper.inject(look_up_fault(FaultKind.INTERNAL_503, times=3, client_order_id=sent[0].client_order_id))
        asked.clear()
        ears(heard).gap()
        got = await told(updates, 3)
        await closed(executor)

    assert [each.client_order_id for each in got] == [sent[number].client_order_id for number in (1, 2, 0)]
    assert (asked.count("GET /fapi/v1/openOrders"), asked.count("GET /fapi/v1/order")) == (1, 3 + 3)


async def test_an_exchange_that_fails_for_long_is_asked_until_it_tells_and_one_line_says_so(
    heard: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0,) * 5)
    async with heard.executor as executor:
        updates = executor.updates()
        await rest_and_fill_unheard(heard, "90000")
        heard.paper.inject(
            Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/openOrders", times=10),
        )
        heard.paper.inject(look_up_fault(FaultKind.INTERNAL_503, times=10))
        ears(heard).gap()
        (filled,) = await told(updates, 1)

    assert (filled.state, filled.after_gap) == (OrderState.FILLED, True)
    assert [record.levelname for record in caplog.records if "isn't known yet" in record.message] == ["WARNING"]


async def test_what_has_ended_is_asked_for_first_and_a_failure_that_says_stop_is_heeded(
    heard: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0, 3600.0))
    monkeypatch.setattr("gate.executor.order_gaps._AT_ONCE", 1)
    async with heard.executor as executor:
        updates = executor.updates()
        sent = await rest_and_fill_unheard(heard, "70000", "71000", "90000")
        heard.paper.inject(look_up_fault(FaultKind.ERROR, code=-1015, skip=1))
        asked.clear()
        ears(heard).gap()
        (filled,) = await told(updates, 1)
        for _ in range(3):
            await heard.exchange.positions("BTCUSDT")

    assert filled.client_order_id == sent[2].client_order_id
    assert asked.count("GET /fapi/v1/order") == 2


async def test_a_gap_that_an_executor_leaves_open_is_closed_by_its_next_block(
    heard: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0, 3600.0))
    async with heard.executor:
        await rest_and_fill_unheard(heard, "90000")
        heard.paper.inject(look_up_fault(FaultKind.INTERNAL_503))
        asked.clear()
        ears(heard).gap()
        async with asyncio.timeout(10):
            while "GET /fapi/v1/order" not in asked:  # noqa: ASYNC110  # it is asked beside everything else
                await asyncio.sleep(0.01)
    async with heard.executor as executor:
        updates = executor.updates()
        await closed(executor)
        assert [each.state for each in await told(updates, 1)] == [OrderState.FILLED]


@pytest.mark.parametrize("damage", [{"X": "WHATEVER"}, {"z": "NaN"}, {"c": None}], ids=str)
async def test_an_event_that_cannot_be_read_is_a_gap(heard: Desk, damage: dict[str, Any]) -> None:
    async with heard.executor as executor:
        updates = executor.updates()
        intent = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
        execution = await executor.execute(intent)
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.set_price("BTCUSDT", "89999.9")
        order = {"c": execution.client_order_id, "s": "BTCUSDT", "S": "BUY", "i": 7, "X": "FILLED", "z": "1", "ap": "1"}
        ears(heard).tell({"e": "ORDER_TRADE_UPDATE", "T": 1, "o": order | damage})
        (filled,) = await told(updates, 1)

    assert (filled.state, filled.order_id, filled.after_gap) == (OrderState.FILLED, execution.order_id, True)


async def test_the_values_end_with_the_executor(heard: Desk) -> None:
    async with heard.executor as executor:
        updates = executor.updates()
        waiting = asyncio.create_task(anext(updates))
        await asyncio.sleep(0)
        intent = heard.intent(quantity="0.01")
        await executor.execute(intent)
        assert (await waiting).intent_id == intent.id
        await executor.execute(heard.intent(quantity="0.01"))
    assert [each.state async for each in updates] == [OrderState.FILLED]
    assert [each async for each in executor.updates()] == []


async def test_a_listener_that_does_not_read_keeps_the_newest_of_each_order(heard: Desk) -> None:
    def event(order: int, filled: int, status: str = "PARTIALLY_FILLED") -> dict[str, Any]:
        shape = {"c": f"g-{order:032}", "s": "BTCUSDT", "S": "BUY", "i": order, "X": status, "z": str(filled)}
        return {"e": "ORDER_TRADE_UPDATE", "T": 1, "o": shape | {"ap": "5"}}

    updates = heard.executor.updates()
    ears(heard).tell(event(0, 5, "FILLED"))
    for filled in range(1, 6):
        for order in range(1, 400):
            ears(heard).tell(event(order, filled, "FILLED" if filled == 5 else "PARTIALLY_FILLED"))

    async with asyncio.timeout(10):
        got = [await anext(updates) for _ in range(1_000)]
    assert not updates.unread
    newest = {each.client_order_id: each for each in got}
    assert {(each.state, each.filled_quantity) for each in newest.values()} == {(OrderState.FILLED, Decimal(5))}
    assert len(newest) == 400


async def test_an_event_that_tells_of_less_filled_than_is_known_is_an_older_one(heard: Desk) -> None:
    def event(status: str, filled: int) -> dict[str, Any]:
        shape = {"c": f"g-{1:032}", "s": "BTCUSDT", "S": "BUY", "i": 1, "X": status, "z": str(filled), "ap": "5"}
        return {"e": "ORDER_TRADE_UPDATE", "T": 1, "o": shape}

    updates = heard.executor.updates()
    for status, filled in (("PARTIALLY_FILLED", 2), ("CANCELED", 1), ("FILLED", 3)):
        ears(heard).tell(event(status, filled))

    assert states(await told(updates, 2)) == [("PARTIALLY_FILLED", Decimal(2)), ("FILLED", Decimal(3))]


# ---- an event answers an unclear request


async def test_an_event_answers_a_request_whose_answer_was_lost(heard: Desk) -> None:
    heard.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))
    heard.paper.inject(look_up_fault(FaultKind.HTML_502, times=100))
    intent = heard.intent(quantity="0.01")

    execution = await heard.executor.execute(intent)

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.01"))
    assert execution.average_price == Decimal("100000.1")
    assert execution.order_id == str(heard.orders(intent)[0]["orderId"])
    assert hits(heard.paper) == 1, "nobody looked it up"


async def test_an_event_answers_an_unclear_stop_and_limit_order(heard: Desk) -> None:
    heard.paper.inject(look_up_fault(FaultKind.HTML_502, times=100))
    heard.paper.inject(Fault(kind=FaultKind.TIMEOUT_1007, path="/fapi/v1/algoOrder"))
    heard.paper.inject(Fault(kind=FaultKind.TIMEOUT_1007))
    stop = heard.intent(quantity="0.01", order_type="STOP_MARKET", trigger_price="105000")
    limit = heard.intent(quantity="0.01", order_type="LIMIT", price="90000")

    assert [(await heard.executor.execute(each)).state for each in (stop, limit)] == [Terminal.PLACED] * 2
    assert hits(heard.paper) == 2, "nobody looked them up"


@pytest.mark.parametrize("lives", [True, False])
async def test_without_an_event_it_is_looked_up(heard: Desk, lives: bool) -> None:
    ears(heard).lives = lives
    heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
    heard.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))

    assert (await heard.executor.execute(heard.intent(quantity="0.01"))).state is Terminal.FILLED


async def test_that_no_event_comes_proves_no_absence(heard: Desk) -> None:
    """The exchange takes the order late: nothing is heard, and a look-up at once would find nothing."""
    heard.paper.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT))
    execution = await heard.executor.execute(heard.intent(quantity="0.01"))
    assert execution.outcome is not None
    assert execution.outcome.is_absence
    assert not heard.orders()


async def test_an_event_of_an_earlier_order_under_the_id_says_nothing_of_this_request(heard: Desk) -> None:
    heard.paper.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT))
    intent = heard.intent(quantity="0.01")
    executing = asyncio.create_task(heard.executor.execute(intent))
    client_order_id = heard.gate.client_order_id(intent.id)
    async with asyncio.timeout(10):
        while client_order_id not in heard.executor._news._orders.open:  # noqa: ASYNC110  # it is noted right before sending
            await asyncio.sleep(0)
    shape = {"c": client_order_id, "s": "BTCUSDT", "S": "BUY", "i": 7, "X": "FILLED", "x": "TRADE", "z": "0.01"}
    ears(heard).tell({"e": "ORDER_TRADE_UPDATE", "T": 1, "o": shape | {"ap": "5"}})

    execution = await executing

    assert execution.state is Terminal.REJECTED_EXCHANGE
    assert execution.order_id is None


async def test_the_price_of_a_fill_comes_with_its_event(heard: Desk) -> None:
    heard.paper.inject(look_up_fault(FaultKind.HTML_502, times=100))
    execution = await heard.executor.execute(heard.intent(quantity="0.01"))
    assert (execution.state, execution.average_price) == (Terminal.FILLED, Decimal("100000.1"))
    assert hits(heard.paper) == 0


async def test_a_request_that_was_refused_leaves_nothing_to_ask_for(heard: Desk) -> None:
    heard.paper.inject(Fault(kind=FaultKind.ERROR, code=-2019))
    await heard.executor.execute(heard.intent(quantity="0.01"))
    assert not heard.executor._news._orders.open


# ---- on the exchange's own streams


async def test_on_its_own_streams_a_fill_is_told_an_unclear_request_answered_and_a_gap_closed(desk: Desk) -> None:
    paper = desk.paper
    async with (
        BinanceFutures(paper.key, paper.secret, base_url=paper.url, recv_window_ms=200) as exchange,
        Executor(desk.gate, exchange) as executor,
    ):
        async with asyncio.timeout(10):
            while exchange.live("BTCUSDT") is None:  # noqa: ASYNC110  # streams open beside everything else
                await asyncio.sleep(0.01)
        paper.inject(look_up_fault(FaultKind.HTML_502, times=100))
        paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))
        updates = executor.updates()
        unclear = desk.intent(quantity="0.01")
        execution = await executor.execute(unclear)
        assert (execution.state, execution.average_price) == (Terminal.FILLED, Decimal("100000.1"))
        assert hits(paper) == 1, "nobody looked it up"
        assert [(each.intent_id, each.state) for each in await told(updates, 1)] == [(unclear.id, OrderState.FILLED)]

        paper.clear_faults()
        await executor.execute(desk.intent(quantity="0.002", order_type="LIMIT", price="90000"))
        paper.inject(Fault(kind=FaultKind.DROP_STREAM, event="ORDER_TRADE_UPDATE"))
        paper.set_price("BTCUSDT", "89999.9")
        assert [(each.state, each.after_gap) for each in await told(updates, 1)] == [(OrderState.FILLED, True)]
