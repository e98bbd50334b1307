"""Requests that a fault keeps waiting, and their release."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PATIENCE_S = 10  # how long to wait for expected requests; on loopback they need milliseconds


class _Held:
    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.done = asyncio.Event()


class Holds:
    """The held requests. Use it only on the server's loop."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    @asynccontextmanager
    async def hold(self, delay_ms: int | None) -> AsyncIterator[None]:
        """Wait for a time, or with None until the release. The block's work counts as the request's effect."""
        held = _Held()
        self._held.append(held)
        self._arrived.set()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(held.go.wait(), None if delay_ms is None else delay_ms / 1_000)
            yield
        finally:
            self._held.remove(held)
            held.done.set()

    async def wait_for(self, count: int) -> None:
        """Return when this many requests are held. TimeoutError if they don't come."""
        async with asyncio.timeout(_PATIENCE_S):
            while len(self._held) < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def release(self) -> int:
        """Let all requests that are held now continue. Returns their number when each has taken effect."""
        released = list(self._held)
        self.let_go()
        for held in released:
            await held.done.wait()
        return len(released)

    def let_go(self) -> None:
        """Let all requests that are held now continue, without waiting for their effect."""
        for held in self._held:
            held.go.set()
