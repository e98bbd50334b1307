"""The command: starts a store, does the runs, prints their results."""

from __future__ import annotations

import logging
import signal
import sys

import click

from tests.crash.matrix import BATCH, Tally, run_batch, run_matrix
from tests.faults.command import take_through
from tests.faults.kinds import KINDS
from tests.servers.process import ProcessStore


@click.command()
@click.option("--runs", default=2000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default="1", show_default=True)
@click.option("--only", type=click.IntRange(min=0), help="Just the run of that number, with its trace.")
@click.option("--restarts", is_flag=True, help="The store, which keeps nothing, is restarted meanwhile.")
@click.option("--memory", "groups", flag_value="memory", multiple=True, help="The store loses its last admissions.")
@click.option("--clocks", "groups", flag_value="clocks", multiple=True, help="Workers stand still; its clock steps.")
@click.option("--halts", "groups", flag_value="halts", multiple=True, help="A halt, while workers stand still.")
@click.option("--policies", "groups", flag_value="policies", multiple=True, help="Two policies; one is applied.")
@click.option("--acl", "groups", flag_value="acl", multiple=True, help="The store's user lacks a command.")
@click.option("--exits", "groups", flag_value="exits", multiple=True, help="Exits while the store is away.")
@click.option("--evict", "groups", flag_value="evict", multiple=True, help="The store evicts keys.")
@click.option("--late", "groups", flag_value="late", multiple=True, help="The exchange accepts an order late.")
@click.option("--kind", "kinds", type=click.Choice(list(KINDS)), multiple=True, help="Just that fault of these.")
@click.option("--streams/--no-streams", default=False, help="Workers go by what the exchange's streams tell.")
@click.option("--on-redis", is_flag=True, help="With these, on the redis-server of this machine, not on Valkey.")
def main(
    runs: int,
    seed: str,
    only: int | None,
    restarts: bool,
    groups: tuple[str, ...],
    kinds: tuple[str, ...],
    streams: bool,
    on_redis: bool,
) -> None:
    """Kills workers at every step, crossed with the faults of the exchange and with lost memory.

    With --memory, --clocks, --halts, --policies, --acl, --exits, --evict, --late or --kind it takes accounts through
    those faults instead: RUNS accounts for each kind of fault, in batches of 20, so that their number is rounded up.
    --only takes the number of a batch then. docs/faults.md tells what each is.

    Exits 1 when an intent has two orders, an order comes after its deadline, an order isn't recorded, a window is
    exceeded, an entry is accepted after a halt was confirmed, or anything is left in doubt; also when no run of a kind
    proves anything, since the machine was too busy for them.
    """
    if on_redis and not (kinds or groups):
        raise click.UsageError("--on-redis goes with a kind of fault; workers are killed on Valkey")
    if restarts and only is not None:
        raise click.UsageError(
            "--restarts doesn't go with --only: the runs share the store that restarts; repeat them all"
        )
    if restarts and (kinds or groups):
        raise click.UsageError("--restarts goes with the kills, not with a kind of fault")
    named = [name for name, kind in KINDS.items() if name in kinds or kind.group in groups]
    if named:
        sys.exit(1 if take_through(named, runs, seed, only, on_redis=on_redis, streams=streams) else 0)
    store = ProcessStore(("--databases", str(BATCH)))
    try:
        if only is not None:
            tally = Tally()
            click.echo(run_batch(seed, [only], store.url, tally, streams=streams)[0])
        else:
            restarted = store if restarts else None
            say = lambda so_far: click.echo(f"{so_far} …", err=True)  # noqa: E731
            tally = run_matrix(seed, runs, store.url, say, restarted, streams=streams)
    finally:
        store.close()
    for report in tally.bad:
        click.echo(f"{report}\n")
    for step, count in sorted(tally.killed.items()):
        click.echo(f"{count:6} killed {step}")
    click.echo(f"{tally}, seed {seed}")
    sys.exit(1 if tally.violations else 0)


if __name__ == "__main__":  # what is set for the whole process is set here: a test calls main
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the stores are stopped on the way out
    logging.disable()  # the traces have their messages
    main(prog_name="scripts/crash-matrix")
