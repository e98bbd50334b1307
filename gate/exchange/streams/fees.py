"""The fees of the symbols that entries are about. No stream tells them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from decimal import Decimal
from typing import Final

from gate.exchange.failures import ExchangeFailure
from gate.exchange.streams.pauses import MOST_DOUBLINGS
from gate.exchange.streams.rest import HALF, Rest

_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0
_AGE_S: Final = 3600.0
_LOOKED_S: Final = 60.0


class Fees:
    """Reads them one after the other, and anew after an hour: each weighs 20."""

    def __init__(self, rest: Rest, rates: dict[str, Decimal]) -> None:
        """`rates`: where they are kept, by symbol."""
        self._rest: Final = rest
        self._rates: Final = rates
        self._wanted: Final[dict[str, None]] = {}
        self._due_ns: Final[dict[str, int]] = {}
        self._failed: Final[dict[str, int]] = {}
        self._wake: Final = asyncio.Event()

    def want(self, symbol: str) -> None:
        """Has a symbol's fee read soon, and from then on."""
        if symbol not in self._wanted:
            self._wanted[symbol] = None
            self._wake.set()

    def forget(self, symbol: str) -> None:
        """No entry has been about it for long."""
        for kept in (self._wanted, self._rates, self._due_ns, self._failed):
            kept.pop(symbol, None)

    async def keep(self) -> None:
        """Until it is cancelled."""
        while True:
            self._wake.clear()
            now_ns = time.monotonic_ns()
            symbol = next((each for each in self._wanted if self._due_ns.get(each, 0) <= now_ns), None)
            if symbol is None:
                later_ns = now_ns + int(_LOOKED_S * 1e9)
                next_ns = min((self._due_ns[each] for each in self._wanted), default=later_ns)
                with suppress(TimeoutError):
                    async with asyncio.timeout((next_ns - now_ns) / 1e9):
                        await self._wake.wait()
                continue
            rest_ms = self._rest.rest_ms(HALF)
            if rest_ms is not None:
                await asyncio.sleep(rest_ms / 1000)
                continue
            if not await self._read(symbol):
                await asyncio.sleep(_PAUSE_S)

    async def _read(self, symbol: str) -> bool:
        try:
            await self._rest.until_it_may_ask()
            rate = await self._rest.fee_rate(symbol)
        except ExchangeFailure:
            failed = self._failed.get(symbol, 0)
            pause_s = min(_PAUSE_S * 2 ** min(failed, MOST_DOUBLINGS), _LONGEST_PAUSE_S)
            if symbol in self._wanted:
                self._failed[symbol] = failed + 1
                self._due_ns[symbol] = time.monotonic_ns() + int(pause_s * 1e9)
            return False
        if symbol in self._wanted:
            self._failed.pop(symbol, None)
            self._rates[symbol] = rate
            self._due_ns[symbol] = time.monotonic_ns() + int(_AGE_S * 1e9)
        return True
