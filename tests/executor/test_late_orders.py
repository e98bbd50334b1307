"""An order that shows up after its absence was settled is recorded, and the log says so as an error."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from decimal import Decimal

import pytest
import redis

from gate import Outcome, Permit, Phase, Reason
from gate.exchange.port import OrderRequest
from gate.executor import Executor
from gate.executor.late_orders import LOOKS_AFTER_S, LateOrders
from gate.executor.reconcile import Finding, keep_reconciling, reconcile, reconcile_all
from gate.paper import Fault, FaultKind
from gate.values.found_order import CLOCKS_APART_MS
from tests.client import account as at
from tests.executor.conftest import ROOMY, Desk, OpenDesk, abandoned
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


async def test_an_order_that_the_exchange_tells_of_is_looked_up_at_once(
    open_desk: OpenDesk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.reconcile.RECONCILE_EVERY_S", 3600)
    desk = await open_desk(ROOMY, None, "BTCUSDT")
    permit = await absent(desk, redis_client)
    late = LateOrders()
    late.settled_as_absent(permit)
    async with Executor(desk.gate, desk.exchange, late=late):
        await place(desk, permit)
        await until_placed(desk, permit.intent_id)


async def test_further_events_of_an_order_bring_no_look_forward(
    desk: Desk, redis_client: redis.Redis, clock: Clock
) -> None:
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    late.settled_as_absent(permit)
    for further in (False, True):
        late.hears(permit.client_order_id)
        assert late._told.is_set() != further
        await late.told_within(0.01)
        assert not late._told.is_set()


async def test_an_order_that_is_told_of_while_it_is_looked_up_is_looked_up_once_more(
    desk: Desk, redis_client: redis.Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last look, the answer was on its way when the exchange took the order in."""
    permit = await absent(desk, redis_client)
    late = LateOrders(clock)
    late.settled_as_absent(permit)
    find_order, answers = desk.exchange.find_order, 0

    async def find(symbol: str, client_order_id: str, *, conditional: bool) -> object:
        nonlocal answers
        answers += 1
        try:
            return await find_order(symbol, client_order_id, conditional=conditional)
        finally:
            if answers == 2 * len(LOOKS_AFTER_S):  # plain and conditional
                await place(desk, permit)
            if answers >= 2 * len(LOOKS_AFTER_S):
                late.hears(permit.client_order_id)

    monkeypatch.setattr(desk.exchange, "find_order", find)
    for after_s in LOOKS_AFTER_S:
        clock.now_s = 1_000.0 + after_s
        assert await late.look(desk.gate, desk.exchange) == 0
    assert late._told.is_set()
    assert await late.look(desk.gate, desk.exchange) == 1
    assert not late._absences, "it is found, whatever it was told meanwhile"
    late._told.clear()
    late.hears(permit.client_order_id)
    assert not late._told.is_set(), "nobody waits for it any more"
    record = await desk.gate.lookup(permit.intent_id)
    assert (record and record.phase) == Phase.PLACED


async def test_an_event_costs_no_look_where_the_order_is_not_found_by_it(
    desk: Desk, redis_client: redis.Redis, clock: Clock
) -> None:
    late = LateOrders(clock)
    permit = await absent(desk, redis_client)
    late.settled_as_absent(permit)
    for _ in range(2 * len(LOOKS_AFTER_S)):
        late.hears(permit.client_order_id)
        await late.look(desk.gate, desk.exchange)
    await place(desk, permit)
    clock.now_s += LOOKS_AFTER_S[-1]
    assert await late.look(desk.gate, desk.exchange) == 1


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


