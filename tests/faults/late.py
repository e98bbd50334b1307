"""The exchange accepts an order long after its request has failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import redis.asyncio

from gate import Phase, StoreFailure
from gate.executor.late_orders import LateOrders
from gate.executor.reconcile import keep_reconciling
from gate.paper import Fault, FaultKind
from tests.faults.arena import Arena, some_trade
from tests.faults.desk import Desk, MachineTooBusyError

ANSWERS: Final = (
    FaultKind.TIMEOUT_1007,
    FaultKind.UNKNOWN_503,
    FaultKind.HTML_502,
    FaultKind.EMPTY_200,
    FaultKind.ACCEPT_THEN_DROP,
    FaultKind.RESET,
)
"""After each of these, the order may exist."""
LATE_S: Final = (24, 590)
"""When the exchange accepts, at the earliest and at the latest, in seconds after the request."""
_STAGES_S: Final = (23, 60, 175, 400, 605)
"""How far the time of the exchange and of those who watch goes on, stage by stage."""
_PATIENCE_S: Final = 30
_EVERY_S: Final = 0.6


async def late_order(arena: Arena) -> None:
    """A request fails, and the exchange accepts its order 24 s to ten minutes later. Meanwhile the intent comes again
    and again, to all workers, which reconcile all the while. No real time goes on but that of the permit: the clocks of
    the exchange, and of the watch over what was declared absent, are moved.

    In half of the accounts every watch ends after a stage. New ones begin, which know what the store tells."""
    client = arena.client(arena.store)

    async def begin(desk: Desk) -> None:
        await some_trade(desk)
        arena.watched[desk] = [desk.new_intent() for _ in range(desk.chance.randint(1, 2))]
        for intent in arena.watched[desk]:
            client_order_id = desk.gate(0).client_order_id(intent.id)
            desk.late.add(client_order_id)
            arena.paper.inject(
                Fault(
                    kind=desk.chance.choice(ANSWERS),
                    client_order_id=client_order_id,
                    late_ms=desk.chance.randint(*(1000 * each for each in LATE_S)),
                )
            )
            await desk.deliver(intent, desk.chance.randrange(3))

    async def again(desk: Desk) -> None:
        intents = arena.watched[desk]
        await desk.deliver_to_all([*intents, desk.new_intent(), desk.new_intent(symbol=intents[0].symbol)])

    ends = {desk: desk.chance.choice(_STAGES_S) for desk in arena.desks if desk.chance.random() < 0.5}
    async with _reconciled(arena) as begin_anew:
        await arena.each(begin)
        await arena.each(again)
        await arena.each(_until_settled)
        await arena.each(_take_over)
        await arena.each(again)
        for ahead_s in _STAGES_S:
            # There and back at once, so that all other requests meet the clock that they know.
            arena.paper.move_clock(ahead_s * 1000)
            arena.paper.move_clock(-ahead_s * 1000)
            for desk in arena.desks:
                desk.ahead_s = ahead_s
            await asyncio.sleep(2 * _EVERY_S)  # the watch looks, mostly in vain
            for desk in arena.desks:
                if ends.get(desk) == ahead_s:
                    await begin_anew(desk)
            await arena.each(again)
        if arena.paper.late():
            raise MachineTooBusyError  # a request came so late that its order is due after the end
        for desk in arena.desks:
            # On a busy machine an absence is settled as late as this, and its last look is due ten minutes after.
            desk.ahead_s = sum(_STAGES_S[-2:])
        await arena.each(lambda desk: _until_recorded(desk, arena, client))
        await arena.each(again)


@asynccontextmanager
async def _reconciled(arena: Arena) -> AsyncIterator[Callable[[Desk], Awaitable[None]]]:
    """All workers reconcile and watch meanwhile, as the executor's block does, only more often. Yields what ends all
    that for an account, and begins it anew."""
    tasks: dict[Desk, list[asyncio.Task[None]]] = {}

    def begin(desk: Desk, watches: Iterable[LateOrders]) -> None:
        tasks[desk] = [
            asyncio.create_task(keep_reconciling(each.gate, each.exchange, late, every_s=_EVERY_S))
            for each, late in zip(desk.workers, watches, strict=True)
        ]

    async def end(desk: Desk) -> None:
        for task in tasks[desk]:
            task.cancel()
        await asyncio.wait(tasks[desk])

    async def begin_anew(desk: Desk) -> None:
        await end(desk)
        watches = [desk.new_watch() for _ in desk.workers]
        ahead_s, desk.ahead_s = desk.ahead_s, 0
        await _take_over(desk, watches)
        desk.ahead_s = ahead_s
        begin(desk, watches)

    for desk in arena.desks:
        begin(desk, [each.late for each in desk.workers])
    try:
        yield begin_anew
    finally:
        for desk in arena.desks:
            await end(desk)


async def _until_settled(desk: Desk) -> None:
    """Until nothing is in doubt: the workers settle the absence, and no one else."""
    for _ in range(round(_PATIENCE_S / _EVERY_S)):
        status = await desk.gate(0).status()
        if not status.in_doubt and not status.in_flight:
            return
        await asyncio.sleep(_EVERY_S)
    desk.amiss.append("an intent stays in doubt")


async def _take_over(desk: Desk, watches: Iterable[LateOrders] = ()) -> None:
    """Before the clock of the watches goes ahead: the store's clock, by which absences are dated, doesn't."""
    for each, late in zip(desk.workers, watches or [each.late for each in desk.workers], strict=True):
        await late.take_over(each.gate)


async def _until_recorded(desk: Desk, arena: Arena, client: redis.asyncio.Redis) -> None:
    """Until the record of each late order says placed. What never does is amiss, and so is one without an audit."""
    ledger = {str(row["clientOrderId"]): str(row["orderId"]) for row in arena.paper.ledger()}
    waiting = {intent.id: ledger.get(desk.gate(0).client_order_id(intent.id)) for intent in arena.watched[desk]}
    for _ in range(round(_PATIENCE_S / _EVERY_S)):
        waiting = {id: number for id, number in waiting.items() if number and not await _recorded(desk, id, number)}
        if not waiting:
            break
        await asyncio.sleep(_EVERY_S)
    for id, number in waiting.items():
        desk.amiss.append(f"{id}: its order {number} isn't recorded, but {await desk.gate(0).lookup(id)}")
    entries: Any = await client.xrange(f"{desk.name}:safety:audit")
    audited = [fields[b"reason"] for _, fields in entries if fields[b"what"] == b"late order"]
    told = {each.id for each in arena.watched[desk] if any(f" of {each.id},".encode() in said for said in audited)}
    # On a busy machine an order may come before its absence was settled, and is found as any other in doubt.
    absent = {fields[b"reason"].decode() for _, fields in entries if fields[b"what"] == b"settled as absent"}
    late = {each.id for each in arena.watched[desk] if desk.gate(0).client_order_id(each.id) in ledger} & absent
    late -= set(waiting)
    desk.amiss += [f"{id}: the audit doesn't tell of its late order" for id in late - told]


async def _recorded(desk: Desk, intent_id: str, order_id: str) -> bool:
    try:
        record = await desk.gate(0).lookup(intent_id)
    except StoreFailure:
        return False
    return record is not None and (record.phase, record.order_id) == (Phase.PLACED, order_id)
