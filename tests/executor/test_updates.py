"""What comes of an order after the exchange has it is told to whoever listens, once, and answers an unclear request."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from binance import Client
from msgspec import structs

from gate.exchange.binance import BinanceFutures
from gate.executor import Executor, OrderState, Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, ears
from tests.executor.listening import states, told
from tests.executor.test_fill_price import hits, look_up_fault


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


async def test_doubled_events_are_told_once_and_orders_of_others_never(heard: Desk, client: Client) -> None:
    updates = heard.executor.updates()
    heard.paper.inject(Fault(kind=FaultKind.DOUBLE_EVENT, event="*", times=100))
    client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01", newClientOrderId="by-hand"
    )
    intent = heard.intent(quantity="0.01")
    await heard.executor.execute(intent)

    assert [(each.intent_id, each.state) for each in await told(updates, 1)] == [(intent.id, OrderState.FILLED)]


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
