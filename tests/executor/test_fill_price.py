"""The price of a fill, which the answer to an order doesn't carry since July 2026."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import redis
import requests

from gate import Phase
from gate.exchange.answers import decode_conditional_order
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor
from gate.executor.execution import Terminal
from gate.executor.reconcile import reconcile
from gate.paper import Account, Fault, FaultKind, PaperExchange, RateLimits
from tests.executor.conftest import Desk, age

ASK = Decimal("100000.1")
NOON_MS = 1_700_000_040_000 // 60_000 * 60_000


def look_up_fault(kind: FaultKind = FaultKind.ERROR, **more: Any) -> Fault:
    return Fault(kind=kind, method="GET", path="/fapi/v1/order", **more)


def hits(paper: PaperExchange) -> int:
    """How often the faults have struck."""
    return sum(each["hits"] for each in requests.get(f"{paper.url}/paper/faults", timeout=5).json()["faults"])


async def test_an_execution_has_the_price_of_its_fill(desk: Desk) -> None:
    entry = await desk.executor.execute(desk.intent(quantity="0.01"))
    exit_ = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert (entry.state, entry.filled_quantity, entry.average_price) == (Terminal.FILLED, Decimal("0.010"), ASK)
    assert (exit_.state, exit_.average_price) == (Terminal.FILLED, Decimal(100_000))


async def test_the_order_is_settled_before_its_price_is_asked_for(desk: Desk) -> None:
    desk.paper.inject(look_up_fault(FaultKind.DELAY))
    intent = desk.intent()
    execution = asyncio.create_task(desk.executor.execute(intent))
    await asyncio.to_thread(desk.paper.wait_held)

    record = await desk.gate.lookup(intent.id)

    assert record is not None
    assert record.phase is Phase.PLACED
    assert (await desk.gate.status()).in_flight == 0
    desk.paper.release_held()
    assert (await execution).average_price == ASK


@pytest.mark.parametrize(
    "fault",
    [
        look_up_fault(code=-2013),
        look_up_fault(code=-9999),
        look_up_fault(FaultKind.HTML_502),
        look_up_fault(FaultKind.EMPTY_200),
        look_up_fault(FaultKind.BANNED_418),
    ],
    ids=lambda fault: f"{fault.kind.value} {fault.code}",
)
async def test_a_price_that_cannot_be_had_costs_the_order_nothing(desk: Desk, fault: Fault) -> None:
    desk.paper.inject(fault)
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert hits(desk.paper) == 1, "it is asked for once"
    assert (execution.state, execution.average_price) == (Terminal.FILLED, None)
    assert bool(execution.settlement)
    assert len(desk.orders(intent)) == 1


async def test_a_cancelled_caller_loses_the_price_and_not_the_record(desk: Desk) -> None:
    desk.paper.inject(look_up_fault(FaultKind.DELAY))
    intent = desk.intent()
    execution = asyncio.create_task(desk.executor.execute(intent))
    await asyncio.to_thread(desk.paper.wait_held)

    execution.cancel()

    with pytest.raises(asyncio.CancelledError):
        await execution
    record = await desk.gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.PLACED
    desk.paper.release_held()


async def test_a_caller_that_wants_no_prices_waits_for_none(desk: Desk) -> None:
    desk.paper.inject(look_up_fault())

    execution = await Executor(desk.gate, desk.exchange, fill_prices=False).execute(desk.intent())

    assert (execution.state, execution.average_price, hits(desk.paper)) == (Terminal.FILLED, None, 0)


async def test_the_price_in_the_answer_is_asked_for_no_more(desk: Desk) -> None:
    account = Account(key="key", secret="secret")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], old_answers=True) as paper:
        paper.inject(look_up_fault())
        async with BinanceFutures(paper.key, paper.secret, base_url=paper.url) as exchange:
            execution = await Executor(desk.gate, exchange).execute(desk.intent())

        assert (execution.average_price, hits(paper)) == (ASK, 0)


async def test_an_order_that_rests_has_no_price_to_ask_for(desk: Desk) -> None:
    desk.paper.inject(look_up_fault())

    execution = await desk.executor.execute(desk.intent(quantity="0.01", order_type="LIMIT", price="95000"))

    assert (execution.state, execution.average_price, hits(desk.paper)) == (Terminal.PLACED, None, 0)


@pytest.mark.parametrize("odd", [{"orderId": 7}, {"executedQty": "0.001"}, {"avgPrice": "0"}], ids=str)
async def test_a_price_of_another_order_or_of_a_part_of_the_fill_does_not_count(desk: Desk, odd: Any) -> None:
    get = desk.exchange._rest.client.futures_get_order

    async def changed(**parameters: Any) -> Any:
        return {**await get(**parameters), **odd}

    desk.exchange._rest.client.futures_get_order = changed

    execution = await desk.executor.execute(desk.intent(quantity="0.01"))

    [order] = desk.orders()
    assert (execution.state, execution.order_id) == (Terminal.FILLED, str(order["orderId"]))
    assert (execution.filled_quantity, execution.average_price) == (Decimal("0.01"), None)


async def test_near_the_exchanges_limits_requests_are_left_to_orders(desk: Desk) -> None:
    account = Account(key="key", secret="secret")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], limits=RateLimits(orders_per_minute=1)) as paper:
        paper.hold_clock(NOON_MS)  # far from the end of any window
        paper.inject(look_up_fault())
        async with BinanceFutures(
            paper.key, paper.secret, base_url=paper.url, recv_window_ms=60_000, streams=False
        ) as exchange:
            await exchange._rest.set_clock(5)
            execution = await Executor(desk.gate, exchange).execute(desk.intent())

        assert (execution.state, execution.average_price, hits(paper)) == (Terminal.FILLED, None, 0)


async def test_an_order_that_met_one_of_the_same_account_has_ended_without_a_fill(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.EXPIRED_IN_MATCH))
    intent = desk.intent()

    execution = await desk.executor.execute(intent)
    again = await desk.executor.execute(intent)

    [order] = desk.orders(intent)
    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "EXPIRED_IN_MATCH")
    assert not execution
    assert execution.order_id == again.order_id == str(order["orderId"])
    assert again.reason == "DUPLICATE"


async def test_a_stop_that_has_fired_is_told_with_the_order_that_it_became(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    desk.paper.inject(
        Fault(kind=FaultKind.ACCEPT_THEN_DROP, path="/fapi/v1/algoOrder"),
        Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/algoOrder"),
    )
    stop = desk.intent(side="SELL", quantity="0.01", reduce_only=True, order_type="STOP_MARKET", trigger_price="95000")
    execution = asyncio.create_task(desk.executor.execute(stop))
    await asyncio.to_thread(desk.paper.wait_held)

    desk.paper.set_price("BTCUSDT", "94000")
    desk.paper.release_held()

    fired, [order] = await execution, desk.orders(stop)
    assert fired.actual_order_id == str(order["orderId"]) != fired.order_id
    assert (fired.state, fired.filled_quantity, fired.average_price) == (
        Terminal.FILLED,
        Decimal("0.01"),
        Decimal(94_000),
    )


async def test_reconciling_tells_what_a_fired_stop_became(desk: Desk, redis_client: redis.Redis) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    stop = desk.intent(side="SELL", quantity="0.01", reduce_only=True, order_type="STOP_MARKET", trigger_price="95000")
    permit = (await desk.gate.evaluate(stop)).permit
    assert permit is not None
    await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice="95000",
        reduceOnly="true", clientAlgoId=permit.client_order_id,
    )  # fmt: skip
    desk.paper.set_price("BTCUSDT", "94000")
    age(desk, redis_client, stop, 10_000)
    desk.paper.inject(look_up_fault(code=-2013))  # as if what it became had another client order id

    [found] = await reconcile(desk.gate, desk.exchange)

    [order] = desk.orders(stop)
    assert found.detail.endswith(f"FILLED, fired as {order['orderId']}")


ALGO: Mapping[str, Any] = {
    "algoId": 7,
    "clientAlgoId": "g-1",
    "algoStatus": "FINISHED",
    "quantity": "0.010",
    "actualOrderId": "8389765",
    "actualQty": "0.010",
    "actualPrice": "94000.00000",
}


@pytest.mark.parametrize(
    ("changed", "status", "filled", "actual"),
    [
        ({}, "FILLED", "0.010", "8389765"),
        ({"actualOrderId": 8389765}, "FILLED", "0.010", "8389765"),
        ({"quantity": "0"}, "FINISHED", "0.010", "8389765"),
        ({"actualQty": "0.004"}, "FINISHED", "0.004", "8389765"),
        ({"actualQty": "0"}, "FINISHED", "0", "8389765"),
        ({"actualQty": None}, "FINISHED", "0", "8389765"),
        ({"algoStatus": "TRIGGERED"}, "TRIGGERED", "0.010", "8389765"),
        ({"algoStatus": "NEW", "actualOrderId": "", "actualQty": "0"}, "NEW", "0", None),
        ({"actualOrderId": {"odd": 1}}, "FINISHED", "0", None),
    ],
)
def test_what_became_of_a_conditional_order(
    changed: Mapping[str, Any], status: str, filled: str, actual: str | None
) -> None:
    order = decode_conditional_order({**ALGO, **changed})

    assert (order.order_id, order.status, order.filled_quantity, order.actual_order_id) == (
        "7", status, Decimal(filled), actual
    )  # fmt: skip
    assert (order.average_price is None) is (order.filled_quantity == 0)
