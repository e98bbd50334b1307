"""Reads symbols, brackets and opening prices from JSON: the built-in set, or a capture of the exchange's answers.

A capture is either one exchangeInfo answer, or an object that holds several answers under the endpoints' names:
`exchangeInfo`, and optionally `leverageBracket` and `premiumIndex`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib import resources
from pathlib import Path

import msgspec

from gate.paper.market.decimals import ONE, ZERO, to_satoshi
from gate.paper.market.symbols import Bracket, JsonObject, LotSize, Market, Symbol

# For a captured symbol without captured brackets: the usual ladder of a mid-cap perpetual (NEARUSDT's).
_DEFAULT_BRACKETS_OF = "NEARUSDT"
_DEFAULT_PRICE_TICKS = 10_000  # a captured symbol without a captured price opens at this many ticks


class MarketDataError(ValueError):
    """A market file that can't be used; the text names the place and the fault."""


class _Filter(msgspec.Struct, rename="camel"):
    filter_type: str
    tick_size: Decimal = ZERO
    min_price: Decimal = ZERO
    max_price: Decimal = ZERO
    min_qty: Decimal = ZERO
    max_qty: Decimal = ZERO
    step_size: Decimal = ZERO
    limit: int = 0
    notional: Decimal = ZERO
    multiplier_up: Decimal = ZERO
    multiplier_down: Decimal = ZERO


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    price_precision: int
    quantity_precision: int
    filters: list[_Filter]


class _BracketRow(msgspec.Struct, rename="camel"):
    bracket: int
    initial_leverage: int
    notional_cap: Decimal
    notional_floor: Decimal
    maint_margin_ratio: Decimal
    cum: Decimal


class _Brackets(msgspec.Struct):
    symbol: str
    brackets: list[_BracketRow]


class _Mark(msgspec.Struct, rename="camel"):
    symbol: str
    mark_price: Decimal


class _ExchangeInfo(msgspec.Struct, rename="camel"):
    symbols: list[msgspec.Raw]
    assets: list[dict[str, object]] = []
    timezone: str = "UTC"
    exchange_filters: list[object] = []


class _Capture(msgspec.Struct, rename="camel"):
    exchange_info: _ExchangeInfo
    leverage_bracket: list[_Brackets] = []
    premium_index: list[_Mark] = []


@functools.cache
def built_in() -> Market:
    """The set in the package: about a dozen USDT perpetuals, one quarterly contract, one USDC perpetual."""
    return parse_market(resources.files("gate.paper.market").joinpath("market.json").read_bytes())


def load_market(path: Path) -> Market:
    """Reads a capture from a file. Built-in brackets and prices replace missing ones.

    Raises MarketDataError for a file that can't be read or understood.
    """
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise MarketDataError(f"{path}: {problem.strerror}") from problem
    try:
        return parse_market(raw, fallback=built_in())
    except msgspec.MsgspecError as problem:
        raise MarketDataError(f"{path}: {problem}") from problem


def parse_market(raw: bytes, fallback: Market | None = None) -> Market:
    """Reads a market from JSON text. Raises msgspec.MsgspecError, which names the fault and its place."""
    capture = _decode(raw)
    brackets = {row.symbol: tuple(_bracket(b) for b in row.brackets) for row in capture.leverage_bracket}
    marks = {row.symbol: row.mark_price for row in capture.premium_index}
    symbols: dict[str, Symbol] = {}
    prices: dict[str, Decimal] = {}
    for published in capture.exchange_info.symbols:
        row = msgspec.json.decode(published, type=_Symbol)
        symbol = _symbol(row, brackets.get(row.symbol) or _fallback_brackets(row, marks, fallback), published)
        symbols[symbol.name] = symbol
        mark = marks.get(symbol.name)
        prices[symbol.name] = _on_tick(symbol, mark) if mark else _fallback_price(symbol, fallback)
    info = capture.exchange_info
    if not symbols:
        raise msgspec.ValidationError("symbols: there are none")
    return Market(symbols, prices, tuple(info.assets), info.timezone, tuple(info.exchange_filters))


