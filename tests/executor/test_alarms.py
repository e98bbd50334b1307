"""A stop's end and a liquidation are told, with an alarm where a position may stand unprotected."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import Any

import pytest
from binance import Client
from msgspec import structs

from gate import Intent
from gate.exchange.answers import decode_order
from gate.exchange.failures import ExchangeFailure, Failure
from gate.exchange.streams.order_updates import update_of
from gate.executor import Executor, OrderState, OrderUpdate, Terminal
from gate.executor.updates import Updates
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, ears, until
from tests.executor.listening import states, told


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


async def test_a_stop_entry_that_is_refused_at_its_trigger_leaves_nothing_unprotected(
    heard: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A person hears of it, but of no position without its stop."""
    updates = heard.executor.updates()
    stop = heard.intent(quantity="0.01", order_type="STOP_MARKET", trigger_price="105000")
    assert (await heard.executor.execute(stop)).state is Terminal.PLACED
    heard.balance("1")
    with caplog.at_level(logging.WARNING, "gate"):
        heard.paper.set_price("BTCUSDT", "106000")
        fired, refused = await told(updates, 2)

    assert (fired.state, fired.alarming) == (OrderState.TRIGGERED, False)
    assert (refused.state, refused.alarming, refused.intent_id) == (OrderState.REJECTED, True, stop.id)
    assert "argin" in refused.detail
    (line,) = [(record.levelno, record.message[:12]) for record in caplog.records if "state=REJECTED" in record.message]
    assert line == (logging.WARNING, "ORDER UPDATE")
    with caplog.at_level(logging.ERROR, "gate"):  # as of a stop that was to close something
        heard.executor._news._tell(structs.replace(refused, reduces=True))
    assert (caplog.records[-1].levelno, caplog.messages[-1][:11]) == (logging.ERROR, "UNPROTECTED")


async def test_a_stop_that_was_to_turn_a_position_and_is_refused_leaves_it_unprotected(
    heard: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    updates = heard.executor.updates()
    assert (await heard.executor.execute(heard.intent(quantity="0.01"))).state is Terminal.FILLED
    stop = heard.intent(side="SELL", quantity="0.03", order_type="STOP_MARKET", trigger_price="95000")
    assert (await heard.executor.execute(stop)).state is Terminal.PLACED
    heard.balance("70")
    async with heard.executor:
        with caplog.at_level(logging.ERROR, "gate"):
            heard.paper.set_price("BTCUSDT", "94500")
            refused = await _end_of_a_stop(updates)
            while refused.client_order_id != heard.gate.client_order_id(stop.id):
                refused = await _end_of_a_stop(updates)

    assert (refused.state, refused.reduces, refused.leaves_open) == (OrderState.REJECTED, False, True)
    assert [record.message[:11] for record in caplog.records] == ["UNPROTECTED"]


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
