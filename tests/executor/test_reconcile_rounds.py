"""An executor reconciles by itself, round after round, beside what it executes."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

import pytest
import redis

import gate.executor.reconcile as reconciling
from gate import InDoubt, Phase, StoreUnavailable
from gate.executor.execution import Terminal
from gate.executor.late_orders import LateOrders
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, OpenDesk, abandoned
from tests.servers.wire import Wire


async def test_an_executor_with_nothing_else_to_do_settles_what_dead_workers_left(
    desk: Desk, redis_client: redis.Redis
) -> None:
    placed = await abandoned(desk, redis_client, sent=True)
    missing = await abandoned(desk, redis_client, sent=False)

    async with desk.executor:
        async with asyncio.timeout(60):
            while (await desk.gate.status()).in_doubt:  # noqa: ASYNC110  # the executor's own task is at it
                await asyncio.sleep(0.01)

    record = await desk.gate.lookup(placed.id)
    assert record is not None
    assert record.order_id == str(desk.orders(placed)[0]["orderId"])
    absent = await desk.gate.lookup(missing.id)
    assert absent is not None
    assert absent.code == "NOT_PLACED"


async def test_an_executor_at_work_reconciles_beside_it(desk: Desk, redis_client: redis.Redis) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    desk.paper.inject(Fault(kind=FaultKind.DELAY, times=1))
    at_work = asyncio.create_task(desk.executor.execute(desk.intent("ETHUSDT")))
    await asyncio.to_thread(desk.paper.wait_held)

    async with desk.executor, asyncio.timeout(60):
        while (await desk.gate.status()).in_doubt:  # noqa: ASYNC110  # the executor's own task is at it
            await asyncio.sleep(0.01)
        assert not at_work.done(), "an execution runs all the while"
        desk.paper.release_held()
        assert (await at_work).state is Terminal.FILLED

    record = await desk.gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.PLACED


async def _rounds(monkeypatch: pytest.MonkeyPatch, desk: Desk, rounds: int) -> list[float]:
    """The pauses after so many rounds of the executor's own reconciling."""
    pauses: list[float] = []
    enough, sleep = asyncio.Event(), asyncio.sleep

    async def noted(pause_s: float) -> None:
        if asyncio.current_task() is not desk.executor._reconciling:  # such as the clock of the paper exchange
            await sleep(pause_s)
            return
        pauses.append(pause_s)
        if len(pauses) >= rounds:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("gate.executor.reconcile.asyncio.sleep", noted)
    monkeypatch.setattr(LateOrders, "told_within", lambda _, pause_s: noted(pause_s))
    async with desk.executor, asyncio.timeout(60):
        await enough.wait()
    return pauses


async def test_a_full_page_is_followed_at_once(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(45):
        await abandoned(desk, redis_client, sent=False)
    assert await _rounds(monkeypatch, desk, 3) == [0, 0, reconciling.RECONCILE_EVERY_S]
    assert (await desk.gate.status()).in_doubt == 0


async def test_a_full_page_that_does_not_get_on_is_no_reason_to_hurry(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(25):
        await abandoned(desk, redis_client, sent=False)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=10**6))
    assert await _rounds(monkeypatch, desk, 2) == [reconciling.RECONCILE_EVERY_S] * 2
    assert (await desk.gate.status()).in_doubt == 25


