"""Runs of faults: many accounts at once for each, judged by the exchange's ledger."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from gate.paper import Account, PaperExchange
from tests.faults.desk import Desk, Findings
from tests.faults.kinds import FAKETIME, KINDS, Arena, FaultyStore
from tests.faults.switchboard import Switchboard

BATCH: Final = 20
"""Accounts that go through one fault together."""


def available(name: str) -> bool:
    """Whether this machine can cause the fault: a clock that steps needs libfaketime (Debian: libfaketime)."""
    return not KINDS[name].needs_faketime or FAKETIME.exists()


async def run_batch(name: str, seed: str, number: int, *, accounts: int = BATCH, on_redis: bool = False) -> Findings:
    """One fault, in all its accounts. Deterministic in what it draws, not in how tasks interleave."""
    kind = KINDS[name]
    chance = random.Random(f"{name}/{seed}/{number}")
    owners = [
        Account(key=f"key-{index}", secret=f"secret-{index}", name=f"account-{index}", balance="1000000")
        for index in range(accounts)
    ]
    found = Findings()
    async with AsyncExitStack() as stack:
        paper = stack.enter_context(PaperExchange(accounts=owners, limits=None))
        store = FaultyStore(on_redis=on_redis)
        stack.callback(store.close)
        line = await stack.enter_async_context(Switchboard(store.port))
        other_line = await stack.enter_async_context(Switchboard(store.port))
        desks = [
            Desk(f"f{number}d{index}", owner, paper.url, random.Random(chance.random()))
            for index, owner in enumerate(owners)
        ]
        for desk in desks:
            stack.push_async_callback(desk.close)
        await asyncio.gather(*(desk.open((line.url, other_line.url, line.url), kind.policies) for desk in desks))
        await kind.act(Arena(desks, store, line, other_line, chance, stack, on_redis, {}))
        ledger: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in paper.ledger():
            ledger[str(row["clientOrderId"])].append(row)
        for desk in desks:
            found.add(desk.judge(ledger, windows=kind.judges_windows))
    found.violations = [f"{name}, seed {seed}, batch {number}: {each}" for each in found.violations]
    return found
