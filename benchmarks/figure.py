"""A figure: its measured value, its target, and the spread of its rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report. `low` and `high` are the rounds' quartiles."""

    name: str
    what: str
    measured: float | None
    """None when the figure couldn't be measured; the detail gives the reason."""
    unit: str
    """`x` for a ratio, `us` for microseconds, `B` for bytes."""
    detail: str = ""
    low: float | None = None
    high: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None without a value or without a target."""
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
    """The rounds' median, with their quartiles."""
    low, middle, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return Figure(name, what, middle, unit, detail, low, high, at_most, at_least)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The ratio of ours to theirs in each round: a disturbance of a round hits both."""
    return [our / their for our, their in zip(ours, theirs, strict=True)]