async def test_a_last_look_that_fails_is_made_again_for_ten_minutes(
    desk: Desk, redis_client: redis.Redis, clock: Clock
) -> None:
    late, gives_up = LateOrders(clock), LateOrders(clock)
    permit = await absent(desk, redis_client)
    for each in late, gives_up:
        each.settled_as_absent(permit)
        for _ in LOOKS_AFTER_S[:-1]:
            clock.now_s += LOOKS_AFTER_S[-2]
            await each.look(desk.gate, desk.exchange)
        clock.now_s -= LOOKS_AFTER_S[-2] * (len(LOOKS_AFTER_S) - 1)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=3))
    clock.now_s += LOOKS_AFTER_S[-1]
    await late.look(desk.gate, desk.exchange)
    await gives_up.look(desk.gate, desk.exchange)
    await place(desk, permit)
    clock.now_s += LOOKS_AFTER_S[-1]
    assert await gives_up.look(desk.gate, desk.exchange) == 0, "the third failure, after twenty minutes"
    assert await gives_up.look(desk.gate, desk.exchange) == 0
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
    late = LateOrders(clock)
    for _ in range(15):
        permit = await absent(desk, redis_client)
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


@pytest.mark.parametrize("who", ["its executor", "its reconciling", "its block"])
async def test_what_a_process_that_has_ended_settled_as_absent_is_looked_up_again_by_another(
    who: str,
    desk: Desk,
    open_desk: OpenDesk,
    redis_client: redis.Redis,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if who == "its executor":
        desk.paper.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=1))
        permit = (await desk.executor.execute(desk.intent(quantity="0.01"))).verdict.permit
    else:
        permit = await absent(desk, redis_client) if who == "its reconciling" else await absent_in_a_block(desk)
    assert permit is not None
    await place(desk, permit)
    other = await open_desk(None)
    monkeypatch.setattr("gate.executor.reconcile.RECONCILE_EVERY_S", 0.01)

    async with Executor(other.gate, other.exchange, late=LateOrders(clock)), asyncio.timeout(30):
        while (record := await desk.gate.lookup(permit.intent_id)) is None or record.phase is not Phase.PLACED:
            clock.now_s += 1
            await asyncio.sleep(0.01)

    [order] = desk.orders()
    assert record.order_id == str(order["orderId"])
    assert (audit := at.audit(redis_client))[-2]["what"] == "settled as absent"
    assert audit[-1]["what"] == "late order"
    assert permit.intent_id in audit[-1]["reason"]


async def absent_in_a_block(desk: Desk) -> Permit:
    permit = (await desk.gate.evaluate(desk.intent(quantity="0.01"))).permit
    assert permit is not None
    await desk.gate.settle(permit, Outcome.not_placed())
    return permit


def settled_so_long_ago(client: redis.Redis, intent_id: str, ago_ms: int) -> None:
    fields = {"what": "settled as absent", "by": "gate", "reason": intent_id, "at": "0", "call": ""}
    client.delete(at.AUDIT, "quantum:exec:audit")  # the second under roles
    client.xadd(at.AUDIT, fields, id=at.server_ms(client) - ago_ms)  # type: ignore[arg-type]


async def test_another_process_looks_at_once_where_a_look_is_past(
    desk: Desk, redis_client: redis.Redis, clock: Clock
) -> None:
    permit = await absent(desk, redis_client)
    settled_so_long_ago(redis_client, permit.intent_id, 200_000)
    late, later = LateOrders(clock), LateOrders(clock)
    for each in late, later:
        await each.take_over(desk.gate)
    assert await later.look(desk.gate, desk.exchange) == 0
    await place(desk, permit)
    assert await later.look(desk.gate, desk.exchange) == 0, "it has looked just now"
    assert await late.look(desk.gate, desk.exchange) == 1


async def test_after_ten_minutes_no_process_takes_an_absence_over(
    desk: Desk, redis_client: redis.Redis, clock: Clock
) -> None:
    permit = await absent(desk, redis_client)
    settled_so_long_ago(redis_client, permit.intent_id, 601_000)
    await place(desk, permit)
    late = LateOrders(clock)
    await late.take_over(desk.gate)
    clock.now_s += 600
    assert await late.look(desk.gate, desk.exchange) == 0


