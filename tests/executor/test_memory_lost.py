"""After Redis has lost its memory, the executor asks the exchange for an earlier order before it sends one."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from gate import Phase, Policy
from gate.exchange.port import AccountFigures
from gate.executor.execution import Terminal
from gate.executor.reconcile import Finding, reconcile
from gate.paper import Fault, FaultKind
from gate.values.found_order import CLOCKS_APART_MS
from tests.executor.conftest import Desk, OpenDesk, age, forget


async def test_after_redis_forgot_an_order_is_looked_up_before_it_is_sent(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = desk.intent()
    first = await desk.executor.execute(intent)
    forget(redis_client)

    second = await desk.executor.execute(intent)

    assert second.verdict.permit is not None
    assert second.verdict.permit.verify
    assert (second.state, second.order_id) == (Terminal.FILLED, first.order_id)
    assert len(desk.orders(intent)) == 1


async def test_an_exit_dated_ahead_knows_its_own_order(desk: Desk, redis_client: redis.Redis) -> None:
    """A producer with local times without a zone is hours ahead. Its exits pass, so each must know its own order."""
    await desk.executor.execute(desk.intent(quantity="0.05"))
    ahead_ms = time.time_ns() // 1_000_000 + 2 * CLOCKS_APART_MS
    intent = desk.intent(side="SELL", quantity="0.01", reduce_only=True, timestamp=ahead_ms)
    desk.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))

    first = await desk.executor.execute(intent)
    forget(redis_client)
    second = await desk.executor.execute(intent)

    [order] = desk.orders(intent)
    assert (first.order_id, second.order_id) == (str(order["orderId"]), str(order["orderId"]))


async def test_a_look_up_before_sending_that_fails_is_tried_again(desk: Desk, redis_client: redis.Redis) -> None:
    forget(redis_client, "quantum:exec:state")
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order"))

    execution = await desk.executor.execute(desk.intent())

    assert execution.verdict.permit is not None
    assert execution.verdict.permit.verify
    assert execution.state is Terminal.FILLED


@pytest.mark.parametrize("placed_before", [True, False])
async def test_an_unclear_look_up_before_sending_leaves_the_intent_in_doubt(
    open_desk: OpenDesk, redis_client: redis.Redis, placed_before: bool
) -> None:
    """If the intent were given back, nobody would look for the earlier order any more."""
    desk = await open_desk(Policy(lock_ttl_ms=3500, rate_symbol_limit=9, rate_global_limit=100))
    intent = desk.intent()
    if placed_before:
        await desk.executor.execute(intent)
    forget(redis_client, "quantum:exec:state", f"quantum:exec:processed:{intent.id}")
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=1000))

    execution = await desk.executor.execute(intent)
    desk.paper.clear_faults()

    record = await desk.gate.lookup(intent.id)
    assert (execution.state, execution.reason) == (Terminal.UNKNOWN, "MEMORY_LOST")
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert "cooldown_symbol" not in {each.name for each in (await desk.gate.status()).standing}, "nothing was sent"
    age(desk, redis_client, intent, 10_000)
    [found] = await reconcile(desk.gate, desk.exchange)
    assert found.finding is (Finding.PLACED if placed_before else Finding.NOT_PLACED)
    assert len(desk.orders(intent)) == placed_before


async def test_keys_that_do_not_work_end_the_look_up_at_once_and_are_named(
    desk: Desk, redis_client: redis.Redis
) -> None:
    forget(redis_client, "quantum:exec:state")
    desk.paper.inject(
        Fault(kind=FaultKind.ERROR, method="GET", path="/fapi/v1/order", status=401, code=-2015, msg="Invalid API-key.")
    )

    execution = await desk.executor.execute(desk.intent())

    denied = await desk.executor.execute(desk.intent("ETHUSDT"))
    assert (execution.state, execution.reason) == (Terminal.UNKNOWN, "-2015")
    assert ": -2015 Invalid API-key.; the API key is wrong here: check key and secret" in execution.detail
    assert execution.verdict.permit is not None
    assert execution.verdict.permit.live, "it didn't wait for its permit to run out"
    assert denied.reason == "SAFE_MODE"
    assert denied.detail.startswith("BTCUSDT: ")
    assert "-2015 Invalid API-key" in denied.detail


async def test_keys_that_do_not_work_stop_entries_also_where_an_exit_meets_them(
    desk: Desk, redis_client: redis.Redis
) -> None:
    forget(redis_client, "quantum:exec:state")
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="GET", path="/fapi/v1/order", status=401, code=-2015))

    execution = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    denied = await desk.executor.execute(desk.intent("ETHUSDT"))
    assert (execution.state, execution.reason, execution.retryable) == (Terminal.REJECTED_EXCHANGE, "-2015", True)
    assert denied.reason == "SAFE_MODE"
    assert denied.detail.startswith("BTCUSDT: ")
    assert "-2015 Invalid API-key" in denied.detail


async def test_a_symbol_that_does_not_exist_has_no_earlier_order(desk: Desk, redis_client: redis.Redis) -> None:
    forget(redis_client, "quantum:exec:state")

    execution = await desk.executor.execute(desk.intent("NOSUCHUSDT"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, "UNKNOWN_SYMBOL")


async def test_an_earlier_order_is_found_though_no_margin_is_left_for_another(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = desk.intent()
    first = await desk.executor.execute(intent)
    forget(redis_client)
    desk.balance("0")

    second = await desk.executor.execute(intent)

    assert (second.state, second.order_id) == (Terminal.FILLED, first.order_id)


async def test_a_task_cancelled_while_it_looks_for_an_earlier_order_leaves_the_intent_in_doubt(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = desk.intent()
    await desk.executor.execute(intent)
    forget(redis_client)
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/order"))
    task = asyncio.create_task(desk.executor.execute(intent))
    await asyncio.to_thread(desk.paper.wait_held)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    record = await desk.gate.lookup(intent.id)
    desk.paper.release_held()
    assert record is not None
    assert record.phase is Phase.UNKNOWN


async def test_two_deliveries_around_a_loss_of_memory_send_one_order(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """A is about to send when the memory goes; B gets the same intent, finds no order yet, and sends. A must not."""
    a, b = await open_desk(), await open_desk()
    intent = a.intent()
    about_to_send, go_on = asyncio.Event(), asyncio.Event()
    account = a.exchange.account

    async def stalled() -> AccountFigures:
        about_to_send.set()
        await go_on.wait()
        return await account()

    a.exchange.account = stalled  # type: ignore[method-assign]  # a stall, wherever it comes from
    first = asyncio.create_task(a.executor.execute(intent))
    await about_to_send.wait()
    forget(redis_client)
    second = await b.executor.execute(intent)
    go_on.set()

    assert second.state is Terminal.FILLED
    assert (await first).reason == "PERMIT_LOST"
    assert len(a.orders(intent)) == 1


async def test_an_order_on_its_way_when_the_memory_was_lost_is_found(
    desk: Desk, open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """The exchange accepts A's order only after B has asked for a verdict on a store that has forgotten A."""
    other = await open_desk()
    desk.paper.inject(Fault(kind=FaultKind.DELAY, times=1))
    intent = desk.intent()
    first = asyncio.create_task(desk.executor.execute(intent))
    await asyncio.to_thread(desk.paper.wait_held)
    forget(redis_client, ago_ms=0)

    second = asyncio.create_task(other.executor.execute(intent))
    while await other.gate.lookup(intent.id) is None:  # noqa: ASYNC110  # until Redis has heard of it
        await asyncio.sleep(0)
    desk.paper.release_held()

    answers = [await first, await second]
    [order] = desk.orders(intent)
    assert {answer.order_id for answer in answers} == {str(order["orderId"])}