def _decode(raw: bytes) -> _Capture:
    keys = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if "symbols" in keys:
        return _Capture(msgspec.json.decode(raw, type=_ExchangeInfo))
    return msgspec.json.decode(raw, type=_Capture)


def _symbol(row: _Symbol, brackets: tuple[Bracket, ...], published: msgspec.Raw) -> Symbol:
    filters: Mapping[str, _Filter] = {item.filter_type: item for item in row.filters}
    price, notional = _need(filters, row, "PRICE_FILTER"), _need(filters, row, "MIN_NOTIONAL")
    percent, lot = _need(filters, row, "PERCENT_PRICE"), _need(filters, row, "LOT_SIZE")
    orders = filters.get("MAX_NUM_ORDERS")
    return Symbol(
        name=row.symbol,
        status=row.status,
        base_asset=row.base_asset,
        quote_asset=row.quote_asset,
        margin_asset=row.margin_asset,
        price_precision=row.price_precision,
        quantity_precision=row.quantity_precision,
        tick=price.tick_size,
        min_price=price.min_price,
        max_price=price.max_price,
        lot=_lot(lot),
        market_lot=_lot(filters.get("MARKET_LOT_SIZE", lot)),
        min_notional=notional.notional,
        multiplier_up=percent.multiplier_up,
        multiplier_down=percent.multiplier_down,
        max_orders=orders.limit if orders else 200,
        brackets=brackets,
        published=msgspec.json.decode(published, type=dict[str, object]),
    )


def _need(filters: Mapping[str, _Filter], row: _Symbol, kind: str) -> _Filter:
    try:
        return filters[kind]
    except KeyError:
        raise msgspec.ValidationError(f"symbol {row.symbol} has no {kind} filter") from None


def _lot(row: _Filter) -> LotSize:
    return LotSize(row.min_qty, row.max_qty, row.step_size)


def _bracket(row: _BracketRow) -> Bracket:
    return Bracket(
        row.bracket, row.initial_leverage, row.notional_floor, row.notional_cap, row.maint_margin_ratio, row.cum
    )


def _fallback_brackets(row: _Symbol, marks: Mapping[str, Decimal], fallback: Market | None) -> tuple[Bracket, ...]:
    if fallback is None:
        raise msgspec.ValidationError(f"symbol {row.symbol} has no leverage brackets")
    known = fallback.symbols.get(row.symbol)
    if known is not None:
        return known.brackets
    # The usual ladder is in dollars; a notional margined in bitcoin is in bitcoin.
    priced_by = f"{row.margin_asset}USDT"
    dollars = marks.get(priced_by) or fallback.prices.get(priced_by, ONE)
    return tuple(_in_asset(rung, dollars) for rung in fallback.symbols[_DEFAULT_BRACKETS_OF].brackets)


def _in_asset(rung: Bracket, dollars: Decimal) -> Bracket:
    if dollars == 1:
        return rung
    floor, cap, cum = (to_satoshi(figure / dollars) for figure in (rung.floor, rung.cap, rung.cum))
    return msgspec.structs.replace(rung, floor=floor, cap=cap, cum=cum)


def _fallback_price(symbol: Symbol, fallback: Market | None) -> Decimal:
    known = fallback.prices.get(symbol.name) if fallback else None
    price = max(symbol.tick * _DEFAULT_PRICE_TICKS, symbol.min_price)
    return known or (min(price, symbol.max_price) if symbol.max_price else price)


def _on_tick(symbol: Symbol, price: Decimal) -> Decimal:
    """A price on the tick grid. A captured mark price has eight decimals; a last price must be on the grid."""
    return max(symbol.tick, price // symbol.tick * symbol.tick) if symbol.tick else price


def published_symbols(market: Market) -> Sequence[JsonObject]:
    return [symbol.published for symbol in market.symbols.values()]
