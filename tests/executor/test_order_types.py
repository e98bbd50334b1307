"""Limit and conditional orders, in one-way and in hedge mode, as the exchange receives them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import redis

from gate import Intent, Phase
from gate.executor.execution import Terminal
from gate.executor.reconcile import Finding, reconcile
from gate.paper import Fault, FaultKind
from gate.values.found_order import CLOCKS_APART_MS
from tests.executor.conftest import Desk, age, forget
from tests.servers.session import declare_whole

STOP: Mapping[str, Any] = {
    "side": "SELL",
    "quantity": "0.01",
    "reduce_only": True,
    "order_type": "STOP_MARKET",
    "trigger_price": "90000",
}
ALGO = "/fapi/v1/algoOrder"


async def _conditional_orders(desk: Desk, intent: Intent) -> list[Mapping[str, Any]]:
    """The intent's orders that the algo endpoint has really accepted."""
    client_order_id = desk.gate.client_order_id(intent.id)
    rows = await desk.exchange._rest.client._request_futures_api(
        "get", "allAlgoOrders", True, data={"symbol": intent.symbol}
    )
    return [row for row in rows if row["clientAlgoId"] == client_order_id]


async def _hedge(desk: Desk) -> None:
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")


async def test_a_limit_rests_at_its_price_and_is_placed_not_filled(desk: Desk) -> None:
    intent = desk.intent(order_type="LIMIT", price="95000.07", quantity="0.01")

    execution = await desk.executor.execute(intent)

    [order] = desk.orders(intent)
    record = await desk.gate.lookup(intent.id)
    assert (execution.state, execution.reason) == (Terminal.PLACED, "NEW")
    assert (order["type"], order["timeInForce"], Decimal(order["price"])) == ("LIMIT", "GTC", Decimal(95_000))
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, str(order["orderId"]))


async def test_a_limit_that_crosses_is_filled(desk: Desk) -> None:
    execution = await desk.executor.execute(desk.intent(order_type="LIMIT", price="101000", quantity="0.01"))

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.01"))


@pytest.mark.parametrize(("time_in_force", "price", "reason"), [("FOK", "95000", "-5021"), ("GTX", "101000", "-5022")])
async def test_a_fill_or_kill_or_post_only_that_finds_no_match_is_a_normal_outcome(
    desk: Desk, time_in_force: str, price: str, reason: str
) -> None:
    intent = desk.intent(order_type="LIMIT", price=price, quantity="0.01", time_in_force=time_in_force)

    execution = await desk.executor.execute(intent)

    assert (execution.state, execution.reason, execution.retryable) == (Terminal.REJECTED_EXCHANGE, reason, False)
    on = {each.name for each in (await desk.gate.status()).standing}
    assert not on & {"failures", "cooldown_symbol", "cooldown_global", "safe_mode"}


async def test_an_immediate_or_cancel_that_finds_nothing_is_on_record_but_no_success(desk: Desk) -> None:
    intent = desk.intent(order_type="LIMIT", price="95000", quantity="0.01", time_in_force="IOC")

    execution = await desk.executor.execute(intent)

    [order] = desk.orders(intent)
    assert (execution.state, bool(execution)) == (Terminal.REJECTED_EXCHANGE, False)
    assert execution.order_id == str(order["orderId"])


