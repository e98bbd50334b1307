"""Waits for what an exchange's streams tell."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gate.exchange.port import Exchange

_PATIENCE_S = 10.0


async def told_by_streams(exchange: Exchange, *symbols: str) -> None:
    """Until the streams tell of all symbols, or it takes too long: then readings decide, as ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            # All of them, each time: the first call has its symbol watched.
            while None in [exchange.live(symbol) for symbol in symbols]:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.02)
