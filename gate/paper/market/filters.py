"""The symbol's filters, in the order in which the exchange complains. Pure."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from gate.paper.market.decimals import decimals_of, fixed, is_multiple, plain
from gate.paper.market.errors import Code, refuse
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import LotSize, Symbol
from gate.paper.market.terms import OrderType, Side


def check_quantity(symbol: Symbol, lot: LotSize, quantity: Decimal) -> None:
    """LOT_SIZE or MARKET_LOT_SIZE: -4003, -1111, -4004, -4005, -4023."""
    if quantity <= 0:
        raise refuse(Code.QUANTITY_NOT_POSITIVE)
    if decimals_of(quantity) > symbol.quantity_precision:
        raise refuse(Code.BAD_PRECISION)
    if quantity < lot.min_quantity:
        raise refuse(Code.QUANTITY_BELOW_MIN)
    if quantity > lot.max_quantity:
        raise refuse(Code.QUANTITY_ABOVE_MAX)
    if not is_multiple(quantity - lot.min_quantity, lot.step):
        raise refuse(Code.QUANTITY_OFF_STEP)


def check_price(symbol: Symbol, price: Decimal) -> None:
    """PRICE_FILTER: -4001, -1111, -4013, -4002, -4014. `pricePrecision` is not the tick: both apply."""
    if price <= 0:
        raise refuse(Code.PRICE_NOT_POSITIVE)
    if decimals_of(price) > symbol.price_precision:
        raise refuse(Code.BAD_PRECISION)
    if symbol.min_price and price < symbol.min_price:
        raise refuse(Code.PRICE_BELOW_MIN)
    if symbol.max_price and price > symbol.max_price:
        raise refuse(Code.PRICE_ABOVE_MAX)
    if not is_multiple(price - symbol.min_price, symbol.tick):
        raise refuse(Code.PRICE_OFF_TICK)


def check_percent_price(symbol: Symbol, side: Side, price: Decimal, mark: Decimal) -> None:
    """PERCENT_PRICE for a limit: a buyer may not bid too high (-4016), a seller not ask too low (-4024)."""
    limit = percent_limit(symbol, side, mark)
    if side is Side.BUY and price > limit:
        raise refuse(Code.PRICE_ABOVE_MULTIPLIER, fixed(limit, symbol.price_precision))
    if side is Side.SELL and price < limit:
        raise refuse(Code.PRICE_BELOW_MULTIPLIER, fixed(limit, symbol.price_precision))


def check_counterparty(symbol: Symbol, side: Side, quote: Quote) -> None:
    """PERCENT_PRICE for a market order: the best opposite price must lie inside the limit (-4131)."""
    limit, best = percent_limit(symbol, side, quote.mark), quote.best_for(side)
    if best > limit if side is Side.BUY else best < limit:
        raise refuse(Code.MARKET_ORDER_REJECT)


def percent_limit(symbol: Symbol, side: Side, mark: Decimal) -> Decimal:
    multiplier = symbol.multiplier_up if side is Side.BUY else symbol.multiplier_down
    return (mark * multiplier).quantize(Decimal(1).scaleb(-symbol.price_precision), ROUND_DOWN)


def check_min_notional(symbol: Symbol, order_type: OrderType, quantity: Decimal, price: Decimal, mark: Decimal) -> None:
    """MIN_NOTIONAL (-4164): at the mark price for a market order, at its own price for a limit."""
    if quantity * (mark if order_type is OrderType.MARKET else price) < symbol.min_notional:
        raise refuse(Code.MIN_NOTIONAL, plain(symbol.min_notional))
