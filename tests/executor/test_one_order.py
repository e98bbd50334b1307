"""One intent, one order: whatever the clocks, the codes, the mode and the store's memory say."""

from __future__ import annotations

import asyncio

import pytest
import redis

from gate import Policy
from gate.executor.execution import Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk, abandoned, forget
from tests.servers.session import declare_whole

HOUR_MS = 3_600_000
OBSERVING = Policy(mode="observe", rate_symbol_limit=1, rate_global_limit=1000)


async def test_observing_an_intent_that_would_be_denied_is_sent_once_however_often_it_comes(
    open_desk: OpenDesk, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    declare_whole(redis_client, "quantum:observe")
    desk = await open_desk(OBSERVING)
    await desk.executor.execute(desk.intent(quantity="0.01"))
    intent = desk.intent(side="SELL", quantity="0.01")

    executions = [await desk.executor.execute(intent) for _ in range(3)]

    assert executions[0].verdict.permit is not None
    assert executions[0].verdict.permit.observed
    assert "MEMORY NEW" not in caplog.text, "it is sent without delay"
    assert {each.order_id for each in executions} == {executions[0].order_id}
    assert len(desk.orders(intent)) == 1


async def test_observing_deliveries_at_once_are_one_order(open_desk: OpenDesk, redis_client: redis.Redis) -> None:
    declare_whole(redis_client, "quantum:observe")
    desk = await open_desk(OBSERVING)
    await desk.executor.execute(desk.intent(quantity="0.01"))
    intent = desk.intent(side="SELL", quantity="0.01")

    await asyncio.gather(*(desk.executor.execute(intent) for _ in range(5)))

    assert len(desk.orders(intent)) == 1


async def test_observing_a_second_intent_under_one_id_is_denied(
    open_desk: OpenDesk, redis_client: redis.Redis, asked: list[str]
) -> None:
    declare_whole(redis_client, "quantum:observe")
    desk = await open_desk(OBSERVING)
    first = desk.intent(quantity="0.01")
    assert (await desk.executor.execute(first)).state is Terminal.FILLED

    second = await desk.executor.execute(desk.intent(quantity="0.02", id=first.id))

    assert (second.state, second.reason, second.order_id) == (Terminal.DENIED, "CONFLICT", None)
    assert asked.count("POST /fapi/v1/order") == 1


async def test_observing_what_would_be_denied_is_looked_up_before_it_is_sent(
    open_desk: OpenDesk, redis_client: redis.Redis, asked: list[str]
) -> None:
    """An earlier delivery may have placed it, and no store knows of that."""
    declare_whole(redis_client, "quantum:observe")
    desk = await open_desk(OBSERVING)
    await desk.executor.execute(desk.intent(quantity="0.01"))
    intent = desk.intent(side="SELL", quantity="0.01")
    asked.clear()
    sent = await desk.executor.execute(intent)
    assert asked.index("GET /fapi/v1/order") < asked.index("POST /fapi/v1/order")
    redis_client.delete(f"quantum:observe:exec:processed:{intent.id}")

    again = await desk.executor.execute(intent)

    assert again.verdict.permit is not None
    assert again.verdict.permit.observed
    assert (again.state, again.order_id) == (Terminal.FILLED, sent.order_id)
    assert len(desk.orders(intent)) == 1


async def test_observing_an_intent_that_was_not_sent_may_come_again(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    declare_whole(redis_client, "quantum:observe")
    desk = await open_desk(OBSERVING)
    await desk.executor.execute(desk.intent(quantity="0.01"))
    intent = desk.intent(side="SELL", quantity="0.01")
    desk.unreadable_account()

    unsent = await desk.executor.execute(intent)
    desk.paper.clear_faults()
    again = await desk.executor.execute(intent)

    assert unsent.verdict.permit is not None
    assert unsent.verdict.permit.observed
    assert (unsent.reason, unsent.retryable) == ("MARGIN_UNREADABLE", True)
    assert again.state is Terminal.FILLED
    assert len(desk.orders(intent)) == 1


async def test_two_observing_workers_on_one_intent_are_one_order(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """It would be denied. In the first version that claimed nothing, and both sent it."""
    declare_whole(redis_client, "quantum:observe")
    redis_client.set("quantum:observe:safety:safe_mode", "1")
    desks = [await open_desk(OBSERVING) for _ in range(2)]
    intent = desks[0].intent(quantity="0.01")

    executions = await asyncio.gather(*(desk.executor.execute(intent) for desk in desks))

    assert sorted(each.state for each in executions) == [Terminal.DENIED, Terminal.FILLED]
    assert len(desks[0].orders(intent)) == 1


async def test_the_intents_order_is_recognised_though_the_hosts_clock_is_hours_ahead(desk: Desk) -> None:
    desk.paper.move_clock(-2 * HOUR_MS)
    desk.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP, times=1))
    intent = desk.intent(quantity="0.01")

    first = await desk.executor.execute(intent)

    assert first.state is Terminal.FILLED
    assert len(desk.orders(intent)) == 1


async def test_after_redis_forgot_it_the_intents_order_is_found_though_the_hosts_clock_is_hours_ahead(
    desk: Desk, redis_client: redis.Redis
) -> None:
    desk.paper.move_clock(-2 * HOUR_MS)
    intent = desk.intent(quantity="0.01")
    first = await desk.executor.execute(intent)
    forget(redis_client)

    second = await desk.executor.execute(intent)

    assert second.order_id == first.order_id
    assert len(desk.orders(intent)) == 1


async def test_an_intent_in_doubt_that_comes_again_after_its_record_has_lapsed_is_looked_up_first(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    redis_client.delete(f"quantum:exec:processed:{intent.id}")

    again = await desk.executor.execute(desk.intent(id=intent.id, quantity="0.01"))

    [order] = desk.orders(intent)
    assert again.order_id == str(order["orderId"])


async def test_a_clock_that_is_set_slowly_costs_another_look_at_the_permit(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """A's clock is off, and while it asks the time, the store forgets A's permit and B places the order."""
    a, b = await open_desk(ROOMY), await open_desk(ROOMY)
    intent = a.intent(quantity="0.01")
    a.paper.inject(
        Fault(kind=FaultKind.CLOCK_SKEW, times=1),
        Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/time", times=1),
    )
    first = asyncio.create_task(a.executor.execute(intent))
    await asyncio.to_thread(a.paper.wait_held)
    forget(redis_client)

    second = await b.executor.execute(intent)
    a.paper.release_held()

    assert second.state is Terminal.FILLED
    assert (await first).state is Terminal.REJECTED_EXCHANGE
    assert len(a.orders(intent)) == 1


async def test_a_code_in_an_answer_that_leaves_the_order_open_is_no_refusal(desk: Desk) -> None:
    """−4061 with a 500 says nothing for certain: the order isn't sent in the other position mode."""
    desk.paper.inject(
        Fault(kind=FaultKind.ERROR, times=1, accept=True, status=500, code=-4061, msg="x"),
        Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v1/order", times=1, retry_after_s=120),
    )
    intent = desk.intent(quantity="0.01")

    execution = await desk.executor.execute(intent)

    assert execution.state is Terminal.UNKNOWN
    assert len(desk.orders(intent)) == 1
