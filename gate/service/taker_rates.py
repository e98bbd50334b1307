"""The taker's rates of the account, asked for once an hour at most."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange
from gate.values.log_words import log_of

_log: Final = log_of("gate.service")

_AGE_S: Final = 3_600
_UNTOLD_AGE_S: Final = 5
"""How long it counts that the exchange didn't say. Each further question would wait for it as long as the first."""


class TakerRates:
    """Of each symbol."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._known: Final[dict[str, tuple[Decimal | None, float]]] = {}
        self._loop: Final = asyncio.get_running_loop()

    async def rate(self, symbol: str) -> Decimal | None:
        """None where the exchange doesn't say."""
        if not self._counts(symbol):
            try:
                self._note(symbol, (await self._exchange.symbol_config(symbol)).fee_rate)
            except ExchangeFailure:
                self._note(symbol, None)
        return self._known[symbol][0]

    async def rates(self, symbols: Iterable[str], within_s: float) -> dict[str, Decimal | None]:
        """Of several symbols, asked for together; None where the exchange doesn't say it in that time."""
        asked = {each: asyncio.ensure_future(self.rate(each)) for each in set(symbols)}
        if not asked:
            return {}
        late = set(asked.values())
        try:
            _, late = await asyncio.wait(late, timeout=within_s)
        finally:
            for each in late:
                each.cancel()
        for symbol, each in asked.items():
            failed = None if each in late else each.exception()
            if failed is not None:  # whatever it is, no update waits for it
                _log.error("the rate of %s can't be read", symbol, exc_info=failed)
            if each in late or failed is not None:
                self._note(symbol, None)
        return {symbol: self._known[symbol][0] for symbol in asked}

    def _counts(self, symbol: str) -> bool:
        rate, at_s = self._known.get(symbol, (None, float("-inf")))
        return self._loop.time() - at_s <= (_UNTOLD_AGE_S if rate is None else _AGE_S)

    def _note(self, symbol: str, rate: Decimal | None) -> None:
        self._known[symbol] = rate, self._loop.time()
