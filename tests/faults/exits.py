"""Exits while the store can't judge them, with workers that die before they have recorded what they sent."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final

from gate import Intent
from gate.client.gates import AsyncGate
from gate.values.outcome import NOT_PLACED
from tests.faults.arena import Arena, some_trade
from tests.faults.desk import POLICY, Desk, MachineTooBusyError
from tests.servers.ports import free_port

GOING: Final = replace(POLICY, exits_without_store=True)
HARMS: Final = ("killed", "stands still", "cut off", "forbids")
_DELIVERED_AGAIN_S: Final = 1.0
"""What was given to a worker that died comes again after this, at the earliest."""


async def exits_without_store(arena: Arena) -> None:
    """The store goes; exits come, one worker after the other; some workers die; the store comes back."""
    how = arena.chance.choice(HARMS)
    watched: dict[Desk, list[Intent]] = {}
    died: dict[Desk, set[int]] = {desk: set() for desk in arena.desks}
    await arena.each(some_trade)
    _go(arena, how)

    async def meanwhile(desk: Desk) -> None:
        watched[desk] = [desk.new_intent(exits=True) for _ in range(desk.chance.randint(1, 2))]
        for intent in watched[desk]:
            first = desk.chance.randrange(3)
            # Twice to one process at once: it sends one.
            await asyncio.gather(*(desk.deliver(intent, first) for _ in range(desk.chance.randint(1, 2))))
            if desk.chance.random() < 0.5:
                await _die(desk, first)
                died[desk].add(first)
            for _ in range(desk.chance.randint(0, 2)):
                await desk.deliver(intent, desk.chance.choice([each for each in range(3) if each not in died[desk]]))
            if len(died[desk]) == 2:
                break

    await arena.each(meanwhile)
    _come_back(arena, how)
    await asyncio.sleep(_DELIVERED_AGAIN_S)
    back_s = time.monotonic()

    async def afterwards(desk: Desk) -> None:
        newcomer = await desk.hire(arena.line.url.replace("//", f"//{desk.name}:-@"), GOING)
        alive = [each for each in (0, 1, 2, newcomer) if each not in died[desk]]
        given = [(intent, worker) for intent in watched[desk] for worker in alive]
        desk.chance.shuffle(given)
        await asyncio.gather(*(desk.deliver(intent, worker) for intent, worker in given))
        await desk.until_quiet(newcomer)
        for intent, worker in given:
            await desk.deliver(intent, worker)
        await _all_recorded(arena, desk, desk.gate(newcomer), watched[desk])

    await arena.each(afterwards)
    if any(desk.unanswered_s > back_s for desk in arena.desks):
        # A store that gives no answer is away again. Then two processes at one moment aren't kept apart.
        raise MachineTooBusyError


def _go(arena: Arena, how: str) -> None:
    match how:
        case "killed":
            arena.store.stop()
        case "stands still":
            arena.store.pause()
        case "cut off":
            nobody = free_port()
            arena.line.switch(nobody)
            arena.other_line.switch(nobody)
        case "forbids":
            _allow(arena, "-evalsha")


def _come_back(arena: Arena, how: str) -> None:
    match how:
        case "killed":
            arena.store.start()
            _allow(arena, "+@all")
        case "stands still":
            arena.store.resume()
        case "cut off":
            arena.switch(arena.store)
        case "forbids":
            _allow(arena, "+@all")


def _allow(arena: Arena, what: str) -> None:
    with arena.store.client() as client:
        for desk in arena.desks:
            client.execute_command("ACL", "SETUSER", desk.name, "on", "nopass", "~*", "&*", what)


async def _die(desk: Desk, worker: int) -> None:
    """It records nothing any more."""
    exits = desk.workers[worker].executor._without_store
    if exits._recording is not None:
        exits._recording.cancel()
        await asyncio.wait([exits._recording])


async def _all_recorded(arena: Arena, desk: Desk, gate: AsyncGate, intents: list[Intent]) -> None:
    """Each exit's record tells of its order; or says that there is none, and there is none: on a busy machine a request
    may come to the exchange when its time is over."""
    for intent in intents:
        record = await gate.lookup(intent.id)
        if record is None or record.order_id is None:
            number = gate.client_order_id(intent.id)
            stand = sum(row["clientOrderId"] == number for row in arena.paper.ledger())
            if not stand and record is not None and record.code == NOT_PLACED:
                continue
            desk.raised.append(f"{intent.id}: isn't recorded as placed but as {record}; orders that stand: {stand}")
