"""The events of the market streams, field for field, from the quotes and the tape as they stand."""

from __future__ import annotations

from gate.paper.books.orders import Order, Trade
from gate.paper.market.decimals import ZERO, eight, fixed
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Symbol
from gate.paper.market.tape import DAY_MS, INTERVALS_MS, Candle, PublicTrade
from gate.paper.market.terms import Side
from gate.paper.rest.answers import average, on_offer
from gate.paper.streams.event import Event, event
from gate.paper.streams.topics import Kind, Topic
from gate.paper.trading.exchange import Exchange

Shape = dict[str, object]

_FUNDING_EVERY_MS = INTERVALS_MS["8h"]
_FUNDING_RATE = "0.00010000"


def mark_price(exchange: Exchange, symbol: Symbol, now_ms: int) -> Shape:
    mark = eight(exchange.quotes[symbol.name].mark)
    return {
        "E": now_ms,
        "s": symbol.name,
        "p": mark,
        "ap": mark,
        "P": mark,
        "i": mark,
        "r": _FUNDING_RATE,
        "T": (now_ms // _FUNDING_EVERY_MS + 1) * _FUNDING_EVERY_MS,
    }


def book_ticker(exchange: Exchange, symbol: Symbol, now_ms: int) -> Event:
    quote, places = exchange.quotes[symbol.name], symbol.price_precision
    return event(
        "bookTicker",
        {
            "u": exchange.book_ids[symbol.name],
            "s": symbol.name,
            "b": fixed(quote.bid, places),
            "B": on_offer(quote, symbol, bid=True),
            "a": fixed(quote.ask, places),
            "A": on_offer(quote, symbol, bid=False),
            "T": now_ms,
            "E": now_ms,
        },
        symbol.name,
    )


def depth(exchange: Exchange, symbol: Symbol, before: Quote | None, now_ms: int) -> Event:
    """The best bid and ask; with `before`, also the levels that are gone."""
    quote, last_id = exchange.quotes[symbol.name], exchange.book_ids[symbol.name]
    return event(
        "depthUpdate",
        {
            "E": now_ms,
            "T": now_ms,
            "s": symbol.name,
            "U": last_id - 1,
            "u": last_id,
            "pu": last_id - 2,
            "b": _levels(symbol, quote, before, bid=True),
            "a": _levels(symbol, quote, before, bid=False),
        },
        symbol.name,
    )


def _levels(symbol: Symbol, quote: Quote, before: Quote | None, *, bid: bool) -> list[list[str]]:
    places = symbol.price_precision
    price = quote.bid if bid else quote.ask
    rows = [[fixed(price, places), on_offer(quote, symbol, bid=bid)]]
    gone = None if before is None else before.bid if bid else before.ask
    if gone is not None and gone != price:
        rows.append([fixed(gone, places), fixed(ZERO, symbol.quantity_precision)])
    return rows


def agg_trade(symbol: Symbol, trade: PublicTrade) -> Event:
    shape = {
        "E": trade.time_ms,
        "a": trade.trade_id,
        "s": symbol.name,
        "p": fixed(trade.price, symbol.price_precision),
        "q": fixed(trade.quantity, symbol.quantity_precision),
        "nq": fixed(trade.quantity, symbol.quantity_precision),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.time_ms,
        "m": trade.taker is Side.SELL,
    }
    return event("aggTrade", shape, symbol.name)


def plain_trade(symbol: Symbol, trade: PublicTrade) -> Event:
    shape = {
        "E": trade.time_ms,
        "T": trade.time_ms,
        "s": symbol.name,
        "t": trade.trade_id,
        "p": fixed(trade.price, symbol.price_precision),
        "q": fixed(trade.quantity, symbol.quantity_precision),
        "X": "MARKET",
        "m": trade.taker is Side.SELL,
    }
    return event("trade", shape, symbol.name)


def kline(symbol: Symbol, topic: Topic, candle: Candle, now_ms: int, *, closed: bool) -> Event:
    price, quantity = symbol.price_precision, symbol.quantity_precision
    whole: Shape = {
        "t": candle.open_ms,
        "T": candle.open_ms + INTERVALS_MS[topic.interval] - 1,
        "i": topic.interval,
        "f": candle.first_id,
        "L": candle.last_id,
        "o": fixed(candle.open, price),
        "c": fixed(candle.close, price),
        "h": fixed(candle.high, price),
        "l": fixed(candle.low, price),
        "v": fixed(candle.volume, quantity),
        "n": candle.trades,
        "x": closed,
        "q": fixed(candle.quote_volume, price + quantity),
        "V": fixed(candle.taker_bought, quantity),
        "Q": fixed(candle.taker_bought_quote, price + quantity),
        "B": "0",
    }
    if topic.kind is Kind.CONTINUOUS_KLINE:
        shape: Shape = {"E": now_ms, "ps": symbol.name, "ct": "PERPETUAL", "k": whole}
        return event("continuous_kline", shape, symbol.name)
    return event("kline", {"E": now_ms, "s": symbol.name, "k": {**whole, "s": symbol.name}}, symbol.name)


def mini_ticker(exchange: Exchange, symbol: Symbol, now_ms: int) -> Shape:
    day, places = exchange.tapes[symbol.name].day(now_ms), symbol.price_precision
    return {
        "E": now_ms,
        "s": symbol.name,
        "c": fixed(exchange.quotes[symbol.name].last, places),
        "o": fixed(day.open, places),
        "h": fixed(day.high, places),
        "l": fixed(day.low, places),
        "v": fixed(day.volume, symbol.quantity_precision),
        "q": fixed(day.quote_volume, 2),
    }


def ticker(exchange: Exchange, symbol: Symbol, now_ms: int) -> Shape:
    day, places = exchange.tapes[symbol.name].day(now_ms), symbol.price_precision
    last, trades = exchange.quotes[symbol.name].last, exchange.tapes[symbol.name].trades
    return {
        **mini_ticker(exchange, symbol, now_ms),
        "p": fixed(last - day.open, places),
        "P": fixed((last - day.open) / day.open * 100, 3),
        "w": fixed(day.quote_volume / day.volume if day.volume else last, places),
        "Q": fixed(trades[-1].quantity if trades else ZERO, symbol.quantity_precision),
        "O": now_ms - DAY_MS,
        "C": now_ms,
        "F": day.first_id,
        "L": day.last_id,
        "n": day.trades,
    }


def force_order(symbol: Symbol, order: Order, fill: Trade) -> Event:
    price, quantity = symbol.price_precision, symbol.quantity_precision
    shape: Shape = {
        "s": symbol.name,
        "S": order.side.value,
        "o": order.type.value,
        "f": "IOC",
        "q": fixed(order.quantity, quantity),
        "p": fixed(order.price, price),
        "ap": average(order, symbol),
        "X": order.status.value,
        "l": fixed(fill.quantity, quantity),
        "z": fixed(order.executed, quantity),
        "T": order.update_ms,
    }
    return event("forceOrder", {"E": order.update_ms, "o": shape}, symbol.name)
