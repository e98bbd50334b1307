"""Charts of what was measured, as SVG: how long admissions take by each way, and whether they grow with anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.growth_report import Grown
from benchmarks.versus import FLOOR, Timing

_WIDTH: Final = 900
_LEFT: Final = 250
_RIGHT: Final = 90
_LINE: Final = 18
_PANEL_GAP: Final = 34
_COLOURS: Final = {"floor": "#b8c4bb", "gate": "#2f6690", "other": "#c8963e"}


def of_ways(timings: Sequence[Timing], about: str) -> str:
    """A panel for threads and for asyncio at each number of callers. Times on a logarithmic scale, the same for all."""
    first_us = min(each.at(0.1) for each in timings)
    last_us = max(each.at(0.99) for each in timings)
    low, high = math.floor(math.log10(first_us)), math.ceil(math.log10(last_us))

    def x(took_us: float) -> float:
        return _LEFT + (math.log10(took_us) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    drawn: list[str] = []
    y = 44
    panels: dict[tuple[str, int], list[Timing]] = {}
    for each in timings:
        panels.setdefault((each.kind, each.callers), []).append(each)
    for (kind, callers), rows in panels.items():
        drawn.append(_text(10, y, f"{kind}, {callers} at once", weight="bold"))
        for power in range(low, high + 1):
            said = f"{10**power:,} µs" if power < 3 else f"{10 ** (power - 3):,} ms"
            drawn.append(_text(x(10**power), y, said, anchor="middle", colour="#777"))
            drawn.append(_line(x(10**power), y + 4, x(10**power), y + 8 + _LINE * len(rows)))
        y += 8
        for row in rows:
            colour = _COLOURS["floor" if row.name in FLOOR else "gate" if row.name == "gate" else "other"]
            drawn.append(_text(_LEFT - 8, y + 12, row.what, anchor="end"))
            left, right = x(row.at(0.1)), x(row.at(0.9))
            drawn.append(
                f'<rect x="{left:.1f}" y="{y + 3}" width="{right - left:.1f}" height="11" fill="{colour}"/>'
                f'<rect x="{x(row.at(0.5)) - 1:.1f}" y="{y + 1}" width="2" height="15" fill="black"/>'
                f'<circle cx="{x(row.at(0.99)):.1f}" cy="{y + 8}" r="3" fill="{colour}"/>'
            )
            drawn.append(_text(_WIDTH - 10, y + 12, f"{row.against_gate:.2f}×", anchor="end"))
            y += _LINE
        y += _PANEL_GAP
    title = (
        "An admission: the bar from the 10th to the 90th percentile, the median, the 99th (dot); bursts in the gate's"
    )
    return _svg(y, title, about, drawn)


_PANEL: Final = 150


def of_growth(rows: Sequence[Grown], about: str) -> str:
    """A panel for what may grow: the server's time of an admission and of an empty script, by size."""
    panels: dict[str, list[Grown]] = {}
    for row in rows:
        panels.setdefault(row.what, []).append(row)
    top_us = 5 * math.ceil(max(row.script_us[2] for row in rows) / 5)
    across = (_WIDTH - 40) / len(panels)
    drawn: list[str] = []
    y = 60
    for number, (what, of_panel) in enumerate(panels.items()):
        left, width = 40 + number * across, across - 30
        drawn.append(_text(left, y - 10, what, weight="bold"))
        for part in range(6):
            line_y = y + _PANEL * (1 - part / 5)
            drawn.append(_line(left, line_y, left + width, line_y))
            if not number:
                drawn.append(_text(left - 6, line_y + 4, f"{top_us * part / 5:g}", anchor="end", colour="#777"))
        places = [left + 14 + place * (width - 28) / max(len(of_panel) - 1, 1) for place in range(len(of_panel))]
        for colour, quartiles in (
            (_COLOURS["gate"], [row.script_us for row in of_panel]),
            (_COLOURS["other"], [row.empty_us for row in of_panel]),
        ):
            ys = [[y + _PANEL * (1 - took_us / top_us) for took_us in each] for each in quartiles]
            points = " ".join(f"{x:.1f},{each[1]:.1f}" for x, each in zip(places, ys, strict=True))
            drawn += [_line(x, each[0], x, each[2], colour, 3) for x, each in zip(places, ys, strict=True)]
            drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        drawn += [
            _text(x, y + _PANEL + 14, f"{row.size:,}", anchor="middle") for x, row in zip(places, of_panel, strict=True)
        ]
    title = "Server time of an admission (blue) and of an empty script (ochre) in µs: medians, and the quartiles"
    return _svg(y + _PANEL + 30, title, about, drawn)


def _text(
    x: float, y: float, said: str, *, anchor: str = "start", weight: str = "normal", colour: str = "black"
) -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(said)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str = "#ddd", width: float = 1) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _svg(height: float, title: str, about: str, drawn: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height + 16:.0f}"'
            ' font-family="sans-serif" font-size="11">',
            f'<rect width="{_WIDTH}" height="{height + 16:.0f}" fill="white"/>',
            f'<text x="10" y="18" font-size="13">{escape(title)}</text>',
            *drawn,
            _text(10, height + 6, about, colour="#777"),
            "</svg>\n",
        ]
    )
