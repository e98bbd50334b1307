"""One request for all callers that ask at about the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_OVERLAP_MS: Final = 20
"""While a reading is under way, the next one begins so long after it: those who ask meanwhile share it, and none of
them waits for an answer that hangs."""


def _at_once() -> int:
    return 0


class SharedReading(Generic[T]):
    """Answers all waiting callers with one reading, which begins only after they have asked.

    So no answer is older than its question: it includes every order placed before. Where none is under way, it begins
    at once.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], apart_ms: Callable[[], int] = _at_once) -> None:
        """`apart_ms`: how far apart the beginnings of readings have to be at least, asked before each."""
        self._read: Final = read
        self._apart_ms: Final = apart_ms
        self._began_ns = 0
        self._under_way = 0
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer. Raises the reading's errors."""
        if self._next is None:
            # Not by the loop's factory: one that starts tasks at once would run it up to where it takes `_next` back,
            # before that is set, and each caller from then on would get this one's answer.
            self._next = asyncio.Task(self._reading(), loop=asyncio.get_running_loop())
            # If all callers are cancelled, nobody else takes the failure, and asyncio would log it.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._next)

    async def _reading(self) -> T:
        if self._began_ns:
            apart_ms = max(self._apart_ms(), _OVERLAP_MS if self._under_way else 0)
            pause_ns = self._began_ns + apart_ms * 1_000_000 - time.monotonic_ns()
            if pause_ns > 0:
                await asyncio.sleep(pause_ns / 1e9)
        self._next = None  # a caller from here on gets the next reading
        self._began_ns = time.monotonic_ns()
        self._under_way += 1
        try:
            return await self._read()
        finally:
            self._under_way -= 1
