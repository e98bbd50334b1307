"""What one listener is told of orders, until it reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from gate.exchange.streams.order_updates import OrderUpdate
from gate.values.log_words import log_of, pairs

_log: Final = log_of("gate.executor")

_MOST_UNREAD: Final = 1_000


class Updates(AsyncIterator[OrderUpdate]):
    """What comes of orders, one value after the other, until the executor's block ends.

    Holds 1,000 that aren't read yet. Beyond that a newer value of an order replaces an older one: each tells of the
    whole order.
    """

    def __init__(self) -> None:
        self._unread: Final[deque[OrderUpdate]] = deque()
        self._more: Final = asyncio.Event()
        self._ended = False

    async def __anext__(self) -> OrderUpdate:
        while not self._unread:
            if self._ended:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        return self._unread.popleft()

    @property
    def unread(self) -> int:
        """How many are told and not read yet."""
        return len(self._unread)

    def take_now(self) -> OrderUpdate | None:
        """The next one, without waiting; None where all are read."""
        return self._unread.popleft() if self._unread else None

    def tell(self, update: OrderUpdate) -> None:
        """Adds one."""
        if len(self._unread) >= _MOST_UNREAD:
            ids = [each.client_order_id for each in self._unread]
            with suppress(ValueError):
                del self._unread[ids.index(update.client_order_id)]
        if len(self._unread) >= _MOST_UNREAD:
            lost = self._unread.popleft()
            _log.error("UPDATE LOST %s", pairs(client_order_id=lost.client_order_id, state=lost.state))
        self._unread.append(update)
        self._more.set()

    def end(self) -> None:
        """No more come; what is unread can still be read."""
        self._ended = True
        self._more.set()
