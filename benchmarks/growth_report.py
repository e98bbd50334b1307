"""An admission's server time by the size of what may make it grow: as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from benchmarks.figure import ratios
from benchmarks.growth import Curve


@dataclass(frozen=True, slots=True)
class Grown:
    """One size. Times as their three quartiles."""

    what: str
    size: int
    script_us: tuple[float, float, float]
    empty_us: tuple[float, float, float]
    """Of the empty scripts between these calls."""
    against_smallest: float
    """The median of the rounds' ratios."""


def rows_of(curves: Mapping[str, Curve]) -> list[Grown]:
    """By what may grow, from the smallest size on."""
    rows = []
    for what, curve in curves.items():
        smallest = [time.script_us for time in next(iter(curve.values()))]
        for size, times in curve.items():
            took_us = [time.script_us for time in times]
            rows.append(
                Grown(
                    what,
                    size,
                    _quartiles(took_us),
                    _quartiles([time.empty_us for time in times]),
                    statistics.median(ratios(took_us, smallest)),
                )
            )
    return rows


def growth_as_json(rows: Sequence[Grown]) -> list[dict[str, object]]:
    """For programs."""
    return [asdict(row) for row in rows]


def growth_as_table(rows: Sequence[Grown], where: str) -> Table:
    """For people."""
    table = Table(
        title=f"Server time of an admission, on {where}",
        caption="In µs: the lower quartile, the median. All sizes in turn, in one run.",
    )
    table.add_column("what")
    for name in ("size", "admission", "empty script", "against the smallest"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.what,
            f"{row.size:,}",
            "{:.1f} {:.1f}".format(*row.script_us),
            "{:.2f} {:.2f}".format(*row.empty_us),
            f"{row.against_smallest:.2f}×",
        )
    return table


def _quartiles(took_us: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(took_us, n=4, method="inclusive")
    return low, middle, high
