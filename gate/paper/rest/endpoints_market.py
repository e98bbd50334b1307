"""Public endpoints: time, symbols, prices."""

from __future__ import annotations

from collections.abc import Callable

from gate.paper.market.decimals import ZERO, eight, fixed
from gate.paper.market.errors import Code, refuse
from gate.paper.market.market_data import published_symbols
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Symbol
from gate.paper.market.tape import DAY_MS, INTERVALS_MS, Candle
from gate.paper.market.terms import Side
from gate.paper.rest import weights
from gate.paper.rest.answers import Answer, on_offer
from gate.paper.rest.endpoints import Body, Call, PublicEndpoint, Route
from gate.paper.rest.limits import RateLimits

_PUBLISHED = RateLimits()
_EIGHT_HOURS_MS = INTERVALS_MS["8h"]  # between two fundings
_FUNDING_RATE = "0.00010000"
_MOST_TRADES = 1_000
_MOST_KLINES = 1_500
_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)


def ping(call: Call) -> Body:
    return {}


def time(call: Call) -> Body:
    return {"serverTime": call.now_ms}


def exchange_info(call: Call) -> Body:
    market, limits = call.exchange.market, call.limits
    return {
        "timezone": market.timezone,
        "serverTime": call.now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": []
        if limits is None
        else [
            _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, limits.weight_per_minute),
            # The same for every account; an account's own are in rateLimit/order.
            _rate_limit("ORDERS", "MINUTE", 1, _PUBLISHED.orders_per_minute),
            _rate_limit("ORDERS", "SECOND", 10, _PUBLISHED.orders_per_ten_seconds),
        ],
        "exchangeFilters": market.exchange_filters,
        "assets": market.assets,
        "symbols": published_symbols(market),
    }


def _rate_limit(kind: str, interval: str, number: int, limit: int) -> Answer:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _per_symbol(line: Callable[[Call, Symbol, Quote], Answer]) -> Callable[[Call], Body]:
    """One object for a requested symbol; without a symbol, a list of all."""

    def answer(call: Call) -> Body:
        name = call.params.text("symbol")
        if name is not None:
            return line(call, call.exchange.symbol(name), call.exchange.quotes[name])
        return [line(call, item, call.exchange.quotes[item.name]) for item in call.exchange.market.symbols.values()]

    return answer


def _premium_index(call: Call, symbol: Symbol, quote: Quote) -> Answer:
    mark = eight(quote.mark)
    return {
        "symbol": symbol.name,
        "markPrice": mark,
        "indexPrice": mark,
        "estimatedSettlePrice": mark,
        "lastFundingRate": _FUNDING_RATE,
        "interestRate": _FUNDING_RATE,
        "nextFundingTime": (call.now_ms // _EIGHT_HOURS_MS + 1) * _EIGHT_HOURS_MS,
        "time": call.now_ms,
    }


def _price(call: Call, symbol: Symbol, quote: Quote) -> Answer:
    return {"symbol": symbol.name, "price": fixed(quote.last, symbol.price_precision), "time": call.now_ms}


def _book_ticker(call: Call, symbol: Symbol, quote: Quote) -> Answer:
    return {
        "symbol": symbol.name,
        "bidPrice": fixed(quote.bid, symbol.price_precision),
        "bidQty": on_offer(quote, symbol, bid=True),
        "askPrice": fixed(quote.ask, symbol.price_precision),
        "askQty": on_offer(quote, symbol, bid=False),
        "time": call.now_ms,
    }


def _day(call: Call, symbol: Symbol, quote: Quote) -> Answer:
    places = symbol.price_precision
    day = call.exchange.tapes[symbol.name].day(call.now_ms)
    change = quote.last - day.open
    average = day.quote_volume / day.volume if day.volume else quote.last
    trades = call.exchange.tapes[symbol.name].trades
    return {
        "symbol": symbol.name,
        "priceChange": fixed(change, places),
        "priceChangePercent": fixed(change / day.open * 100, 3),
        "weightedAvgPrice": fixed(average, places),
        "lastPrice": fixed(quote.last, places),
        "lastQty": fixed(trades[-1].quantity if trades else ZERO, symbol.quantity_precision),
        "openPrice": fixed(day.open, places),
        "highPrice": fixed(day.high, places),
        "lowPrice": fixed(day.low, places),
        "volume": fixed(day.volume, symbol.quantity_precision),
        "quoteVolume": fixed(day.quote_volume, 2),
        "openTime": call.now_ms - DAY_MS,
        "closeTime": call.now_ms,
        "firstId": day.first_id,
        "lastId": day.last_id,
        "count": day.trades,
    }


def depth(call: Call) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    limit = call.params.integer("limit")
    if limit is not None and limit not in _DEPTH_LIMITS:
        raise refuse(Code.BAD_DEPTH_LIMIT, limit)
    quote, places = call.exchange.quotes[symbol.name], symbol.price_precision
    return {
        "lastUpdateId": call.exchange.book_ids[symbol.name] + 1,
        "E": call.now_ms,
        "T": call.now_ms,
        "bids": [[fixed(quote.bid, places), on_offer(quote, symbol, bid=True)]],
        "asks": [[fixed(quote.ask, places), on_offer(quote, symbol, bid=False)]],
    }


def klines(call: Call) -> Body:
    """Candles of what was traded; flat where nothing was, and before the server's start at the opening price."""
    return _klines(call, call.exchange.symbol(call.params.need_text("symbol")))


def continuous_klines(call: Call) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("pair"))
    call.params.need_text("contractType")
    return _klines(call, symbol)


