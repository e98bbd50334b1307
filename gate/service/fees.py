"""The taker's rates of the account, asked for once an hour at most."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Final

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange

_AGE_S: Final = 3_600


class Fees:
    """Of each symbol."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._known: Final[dict[str, tuple[Decimal, float]]] = {}
        self._loop: Final = asyncio.get_running_loop()

    async def rate(self, symbol: str) -> Decimal | None:
        """None where the exchange doesn't say."""
        known = self._known.get(symbol)
        if known is None or self._loop.time() - known[1] > _AGE_S:
            try:
                known = (await self._exchange.symbol_config(symbol)).fee_rate, self._loop.time()
            except ExchangeFailure:
                return None
            self._known[symbol] = known
        return known[0]
