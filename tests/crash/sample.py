"""A few runs that have everything in them: each step before and after its call, each fault, each way to forget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.crash.plan import Plan, Trade, draw

_AMONG: Final = 400


def sample(seed: str) -> list[int]:
    """Numbers of runs in which everything happens that does in any of the first hundreds: the same for the same seed.

    By turns the run that adds most is taken, so that there are few of them.
    """
    held = {number: frozenset(_ingredients(draw(seed, number))) for number in range(_AMONG)}
    missing = set().union(*held.values())
    taken: list[int] = []
    while missing:
        best = max(held, key=lambda number: len(held[number] & missing))
        taken.append(best)
        missing -= held[best]
    return sorted(taken)


def _ingredients(plan: Plan) -> Iterator[tuple[str, object]]:
    opens = plan.trade in (Trade.MARKET, Trade.LIMIT)  # an exit asks for neither leverage nor margin
    yield "killed", (plan.kill.when, plan.kill.step, opens)
    if opens and plan.overlap_ms is None and "during the first" not in plan.forgets and not plan.lapses:
        # However slow the machine is: no other delivery and no loss of memory is before it.
        yield "killed in any case", plan.kill.step
    yield "killed again", plan.second_kill is not None
    yield from (("fault", (fault.kind, fault.method)) for fault in plan.faults)
    yield "faults", len(plan.faults)
    yield from (("forgets", when) for when in plan.forgets)
    yield "overlaps", plan.overlap_ms is not None
    yield "lapses", plan.lapses
    yield "reconciled meanwhile", plan.reconciled_meanwhile
    yield "trade", plan.trade
    yield "hedge mode", plan.hedge
