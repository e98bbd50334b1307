"""The store loses its last admissions."""

from __future__ import annotations

import asyncio
import time

from tests.faults.arena import Arena, come_again, some_trade, what_will_be_lost
from tests.faults.desk import POLICY, Desk, MachineTooBusyError
from tests.faults.store import FaultyStore


async def _replica_that_lags(arena: Arena) -> FaultyStore:
    """A replica that lacks the last admissions, and has been promoted by hand."""
    primary = arena.client(arena.store)
    await primary.config_set("repl-diskless-sync-delay", 0)
    replica = arena.new_store("--replicaof", f"127.0.0.1 {arena.store.port}")
    follower = arena.client(replica)
    async with asyncio.timeout(20):
        while (await follower.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110  # the server's
            await asyncio.sleep(0.02)
    await arena.each(some_trade)
    await primary.set("other:last", "1")  # WAIT is for what its own connection has written
    await primary.execute_command("WAIT", 1, 20_000)
    await follower.execute_command("REPLICAOF", "NO", "ONE")
    # A replica that was promoted before it had this would be empty, which is another fault.
    assert await follower.get("other:last") == b"1"
    await what_will_be_lost(arena)
    return replica


async def stale_replica(arena: Arena) -> None:
    """A replica that lacks the last admissions is promoted. The primary is gone."""
    replica = await _replica_that_lags(arena)
    arena.store.stop()
    arena.switch(replica)
    await come_again(arena)


async def split_brain(arena: Arena) -> None:
    """Worker 1 still speaks to the old primary, for less long than a new memory makes entries wait."""
    replica = await _replica_that_lags(arena)
    arena.line.switch(replica.port)
    began = time.monotonic()
    lasts_s = arena.chance.uniform(0, 3)

    async def both(desk: Desk) -> None:
        entries = [desk.new_intent(exits=False) for _ in range(2)]
        again = [each for each in arena.watched[desk] if not each.is_exit]
        await desk.deliver_to_all([*entries, *again])
        # An exit that both sides get at once may be sent by both. One that has been sent isn't sent again.
        leaves = desk.new_intent(exits=True)
        await desk.deliver(leaves, 1)
        await asyncio.sleep(desk.chance.uniform(0, lasts_s))
        await desk.deliver(leaves, desk.chance.choice((0, 2)))
        await desk.deliver_to_all(again)
        arena.watched[desk] += [*entries, leaves]

    await arena.each(both)
    arena.other_line.switch(replica.port)
    arena.store.stop()
    if time.monotonic() - began > (POLICY.memory_wait_ms - POLICY.rate_global_window_ms) / 1000:
        raise MachineTooBusyError
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
    async with asyncio.timeout(20):
        while (await client.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110  # the server's
            await asyncio.sleep(0.02)
    await arena.each(some_trade)
    log = arena.store.log
    assert log is not None
    kept = log.stat().st_size
    await what_will_be_lost(arena)
    arena.store.stop()
    with log.open("r+b") as file:
        file.truncate(arena.chance.randint(kept, max(kept, log.stat().st_size - 1)))
    await asyncio.to_thread(arena.store.start_with, "--appendonly", "yes", "--aof-load-truncated", "yes")
    arena.switch(arena.store)
    await come_again(arena)


async def old_snapshot(arena: Arena) -> None:
    """The server restarts from a snapshot that was taken before the last admissions."""
    await arena.each(some_trade)
    await arena.client(arena.store).execute_command("SAVE")
    await what_will_be_lost(arena)
    arena.store.stop()
    await asyncio.to_thread(arena.store.start)
    arena.switch(arena.store)
    await come_again(arena)


async def restored_by_hand(arena: Arena) -> None:
    """A person puts an account's keys back to what they were before. The server runs on, so only the fence tells."""
    client = arena.client(arena.store)

    async def restore(desk: Desk) -> None:
        keys = [key async for key in client.scan_iter(f"{desk.name}:*", count=1_000)]
        await client.delete(*keys)
        for key, ttl_ms, value in before[desk]:
            await client.restore(key, max(ttl_ms, 0), value)

    async def dump(desk: Desk) -> list[tuple[bytes, int, bytes]]:
        keys = [key async for key in client.scan_iter(f"{desk.name}:*", count=1_000)]
        held = [(key, await client.pttl(key), await client.dump(key)) for key in keys]
        return [(key, ttl_ms, value) for key, ttl_ms, value in held if value is not None]

    await arena.each(some_trade)
    before = {desk: await dump(desk) for desk in arena.desks}
    await what_will_be_lost(arena)
    await arena.each(restore)
    await come_again(arena, hidden=False)
