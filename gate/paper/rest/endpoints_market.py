"""Public endpoints: time, symbols, prices."""

from __future__ import annotations

from collections.abc import Callable

from gate.paper.market.decimals import ZERO, eight, fixed
from gate.paper.market.errors import Code, refuse
from gate.paper.market.market_data import published_symbols
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Symbol
from gate.paper.rest import weights
from gate.paper.rest.answers import Answer
from gate.paper.rest.endpoints import Body, Call, PublicEndpoint, Route
from gate.paper.rest.limits import RateLimits

_PUBLISHED = RateLimits()
_MINUTE_MS = 60_000
_EIGHT_HOURS_MS = 8 * 60 * _MINUTE_MS  # between two fundings
_INTERVALS_MS = {
    "1m": _MINUTE_MS, "3m": 3 * _MINUTE_MS, "5m": 5 * _MINUTE_MS, "15m": 15 * _MINUTE_MS, "30m": 30 * _MINUTE_MS,
    "1h": 60 * _MINUTE_MS, "2h": 120 * _MINUTE_MS, "4h": 240 * _MINUTE_MS, "6h": 360 * _MINUTE_MS,
    "8h": _EIGHT_HOURS_MS, "12h": 720 * _MINUTE_MS, "1d": 1440 * _MINUTE_MS, "3d": 4320 * _MINUTE_MS,
    "1w": 10080 * _MINUTE_MS, "1M": 43200 * _MINUTE_MS,
}  # fmt: skip
_MOST_KLINES = 1_500
_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_SHOWN_DEPTH = 1_000  # lots to show for a quote without a depth limit


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
        "rateLimits": [
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
        "lastFundingRate": "0.00010000",
        "interestRate": "0.00010000",
        "nextFundingTime": (call.now_ms // _EIGHT_HOURS_MS + 1) * _EIGHT_HOURS_MS,
        "time": call.now_ms,
    }


def _price(call: Call, symbol: Symbol, quote: Quote) -> Answer:
    return {"symbol": symbol.name, "price": fixed(quote.last, symbol.price_precision), "time": call.now_ms}


def _book_ticker(call: Call, symbol: Symbol, quote: Quote) -> Answer:
    return {
        "symbol": symbol.name,
        "bidPrice": fixed(quote.bid, symbol.price_precision),
        "bidQty": _on_offer(quote, symbol, bid=True),
        "askPrice": fixed(quote.ask, symbol.price_precision),
        "askQty": _on_offer(quote, symbol, bid=False),
        "time": call.now_ms,
    }


def _day(call: Call, symbol: Symbol, quote: Quote) -> Answer:
    last, nothing = fixed(quote.last, symbol.price_precision), fixed(ZERO, symbol.quantity_precision)
    return {
        "symbol": symbol.name,
        "priceChange": fixed(ZERO, symbol.price_precision),
        "priceChangePercent": "0.000",
        "weightedAvgPrice": last,
        "lastPrice": last,
        "lastQty": nothing,
        "openPrice": last,
        "highPrice": last,
        "lowPrice": last,
        "volume": nothing,
        "quoteVolume": "0.00",
        "openTime": call.now_ms - _INTERVALS_MS["1d"],
        "closeTime": call.now_ms,
        "firstId": -1,
        "lastId": -1,
        "count": 0,
    }


def depth(call: Call) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    limit = call.params.integer("limit")
    if limit is not None and limit not in _DEPTH_LIMITS:
        raise refuse(Code.BAD_DEPTH_LIMIT, limit)
    quote, places = call.exchange.quotes[symbol.name], symbol.price_precision
    return {
        "lastUpdateId": call.now_ms,
        "E": call.now_ms,
        "T": call.now_ms,
        "bids": [[fixed(quote.bid, places), _on_offer(quote, symbol, bid=True)]],
        "asks": [[fixed(quote.ask, places), _on_offer(quote, symbol, bid=False)]],
    }


def _on_offer(quote: Quote, symbol: Symbol, *, bid: bool) -> str:
    offered = quote.bid_depth if bid else quote.ask_depth
    return fixed(symbol.lot.step * _SHOWN_DEPTH if offered is None else offered, symbol.quantity_precision)


def klines(call: Call) -> Body:
    """Flat candles at the last price, since the server has no price history. They are enough for a client to start."""
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    length_ms = _INTERVALS_MS.get(call.params.need_text("interval"))
    if length_ms is None:
        raise refuse(Code.BAD_INTERVAL)
    count = max(1, min(call.params.integer("limit") or 500, _MOST_KLINES))
    last_ms = min(call.params.integer("endTime") or call.now_ms, call.now_ms) // length_ms * length_ms
    start_ms = call.params.integer("startTime")
    first_ms = last_ms - (count - 1) * length_ms if start_ms is None else start_ms
    opens = range(-(-first_ms // length_ms) * length_ms, last_ms + 1, length_ms)
    price = fixed(call.exchange.quotes[symbol.name].last, symbol.price_precision)
    return [
        [opened, price, price, price, price, "0", opened + length_ms - 1, "0", 0, "0", "0", "0"]
        for opened in opens[:count]
    ]


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
}
