"""What the exchange trades, and by which filters: exchangeInfo, read once an hour and kept."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from gate.exchange.answers import decode_filters, unreadable
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Filters
from gate.exchange.rest_client import RestClient
from gate.exchange.usage import decode_limits

FILTERS_AGE_S: Final = 3600  # filters change seldom; a code that says so has them read anew
_FILTERS_OLD_S: Final = 86_400
"""An order waits for newer ones than that."""
_RENEWALS_APART_S: Final = 60


class Symbols:
    """The symbols of the last exchangeInfo. `end` stops what it reads beside the orders."""

    def __init__(self, rest: RestClient) -> None:
        self._rest: Final = rest
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._read_at_s: float | None = None
        self._filters: dict[str, Filters] = {}
        self._older: Final[dict[str, Filters]] = {}
        self._renewal: asyncio.Task[None] | None = None
        self._renewed_at_s = -math.inf

    async def filters(self, symbol: str, no_older_than_s: float) -> Filters | None:
        """What the exchange allows for a symbol; None for one that it doesn't have. Older ones where newer can't be
        read: the exchange checks them itself, and an exit must not wait. Nor does an order once an hour, where those of
        the day are known: newer ones are read beside it. Raises ExchangeFailure while none were ever read, and for a
        symbol whose own can't be read."""
        age_s = math.inf if self._read_at_s is None else time.monotonic() - self._read_at_s
        if no_older_than_s == FILTERS_AGE_S < age_s < _FILTERS_OLD_S and symbol in self._rows:
            self._renew()
        elif self._read_at_s is None or age_s > no_older_than_s:
            try:
                await self._read()
            except ExchangeFailure:
                if not self._rows:
                    raise
        return self._decoded(symbol)

    def known_filters(self, symbol: str) -> Filters | None:
        """Those that were read last, without asking; None for a symbol that isn't among them. An exit goes by these, so
        where a symbol's own can't be read: those that could be before, or None."""
        with suppress(ExchangeFailure):
            return self._decoded(symbol)
        return self._older.get(symbol)

    def _decoded(self, symbol: str) -> Filters | None:
        # One by one: an odd symbol must not stop the others.
        filters = self._filters.get(symbol)
        if filters is None and (found := self._rows.get(symbol)) is not None:
            filters = self._filters[symbol] = decode_filters(found)
        return filters

    def at_hand(self, symbol: str) -> Filters | None:
        """Those that were read last, unless they are to be read anew."""
        return None if self._read_at_s is None else self.known_filters(symbol)

    def margin_asset(self, symbol: str) -> str | None:
        """What a symbol's margin is in; None where that isn't known."""
        found = self._rows.get(symbol)
        said = None if found is None else found.get("marginAsset", "USDT")
        return said if isinstance(said, str) else None

    def forget(self) -> None:
        """Reads them anew at the next order: an answer has shown that they changed."""
        self._read_at_s = None

    async def read_once(self) -> None:
        """Reads them, unless that has been done. Raises ExchangeFailure."""
        if self._read_at_s is None:
            await self._read()

    def _renew(self) -> None:
        """Reads them beside what goes on; once a minute at most where that fails."""
        now_s = time.monotonic()
        if now_s - self._renewed_at_s > _RENEWALS_APART_S and self._rest.rest_ms() is None:
            self._renewed_at_s = now_s
            self._renewal = asyncio.create_task(self._read())
            # Older ones do. Nobody else takes its failure, and asyncio would log it.
            self._renewal.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _read(self) -> None:
        info = await self._rest.read("futures_exchange_info")
        try:
            rows = {each["symbol"]: each for each in info["symbols"]}
        except (KeyError, TypeError):
            raise unreadable("exchangeInfo", None) from None
        if not rows:
            raise unreadable("exchangeInfo", "without symbols")
        self._older.update(self._filters)
        self._rows, self._read_at_s, self._filters = rows, time.monotonic(), {}
        self._rest.usage.published(decode_limits(info.get("rateLimits")))
        self._rest.ask_for_own_limits()

    async def end(self) -> None:
        """Stops reading."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
