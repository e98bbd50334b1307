"""How long to wait between attempts that fail."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

LONGEST_PAUSE_S: Final = 30.0
MOST_DOUBLINGS: Final = 10
_STEADY_S: Final = 10.0
"""A connection that has lived so long is worth an attempt at once."""
_FAILED_S: Final = 1.0


def longer_each_time(failures: int) -> float:
    """Seconds from one reading that fails to the next: 1, 2, 4 and so on."""
    return min(_FAILED_S * 2.0 ** min(failures - 1, MOST_DOUBLINGS), LONGEST_PAUSE_S)


class Pause:
    """From one connection to the next: short at first, longer while none lasts."""

    def __init__(self) -> None:
        self._failed = 0

    async def after(self, began_ns: int) -> None:
        """Waits, where a connection that began then has ended."""
        lived_s = (time.monotonic_ns() - began_ns) / 1e9
        self._failed = 0 if lived_s > _STEADY_S else min(self._failed + 1, MOST_DOUBLINGS)
        await asyncio.sleep(min(0.1 * 2**self._failed, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0))
