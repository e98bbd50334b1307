"""What was measured of orders' ways, as tables, as JSON and as a chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from rich.table import Table

from benchmarks.order_path_desks import Measured

_ROUND_TRIP_TO_REACH_MS: Final = 20.0
"""The round trip that the ratios to reach are for."""
_MET: Final = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}


@dataclass(frozen=True, slots=True)
class Sample:
    """One go."""

    had_order_ms: float
    """Until the exchange had the order; of many, the last one."""
    answered_ms: float
    cpu_ms: float
    """Of this process: its clients', and none of the servers'."""
    orders: int
    requests: int
    connections: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One go, and the bare one that it is compared with: of the same round."""

    own: Sample
    bare: Sample


@dataclass(frozen=True, slots=True)
class Row:
    """The samples of one way at one delay, put together. Times in ms."""

    name: str
    what: str
    delay_ms: float
    """Each way."""
    had_order_ms: float
    answered_ms: float
    had_order_ratio: float
    """To the bare order of the same round; the median, as all of these but for the next but one."""
    answered_ratio: float
    answered_low_ratio: float
    """Of the lower quartiles, which a busy machine disturbs least."""
    cpu_ms: float
    requests: float
    """For each order, those that open a stream included."""
    connections: float
    at_most: float | None
    """The ratio to reach of the answer; None at another delay."""

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None without one."""
        return None if self.at_most is None else self.answered_low_ratio <= self.at_most


def rows_of(measured: Sequence[Measured], samples: Mapping[tuple[float, str], Sequence[Pair]]) -> list[Row]:
    """By delay, and in the order of what is measured."""
    made = []
    for delay_ms in sorted({delay_ms for delay_ms, _ in samples}):
        for each in measured:
            pairs = samples[delay_ms, each.name]
            own, bare = [pair.own for pair in pairs], [pair.bare for pair in pairs]
            made.append(
                Row(
                    name=each.name,
                    what=each.what,
                    delay_ms=delay_ms,
                    had_order_ms=statistics.median(one.had_order_ms for one in own),
                    answered_ms=statistics.median(one.answered_ms for one in own),
                    had_order_ratio=statistics.median(
                        one.had_order_ms / its.had_order_ms for one, its in zip(own, bare, strict=True)
                    ),
                    answered_ratio=statistics.median(
                        one.answered_ms / its.answered_ms for one, its in zip(own, bare, strict=True)
                    ),
                    answered_low_ratio=_low([one.answered_ms for one in own]) / _low([its.answered_ms for its in bare]),
                    cpu_ms=statistics.median(one.cpu_ms for one in own),
                    requests=statistics.median(one.requests / one.orders for one in own),
                    connections=statistics.median(one.connections for one in own),
                    at_most=each.at_most if 2 * delay_ms == _ROUND_TRIP_TO_REACH_MS else None,
                )
            )
    return made


def _low(figures: list[float]) -> float:
    return statistics.quantiles(figures, n=4, method="inclusive")[0]


def as_json(
    measured: Sequence[Measured], samples: Mapping[tuple[float, str], Sequence[Pair]]
) -> dict[str, list[dict[str, object]]]:
    """The report for programs."""
    return {
        "rows": [
            {**{name: getattr(row, name) for name in Row.__dataclass_fields__}, "met": row.met}
            for row in rows_of(measured, samples)
        ]
    }


def as_tables(measured: Sequence[Measured], samples: Mapping[tuple[float, str], Sequence[Pair]]) -> list[Table]:
    """The report for people, a table for each delay."""
    tables: dict[float, Table] = {}
    for row in rows_of(measured, samples):
        table = tables.get(row.delay_ms)
        if table is None:
            rounds = len(samples[row.delay_ms, row.name])
            table = tables[row.delay_ms] = Table(
                title=f"{row.delay_ms:g} ms each way, {rounds} rounds",
                caption="Medians; ratios to the bare order of the same round, at once to as many at once, at the start"
                " to a client's first. Low: the ratio of the lower quartiles, which a busy machine disturbs least; it"
                " is what has to be reached.",
            )
            table.add_column("what", ratio=1)
            for name in (
                "exchange has it, ms",
                "×",
                "answer, ms",
                "×",
                "low ×",
                "reach",
                "",
                "requests",
                "connects",
                "CPU, ms",
            ):
                table.add_column(name, justify="right", no_wrap=True)
        table.add_row(
            row.what,
            f"{row.had_order_ms:.1f}",
            f"{row.had_order_ratio:.2f}",
            f"{row.answered_ms:.1f}",
            f"{row.answered_ratio:.2f}",
            f"{row.answered_low_ratio:.2f}",
            "" if row.at_most is None else f"≤ {row.at_most:g}",
            _MET[row.met],
            f"{row.requests:g}",
            f"{row.connections:g}",
            f"{row.cpu_ms:.2f}",
        )
    return list(tables.values())


_WIDTH: Final = 900
_LEFT: Final = 300
_LINE: Final = 18
_COLOURS: Final = ("#9db4c0", "#2f6690")


def as_chart(measured: Sequence[Measured], samples: Mapping[tuple[float, str], Sequence[Pair]]) -> str:
    """How long each way takes: until the exchange has the order, and until the answer. SVG."""
    rows = rows_of(measured, samples)
    drawn: list[str] = []
    y = 40
    for delay_ms in sorted({row.delay_ms for row in rows}):
        drawn.append(f'<text x="10" y="{y}" font-weight="bold">{delay_ms:g} ms each way</text>')
        y += _LINE // 2
        of_delay = [row for row in rows if row.delay_ms == delay_ms]
        scale = (_WIDTH - _LEFT - 110) / max(row.answered_ms for row in of_delay)
        for row in of_delay:
            drawn.append(f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(row.what)}</text>')
            for took_ms, colour in ((row.answered_ms, _COLOURS[0]), (row.had_order_ms, _COLOURS[1])):
                drawn.append(
                    f'<rect x="{_LEFT}" y="{y + 2}" width="{took_ms * scale:.1f}" height="12" fill="{colour}"/>'
                )
            end = _LEFT + row.answered_ms * scale + 4
            said = f"{row.answered_ms:.0f} ms, {row.answered_ratio:.2f}×"
            drawn.append(f'<text x="{end:.1f}" y="{y + 12}">{said}</text>')
            y += _LINE
        y += _LINE * 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" font-family="sans-serif"'
            ' font-size="11">',
            f'<rect width="{_WIDTH}" height="{y}" fill="white"/>',
            '<text x="10" y="18" font-size="13">Until the exchange has the order (dark), until the answer (light);'
            " the answer in bare orders</text>",
            *drawn,
            "</svg>\n",
        ]
    )
