"""One request for all callers that ask at about the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class SharedReading(Generic[T]):
    """Answers all waiting callers with one reading, which begins only after they have asked.

    So no answer is older than its question: it includes every order placed before. Readings begin at least `apart_ms`
    after each other, which bounds the requests of any number of callers.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], apart_ms: int) -> None:
        self._read: Final = read
        self._apart_ns: Final = apart_ms * 1_000_000
        self._began_ns: int | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer. Raises the reading's errors."""
        if self._next is None:
            self._next = asyncio.create_task(self._reading())
            # If all callers are cancelled, nobody else takes the failure, and asyncio would log it.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._next)

    async def _reading(self) -> T:
        if self._began_ns is not None:
            pause_ns = self._began_ns + self._apart_ns - time.monotonic_ns()
            if pause_ns > 0:
                await asyncio.sleep(pause_ns / 1e9)
        self._next = None  # a caller from here on gets the next reading
        self._began_ns = time.monotonic_ns()
        return await self._read()
