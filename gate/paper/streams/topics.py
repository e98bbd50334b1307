"""The names of the market streams, read. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct

from gate.paper.market.tape import INTERVALS_MS


class Kind(StrEnum):
    MARK_PRICE = "markPrice"
    BOOK_TICKER = "bookTicker"
    AGG_TRADE = "aggTrade"
    TRADE = "trade"
    KLINE = "kline"
    CONTINUOUS_KLINE = "continuousKline"
    MINI_TICKER = "miniTicker"
    TICKER = "ticker"
    DEPTH = "depth"
    PARTIAL_DEPTH = "partialDepth"
    FORCE_ORDER = "forceOrder"


# The high-frequency streams come from /public, all others from /market.
_PUBLIC = frozenset({Kind.BOOK_TICKER, Kind.TRADE, Kind.DEPTH, Kind.PARTIAL_DEPTH})


class Topic(Struct, frozen=True):
    """What a stream tells: of one symbol, or with None of all. `detail`: a candle's interval, or a contract type."""

    kind: Kind
    symbol: str | None
    interval: str = ""
    seconds: int = 1  # between two mark prices

    @property
    def category(self) -> str:
        return "public" if self.kind in _PUBLIC else "market"


_DEPTH = re.compile(r"depth(5|10|20)?(@(100|250|500)ms)?")
_OF_ALL = {
    "!markPrice@arr": Topic(Kind.MARK_PRICE, None, seconds=3),
    "!markPrice@arr@1s": Topic(Kind.MARK_PRICE, None),
    "!bookTicker": Topic(Kind.BOOK_TICKER, None),
    "!miniTicker@arr": Topic(Kind.MINI_TICKER, None),
    "!ticker@arr": Topic(Kind.TICKER, None),
    "!forceOrder@arr": Topic(Kind.FORCE_ORDER, None),
}
_OF_ONE = {
    "markPrice": (Kind.MARK_PRICE, 3),
    "markPrice@3s": (Kind.MARK_PRICE, 3),
    "markPrice@1s": (Kind.MARK_PRICE, 1),
    "bookTicker": (Kind.BOOK_TICKER, 1),
    "aggTrade": (Kind.AGG_TRADE, 1),
    "trade": (Kind.TRADE, 1),
    "miniTicker": (Kind.MINI_TICKER, 1),
    "ticker": (Kind.TICKER, 1),
    "forceOrder": (Kind.FORCE_ORDER, 1),
}


def read_topic(stream: str) -> Topic | None:
    """What a stream's name means. None for no meaning: the exchange takes such a name too, and sends nothing."""
    if stream in _OF_ALL:
        return _OF_ALL[stream]
    name, _, rest = stream.partition("@")
    symbol = name.upper()
    if rest in _OF_ONE:
        kind, seconds = _OF_ONE[rest]
        return Topic(kind, symbol, seconds=seconds)
    depth = _DEPTH.fullmatch(rest)
    if depth is not None:
        return Topic(Kind.PARTIAL_DEPTH if depth[1] else Kind.DEPTH, symbol)
    shape, _, interval = rest.partition("_")
    if interval in INTERVALS_MS and shape == "kline":
        return Topic(Kind.KLINE, symbol, interval)
    if interval in INTERVALS_MS and shape == "continuousKline" and symbol.endswith("_PERPETUAL"):
        return Topic(Kind.CONTINUOUS_KLINE, symbol.removesuffix("_PERPETUAL"), interval)
    return None
