"""One request for all who ask at about the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class SharedReading(Generic[T]):
    """Answers everybody who waits with one reading, which begins only after they have asked.

    So nobody is given an answer older than the question: what was placed before is in it. Readings begin at least
    `apart_ms` after each other, so that many who ask cost no more requests than that.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], apart_ms: int) -> None:
        self._read: Final = read
        self._apart_ns: Final = apart_ms * 1_000_000
        self._began_ns: int | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer. Raises what reading raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._reading())
            # Should all who wait be cancelled, nobody is left to hear of a failure.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._next)

    async def _reading(self) -> T:
        if self._began_ns is not None:
            pause_ns = self._began_ns + self._apart_ns - time.monotonic_ns()
            if pause_ns > 0:
                await asyncio.sleep(pause_ns / 1e9)
        self._next = None  # who asks from here on gets the next one
        self._began_ns = time.monotonic_ns()
        return await self._read()
