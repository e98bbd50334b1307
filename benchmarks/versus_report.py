"""The ways beside each other, as tables and as JSON: how long they take, and how often they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.table import Table

from benchmarks.versus import Timing
from benchmarks.ways import WAYS
from benchmarks.wrongness import POLICY, Found, Plan

_SHARES: Final = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99}


def timings_as_json(timings: Sequence[Timing]) -> list[dict[str, object]]:
    """For programs."""
    return [
        {
            "kind": each.kind,
            "callers": each.callers,
            "name": each.name,
            **{name: round(each.at(share), 1) for name, share in _SHARES.items()},
            "against_gate": round(each.against_gate, 3),
            "a_second": round(each.a_second),
        }
        for each in timings
    ]


def timings_as_table(timings: Sequence[Timing], where: str) -> Table:
    """For people: a row for each way, by threads and by asyncio; a column for each number of callers."""
    callers = sorted({each.callers for each in timings})
    table = Table(
        title=f"An admission, in one run on {where}",
        caption="In µs: the median, the 99th percentile; then the time of a whole burst in the gate's, of the lower"
        " quartiles; calls a second.",
    )
    table.add_column("what")
    for number in callers:
        table.add_column(f"{number} at once", justify="right", no_wrap=True)
    rows: dict[tuple[str, str], dict[int, Timing]] = {}
    for each in timings:
        rows.setdefault((each.kind, each.what), {})[each.callers] = each
    for (kind, what), cells in rows.items():
        table.add_row(f"{kind}: {what}", *(_cell(cells[number]) for number in callers))
    return table


def _cell(timing: Timing) -> str:
    p50, p99 = timing.at(0.5), timing.at(0.99)
    return f"{p50:,.0f} {p99:,.0f} {timing.against_gate:.2f}× {timing.a_second:,.0f}/s"


def wrongness_as_json(found: Sequence[Found]) -> list[dict[str, object]]:
    """For programs."""
    return [asdict(each) for each in found]


def wrongness_as_table(found: Sequence[Found], where: str, plan: Plan) -> Table:
    """For people."""
    table = Table(
        title=f"{plan.processes} processes, {plan.seconds:g} s for each way, seed {plan.seed}, on {where}",
        caption=f"Over: admissions beyond {POLICY.rate_global_limit} a second of the account, or"
        f" {POLICY.rate_symbol_limit} of a symbol, and the most in one second. Lost: denied, and a duplicate when it"
        " came again, though nobody had an admission.",
    )
    table.add_column("what")
    for name in ("calls", "admitted", "killed", "id twice", "over", "most", "over, symbol", "most", "lock of two"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("no TTL", justify="right", no_wrap=True)
    table.add_column("lost", justify="right", no_wrap=True)
    for each in found:
        counts = (
            *(each.calls, each.admitted, each.killed, each.twice, each.over_account, each.most_account),
            *(each.over_symbol, each.most_symbol, each.held_by_two, each.without_ttl, each.lost),
        )
        table.add_row(WAYS[each.way], *(f"{count:,}" for count in counts))
    return table