async def test_reconciling_stops_where_orders_would_come_near_the_exchanges_limits(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await abandoned(desk, redis_client, sent=False)
    shares: list[Decimal] = []

    def half_used(share: Decimal = Decimal("0.8")) -> int | None:
        shares.append(share)
        return 42_000 if share <= Decimal("0.5") else None

    desk.exchange.near_limit_ms = half_used  # type: ignore[method-assign]
    assert await _rounds(monkeypatch, desk, 1) == [42]
    assert shares.count(Decimal("0.5")) == 1
    assert (await desk.gate.status()).in_doubt == 1


async def test_what_nobody_heard_of_is_given_back_without_a_further_intent(
    open_desk: OpenDesk, redis_client: redis.Redis, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await open_desk(url=wire.url)
    await desk.gate.evaluate(desk.intent("ETHUSDT"))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    lost = await desk.gate.evaluate(desk.intent())
    assert not lost.admitted
    assert redis_client.exists("quantum:exec:lock:BTCUSDT:BUY")
    await _rounds(monkeypatch, desk, 1)
    assert not redis_client.exists("quantum:exec:lock:BTCUSDT:BUY")


async def test_reconciling_goes_on_after_the_store_was_away(desk: Desk, redis_client: redis.Redis) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    in_doubt, refused = desk.gate.in_doubt, [StoreUnavailable("away")]

    async def first_in_vain(at_most: int = 100, skip: int = 0) -> InDoubt:
        if refused:
            raise refused.pop()
        return await in_doubt(at_most, skip)

    desk.gate.in_doubt = first_in_vain  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconciling, "RECONCILE_EVERY_S", 0)
        async with desk.executor:
            async with asyncio.timeout(60):
                while (await desk.gate.status()).in_doubt:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    assert len(desk.orders(intent)) == 1
    assert not refused


async def test_a_failed_look_up_does_not_stop_the_others(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "_PAGE", 10)
    for _ in range(10):
        await abandoned(desk, redis_client, sent=False, past_ms=20_000)
    desk.paper.inject(
        Fault(kind=FaultKind.ERROR, method="GET", path="/fapi/v1/order", code=-1100, times=10**6, symbol="BTCUSDT")
    )
    other = await abandoned(desk, redis_client, sent=False, symbol="ETHUSDT")
    monkeypatch.setattr(reconciling, "RECONCILE_EVERY_S", 0)

    async with desk.executor:
        async with asyncio.timeout(60):
            while (await desk.gate.status()).in_doubt > 10:  # noqa: ASYNC110  # the executor's own task is at it
                await asyncio.sleep(0.01)

    record = await desk.gate.lookup(other.id)
    assert record is not None
    assert record.code == "NOT_PLACED"
    assert (await desk.gate.status()).in_doubt == 10


async def test_an_executor_that_is_banned_asks_no_more_until_the_ban_ends(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await abandoned(desk, redis_client, sent=True)
    fault = Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v1/order", times=1000, retry_after_s=3600)
    desk.paper.inject(fault)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(pause_s: float) -> None:
        if asyncio.current_task() is not desk.executor._reconciling:
            await sleep(pause_s)
            return
        pauses.append(pause_s)
        await asyncio.Event().wait()

    monkeypatch.setattr("gate.executor.reconcile.asyncio.sleep", noted)
    async with desk.executor:
        while not pauses:
            await asyncio.to_thread(lambda: None)

    assert pauses == [3600]


@pytest.mark.parametrize(("again_s", "seldom"), [(300.0, True), (0.0, False)])
async def test_what_stays_in_doubt_is_told_once_and_then_seldom(
    again_s: float,
    seldom: bool,
    desk: Desk,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gate.reconcile")
    monkeypatch.setattr(reconciling, "_TOLD_AGAIN_S", again_s)
    monkeypatch.setattr(reconciling, "RECONCILE_EVERY_S", 0.01)
    await abandoned(desk, redis_client, sent=True)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=1000))
    rounds, give_back = 0, desk.gate.give_back

    async def counted() -> None:
        nonlocal rounds
        rounds += 1
        await give_back()

    monkeypatch.setattr(desk.gate, "give_back", counted)
    async with desk.executor, asyncio.timeout(60):
        while rounds < 6:  # noqa: ASYNC110  # it asks in every other one: the rest must not wait for it
            await asyncio.sleep(0.01)
        desk.paper.clear_faults()
        while (await desk.gate.status()).in_doubt:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)

    *said, last = [
        each.getMessage().partition(" id=")[0] for each in caplog.records if "RECONCILED" in each.getMessage()
    ]
    assert (set(said), last) == ({"NOT RECONCILED"}, "RECONCILED")
    assert (len(said) == 1) is seldom
