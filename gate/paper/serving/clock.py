"""The server's clock: the machine's clock, a shifted one, or one that a test holds."""

from __future__ import annotations

import time


class Clock:
    def __init__(self) -> None:
        self._offset_ms = 0
        self._held_ms: int | None = None

    def now_ms(self) -> int:
        """Server time, milliseconds since the epoch."""
        return self._held_ms if self._held_ms is not None else time.time_ns() // 1_000_000 + self._offset_ms

    @property
    def held(self) -> bool:
        return self._held_ms is not None

    def hold(self, at_ms: int | None = None) -> None:
        """Stand still, now or at a given time (ms since the epoch)."""
        self._held_ms = self.now_ms() if at_ms is None else at_ms

    def advance(self, by_ms: int) -> None:
        """Move forward or back, in ms. A held clock stays held."""
        if self._held_ms is not None:
            self._held_ms += by_ms
        else:
            self._offset_ms += by_ms

    def release(self) -> None:
        """Run again, from the held time on."""
        if self._held_ms is not None:
            self._offset_ms = self._held_ms - time.time_ns() // 1_000_000
            self._held_ms = None

    def reset(self) -> None:
        """Back to the machine's time."""
        self._offset_ms = 0
        self._held_ms = None
