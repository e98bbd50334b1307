"""The taker's commission of each symbol, kept for an hour."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Final

from gate.exchange.answers import figure, value_of
from gate.exchange.failures import ExchangeFailure
from gate.exchange.rest_client import RestClient

_FEE_AGE_S: Final = 3600  # a commission changes with the account's tier, once a day at most


class FeeRates:
    """What the exchange takes of a fill, as a share of its notional."""

    def __init__(self, rest: RestClient) -> None:
        self._rest: Final = rest
        self._rates: Final[dict[str, tuple[Decimal, float]]] = {}

    def known(self, symbol: str) -> Decimal | None:
        """The rate, without asking; None where it isn't known, or is old."""
        rate, at_s = self._rates.get(symbol, (None, 0.0))
        return rate if time.monotonic() - at_s < _FEE_AGE_S else None

    async def of(self, symbol: str) -> Decimal:
        """The rate; an old one where a newer can't be read. Raises ExchangeFailure where none is known."""
        known = self.known(symbol)
        if known is not None:
            return known
        try:
            answer = await self._rest.read("futures_commission_rate", symbol=symbol)
            rate = figure("takerCommissionRate", value_of(answer, "takerCommissionRate"), least=Decimal(0))
        except ExchangeFailure:
            if symbol not in self._rates:
                raise
            return self._rates[symbol][0]  # the buffer covers what a tier's change makes of it
        self._rates[symbol] = rate, time.monotonic()
        return rate
