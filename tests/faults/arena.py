"""A batch of accounts that go through one fault together, on one store."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import redis.asyncio

from gate import Intent
from gate.paper import PaperExchange
from tests.faults.desk import POLICY, Desk
from tests.faults.stalls import stand
from tests.faults.store import FaultyStore
from tests.faults.switchboard import Switchboard


@dataclass
class Arena:
    """The accounts, the store, and the means to harm it."""

    desks: list[Desk]
    paper: PaperExchange
    store: FaultyStore
    line: Switchboard
    """Workers 0 and 2 come by it."""
    other_line: Switchboard
    """Worker 1 comes by it."""
    chance: random.Random
    stack: AsyncExitStack
    on_redis: bool
    watched: dict[Desk, list[Intent]] = field(default_factory=lambda: defaultdict(list))
    """The intents that come again after the fault."""

    on_their_way: dict[Desk, tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=dict)
    """Deliveries that stand still while the fault happens, and what lets them go on."""

    _signs: list[asyncio.Event] = field(default_factory=list)
    _over: bool = False

    async def each(self, act: Callable[[Desk], Awaitable[object]]) -> None:
        """Does the same at every desk, at once."""
        await asyncio.gather(*(act(desk) for desk in self.desks))

    def new_go_on(self) -> asyncio.Event:
        """What lets a delivery of this batch that stands still go on. It is set at the batch's end at the latest."""
        go_on = asyncio.Event()
        if self._over:
            go_on.set()
        self._signs.append(go_on)
        return go_on

    def let_all_go_on(self) -> None:
        """Nothing stands still from now on. What stands still doesn't hear that it is cancelled, so without this a
        batch that breaks off would never end."""
        self._over = True
        for go_on in self._signs:
            go_on.set()

    def new_store(self, *arguments: str) -> FaultyStore:
        store = FaultyStore(arguments, on_redis=self.on_redis)
        self.stack.callback(store.close)
        return store

    def client(self, store: FaultyStore) -> redis.asyncio.Redis:
        client = redis.asyncio.Redis(port=store.port)
        self.stack.push_async_callback(client.aclose)
        return client

    def switch(self, store: FaultyStore) -> None:
        """All workers come to that store from now on, by new connections."""
        for line in (self.line, self.other_line):
            line.switch(store.port)


async def some_trade(desk: Desk) -> None:
    """What went before: everything is settled."""
    for _ in range(desk.chance.randint(0, 2)):
        await desk.deliver(desk.new_intent(), desk.chance.randrange(2))


async def what_will_be_lost(arena: Arena) -> None:
    """One or two orders at each desk, which the store is about to forget. At some a third is on its way."""

    async def trade(desk: Desk) -> None:
        arena.watched[desk] = [desk.new_intent() for _ in range(desk.chance.randint(1, 2))]
        for intent in arena.watched[desk]:
            await desk.deliver(intent, 0)
        if desk.chance.random() < 0.4:
            third, standing, go_on = desk.new_intent(), asyncio.Event(), arena.new_go_on()
            arena.watched[desk].append(third)
            delivery = asyncio.create_task(stand(desk, third, standing, go_on))
            arena.on_their_way[desk] = delivery, go_on
            await standing.wait()

    await arena.each(trade)


async def others_follow(desk: Desk) -> None:
    """Exits of others bring the fence back to its height, through a worker that may not have seen it."""
    for _ in range(desk.chance.randint(0, 3)):
        await desk.deliver(desk.new_intent(exits=True), 1)


async def come_again(arena: Arena, *, hidden: bool = True) -> None:
    """The watched intents come again: at once, after the wait of a new memory, and once more; to workers that had seen
    their fences, and to one that has seen nothing. With `hidden`, the intents of others may come first."""

    async def at_once(desk: Desk) -> None:
        delivery, go_on = arena.on_their_way.get(desk, (None, None))
        if go_on is not None:
            asyncio.get_running_loop().call_later(desk.chance.uniform(0, 4), go_on.set)
        if hidden:
            await others_follow(desk)
        if not hidden:
            await desk.deliver(arena.watched[desk][-1], 0)
        await desk.hire(arena.line.url)
        await desk.deliver_to_all(arena.watched[desk])
        await desk.deliver(desk.new_intent(exits=False), 1)
        if delivery is not None:
            await delivery

    await arena.each(at_once)
    await asyncio.sleep(POLICY.memory_wait_ms / 1000 + 0.3)

    async def later(desk: Desk) -> None:
        await desk.deliver_to_all([*arena.watched[desk], desk.new_intent()])
        await desk.until_quiet()
        await desk.deliver_to_all(arena.watched[desk])

    await arena.each(later)
