"""An order that shows up after its absence was settled is recorded, and the log says so as an error."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

import pytest
import redis

from gate import Outcome, Permit, Phase, Reason
from gate.exchange.port import OrderRequest
from gate.executor import Executor
from gate.executor.late_orders import LOOKS_AFTER_S, LateOrders
from gate.executor.reconcile import Finding, keep_reconciling, reconcile
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, OpenDesk
from tests.executor.test_reconcile import abandoned
from tests.servers.wire import Wire


class Clock:
    """The time of the looks, in seconds."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def absent(desk: Desk, client: redis.Redis) -> Permit:
    """The permit of an intent whose absence was settled."""
    await abandoned(desk, client, sent=False)
    [found] = await reconcile(desk.gate, desk.exchange)
    assert found.finding is Finding.NOT_PLACED
    assert found.permit is not None
    return found.permit


async def place(desk: Desk, permit: Permit) -> None:
    order = OrderRequest(permit.symbol, permit.side, Decimal("0.01"), permit.client_order_id, False, None)
    await desk.exchange.place(order, desk.exchange.valid_for(5000), timeout_ms=5000)


async def test_an_order_that_shows_up_late_becomes_placed_with_an_alert(
    desk: Desk, redis_client: redis.Redis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    late.settled_as_absent(permit)
    assert await late.look(desk.gate, desk.exchange) == 0, "not due yet"
    await place(desk, permit)
    clock.now_s += LOOKS_AFTER_S[0]

    with caplog.at_level(logging.ERROR):
        assert await late.look(desk.gate, desk.exchange) == 1

    [order] = desk.orders()
    record = await desk.gate.lookup(permit.intent_id)
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, str(order["orderId"]))
    assert [line for line in caplog.messages if line.startswith(f"LATE ORDER id={permit.intent_id} ")]
    clock.now_s += 600
    assert await late.look(desk.gate, desk.exchange) == 0, "once is enough"


async def test_it_is_looked_for_at_growing_pauses_for_ten_minutes(
    desk: Desk, redis_client: redis.Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    late.settled_as_absent(permit)
    began_s, asked_at = clock.now_s, []
    find_order = desk.exchange.find_order

    async def noted(symbol: str, client_order_id: str, *, conditional: bool) -> object:
        if not conditional:
            asked_at.append(clock.now_s - began_s)
        return await find_order(symbol, client_order_id, conditional=conditional)

    monkeypatch.setattr(desk.exchange, "find_order", noted)
    for _ in range(1_000):
        await late.look(desk.gate, desk.exchange)
        clock.now_s += 1
    assert asked_at == list(LOOKS_AFTER_S)
    assert LOOKS_AFTER_S[-1] == 600


async def test_a_look_that_fails_does_not_end_the_search(desk: Desk, redis_client: redis.Redis, clock: Clock) -> None:
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    late.settled_as_absent(permit)
    await place(desk, permit)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=1))
    clock.now_s += LOOKS_AFTER_S[0]
    assert await late.look(desk.gate, desk.exchange) == 0
    clock.now_s += LOOKS_AFTER_S[1]
    assert await late.look(desk.gate, desk.exchange) == 1


@pytest.mark.parametrize("who", ["the executor", "its reconciling"])
async def test_every_absence_that_an_executor_settles_is_looked_up_again(
    who: str, desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(LateOrders, "settled_as_absent", lambda self, permit: noted.append(permit.intent_id))
    if who == "the executor":
        desk.paper.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=1))
        intent = desk.intent(quantity="0.01")
        assert (await desk.executor.execute(intent)).outcome is not None
    else:
        intent = await abandoned(desk, redis_client, sent=False)
        async with desk.executor:
            while (await desk.gate.status()).in_doubt:
                await desk.gate.lookup(intent.id)
    assert noted == [intent.id]
    assert (await desk.gate.evaluate(desk.intent(id=intent.id, quantity="0.01"))).reason is Reason.DUPLICATE


async def test_other_outcomes_are_not_looked_up_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[Permit] = []
    monkeypatch.setattr(LateOrders, "settled_as_absent", lambda self, permit: noted.append(permit))
    await desk.executor.execute(desk.intent())
    desk.balance("0")
    await desk.executor.execute(desk.intent("ETHUSDT"))
    assert noted == []
    assert Outcome.not_placed("").is_absence
    assert not Outcome.rejected(-2019).is_absence


async def test_a_ban_ends_the_look_and_loses_nothing(desk: Desk, redis_client: redis.Redis, clock: Clock) -> None:
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    for _ in range(15):
        late.settled_as_absent(permit)
    await place(desk, permit)
    desk.paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v1/order", times=1, retry_after_s=120))
    clock.now_s += LOOKS_AFTER_S[0]
    assert await late.look(desk.gate, desk.exchange) == 0
    assert await late.look(desk.gate, desk.exchange) == 10, "a few at a time"
    assert await late.look(desk.gate, desk.exchange) == 5


async def test_a_late_order_is_kept_until_the_store_takes_it(
    open_desk: OpenDesk, redis_client: redis.Redis, wire: Wire, clock: Clock
) -> None:
    desk = await open_desk(url=wire.url)
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    late.settled_as_absent(permit)
    await place(desk, permit)
    clock.now_s += LOOKS_AFTER_S[0]
    for _ in range(2):
        wire.lose_next_request("EVALSHA")
    assert await late.look(desk.gate, desk.exchange) == 0
    assert await late.look(desk.gate, desk.exchange) == 1
    record = await desk.gate.lookup(permit.intent_id)
    assert record is not None
    assert record.phase is Phase.PLACED


async def until_placed(desk: Desk, intent_id: str) -> None:
    async with asyncio.timeout(30):
        while (record := await desk.gate.lookup(intent_id)) is None or record.phase is not Phase.PLACED:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_executor_takes_the_watch_that_it_is_given(
    desk: Desk, redis_client: redis.Redis, clock: Clock
) -> None:
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    late.settled_as_absent(permit)
    await place(desk, permit)
    clock.now_s += LOOKS_AFTER_S[0]
    async with Executor(desk.gate, desk.exchange, late=late):
        await until_placed(desk, permit.intent_id)


async def test_rounds_come_as_often_as_the_caller_says(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.reconcile.RECONCILE_EVERY_S", 3600)
    first = await abandoned(desk, redis_client, sent=True)
    rounds = asyncio.create_task(keep_reconciling(desk.gate, desk.exchange, LateOrders(), every_s=0.01))
    try:
        await until_placed(desk, first.id)
        second = await abandoned(desk, redis_client, sent=True, symbol="ETHUSDT", quantity="0.1")
        await until_placed(desk, second.id)
    finally:
        rounds.cancel()
        await asyncio.wait([rounds])
