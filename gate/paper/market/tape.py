"""What a symbol has been traded at: its candles and its latest public trades. The past stays as it was."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from decimal import Decimal

import msgspec
from msgspec import Struct

from gate.paper.market.decimals import ZERO
from gate.paper.market.terms import Side

MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
INTERVALS_MS = {
    "1m": MINUTE_MS, "3m": 3 * MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS, "2h": 120 * MINUTE_MS, "4h": 240 * MINUTE_MS, "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS, "12h": 720 * MINUTE_MS, "1d": DAY_MS, "3d": 3 * DAY_MS, "1w": 7 * DAY_MS,
    "1M": 30 * DAY_MS,
}  # fmt: skip
_MOST_MINUTES = 10_080  # minutes in which something was traded: a week of them
_MOST_TRADES = 1_000


class PublicTrade(Struct, frozen=True):
    """A trade as everybody sees it. `taker`: the side of the order that came last."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    taker: Side
    time_ms: int


class Candle(Struct, frozen=True, kw_only=True):
    """A stretch of time, from `open_ms` on. `taker_bought` is the part of the volume whose taker bought."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    quote_volume: Decimal = ZERO
    taker_bought: Decimal = ZERO
    taker_bought_quote: Decimal = ZERO
    trades: int = 0
    first_id: int = -1
    last_id: int = -1

    def with_next(self, later: Candle) -> Candle:
        """This candle and a later one as one."""
        return Candle(
            open_ms=self.open_ms,
            open=self.open,
            high=max(self.high, later.high),
            low=min(self.low, later.low),
            close=later.close,
            volume=self.volume + later.volume,
            quote_volume=self.quote_volume + later.quote_volume,
            taker_bought=self.taker_bought + later.taker_bought,
            taker_bought_quote=self.taker_bought_quote + later.taker_bought_quote,
            trades=self.trades + later.trades,
            first_id=self.first_id if self.first_id >= 0 else later.first_id,
            last_id=max(self.last_id, later.last_id),
        )


class Tape:
    """One symbol's history. It begins at the opening price, which also stands for the time before it."""

    def __init__(self, opening: Decimal) -> None:
        self.trades: deque[PublicTrade] = deque(maxlen=_MOST_TRADES)
        self._opening = opening
        self._last = opening
        self._starts: list[int] = []  # of the minutes with a trade, ascending
        self._minutes: list[Candle] = []

    def printed(self, trade: PublicTrade, *, moves: bool) -> None:
        """Note a trade. `moves`: its price is the last price from now on; else it only widens the candle."""
        self.trades.append(trade)
        if moves:
            self._last = trade.price
        start = trade.time_ms // MINUTE_MS * MINUTE_MS
        at = bisect_left(self._starts, start)
        if at == len(self._starts) or self._starts[at] != start:
            self._starts.insert(at, start)
            self._minutes.insert(at, _flat(start, self._minutes[at - 1].close if at else self._opening))
        quote = trade.price * trade.quantity
        bought = trade.taker is Side.BUY
        one = Candle(
            open_ms=start,
            open=trade.price,
            high=trade.price,
            low=trade.price,
            close=self._last,
            volume=trade.quantity,
            quote_volume=quote,
            taker_bought=trade.quantity if bought else ZERO,
            taker_bought_quote=quote if bought else ZERO,
            trades=1,
            first_id=trade.trade_id,
            last_id=trade.trade_id,
        )
        self._minutes[at] = self._minutes[at].with_next(one)
        if len(self._minutes) > _MOST_MINUTES:
            self._opening = self._minutes[0].close
            del self._starts[0], self._minutes[0]

    def candle(self, start_ms: int, length_ms: int) -> Candle:
        """The candle of a stretch of time; flat where nothing was traded."""
        first = bisect_left(self._starts, start_ms)
        candle = _flat(start_ms, self._minutes[first - 1].close if first else self._opening)
        for minute in self._minutes[first : bisect_right(self._starts, start_ms + length_ms - 1)]:
            candle = candle.with_next(minute)
        return candle

    def candles(self, starts: range, length_ms: int) -> Iterator[Candle]:
        return (self.candle(start, length_ms) for start in starts)

    def day(self, now_ms: int) -> Candle:
        """The last 24 hours, to the minute."""
        start = (now_ms - DAY_MS) // MINUTE_MS * MINUTE_MS + MINUTE_MS
        return msgspec.structs.replace(self.candle(start, now_ms - start + 1), open_ms=now_ms - DAY_MS)


def _flat(start_ms: int, price: Decimal) -> Candle:
    return Candle(open_ms=start_ms, open=price, high=price, low=price, close=price)
