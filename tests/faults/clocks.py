"""Workers stand still while time goes on, and the store's clock steps."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import asdict

from gate import Intent
from gate.protocol.keyspace import Keyspace
from tests.faults.arena import Arena, come_again, some_trade, what_will_be_lost
from tests.faults.desk import POLICY, Admitted, Desk, MachineTooBusyError
from tests.faults.hand import Came, Hand, Job
from tests.faults.stalls import stand

_OUT_S = POLICY.lock_ttl_ms / 1000 + 1.8
"""After that, no order of a permit can come, and reconciling may settle its absence."""
_ON_ITS_WAY_MS = {False: 60, True: 6}
"""How long a delivery takes from its verdict to its order, by whether it goes by the streams."""


async def worker_stands_still(arena: Arena) -> None:
    """A worker stops at a point of the way to an order, for up to twice its permit's life. Others reconcile and try
    again. In every second batch the store forgets everything meanwhile."""
    forgets = arena.chance.random() < 0.5
    stand_s = POLICY.memory_wait_ms / 1000 + 2 if forgets else 2 * POLICY.lock_ttl_ms / 1000
    standing = {desk: asyncio.Event() for desk in arena.desks}
    go_on = {desk: arena.new_go_on() for desk in arena.desks}
    deliveries = {}

    async def begin(desk: Desk) -> None:
        intent = desk.new_intent()
        arena.watched[desk] = [intent]
        deliveries[desk] = asyncio.create_task(stand(desk, intent, standing[desk], go_on[desk]))
        await standing[desk].wait()

    async def meanwhile(desk: Desk) -> None:
        longest_s = desk.chance.choice((1.5, POLICY.lock_ttl_ms / 1000, stand_s))
        asyncio.get_running_loop().call_later(desk.chance.uniform(0, longest_s), go_on[desk].set)
        await _others_try(desk, arena.watched[desk], stand_s if forgets else _OUT_S)
        await deliveries[desk]
        await desk.until_quiet(1)
        await desk.deliver_to_all(arena.watched[desk])

    await arena.each(begin)
    if forgets:
        await arena.client(arena.store).flushall()
    await arena.each(meanwhile)


async def _others_try(desk: Desk, intents: list[Intent], for_s: float) -> None:
    """Workers 0 and 1 reconcile and get the intents again, and at times another one of the same symbol and side."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        for intent in intents:
            await desk.deliver(intent, desk.chance.randrange(2))
            if not intent.is_exit and desk.chance.random() < 0.3:
                await desk.deliver(desk.new_intent(exits=False, symbol=intent.symbol), desk.chance.randrange(2))
        await desk.reconcile(desk.chance.randrange(2))
        await asyncio.sleep(desk.chance.uniform(0.2, 0.8))


def hand_over(arena: Arena, *, exits: bool | None = None, stop_at: str | None = None) -> list[Job]:
    """One new intent of each desk, for workers in a process of their own. One of them stops the process: at the point
    `stop_at`, by default anywhere after its verdict."""
    stop_nth = arena.chance.randint(1, len(arena.desks))
    longest_ms = 0 if stop_at else _ON_ITS_WAY_MS[arena.desks[0].streams]
    stop_after_ms = arena.chance.randint(0, longest_ms)
    jobs = []
    for desk in arena.desks:
        intent = desk.new_intent(exits=exits)
        arena.watched[desk] = [intent]
        asked: dict[str, str | int | bool] = {
            "id": intent.id,
            "symbol": intent.symbol,
            "side": intent.side,
            "timestamp": intent.timestamp_ms,
            **({"quantity": "0.001", "reduce_only": True} if intent.is_exit else {"notional": "150"}),
        }
        policy = {name: value for name, value in asdict(POLICY).items() if name != "margin_buffer"}
        account, url = desk.account, arena.line.url
        after_ms = arena.chance.randrange(300)
        jobs.append(
            Job(
                *(url, desk.name, desk.exchange_url, account.key, account.secret),
                *(desk.recv_window_ms, policy, asked, after_ms),
                stop_at=stop_at or "evaluate after",
                stop_nth=stop_nth,
                stop_after_ms=stop_after_ms,
                streams=desk.streams,
            )
        )
        desk.deliveries += 1
    return jobs


def heard(arena: Arena, came: list[Came]) -> None:
    """What that process says of them."""
    for desk, each in zip(arena.desks, came, strict=True):
        if each.raised:
            desk.raised.append(f"{arena.watched[desk][0].id}: raised {each.raised}")
        if each.permit:
            holder = Admitted(arena.watched[desk][0], each.permit, POLICY, each.until_ms, each.told, each.given_back)
            desk.admitted.append(holder)


