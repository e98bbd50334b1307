"""A figure: what was measured, what is to be reached, and how far the rounds lay apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report. `low` and `high` are the quartiles of the rounds."""

    name: str
    what: str
    measured: float | None
    """None when it couldn't be measured; the detail says why."""
    unit: str
    """`x` for a ratio, `us` for microseconds, `B` for bytes."""
    detail: str = ""
    low: float | None = None
    high: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None where nothing was measured, or nothing is to be reached."""
        if self.measured is None or (self.at_most is None and self.at_least is None):
            return None
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )


def of_rounds(
    name: str,
    what: str,
    rounds: Sequence[float],
    *,
    unit: str = "x",
    detail: str = "",
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """The median of the rounds, with their quartiles."""
    low, middle, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return Figure(name, what, middle, unit, detail, low, high, at_most, at_least)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours against theirs, round by round: what disturbed a round has disturbed both."""
    return [our / their for our, their in zip(ours, theirs, strict=True)]
