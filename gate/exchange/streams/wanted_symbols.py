"""The symbols that intents are about: their prices and fees are at hand. No more of them than a stream carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gate.exchange.streams.fees import Fees
from gate.exchange.streams.market import MOST_WATCHED, MarketStream


class WantedSymbols:
    """Those that weren't asked for the longest make room for others."""

    def __init__(self, margin_asset: Callable[[str], str | None], fees: Fees, market: MarketStream) -> None:
        self._margin_asset: Final = margin_asset
        self._fees: Final = fees
        self._market: Final = market
        self._wanted: Final[dict[str, None]] = {}
        self._unknown: Final[dict[str, None]] = {}

    def add(self, symbol: str) -> None:
        """Has the symbol's price and fee at hand from soon on."""
        if self._margin_asset(symbol) is None:
            # The exchange has no such one, and then it takes no room; or its symbols have not been read yet.
            _put_last(self._unknown, symbol)
            return
        for dropped in _put_last(self._wanted, symbol):
            self._fees.forget(dropped)
        self._fees.want(symbol)
        self._market.watch(symbol)

    def add_those_known_by_now(self) -> None:
        """Adds what was asked for before the exchange's symbols were read."""
        for symbol in [each for each in self._unknown if self._margin_asset(each) is not None]:
            del self._unknown[symbol]
            self.add(symbol)


def _put_last(names: dict[str, None], name: str) -> list[str]:
    """Puts a name behind the others. Returns those that had to go for it."""
    names.pop(name, None)
    names[name] = None
    gone = []
    while len(names) > MOST_WATCHED:
        gone.append(oldest := next(iter(names)))
        del names[oldest]
    return gone