def _klines(call: Call, symbol: Symbol) -> Body:
    length_ms = INTERVALS_MS.get(call.params.need_text("interval"))
    if length_ms is None:
        raise refuse(Code.BAD_INTERVAL)
    count = max(1, min(call.params.integer("limit") or 500, _MOST_KLINES))
    last_ms = min(call.params.integer("endTime") or call.now_ms, call.now_ms) // length_ms * length_ms
    start_ms = call.params.integer("startTime")
    first_ms = last_ms - (count - 1) * length_ms if start_ms is None else start_ms
    opens = range(-(-first_ms // length_ms) * length_ms, last_ms + 1, length_ms)[:count]
    return [kline(candle, symbol, length_ms) for candle in call.exchange.tapes[symbol.name].candles(opens, length_ms)]


def kline(candle: Candle, symbol: Symbol, length_ms: int) -> list[object]:
    price, quantity = symbol.price_precision, symbol.quantity_precision
    return [
        candle.open_ms,
        fixed(candle.open, price),
        fixed(candle.high, price),
        fixed(candle.low, price),
        fixed(candle.close, price),
        fixed(candle.volume, quantity),
        candle.open_ms + length_ms - 1,
        fixed(candle.quote_volume, price + quantity),
        candle.trades,
        fixed(candle.taker_bought, quantity),
        fixed(candle.taker_bought_quote, price + quantity),
        "0",
    ]


def trades(call: Call) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    rows = list(call.exchange.tapes[symbol.name].trades)[-_rows(call) :]
    return [
        {
            "id": row.trade_id,
            "price": fixed(row.price, symbol.price_precision),
            "qty": fixed(row.quantity, symbol.quantity_precision),
            "quoteQty": fixed(row.price * row.quantity, symbol.price_precision),
            "time": row.time_ms,
            "isBuyerMaker": row.taker is Side.SELL,
        }
        for row in rows
    ]


def agg_trades(call: Call) -> Body:
    """Each trade is an aggregate of its own."""
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    from_id = call.params.integer("fromId")
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    rows = [
        row
        for row in call.exchange.tapes[symbol.name].trades
        if row.trade_id >= (from_id or 0)
        and (start is None or row.time_ms >= start)
        and (end is None or row.time_ms <= end)
    ]
    from_start = from_id is not None or start is not None
    return [
        {
            "a": row.trade_id,
            "p": fixed(row.price, symbol.price_precision),
            "q": fixed(row.quantity, symbol.quantity_precision),
            "f": row.trade_id,
            "l": row.trade_id,
            "T": row.time_ms,
            "m": row.taker is Side.SELL,
        }
        for row in (rows[: _rows(call)] if from_start else rows[-_rows(call) :])
    ]


def _rows(call: Call) -> int:
    return max(1, min(call.params.integer("limit") or 500, _MOST_TRADES))


def funding_rate(call: Call) -> Body:
    """The rate that premiumIndex tells, for each funding time that has passed. Nobody pays it."""
    name = call.params.text("symbol")
    symbols = call.exchange.market.symbols.values() if name is None else [call.exchange.symbol(name)]
    count = max(1, min(call.params.integer("limit") or 100, _MOST_TRADES))
    last_ms = min(call.params.integer("endTime") or call.now_ms, call.now_ms) // _EIGHT_HOURS_MS * _EIGHT_HOURS_MS
    start_ms = call.params.integer("startTime")
    first_ms = last_ms - (count - 1) * _EIGHT_HOURS_MS if start_ms is None else start_ms
    times = range(-(-first_ms // _EIGHT_HOURS_MS) * _EIGHT_HOURS_MS, last_ms + 1, _EIGHT_HOURS_MS)[:count]
    return [
        {
            "symbol": symbol.name,
            "fundingTime": at_ms,
            "fundingRate": _FUNDING_RATE,
            "markPrice": eight(call.exchange.tapes[symbol.name].candle(at_ms, 1).open),
        }
        for at_ms in times
        for symbol in symbols
    ][-count:]


ENDPOINTS: dict[Route, PublicEndpoint] = {
    ("GET", "/api/v3/ping"): PublicEndpoint(ping),
    ("GET", "/api/v3/time"): PublicEndpoint(time),
    ("GET", "/fapi/v1/ping"): PublicEndpoint(ping),
    ("GET", "/fapi/v1/time"): PublicEndpoint(time),
    ("GET", "/fapi/v1/exchangeInfo"): PublicEndpoint(exchange_info),
    ("GET", "/fapi/v1/premiumIndex"): PublicEndpoint(_per_symbol(_premium_index), weights.per_symbol(1, 10)),
    ("GET", "/fapi/v1/ticker/price"): PublicEndpoint(_per_symbol(_price), weights.per_symbol(1, 2)),
    ("GET", "/fapi/v2/ticker/price"): PublicEndpoint(_per_symbol(_price), weights.per_symbol(1, 2)),
    ("GET", "/fapi/v1/ticker/bookTicker"): PublicEndpoint(_per_symbol(_book_ticker), weights.per_symbol(2, 5)),
    ("GET", "/fapi/v1/ticker/24hr"): PublicEndpoint(_per_symbol(_day), weights.per_symbol(1, 40)),
    ("GET", "/fapi/v1/depth"): PublicEndpoint(depth, weights.depth),
    ("GET", "/fapi/v1/klines"): PublicEndpoint(klines, weights.klines),
    ("GET", "/fapi/v1/continuousKlines"): PublicEndpoint(continuous_klines, weights.klines),
    ("GET", "/fapi/v1/trades"): PublicEndpoint(trades, weight=5),
    ("GET", "/fapi/v1/historicalTrades"): PublicEndpoint(trades, weight=20),
    ("GET", "/fapi/v1/aggTrades"): PublicEndpoint(agg_trades, weight=20),
    ("GET", "/fapi/v1/fundingRate"): PublicEndpoint(funding_rate),
}