async def test_a_limit_beyond_the_percent_price_is_refused_before_it_is_sent(desk: Desk) -> None:
    execution = await desk.executor.execute(desk.intent(order_type="LIMIT", price="150000", quantity="0.01"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, "PERCENT_PRICE")
    assert desk.orders() == []


async def test_a_stop_waits_on_the_algo_endpoint_under_our_id(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    intent = desk.intent(**STOP, working_type="MARK_PRICE")

    execution = await desk.executor.execute(intent)

    [order] = await _conditional_orders(desk, intent)
    record = await desk.gate.lookup(intent.id)
    assert (execution.state, execution.reason) == (Terminal.PLACED, "NEW")
    assert execution.order_id == str(order["algoId"])
    assert (order["orderType"], order["workingType"], order["reduceOnly"]) == ("STOP_MARKET", "MARK_PRICE", True)
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, str(order["algoId"]))


async def test_a_stop_that_opens_reserves_what_it_costs_at_its_trigger(desk: Desk) -> None:
    """By the mark price it would reserve too little, and be refused for that however often it comes."""
    far = {"order_type": "STOP_MARKET", "trigger_price": "130000", "quantity": "0.01"}

    execution = await desk.executor.execute(desk.intent(**far))

    assert (execution.state, execution.reason) == (Terminal.PLACED, "NEW")
    permit = execution.verdict.permit
    assert permit is not None
    assert permit.reserved >= Decimal(130_000) * Decimal("0.01") / 20, "at the leverage that the exchange has"


async def test_a_stop_fires_and_closes(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    intent = desk.intent(**STOP)
    await desk.executor.execute(intent)

    desk.paper.set_price("BTCUSDT", "89000")

    assert desk.orders()[-1]["status"] == "FILLED"


@pytest.mark.parametrize("kind", [FaultKind.ACCEPT_THEN_DROP, FaultKind.UNKNOWN_503, FaultKind.EMPTY_200])
async def test_a_conditional_order_whose_answer_is_lost_is_found_on_its_endpoint(desk: Desk, kind: FaultKind) -> None:
    desk.paper.inject(Fault(kind=kind, path=ALGO, times=1))
    intent = desk.intent(**STOP)

    execution = await desk.executor.execute(intent)

    [order] = await _conditional_orders(desk, intent)
    assert (execution.state, execution.order_id) == (Terminal.PLACED, str(order["algoId"]))


async def test_a_conditional_order_that_never_arrived_is_not_sent_again(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, path=ALGO, times=1))
    intent = desk.intent(**STOP)

    lost = await desk.executor.execute(intent)
    again = await desk.executor.execute(intent)

    assert (lost.state, lost.retryable) == (Terminal.REJECTED_EXCHANGE, False)
    assert (again.state, again.reason) == (Terminal.DENIED, "DUPLICATE")
    assert await _conditional_orders(desk, intent) == []


async def test_after_redis_forgot_a_conditional_order_is_looked_up_before_it_is_sent(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = desk.intent(**STOP)
    first = await desk.executor.execute(intent)
    forget(redis_client)

    second = await desk.executor.execute(intent)

    assert (second.state, second.order_id) == (Terminal.PLACED, first.order_id)
    assert len(await _conditional_orders(desk, intent)) == 1


async def test_a_conditional_order_that_a_dead_worker_placed_is_recorded(desk: Desk, redis_client: redis.Redis) -> None:
    intent = desk.intent(**STOP)
    execution = await desk.executor.execute(intent)
    redis_client.delete(f"quantum:exec:processed:{intent.id}")
    assert (await desk.gate.evaluate(intent)).admitted, "as if its worker had died before it could settle"
    age(desk, redis_client, intent, 10_000)

    [found] = await reconcile(desk.gate, desk.exchange)

    record = await desk.gate.lookup(intent.id)
    assert found.finding is Finding.PLACED
    assert record is not None
    assert record.order_id == execution.order_id


async def test_a_trigger_that_is_reached_already_is_refused_by_the_exchange_and_said(desk: Desk) -> None:
    execution = await desk.executor.execute(desk.intent(**{**STOP, "trigger_price": "110000"}))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "-2021")
    assert not execution.retryable


@pytest.mark.parametrize("says", [{}, {"position_side": "LONG"}], ids=["unsaid", "said"])
async def test_in_hedge_mode_entries_and_exits_go_to_their_positions_without_reduce_only(
    desk: Desk, says: dict[str, str]
) -> None:
    await _hedge(desk)

    opened = await desk.executor.execute(desk.intent(quantity="0.01", **says))
    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True, **says))

    assert (opened.state, closed.state) == (Terminal.FILLED, Terminal.FILLED)
    assert [(row["side"], row["positionSide"]) for row in desk.orders()] == [("BUY", "LONG"), ("SELL", "LONG")]


