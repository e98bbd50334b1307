"""The faults. Each takes a batch of accounts through what leads to it, the fault itself, and what comes after."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis.asyncio

from gate import Intent, Policy
from tests.faults.desk import POLICY, Desk
from tests.faults.switchboard import Switchboard
from tests.servers.process import ProcessStore

FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
COMMANDS: Final = (
    *("GET", "SET", "DEL", "EXISTS", "PTTL", "PEXPIRE", "HMGET", "HGET", "HSET", "HDEL", "ZADD", "ZREM", "ZCARD"),
    *("ZRANGEBYSCORE", "LPUSH", "LTRIM", "LINDEX", "LREM", "RPOP", "XADD", "TIME"),
)
"""What the scripts of a verdict and a settlement call."""


class FaultyStore(ProcessStore):
    """A server of either kind, which may keep its data and whose clock may step."""

    def __init__(self, arguments: Sequence[str] = (), *, on_redis: bool = False) -> None:
        self._redis = on_redis
        self._clock = Path(tempfile.mkdtemp(prefix="gate-clock-")) / "clock"
        self._clock.write_text("+0")
        super().__init__(arguments)

    @property
    def port(self) -> int:
        return self._port

    @property
    def directory(self) -> Path:
        return self._directory

    def step(self, seconds: float) -> None:
        """Sets the server's clock so far ahead of ours."""
        moved = self._clock.with_suffix(".new")
        moved.write_text(f"{seconds:+}")
        moved.replace(self._clock)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._clock.parent, ignore_errors=True)

    def _command(self) -> list[str]:
        command = super()._command()
        if self._redis:
            command[0] = shutil.which("redis-server") or "redis-server"
        if not FAKETIME.exists():
            return command
        fake = (
            f"LD_PRELOAD={FAKETIME}",
            f"FAKETIME_TIMESTAMP_FILE={self._clock}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        )
        return ["env", *fake, *command]


@dataclass
class Arena:
    """A batch of accounts on one store, and the means to harm it."""

    desks: list[Desk]
    store: FaultyStore
    line: Switchboard
    other_line: Switchboard
    chance: random.Random
    stack: AsyncExitStack
    on_redis: bool
    lost: dict[Desk, list[Intent]]

    async def each(self, act: Callable[[Desk], Awaitable[object]]) -> None:
        """Does the same at every desk, at once."""
        await asyncio.gather(*(act(desk) for desk in self.desks))

    def new_store(self, *arguments: str) -> FaultyStore:
        store = FaultyStore(arguments, on_redis=self.on_redis)
        self.stack.callback(store.close)
        return store

    def client(self, store: FaultyStore) -> redis.asyncio.Redis:
        client = redis.asyncio.Redis(port=store.port)
        self.stack.push_async_callback(client.aclose)
        return client


async def some_trade(desk: Desk) -> None:
    """What went before: everything is settled."""
    for _ in range(desk.chance.randint(0, 2)):
        await desk.deliver(desk.new_intent(), desk.chance.randrange(2))


async def what_will_be_lost(arena: Arena) -> None:
    """One or two orders at each desk, which the store is about to forget."""

    async def trade(desk: Desk) -> None:
        arena.lost[desk] = [desk.new_intent() for _ in range(desk.chance.randint(1, 2))]
        for intent in arena.lost[desk]:
            await desk.deliver(intent, 0)

    await arena.each(trade)


async def others_follow(desk: Desk) -> None:
    """Exits of others bring the fence back to its height, seen by workers that don't know of the loss."""
    for _ in range(desk.chance.randint(0, 3)):
        await desk.deliver(desk.new_intent(exits=True), 1)


async def come_again(arena: Arena) -> None:
    """The lost intents come again: at once, after the wait of a new memory, and once more."""

    async def at_once(desk: Desk) -> None:
        await others_follow(desk)
        await desk.deliver_to_all(arena.lost[desk])
        await desk.deliver(desk.new_intent(exits=False), 2)

    await arena.each(at_once)
    await asyncio.sleep(POLICY.memory_wait_ms / 1000 + 0.3)

    async def later(desk: Desk) -> None:
        await desk.deliver_to_all([*arena.lost[desk], desk.new_intent()])
        await desk.until_quiet()
        await desk.deliver_to_all(arena.lost[desk])

    await arena.each(later)


async def stale_replica(arena: Arena) -> None:
    """A replica that lacks the last admissions is promoted. The primary is gone."""
    replica = arena.new_store("--replicaof", f"127.0.0.1 {arena.store.port}")
    follower = arena.client(replica)
    await arena.each(some_trade)
    await arena.client(arena.store).execute_command("WAIT", 1, 5_000)
    await follower.execute_command("REPLICAOF", "NO", "ONE")
    await what_will_be_lost(arena)
    arena.store.stop()
    for line in (arena.line, arena.other_line):
        line.switch(replica.port)
    await come_again(arena)


async def split_brain(arena: Arena) -> None:
    """Some workers still speak to the old primary, for less long than a new memory makes entries wait."""
    replica = arena.new_store("--replicaof", f"127.0.0.1 {arena.store.port}")
    follower = arena.client(replica)
    await arena.each(some_trade)
    await arena.client(arena.store).execute_command("WAIT", 1, 5_000)
    await follower.execute_command("REPLICAOF", "NO", "ONE")
    await what_will_be_lost(arena)
    arena.line.switch(replica.port)  # workers 0 and 2; worker 1 stays with the old primary

    async def both(desk: Desk) -> None:
        entries = [desk.new_intent(exits=False) for _ in range(2)]
        await desk.deliver_to_all([*entries, *(each for each in arena.lost[desk] if not each.is_exit)])

    await arena.each(both)
    arena.other_line.switch(replica.port)
    arena.store.stop()
    await come_again(arena)


async def flushed(arena: Arena) -> None:
    """FLUSHALL."""
    await arena.each(some_trade)
    await what_will_be_lost(arena)
    await arena.client(arena.store).flushall()
    await come_again(arena)


async def log_cut_short(arena: Arena) -> None:
    """The append-only file lacks its end, and the server restarts from it."""
    client = arena.client(arena.store)
    await client.config_set("appendonly", "yes")
    await client.config_set("appendfsync", "always")
    await arena.each(some_trade)
    await _until(lambda: bool(_log_of(arena.store)))
    kept = _log_of(arena.store)[-1].stat().st_size
    await what_will_be_lost(arena)
    arena.store.stop()
    log = _log_of(arena.store)[-1]
    cut = arena.chance.randint(kept, max(kept, log.stat().st_size - 1))
    with log.open("r+b") as file:
        file.truncate(cut)
    arena.store._arguments = (*arena.store._arguments, "--appendonly", "yes", "--aof-load-truncated", "yes")
    await _restarted(arena)
    await come_again(arena)


async def old_snapshot(arena: Arena) -> None:
    """The server restarts from a snapshot that was taken before the last admissions."""
    await arena.each(some_trade)
    await arena.client(arena.store).execute_command("SAVE")
    await what_will_be_lost(arena)
    arena.store.stop()
    await _restarted(arena)
    await come_again(arena)


async def _restarted(arena: Arena) -> None:
    await asyncio.to_thread(arena.store.start)
    for line in (arena.line, arena.other_line):
        line.switch(arena.store.port)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  # a server's file
            await asyncio.sleep(0.02)


def _log_of(store: FaultyStore) -> list[Path]:
    return sorted(store.directory.glob("appendonlydir/*.incr.aof"))


async def worker_stands_still(arena: Arena) -> None:
    """A worker stops on its way to an order, for longer than its permit lives. Others reconcile and try again."""
    go_on = asyncio.Event()

    async def stall(desk: Desk) -> None:
        intent = desk.new_intent()
        arena.lost[desk] = [intent]
        stalled = asyncio.create_task(_stalled(desk, intent, go_on))
        await asyncio.sleep(0.1)
        await desk.deliver(intent, 1)
        await asyncio.sleep((POLICY.lock_ttl_ms + 1_800) / 1000)
        await desk.until_quiet(1)
        await desk.deliver_to_all([intent])
        go_on.set()
        await stalled
        await desk.until_quiet(1)
        await desk.deliver(intent, 1)

    await arena.each(stall)


class _Held:
    """A request that waits before it goes out."""

    def __init__(self, send: Callable[[], Any], wait: Callable[[], Awaitable[None]]) -> None:
        self._send, self._wait = send, wait
        self._answer: Any = None

    async def __aenter__(self) -> Any:
        await self._wait()
        self._answer = self._send()
        return await self._answer.__aenter__()

    async def __aexit__(self, *raised: Any) -> Any:
        return await self._answer.__aexit__(*raised)


async def _stalled(desk: Desk, intent: Intent, go_on: asyncio.Event) -> None:
    """Delivers to worker 2, which stops at a point of the way."""
    executor = desk.workers[2]
    point = desk.chance.choice(("account", "last_look before", "last_look after", "send", "socket"))
    exchange, gate = desk.exchange, executor._gate
    stalls = [True]

    async def wait() -> None:
        if stalls:
            stalls.clear()
            await go_on.wait()

    if point == "socket":
        # The latest point: python-binance has signed the request, and hands it to the transport.
        session: Any = exchange._client.session
        post = session.post
        session.post = lambda *args, **kwargs: _Held(lambda: post(*args, **kwargs), wait)
        try:
            await desk.deliver(intent, 2)
        finally:
            del session.post
        return

    owner: Any = gate if point.startswith("last_look") else exchange
    name = {"account": "filters", "send": "place"}.get(point, "last_look")
    method = getattr(owner, name)

    async def slow(*args: Any, **kwargs: Any) -> Any:
        if point == "last_look after":
            answer = await method(*args, **kwargs)
            await wait()
            return answer
        await wait()
        return await method(*args, **kwargs)

    setattr(owner, name, slow)
    try:
        await desk.deliver(intent, 2)
    finally:
        delattr(owner, name)


async def clock_steps(arena: Arena) -> None:
    """The store's clock steps ahead, and later back, while workers are on their way."""
    steps = arena.chance.sample((3, 10, 60, -3, -30), 3)

    async def trade(desk: Desk) -> None:
        for _ in range(6):
            intent = desk.new_intent()
            arena.lost.setdefault(desk, []).append(intent)
            await desk.deliver(intent, desk.chance.randrange(3))
            await desk.deliver(desk.chance.choice(arena.lost[desk]), desk.chance.randrange(3))
            await asyncio.sleep(desk.chance.random() * 0.3)

    async def step() -> None:
        for seconds in steps:
            await asyncio.sleep(0.4)
            arena.store.step(seconds)

    await asyncio.gather(arena.each(trade), step())
    await arena.each(lambda desk: desk.until_quiet())
    await arena.each(lambda desk: desk.deliver_to_all(arena.lost[desk]))
    arena.store.step(0)


async def two_policies(arena: Arena) -> None:
    """Callers with two policies on one account; a person changes the one in force now and then."""

    async def trade(desk: Desk) -> None:
        for _ in range(14):
            intent = desk.new_intent()
            await desk.deliver(intent, desk.chance.randrange(3))
            if desk.chance.random() < 0.3:
                await desk.deliver(desk.chance.choice(desk.intents), desk.chance.randrange(3))
            if desk.chance.random() < 0.2:
                await desk.gate(desk.chance.randrange(3)).apply_policy(by="tests", reason="a change")
            await asyncio.sleep(desk.chance.random() * 0.4)
        await desk.until_quiet()

    await arena.each(trade)


async def right_missing(arena: Arena) -> None:
    """The workers' user lacks one command for a while, from the start or while they are connected."""
    client = arena.client(arena.store)
    command = arena.chance.choice(COMMANDS)
    await arena.each(some_trade)
    await client.execute_command("ACL", "SETUSER", "default", f"-{command.lower()}")
    if arena.chance.random() < 0.5:
        for line in (arena.line, arena.other_line):
            line.switch(arena.store.port)  # they connect anew, and ask for their rights
    await what_will_be_lost(arena)
    await arena.each(lambda desk: desk.deliver_to_all(arena.lost[desk]))
    # By a connection that was made before: the default user can't give itself anything it lacks.
    await client.execute_command("ACL", "SETUSER", "default", "+@all")
    await asyncio.sleep((POLICY.lock_ttl_ms + 1_800) / 1000)
    await arena.each(lambda desk: desk.until_quiet())
    await arena.each(lambda desk: desk.deliver_to_all([*arena.lost[desk], desk.new_intent()]))


async def keys_evicted(arena: Arena) -> None:
    """The store may evict keys, and does: records, mostly."""
    client = arena.client(arena.store)
    await client.config_set("maxmemory", "200mb")
    await client.config_set("maxmemory-policy", "allkeys-lru")
    for line in (arena.line, arena.other_line):
        line.switch(arena.store.port)
    await arena.each(some_trade)
    await what_will_be_lost(arena)
    for desk in arena.desks:
        for intent in arena.lost[desk]:
            if desk.chance.random() < 0.8:
                await client.delete(f"{desk.name}:exec:processed:{intent.id}")
        if desk.chance.random() < 0.3:
            await client.delete(f"{desk.name}:exec:rate:global")
        if desk.chance.random() < 0.2:
            await client.delete(f"{desk.name}:exec:state")
    await come_again(arena)


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    group: str
    act: Callable[[Arena], Awaitable[None]]
    policies: tuple[Policy, ...] = (POLICY, POLICY, POLICY)
    judges_windows: bool = True
    needs_faketime: bool = False


_OTHER: Final = Policy(
    lock_ttl_ms=2_500,
    rate_symbol_limit=1,
    rate_symbol_window_ms=2_000,
    rate_global_limit=4,
    rate_global_window_ms=3_000,
    cooldown_symbol_ms=200,
    cooldown_global_ms=200,
    unknown_cooldown_ms=200,
    failure_limit=100,
)

KINDS: Final = {
    "stale replica": Kind("memory", stale_replica),
    "split brain": Kind("memory", split_brain),
    "flush": Kind("memory", flushed),
    "log cut short": Kind("memory", log_cut_short),
    "old snapshot": Kind("memory", old_snapshot),
    "worker stands still": Kind("clocks", worker_stands_still),
    # A step ahead ends windows early; docs/design.md says so. Orders and deadlines are judged.
    "store's clock steps": Kind("clocks", clock_steps, judges_windows=False, needs_faketime=True),
    "two policies": Kind("policies", two_policies, (POLICY, _OTHER, POLICY)),
    "right missing": Kind("acl", right_missing),
    "keys evicted": Kind("evict", keys_evicted, judges_windows=False),
}


def version_of(store: FaultyStore) -> str:
    """The server's name and version."""
    with store.client() as client:
        about: Any = client.info("server")
    return f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {about['redis_version']}"
