"""The market streams: what each sends when a price moves, when something is traded, and every second.

A live market moves all the time; a paper one may stand still. So that a client doesn't wait for ever for its first
event, every stream but those of trades sends the present state once a second of the server's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gate.paper.books.orders import Order, Trade
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Symbol
from gate.paper.market.tape import INTERVALS_MS, PublicTrade
from gate.paper.streams import market_events as shapes
from gate.paper.streams.event import Event, event, events
from gate.paper.streams.topics import Kind, Topic
from gate.paper.trading.exchange import Exchange

_SECOND_MS = 1_000
_KLINES = (Kind.KLINE, Kind.CONTINUOUS_KLINE)
_SYMBOL_BY_SYMBOL = {
    Kind.MARK_PRICE: ("markPriceUpdate", shapes.mark_price),
    Kind.MINI_TICKER: ("24hrMiniTicker", shapes.mini_ticker),
    Kind.TICKER: ("24hrTicker", shapes.ticker),
}


class MarketFeed:
    """Builds the events of those streams that somebody listens to, and hands them to `publish`."""

    def __init__(self, exchange: Exchange, publish: Callable[[str, Event], None], now_ms: int) -> None:
        self._exchange = exchange
        self._publish = publish
        self._topics: dict[str, Topic] = {}
        self._open_candles: dict[str, int] = {}  # stream -> start of the candle that it told last
        self._second = now_ms // _SECOND_MS
        exchange.watcher = self

    def open(self, stream: str, topic: Topic) -> None:
        if topic.symbol is None or topic.symbol in self._exchange.market.symbols:
            self._topics[stream] = topic

    def close(self, stream: str) -> None:
        self._topics.pop(stream, None)
        self._open_candles.pop(stream, None)

    def quoted(self, symbol: Symbol, before: Quote, now_ms: int) -> None:
        for stream, topic in self._about(symbol):
            if topic.kind is Kind.BOOK_TICKER:
                self._publish(stream, shapes.book_ticker(self._exchange, symbol, now_ms))
            elif topic.kind is Kind.DEPTH:
                self._publish(stream, shapes.depth(self._exchange, symbol, before, now_ms))
            elif topic.kind is Kind.PARTIAL_DEPTH:
                self._publish(stream, shapes.depth(self._exchange, symbol, None, now_ms))

    def traded(self, symbol: Symbol, trade: PublicTrade) -> None:
        for stream, topic in self._about(symbol):
            if topic.kind is Kind.AGG_TRADE:
                self._publish(stream, shapes.agg_trade(symbol, trade))
            elif topic.kind is Kind.TRADE:
                self._publish(stream, shapes.plain_trade(symbol, trade))
            elif topic.kind in _KLINES:
                self._tell_candle(stream, topic, symbol, trade.time_ms)

    def liquidated(self, order: Order, fill: Trade) -> None:
        symbol = self._exchange.market.symbols[order.symbol]
        for stream, topic in self._about(symbol):
            if topic.kind is Kind.FORCE_ORDER:
                self._publish(stream, shapes.force_order(symbol, order, fill))

    def tick(self, now_ms: int) -> None:
        """Send what comes every second, once for each change of the second however far the clock has jumped."""
        second = now_ms // _SECOND_MS
        if second == self._second:
            return
        before, self._second = self._second, second
        for symbol in self._with_a_book():
            self._exchange.turn_page(symbol, self._exchange.quotes[symbol.name], now_ms)
        for stream, topic in tuple(self._topics.items()):
            if topic.kind in _SYMBOL_BY_SYMBOL and second // topic.seconds != before // topic.seconds:
                self._tell_state(stream, topic, now_ms)
            elif topic.kind in _KLINES and topic.symbol is not None:
                self._tell_candle(stream, topic, self._exchange.market.symbols[topic.symbol], now_ms)

    def _about(self, symbol: Symbol) -> Iterator[tuple[str, Topic]]:
        return (row for row in tuple(self._topics.items()) if row[1].symbol in (None, symbol.name))

    def _with_a_book(self) -> list[Symbol]:
        """The symbols whose best prices somebody follows."""
        followed = [
            topic.symbol
            for topic in self._topics.values()
            if topic.kind in (Kind.BOOK_TICKER, Kind.DEPTH, Kind.PARTIAL_DEPTH)
        ]
        symbols = self._exchange.market.symbols
        return [symbol for name, symbol in symbols.items() if name in followed or None in followed]

    def _tell_state(self, stream: str, topic: Topic, now_ms: int) -> None:
        name, shape = _SYMBOL_BY_SYMBOL[topic.kind]
        symbols = self._exchange.market.symbols
        if topic.symbol is None:
            self._publish(stream, events(name, [shape(self._exchange, each, now_ms) for each in symbols.values()]))
        else:
            self._publish(stream, event(name, shape(self._exchange, symbols[topic.symbol], now_ms), topic.symbol))

    def _tell_candle(self, stream: str, topic: Topic, symbol: Symbol, now_ms: int) -> None:
        """The candle of now, after the last word on the one before it."""
        length_ms, tape = INTERVALS_MS[topic.interval], self._exchange.tapes[symbol.name]
        start_ms = now_ms // length_ms * length_ms
        told_ms = self._open_candles.get(stream, start_ms)
        self._open_candles[stream] = start_ms
        if told_ms < start_ms:
            over = tape.candle(told_ms, length_ms)
            self._publish(stream, shapes.kline(symbol, topic, over, now_ms, closed=True))
        candle = tape.candle(start_ms, length_ms)
        self._publish(stream, shapes.kline(symbol, topic, candle, now_ms, closed=False))