async def test_a_process_takes_each_absence_over_once(
    desk: Desk, redis_client: redis.Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that it has settled itself."""
    late, asked = LateOrders(clock), []
    find_order = desk.exchange.find_order

    async def noted(symbol: str, client_order_id: str, *, conditional: bool) -> object:
        asked.append(client_order_id)
        return await find_order(symbol, client_order_id, conditional=conditional)

    own, foreign = await absent(desk, redis_client), await absent(desk, redis_client)
    late.settled_as_absent(own)
    monkeypatch.setattr(desk.exchange, "find_order", noted)
    for _ in range(20):
        await late.take_over(desk.gate)
        await late.look(desk.gate, desk.exchange)
        clock.now_s += 600
    looks = len(LOOKS_AFTER_S) * 2  # for a plain order and for a conditional one
    assert Counter(asked) == {own.client_order_id: looks, foreign.client_order_id: looks}


async def test_an_order_that_another_process_has_found_is_told_of_once(
    desk: Desk, redis_client: redis.Redis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    permit = await absent(desk, redis_client)
    watches = [LateOrders(clock), LateOrders(clock)]
    for late in watches:
        await late.take_over(desk.gate)
    await place(desk, permit)
    clock.now_s += LOOKS_AFTER_S[0]
    assert [await late.look(desk.gate, desk.exchange) for late in watches] == [1, 0]
    assert len([line for line in caplog.messages if line.startswith("LATE ORDER ")]) == 1


async def test_a_damaged_audit_stops_no_reconciling_and_is_told_once(
    desk: Desk, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.set(at.AUDIT, "in the way")
    rounds = asyncio.create_task(keep_reconciling(desk.gate, desk.exchange, LateOrders(), every_s=0.01))
    try:
        for symbol, quantity in ("BTCUSDT", "0.01"), ("ETHUSDT", "0.1"), ("BTCUSDT", "0.01"):
            intent = await abandoned(desk, redis_client, sent=True, symbol=symbol, quantity=quantity)
            await until_placed(desk, intent.id)
    finally:
        rounds.cancel()
        await asyncio.wait([rounds])
    assert len([line for line in caplog.messages if line.startswith("absences that other processes")]) == 1


async def test_reconciling_once_looks_for_late_orders_too(
    desk: Desk, open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """`gate reconcile` does it."""
    permit, absent_still = await absent(desk, redis_client), await absent(desk, redis_client)
    await place(desk, permit)
    other = await open_desk(None)
    [found] = await reconcile_all(other.gate, other.exchange)
    record = await desk.gate.lookup(permit.intent_id)
    assert (found.intent_id, found.finding, found.done) == (permit.intent_id, Finding.PLACED, True)
    assert found.detail.endswith("late: it was settled as absent")
    assert record is not None
    assert record.phase is Phase.PLACED
    assert (await desk.gate.lookup(absent_still.intent_id)).phase is Phase.REJECTED  # type: ignore[union-attr]
    assert await reconcile_all(other.gate, other.exchange) == [], "once is enough"


async def test_an_order_that_is_older_than_an_absent_intent_is_not_its_own(
    desk: Desk, redis_client: redis.Redis
) -> None:
    permit = await absent(desk, redis_client)
    await place(desk, permit)
    key = f"quantum:exec:processed:{permit.intent_id}"
    fields = redis_client.get(key).decode().split(" ")  # type: ignore[union-attr]
    fields[4] = str(int(fields[4]) + ROOMY.max_age_ms + CLOCKS_APART_MS + 60_000)
    redis_client.set(key, " ".join(fields), keepttl=True)
    assert await reconcile_all(desk.gate, desk.exchange) == []
    [found] = await desk.gate.absences(60_000)
    assert found.permit is not None


async def test_a_damaged_audit_does_not_stop_reconciling_once(
    desk: Desk, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    redis_client.set(at.AUDIT, "in the way")
    [found] = await reconcile_all(desk.gate, desk.exchange)
    assert (found.intent_id, found.finding) == (intent.id, Finding.PLACED)
    assert "settled as absent lately can't be read" in caplog.text


async def test_reconciling_once_says_what_it_can_not_look_for(desk: Desk, redis_client: redis.Redis) -> None:
    permits = [await absent(desk, redis_client) for _ in range(2)]
    desk.paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v1/order", times=9, retry_after_s=120))
    [found] = await reconcile_all(desk.gate, desk.exchange)
    assert found.intent_id in {each.intent_id for each in permits}
    assert found.finding is Finding.UNREADABLE
    assert found.retry_after_ms
