"""The sizes of all measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rounds, and calls in each round."""

    call_rounds: int
    calls: int
    batch_rounds: int
    batch: int
    growth_rounds: int
    records: int
    """Records in the larger of the two compared databases."""
    settled: int
    """Records for the memory figure."""
    burst_rounds: int
    bursts: int
    shell_rounds: int


FULL: Final = Sizes(
    call_rounds=30,
    calls=100,
    batch_rounds=100,
    batch=96,
    growth_rounds=150,
    records=1_000_000,
    settled=20_000,
    burst_rounds=25,
    bursts=10,
    shell_rounds=15,
)
QUICK: Final = Sizes(
    call_rounds=8,
    calls=50,
    batch_rounds=15,
    batch=96,
    growth_rounds=15,
    records=100_000,
    settled=5_000,
    burst_rounds=8,
    bursts=3,
    shell_rounds=4,
)