async def test_in_hedge_mode_a_short_stands_beside_a_long(desk: Desk) -> None:
    await _hedge(desk)

    for side in ("BUY", "SELL"):
        assert (await desk.executor.execute(desk.intent(side=side, quantity="0.01"))).state is Terminal.FILLED

    assert [row["positionSide"] for row in desk.orders()] == ["LONG", "SHORT"]


async def test_a_stop_in_hedge_mode_guards_its_position(desk: Desk) -> None:
    await _hedge(desk)
    await desk.executor.execute(desk.intent(quantity="0.01"))
    intent = desk.intent(**STOP)

    assert (await desk.executor.execute(intent)).state is Terminal.PLACED

    [order] = await _conditional_orders(desk, intent)
    assert order["positionSide"] == "LONG"


async def test_an_intent_for_hedge_mode_is_translated_in_one_way_mode(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01", position_side="LONG"))

    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", position_side="LONG"))

    assert closed.state is Terminal.FILLED
    assert desk.orders()[-1]["reduceOnly"] is True, "so that it closes and never opens"


async def test_a_position_mode_that_was_changed_meanwhile_is_read_again_and_the_order_sent_in_it(desk: Desk) -> None:
    await desk.exchange.hedge_mode()
    await _hedge(desk)
    intent = desk.intent(quantity="0.01")

    execution = await desk.executor.execute(intent)

    [order] = desk.orders(intent)
    assert execution.state is Terminal.FILLED
    assert (order["positionSide"], order["requestCount"]) == ("LONG", 2)


async def test_a_position_mode_that_does_not_settle_is_tried_once_more_and_no_more(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ERROR, times=5, code=-4061, msg="as asked for"))
    intent = desk.intent(quantity="0.01")

    execution = await desk.executor.execute(intent)

    assert (execution.state, execution.reason, execution.retryable) == (Terminal.REJECTED_EXCHANGE, "-4061", True)


async def test_without_a_second_request_the_first_answer_stands(desk: Desk) -> None:
    """A request was sent, so its slots aren't given back."""
    desk.paper.inject(
        Fault(kind=FaultKind.ERROR, times=1, code=-4061, msg="as asked for"),
        Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v3/account", skip=1, times=1),
    )

    execution = await desk.executor.execute(desk.intent(quantity="0.01", price="100000", leverage=20))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "-4061")


@pytest.mark.parametrize("says", [{}, {"position_side": "LONG"}], ids=["one-way", "hedge"])
async def test_an_exit_does_not_wait_for_an_unreadable_position_mode(desk: Desk, says: dict[str, str]) -> None:
    if says:
        await _hedge(desk)
    await desk.executor.execute(desk.intent(quantity="0.01", **says))
    desk.exchange.forget_hedge_mode()
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/accountConfig", times=100))

    entry = await desk.executor.execute(desk.intent("ETHUSDT", **says))
    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True, **says))

    assert entry.state is Terminal.REJECTED_EXCHANGE
    assert closed.state is Terminal.FILLED


async def test_an_order_older_than_the_intent_belongs_to_another_intent(desk: Desk, redis_client: redis.Redis) -> None:
    """The intent's id was in use before. The old order says nothing about the new intent."""
    old = desk.intent(id="counter-1")
    desk.paper.move_clock(-2 * CLOCKS_APART_MS)
    first = await desk.executor.execute(old)
    desk.paper.reset_clock()
    redis_client.flushall()
    declare_whole(redis_client)
    redis_client.hset("quantum:exec:state", "fence", 1)
    desk.paper.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=1))

    second = await desk.executor.execute(desk.intent(id="counter-1"))

    assert first.state is Terminal.FILLED
    assert (second.state, second.order_id) == (Terminal.REJECTED_EXCHANGE, None)
