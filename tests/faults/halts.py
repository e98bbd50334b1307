"""A person halts while workers stand still anywhere on their way to an order."""

from __future__ import annotations

import asyncio
import random
import signal

from gate.values.errors import StoreFailure
from tests.faults.arena import Arena
from tests.faults.clocks import hand_over, heard, some_are_out, stopped_under_way
from tests.faults.desk import POLICY, Desk
from tests.faults.hand import Hand
from tests.faults.stalls import BY_STREAMS, POINTS, stand

_LONGEST_S = 2 * POLICY.lock_ttl_ms / 1000
_AFTER_THE_LOOK = ("last_look after", "place", "socket")
"""Only there can an order follow a halt, and only if the stop is shorter than the request's recvWindow, up to 3 s. So
these come more often, and most stops are that short."""
_POINTS = (*POINTS, *_AFTER_THE_LOOK, *_AFTER_THE_LOOK)


def _points(desk: Desk) -> tuple[str, ...]:
    return BY_STREAMS if desk.streams else _POINTS


def _stands_s(chance: random.Random) -> float:
    short_s = chance.uniform(0, 3)
    return chance.choice((short_s, short_s, short_s, POLICY.lock_ttl_ms / 1000 + 0.1, chance.uniform(0, _LONGEST_S)))


async def _halts(desk: Desk) -> None:
    """Halts by worker 1, at times by two at once. Others trade on, and are denied."""
    try:
        await asyncio.gather(desk.halt(1), *([desk.halt(0)] if desk.chance.random() < 0.2 else []))
    except StoreFailure:
        desk.unconfirmed = True  # which the operator is told
        return
    if desk.clear_ms is None:
        desk.raised.append(f"{desk.name}: the halt was not confirmed")
        return
    for _ in range(desk.chance.randint(1, 3)):
        await desk.deliver(desk.new_intent(exits=False), desk.chance.randrange(2))


async def worker_stands_still(arena: Arena) -> None:
    """A worker stops at any point of the way to an entry, then comes the halt. The worker goes on before the halt is
    confirmed, right then, or after it. In every fourth batch the store is flushed in between: it knows of no permit
    then, and of no halt that was before."""
    forgets = arena.chance.random() < 0.25
    deliveries, goes_on = {}, {}

    async def begin(desk: Desk) -> None:
        entry, standing = desk.new_intent(exits=False), asyncio.Event()
        arena.watched[desk], goes_on[desk] = [entry], arena.new_go_on()
        points = _points(desk)
        point = points[arena.desks.index(desk) % len(points)]
        deliveries[desk] = asyncio.create_task(stand(desk, entry, standing, goes_on[desk], point))
        for _ in range(desk.chance.randint(0, 2)):
            await desk.deliver(desk.new_intent(), 0)
        await standing.wait()

    async def halted(desk: Desk) -> None:
        asyncio.get_running_loop().call_later(_stands_s(desk.chance), goes_on[desk].set)
        await _halts(desk)
        await deliveries[desk]
        await desk.deliver_to_all(arena.watched[desk])

    await arena.each(begin)
    await some_are_out(arena)
    if forgets:
        await arena.client(arena.store).flushall()
    await arena.each(halted)


async def process_stopped_at_a_point(arena: Arena) -> None:
    """SIGSTOP in the very moment when one of twenty deliveries comes to a point of the way to its order. The halt, and
    SIGCONT before it is confirmed, just after the last deadline, or later."""
    jobs = hand_over(arena, exits=False, stop_at=arena.chance.choice(_points(arena.desks[0])))
    stand_s = _stands_s(arena.chance)
    async with Hand() as hand:
        await hand.begin(jobs)
        await stopped_under_way(arena, hand)
        asyncio.get_running_loop().call_later(stand_s, hand.send_signal, signal.SIGCONT)
        await arena.each(_halts)
        heard(arena, await hand.end())
    await arena.each(lambda desk: desk.deliver_to_all(arena.watched[desk]))


async def process_stopped(arena: Arena) -> None:
    """SIGSTOP when so many of twenty deliveries, drawn, have a verdict, or a little later; the halt; and SIGCONT before
    or after it is confirmed."""
    jobs = hand_over(arena, exits=False)
    stand_s = _stands_s(arena.chance)
    async with Hand() as hand:
        await hand.begin(jobs)
        await stopped_under_way(arena, hand)
        asyncio.get_running_loop().call_later(stand_s, hand.send_signal, signal.SIGCONT)
        await arena.each(_halts)
        heard(arena, await hand.end())

    async def after(desk: Desk) -> None:
        await desk.deliver_to_all(arena.watched[desk])
        await desk.until_quiet(1)

    await arena.each(after)
