"""Keeps a few connections to the exchange open, so that no order pays for a handshake first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

CONNECTIONS: Final = 4
"""Kept open: an order, and what is read beside it. More open when more is asked at once."""
FIRST_AFTER_S: Final = 0.2
"""An order that comes sooner opens what it needs itself, and would wait behind these: they cost it 4 ms."""
EVERY_S: Final = 10.0
"""How often each is used. Servers and what stands before them close what is idle for a minute, some after 15 s."""
IDLE_S: Final = 30.0
"""How long an idle connection is kept. Never as long as a server keeps it: an order that is sent while the server
closes is in doubt."""


class WarmConnections:
    """Uses connections while they are idle, by the lightest request that there is: weight 1, 24 a minute of 2,400."""

    def __init__(self, ping: Callable[[], Awaitable[object]], may_ask: Callable[[], bool]) -> None:
        """`may_ask`: whether the exchange's limits leave room, and it wants no silence. Pings are the first to rest."""
        self._ping: Final = ping
        self._may_ask: Final = may_ask
        self._keeping: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Opens them, and keeps them open in the background. Nothing waits for that; once is enough."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        await asyncio.sleep(FIRST_AFTER_S)
        while True:
            if self._may_ask():
                # At once, for only then each takes a connection of its own.
                await asyncio.gather(*(self._ping() for _ in range(CONNECTIONS)), return_exceptions=True)
            await asyncio.sleep(EVERY_S)

    async def end(self) -> None:
        """Stops asking."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
