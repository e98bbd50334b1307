"""The command: starts a store, does the runs, prints their results."""

from __future__ import annotations

import logging
import signal
import sys

import click

from tests.crash.matrix import BATCH, Tally, run_batch, run_matrix
from tests.servers.process import ProcessStore


@click.command()
@click.option("--runs", default=2000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default="1", show_default=True)
@click.option("--only", type=click.IntRange(min=0), help="Just the run of that number, with its trace.")
@click.option("--restarts", is_flag=True, help="The store, which keeps nothing, is restarted meanwhile.")
def main(runs: int, seed: str, only: int | None, restarts: bool) -> None:
    """Kills workers at every step, crossed with the faults of the exchange and with lost memory.

    Exits 1 when an intent has two orders, an order isn't recorded, or anything is left in doubt.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the store is stopped on the way out
    logging.disable()  # the traces have their messages
    store = ProcessStore(("--databases", str(BATCH)))
    try:
        if only is not None:
            tally = Tally()
            click.echo(run_batch(seed, [only], store.url, tally)[0])
        else:
            restarted = store if restarts else None
            tally = run_matrix(seed, runs, store.url, lambda so_far: click.echo(f"{so_far} …", err=True), restarted)
    finally:
        store.close()
    for report in tally.bad:
        click.echo(f"{report}\n")
    for step, count in sorted(tally.killed.items()):
        click.echo(f"{count:6} killed {step}")
    click.echo(f"{tally}, seed {seed}")
    sys.exit(1 if tally.violations else 0)


if __name__ == "__main__":
    main(prog_name="scripts/crash-matrix")
