"""Thousands of runs of faults, and the table of what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final

import click

from tests.faults.desk import Findings
from tests.faults.kinds import KINDS
from tests.faults.runs import BATCH, run_batch
from tests.faults.store import FAKETIME, FaultyStore

_AT_ONCE: Final = 10
_SHOWN: Final = 20
_HEADS: Final = (
    "runs",
    "intents",
    "orders",
    "redelivered",
    "verify",
    "young",
    "halted",
    "held",
    "violations",
    "seconds",
)


def take_through(
    names: Collection[str], runs: int, seed: str, only: int | None, *, on_redis: bool, streams: bool = False
) -> int:
    """Does the runs, and prints a row for each kind. Returns how much is amiss: the violations, and the kinds of which
    no run proves anything."""
    store = FaultyStore(on_redis=on_redis)
    server = store.version
    click.echo(f"{server}, seed {seed}, {BATCH} accounts in a batch")
    clock_steps = FAKETIME is not None and (
        not any(KINDS[name].steps_clock for name in names) or store.runs_by_another_clock()
    )
    store.close()
    click.echo(f"{'fault':28}" + "".join(f"{head:>12}" for head in _HEADS))
    amiss, judged = 0, 0
    for name in names:
        if not KINDS[name].available:
            click.echo(f"{name:28}  skipped: there is no libfaketime (Debian: apt-get install libfaketime)")
            continue
        if KINDS[name].steps_clock and not clock_steps:
            click.echo(f"{name:28}  skipped: {server} doesn't start under libfaketime")
            continue
        began = time.monotonic()
        batches = [only] if only is not None else list(range(-(-runs // BATCH)))
        found = asyncio.run(_batches(name, seed, batches, on_redis, streams))
        figures = (
            *(found.runs, found.intents, found.orders, found.redelivered, found.verified),
            *(found.denied_young, found.halted, found.held, len(found.violations), round(time.monotonic() - began)),
        )
        click.echo(f"{name:28}" + "".join(f"{figure:>12,}" for figure in figures))
        if found.late:
            click.echo(f"  {found.late:,} of the orders were accepted late")
        if found.unfit:
            click.echo(f"  {found.unfit} more runs not counted (machine too busy)")
        for each in found.violations[:_SHOWN]:
            number = each.removeprefix("batch ").partition(":")[0]
            again = f'--kind "{name}" --seed {seed} --only {number}'
            again += (" --on-redis" if on_redis else "") + (" --streams" if streams else "")
            click.echo(f"  {each}\n    scripts/crash-matrix {again}")
        if len(found.violations) > _SHOWN:
            click.echo(f"  … and {len(found.violations) - _SHOWN} more")
        if not found.runs and not found.violations:
            click.echo("  nothing was judged, so this proves nothing")
            amiss += 1
        amiss += len(found.violations)
        judged += found.runs
    if not judged and not amiss:
        click.echo("nothing was judged")
        return 1
    return amiss


async def _batches(name: str, seed: str, numbers: list[int], on_redis: bool, streams: bool) -> Findings:
    """A few batches at a time: they mostly wait."""
    found, free = Findings(), asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> None:
        async with free:
            try:
                found.add(await run_batch(name, seed, number, on_redis=on_redis, streams=streams))
            except Exception as error:
                # Raised from here, it would cancel the other batches, and a worker that stands still in one doesn't
                # hear of that: nothing would come to an end.
                found.violations.append(f"batch {number}: broke off beside its fault: {error!r}")

    await asyncio.gather(*(one(number) for number in numbers))
    return found