async def test_an_entry_of_the_other_side_under_this_id_is_not_taken_for_the_intents_own(
    desk: Desk, redis_client: redis.Redis
) -> None:
    """As where a strategy gives two decisions one id, and the store has forgotten the first."""
    long = desk.intent(quantity="0.01")
    first = await desk.executor.execute(long)
    forget(redis_client)
    short = desk.intent(side="SELL", quantity="0.01", id=long.id)

    second = await desk.executor.execute(short)

    record = await desk.gate.lookup(short.id)
    assert second.verdict.permit is not None
    assert second.verdict.permit.verify
    assert (second.state, second.reason, second.order_id) == (Terminal.REJECTED_ORDER, "CONFLICT", None)
    assert f"BUY order {first.order_id}" in second.detail
    assert record is not None
    assert (record.phase, record.code) == (Phase.REJECTED, "CONFLICT")
    assert len(desk.orders(long)) == 1


@pytest.mark.parametrize("exit_first", [True, False])
async def test_an_exit_and_an_entry_of_one_side_under_one_id_are_not_taken_for_each_other(
    desk: Desk, redis_client: redis.Redis, exit_first: bool
) -> None:
    """Only that it reduces tells the exit's order from the entry's."""
    await desk.executor.execute(desk.intent(side="SELL", quantity="0.05"))
    first, second = (
        desk.intent(quantity="0.01", id="of-both", reduce_only=each) for each in (exit_first, not exit_first)
    )
    placed = await desk.executor.execute(first)
    assert placed.state is Terminal.FILLED
    forget(redis_client)

    conflict = await desk.executor.execute(second)

    assert (conflict.state, conflict.reason) == (Terminal.REJECTED_ORDER, "CONFLICT")
    assert f"{'reduce-only ' if exit_first else ''}BUY order {placed.order_id}" in conflict.detail
    assert len(desk.orders(second)) == 1
