"""The command: for each fault so many runs, each on servers of its own; prints what they have shown."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import defaultdict
from statistics import median

import click

from tests.failover.faults import FAULTS, ONLY_VALKEY, WARM_S, young_s
from tests.failover.judge import Report
from tests.failover.run import Run


async def take_through(name: str, seed: str, on_redis: bool) -> Report:
    """One run of a fault."""
    fault = FAULTS[name]
    deployment = await asyncio.to_thread(fault.store, on_redis)
    try:
        async with Run(deployment, seed, name) as run:
            run.begin()
            await asyncio.sleep(WARM_S)
            await fault.happens(run)
            await asyncio.sleep(young_s() + 3)
            return await run.finish()
    finally:
        deployment.close()


@click.command()
@click.option("--runs", default=3, show_default=True, type=click.IntRange(min=1), help="Of each fault.")
@click.option("--seed", default="1", show_default=True)
@click.option("--fault", "only", multiple=True, type=click.Choice(tuple(FAULTS)), help="Just these; all by default.")
@click.option("--on-redis", is_flag=True, help="On the machine's redis-server instead of Valkey.")
def main(runs: int, seed: str, only: tuple[str, ...], on_redis: bool) -> None:
    """Fails stores over while executors send orders, and holds the exchange's ledger against what they were told.

    Exits 1 when an intent has two orders, an order is late or unrecorded, a window is exceeded, an answer is missing,
    or a run breaks off.
    """
    missing = [name for name in only if name in ONLY_VALKEY]
    if on_redis and missing:
        raise click.UsageError(f"not on Redis: {', '.join(missing)}")
    reports: dict[str, list[Report]] = defaultdict(list)
    broken = 0
    chosen = only or tuple(name for name in FAULTS if not (on_redis and name in ONLY_VALKEY))
    for number in range(runs):
        for name in chosen:
            try:
                report = asyncio.run(take_through(name, f"{seed}.{number}", on_redis))
            except Exception as error:
                broken += 1
                click.echo(f"{name}: broke off: {error!r}")
                continue
            click.echo(report)
            reports[name].append(report)
    click.echo()
    for name, each in reports.items():
        click.echo(f"{name:22} {_sum(each)}")
    every = [report for each in reports.values() for report in each]
    violations = sum(len(report.violations) for report in every)
    if every:
        click.echo(f"{'all':22} {_sum(every)}")
    if broken:
        click.echo(f"{broken} runs broke off")
    sys.exit(1 if violations or broken else 0)


def _sum(reports: list[Report]) -> str:
    def total(what: str) -> int:
        return sum(int(getattr(report, what)) for report in reports)

    def seconds(what: str) -> str:
        told = [value for report in reports if (value := getattr(report.silence, what)) is not None]
        return f"{median(told):.1f}–{max(told):.1f}" if told else "-"

    return (
        f"{len(reports)} runs, {total('intents')} intents, {total('orders')} orders, "
        f"{total('deliveries') - total('intents')} redelivered, {total('verify')} verify; s without (median–most): "
        f"store "
        f"{seconds('store')}, of these after the takeover {seconds('after_takeover')}, exits {seconds('exits')}, "
        f"MEMORY_YOUNG {seconds('young')}; {sum(len(report.violations) for report in reports)} violations"
    )


if __name__ == "__main__":  # what is set for the whole process is set here: a test calls main
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the stores are stopped on the way out
    logging.disable()
    main(prog_name="scripts/failover-under-load")
