"""Thousands of runs of faults, and the table of what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import click

from tests.faults.desk import Findings
from tests.faults.kinds import KINDS, FaultyStore, version_of
from tests.faults.runs import BATCH, available, run_batch

_AT_ONCE = 6


def take_through(groups: Collection[str], runs: int, seed: str, only: int | None, on_redis: bool) -> int:
    """Does the runs, and prints a row for each kind. Returns how many violations there were."""
    store = FaultyStore(on_redis=on_redis)
    server = version_of(store)
    store.close()
    click.echo(f"{server}, seed {seed}, {BATCH} accounts in a batch")
    head = ("fault", "runs", "intents", "deliveries", "orders", "verify", "young", "violations", "seconds")
    click.echo(f"{head[0]:22}" + "".join(f"{word:>12}" for word in head[1:]))
    violations = 0
    for name, kind in KINDS.items():
        if kind.group not in groups:
            continue
        if not available(name):
            click.echo(f"{name:22}  skipped: there is no libfaketime (Debian: apt-get install libfaketime)")
            continue
        began = time.monotonic()
        batches = [only] if only is not None else list(range(-(-runs // BATCH)))
        found = asyncio.run(_batches(name, seed, batches, on_redis))
        figures = (
            *(len(batches) * BATCH, found.intents, found.deliveries, found.orders, found.verified, found.denied_young),
            *(len(found.violations), round(time.monotonic() - began)),
        )
        click.echo(f"{name:22}" + "".join(f"{figure:>12,}" for figure in figures))
        for each in found.violations:
            click.echo(f"  {each}; again with --{kind.group} --seed {seed} --only N")
        violations += len(found.violations)
    return violations


async def _batches(name: str, seed: str, numbers: list[int], on_redis: bool) -> Findings:
    """A few batches at a time: they mostly wait."""
    found, free = Findings(), asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> None:
        async with free:
            found.add(await run_batch(name, seed, number, on_redis=on_redis))

    await asyncio.gather(*(one(number) for number in numbers))
    return found
