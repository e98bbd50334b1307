"""How long to wait before what failed is tried again."""

from __future__ import annotations

from typing import Final

_MOST_DOUBLINGS: Final = 20


def grown(first_s: float, longest_s: float, tries: int) -> float:
    """Seconds before the next try: twice as long after each one. `tries`: how many have failed before."""
    return min(first_s * (1 << min(tries, _MOST_DOUBLINGS)), longest_s)
