"""The figures as a table, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from benchmarks.figure import Figure

_MET = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}


def as_json(figures: Sequence[Figure], server: str, quick: bool) -> dict[str, object]:
    """The report for programs. `unit` tells whether a figure is a ratio, microseconds or bytes."""
    return {
        "server": server,
        "quick": quick,
        "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
    }


def as_table(figures: Sequence[Figure], server: str, quick: bool) -> Table:
    """The report for people."""
    table = Table(
        title=f"Measured on {server}" + (", quick" if quick else ""),
        caption="Median of the rounds, and their quartiles. Both sides in one run, in alternation.",
    )
    table.add_column("what", ratio=5)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("quartiles", justify="right", no_wrap=True)
    table.add_column("reach", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("in absolute figures", ratio=4)
    for figure in figures:
        table.add_row(
            figure.what,
            "skipped" if figure.measured is None else _in_unit(figure.measured, figure.unit),
            "" if figure.low is None or figure.high is None else f"{figure.low:.2f} – {figure.high:.2f}",
            _reach(figure),
            _MET[figure.met],
            figure.detail,
        )
    return table


def _in_unit(value: float, unit: str) -> str:
    return f"{value:.0f} bytes" if unit == "B" else f"{value:.2f}×"


def _reach(figure: Figure) -> str:
    if figure.at_most is not None:
        return f"≤ {figure.at_most:g}" + (" bytes" if figure.unit == "B" else "×")
    if figure.at_least is not None:
        return f"≥ {figure.at_least:g}×"
    return ""
