"""Runs of faults: many accounts at once for each, judged by the exchange's ledger."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from gate import StoreFailure, StoreUnavailable
from gate.exchange.failures import ExchangeFailure
from gate.paper import Account, PaperExchange
from tests.faults.arena import Arena
from tests.faults.desk import POLICY, Desk, Findings, MachineTooBusyError
from tests.faults.kinds import KINDS
from tests.faults.store import FaultyStore
from tests.faults.switchboard import Switchboard

BATCH: Final = 20
"""Accounts that go through one fault together. Each is a run."""


async def run_batch(
    name: str, seed: str, number: int, *, accounts: int = BATCH, on_redis: bool = False, streams: bool = False
) -> Findings:
    """One fault, in all its accounts. Deterministic in what it draws, not in how tasks interleave.

    With `streams` the workers go by what the exchange's streams tell.
    """
    kind = KINDS[name]
    chance = random.Random(f"{name}/{seed}/{number}")
    owners = [
        Account(key=f"key-{index}", secret=f"secret-{index}", name=f"account-{index}", balance="1000000")
        for index in range(accounts)
    ]
    found = Findings()
    async with AsyncExitStack() as stack:
        paper = stack.enter_context(PaperExchange(accounts=owners, limits=None))
        store = FaultyStore(on_redis=on_redis, steps=kind.steps_clock)
        stack.callback(store.close)
        line = await stack.enter_async_context(Switchboard(store.port))
        other_line = await stack.enter_async_context(Switchboard(store.port))
        arena = Arena([], paper, store, line, other_line, chance, stack, on_redis)
        for index, owner in enumerate(owners):
            desk = Desk(f"f{number}d{index}", owner, paper.url, random.Random(chance.random()), streams=streams)
            stack.push_async_callback(desk.close)
            arena.desks.append(desk)

        async def open_desk(desk: Desk) -> None:
            urls = [line.url, other_line.url, line.url]
            if kind.own_users:
                with store.client() as client:
                    client.execute_command("ACL", "SETUSER", desk.name, "on", "nopass", "~*", "&*", "+@all")
                urls = [url.replace("//", f"//{desk.name}:-@") for url in urls]
            await desk.open(urls, [desk.chance.choice(kind.policies or (POLICY,)) for _ in urls])

        try:
            await arena.each(open_desk)
        except (StoreFailure, ExchangeFailure):
            return Findings(unfit=accounts)
        try:
            await kind.act(arena)
        except (MachineTooBusyError, StoreUnavailable):  # the latter: no answer to the judge's own question in 2 s
            return Findings(unfit=accounts)
        except Exception as error:
            found.violations.append(f"broke off: {error!r}")
        finally:
            arena.let_all_go_on()
        ledger: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in paper.ledger():
            ledger[str(row["clientOrderId"])].append(row)
        for desk in arena.desks:
            if desk.busy(ledger):
                found.unfit += 1
                continue
            judged = desk.judge(
                dict(ledger),
                windows=kind.judges_windows,
                exits_count=kind.exits_count,
                by_look=kind.steps_clock,
            )
            if desk.unconfirmed and not judged.violations:
                found.unfit += 1
                continue
            found.add(judged)
    found.violations = [f"batch {number}: {each}" for each in found.violations]
    return found