async def stopped_under_way(arena: Arena, hand: Hand) -> None:
    """Waits until the process has stopped itself. MachineTooBusyError: none of its deliveries has a permit then."""
    if not await hand.stopped():
        raise MachineTooBusyError
    await some_are_out(arena)


async def some_are_out(arena: Arena) -> None:
    """Raises MachineTooBusyError where no permit is out: what happens before any verdict proves nothing."""
    client, keys = arena.client(arena.store), [Keyspace(desk.name) for desk in arena.desks]
    if not sum([await client.zcard(key) for each in keys for key in (each.inflight, each.exits)]):
        raise MachineTooBusyError


async def process_stopped(arena: Arena) -> None:
    """SIGSTOP, when so many of its deliveries, drawn, have a verdict, or a little later; and SIGCONT up to twice a
    permit's life after that."""
    forgets = arena.chance.random() < 0.3
    stand_s = arena.chance.uniform(0.3, POLICY.memory_wait_ms / 1000 + 2 if forgets else 2 * POLICY.lock_ttl_ms / 1000)
    jobs = hand_over(arena)
    async with Hand() as hand:
        await hand.begin(jobs)
        await stopped_under_way(arena, hand)
        asyncio.get_running_loop().call_later(stand_s, hand.send_signal, signal.SIGCONT)
        if forgets:
            await arena.client(arena.store).flushall()
        tried_s = POLICY.memory_wait_ms / 1000 + 1 if forgets else _OUT_S
        await arena.each(lambda desk: _others_try(desk, arena.watched[desk], tried_s))
        heard(arena, await hand.end())

    async def after(desk: Desk) -> None:
        await desk.until_quiet(1)
        await desk.deliver_to_all(arena.watched[desk])

    await arena.each(after)


async def clock_steps(arena: Arena) -> None:
    """The store's clock steps ahead and back, by up to twelve minutes, while workers are on their way."""
    await _steps(arena, [arena.chance.choice((3, 10, 10, 60, 60, 700, -3, -30)) for _ in range(3)])


async def clock_passes_records(arena: Arena) -> None:
    """The store's clock steps ahead by so much that records lapse, or all but, and back again. At some desks an intent
    comes meanwhile: of now, or of a strategy whose clock is ahead too."""
    await arena.each(some_trade)
    await what_will_be_lost(arena)
    remembers_s, fresh_s = POLICY.dedup_ttl_ms / 1000, POLICY.max_age_ms / 1000
    around_s = (remembers_s - fresh_s) / 2, remembers_s - fresh_s, remembers_s, remembers_s + fresh_s, 86_400
    ahead_s = round(arena.chance.choice(around_s) + arena.chance.choice((-30, 30, 400)))

    async def meanwhile(desk: Desk) -> None:
        draw = desk.chance.random()
        if draw < 0.3:
            await desk.deliver(desk.chance.choice(arena.watched[desk]), desk.chance.randrange(2))
        elif draw < 0.6:
            ahead = desk.new_intent(ahead_ms=ahead_s * 1000)
            arena.watched[desk].append(ahead)
            await desk.deliver(ahead, desk.chance.randrange(2))

    arena.store.step(ahead_s)
    await asyncio.sleep(0.2)  # the server, too, throws away what has lapsed
    if arena.chance.random() < 0.7:
        await arena.each(meanwhile)
    arena.store.step(0)
    await come_again(arena)


async def _steps(arena: Arena, steps: list[float]) -> None:
    for seconds in steps:
        stepped = asyncio.Event()

        async def trade(desk: Desk, stepped: asyncio.Event = stepped) -> None:
            before, slow = desk.new_intent(), desk.new_intent()
            arena.watched[desk] += [before, slow]
            await desk.deliver(before, desk.chance.randrange(2))
            standing, go_on = asyncio.Event(), arena.new_go_on()
            delivery = asyncio.create_task(stand(desk, slow, standing, go_on))
            await stepped.wait()
            asyncio.get_running_loop().call_later(desk.chance.uniform(0, 2), go_on.set)
            await _others_try(desk, [slow, desk.chance.choice(arena.watched[desk])], 1.5)
            await delivery

        async def step(to: float = seconds, stepped: asyncio.Event = stepped) -> None:
            await asyncio.sleep(0.3)
            arena.store.step(to)
            if arena.chance.random() < 0.5:
                await asyncio.sleep(0.2)  # the server, too, throws away what has lapsed
                arena.store.step(0)
            stepped.set()

        await asyncio.gather(arena.each(trade), step())
    arena.store.step(0)

    async def after(desk: Desk) -> None:
        await desk.reconcile()
        await desk.deliver_to_all(arena.watched[desk])

    await arena.each(after)
