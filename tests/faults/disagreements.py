"""Callers with two policies, a user who lacks a right, and a store that throws keys away."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from gate import StoreFailure
from tests.faults.arena import Arena, come_again, some_trade, what_will_be_lost
from tests.faults.desk import POLICY, Desk
from tests.faults.store import evicted

_LUA: Final = Path(__file__).resolve().parents[2] / "lua"
COMMANDS: Final = sorted(
    {
        command
        for file in _LUA.rglob("*.lua")
        for command in re.findall(r"(?:call|attempt|read)\('([A-Z]+)'", file.read_text())
    }
    | {"EVALSHA", "EVALSHA_RO", "SCRIPT|LOAD", "INFO"}
)
"""What the scripts call, and how they are called."""

TIGHTER: Final = replace(POLICY, rate_symbol_limit=1, rate_symbol_window_ms=2_000, rate_global_limit=4)
SHORTER: Final = replace(
    POLICY, rate_symbol_window_ms=1_000, rate_global_window_ms=1_500, max_age_ms=1_500, dedup_ttl_ms=6_000
)
"""Exits of a caller with it would forget records and windows early, if its figures counted."""
LONGER: Final = replace(POLICY, rate_symbol_window_ms=7_000, rate_global_window_ms=8_000)


async def two_policies(arena: Arena) -> None:
    """Callers with two or three policies on one account. A person changes the one in force now and then."""

    async def trade(desk: Desk) -> None:
        for _ in range(24):
            await desk.deliver(desk.new_intent(), desk.chance.randrange(3))
            if desk.chance.random() < 0.4:
                await desk.deliver(desk.chance.choice(desk.intents), desk.chance.randrange(3))
            if desk.chance.random() < 0.1:
                with suppress(StoreFailure):
                    await desk.gate(desk.chance.randrange(3)).apply_policy(by="tests", reason="a change")
            await asyncio.sleep(desk.chance.random() * 0.7)
        await desk.until_quiet()
        await desk.deliver_to_all(desk.intents[:4])

    await arena.each(trade)


async def right_missing(arena: Arena) -> None:
    """The user of each account lacks one command for a while, from the start or while its workers are connected."""
    client = arena.client(arena.store)

    async def without(desk: Desk) -> None:
        await some_trade(desk)
        command = desk.chance.choice(COMMANDS).lower()
        await client.execute_command("ACL", "SETUSER", desk.name, f"-{command}")
        if desk.chance.random() < 0.5:
            await client.execute_command("CLIENT", "KILL", "USER", desk.name)  # they connect anew, and ask for rights
        arena.watched[desk] = [desk.new_intent() for _ in range(3)]
        await desk.deliver_to_all(arena.watched[desk])

    async def given_back(desk: Desk) -> None:
        await client.execute_command("ACL", "SETUSER", desk.name, "+@all")
        await desk.deliver_to_all(arena.watched[desk])

    async def later(desk: Desk) -> None:
        await desk.until_quiet()
        await desk.deliver_to_all([*arena.watched[desk], desk.new_intent()])

    await arena.each(without)
    await arena.each(given_back)
    await asyncio.sleep((POLICY.lock_ttl_ms + 1_800) / 1000)
    await arena.each(later)


async def keys_evicted(arena: Arena) -> None:
    """The store may evict keys, and does: really, for want of memory, or as if, by deleting some of them."""
    client = arena.client(arena.store)
    await client.config_set("maxmemory-policy", "allkeys-lru")
    await client.config_set("maxmemory", "200mb")
    arena.switch(arena.store)  # a connection asks once
    await arena.each(some_trade)
    await what_will_be_lost(arena)
    if arena.chance.random() < 0.5:
        await _for_want_of_memory(arena)
    else:
        for desk in arena.desks:
            doomed = [f"{desk.name}:exec:processed:{each.id}" for each in arena.watched[desk]]
            for key in (*doomed, f"{desk.name}:exec:rate:global", f"{desk.name}:exec:state"):
                if desk.chance.random() < (0.8 if key in doomed else 0.25):
                    await client.delete(key)
    await come_again(arena)


async def _for_want_of_memory(arena: Arena) -> None:
    def fill() -> None:
        with arena.store.client() as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", used + 400_000)
            before = client.dbsize()
            for number in range(100_000):
                client.set(f"other:{number}", "-" * 1_000)
                if number % 50 == 0 and evicted(client) > before * 0.5:
                    break
            client.config_set("maxmemory", "200mb")

    await asyncio.to_thread(fill)
