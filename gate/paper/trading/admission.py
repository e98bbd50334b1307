"""Checks whether the exchange accepts an order: every check between a well-formed request and the book. Pure."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from gate.paper.books.account import AccountBooks
from gate.paper.books.margin import assumed_price, exposure, losing_price, order_cost, turning_cost
from gate.paper.books.orders import Ticket, is_hedge_exit
from gate.paper.books.positions import Position
from gate.paper.books.statement import Quotes, covers, margin_suffices
from gate.paper.market.decimals import ZERO
from gate.paper.market.errors import Code, refuse
from gate.paper.market.filters import (
    check_counterparty,
    check_min_notional,
    check_percent_price,
    check_price,
    check_quantity,
)
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Market, Symbol
from gate.paper.market.terms import OrderType, PositionSide, TimeInForce
from gate.paper.trading.matching import crosses, fillable


class Admission(Struct, frozen=True):
    """The terms on which an order enters the book."""

    position_side: PositionSide
    quantity: Decimal
    assumed_price: Decimal


def admit(account: AccountBooks, market: Market, quotes: Quotes, ticket: Ticket) -> Admission:
    """The terms of admission; raises ExchangeError with the code of the first rule that the order breaks."""
    symbol, quote = market.symbols[ticket.symbol], quotes[ticket.symbol]
    side = resolve_position_side(account, ticket.position_side, reduce_only_sent=ticket.reduce_only_sent)
    position = account.position(symbol.name, side)
    exits = ticket.reduce_only or ticket.close_position or is_hedge_exit(side, ticket.side)
    check_status(symbol, opening=not exits)
    check_order_filters(symbol, quote, ticket, exits=exits)
    if account.has_open_client_id(ticket.client_order_id):
        raise refuse(Code.DUPLICATE_CLIENT_ID)
    quantity = _reducible(account, position, ticket) if exits else ticket.quantity
    if ticket.type is OrderType.LIMIT:
        if len(account.open_on(symbol.name)) >= symbol.max_orders:
            raise refuse(Code.MAX_OPEN_ORDERS)
        _check_time_in_force(ticket, quantity, quote)
    price = assumed_price(ticket.type, ticket.side, ticket.price, quote)
    if not exits:
        _check_margin(account, market, quotes, position, ticket, price)
    return Admission(side, quantity, price)


def resolve_position_side(
    account: AccountBooks, sent: PositionSide | None, *, reduce_only_sent: bool = False
) -> PositionSide:
    """One-way mode takes BOTH or no side; hedge mode needs LONG or SHORT (-4061), without reduceOnly (-1106)."""
    side = sent or PositionSide.BOTH
    if account.hedge == (side is PositionSide.BOTH):
        raise refuse(Code.POSITION_SIDE_MISMATCH)
    if account.hedge and reduce_only_sent:
        raise refuse(Code.PARAM_NOT_REQUIRED, "reduceonly")
    return side


def check_status(symbol: Symbol, *, opening: bool) -> None:
    if symbol.status == "TRADING":
        return
    if opening:
        raise refuse(Code.SYMBOL_NOT_OPENING)
    if symbol.status in ("CLOSE", "SETTLING", "DELIVERED"):
        raise refuse(Code.SYMBOL_CLOSED)


def check_order_filters(symbol: Symbol, quote: Quote, ticket: Ticket, *, exits: bool) -> None:
    at_market = ticket.type is OrderType.MARKET
    if not ticket.close_position:
        check_quantity(symbol, symbol.market_lot if at_market else symbol.lot, ticket.quantity)
    if at_market:
        check_counterparty(symbol, ticket.side, quote)
    else:
        check_price(symbol, ticket.price)
        check_percent_price(symbol, ticket.side, ticket.price, quote.mark)
    if not exits:
        check_min_notional(symbol, ticket.type, ticket.quantity, ticket.price, quote.mark)


def _reducible(account: AccountBooks, position: Position, ticket: Ticket) -> Decimal:
    """The quantity that an exit may take: at most the position; for a limit, less the resting exits (-2022).

    A reduce-only market order larger than the position is cut down to it. A larger limit is refused, and in hedge mode
    any larger exit (the exchange's FAQ on failed orders).
    """
    held = position.reducible_by(ticket.side)
    claimed = ZERO
    at_market = ticket.type is OrderType.MARKET
    if not at_market:
        resting = account.open_on(ticket.symbol, position.side)
        claimed = sum((o.remaining for o in resting if o.reduces and o.side is ticket.side), ZERO)
    left = held - claimed
    if ticket.close_position:
        wanted = left
    else:
        wanted = min(ticket.quantity, left) if at_market and not account.hedge else ticket.quantity
    if left <= 0 or wanted > left:
        raise refuse(Code.REDUCE_ONLY_REJECT)
    return wanted


def _check_time_in_force(ticket: Ticket, quantity: Decimal, quote: Quote) -> None:
    taking = crosses(ticket.side, ticket.price, quote)
    if ticket.time_in_force is TimeInForce.GTX and taking:
        raise refuse(Code.GTX_WOULD_TAKE)
    if ticket.time_in_force is TimeInForce.FOK and not (taking and fillable(ticket.side, quantity, quote) == quantity):
        raise refuse(Code.FOK_NOT_FILLED)


def _check_margin(
    account: AccountBooks, market: Market, quotes: Quotes, position: Position, ticket: Ticket, price: Decimal
) -> None:
    symbol, quote = market.symbols[ticket.symbol], quotes[ticket.symbol]
    mark, leverage = quote.mark, account.leverage(symbol)
    now = exposure(position, account.open_on(symbol.name, position.side), mark)
    after = now.with_order(ticket.side, ticket.quantity * price).largest
    if after > now.largest and after > symbol.max_notional(leverage):
        raise refuse(Code.MAX_LEVERAGE_RATIO)
    closing = position.reducible_by(ticket.side)
    opening = max(ZERO, ticket.quantity - closing)
    losing_at = losing_price(ticket.type, ticket.side, ticket.price, price, quote)
    cost = order_cost(now, ticket.side, ticket.quantity, opening, price, mark, leverage, losing_at)
    if closing and symbol.name in account.isolated:
        turned = turning_cost(position, now, ticket.side, ticket.quantity, price, losing_at, mark, leverage)
        cost = max(cost, turned)
    # What opens for nothing, beside a larger exposure, still needs an account that isn't under water.
    if (cost > 0 or opening) and not covers(account, market, quotes, symbol.margin_asset, cost):
        raise refuse(Code.MARGIN_NOT_SUFFICIENT)


def check_leverage(account: AccountBooks, market: Market, quotes: Quotes, symbol: Symbol, leverage: int) -> None:
    """Checks a change of leverage: in range (-4028), enough for the position and orders (-2027), payable (-2028).

    An isolated position keeps its opening margin, so its leverage can't be lowered (-4161).
    """
    if not 1 <= leverage <= symbol.max_leverage:
        raise refuse(Code.INVALID_LEVERAGE, leverage)
    now_leverage = account.leverage(symbol)
    sides = (PositionSide.LONG, PositionSide.SHORT) if account.hedge else (PositionSide.BOTH,)
    isolated = symbol.name in account.isolated
    if isolated and leverage < now_leverage and any(account.position(symbol.name, side).quantity for side in sides):
        raise refuse(Code.ISOLATED_LEVERAGE_REDUCTION)
    mark = quotes[symbol.name].mark
    held = sum(
        (
            exposure(account.position(symbol.name, side), account.open_on(symbol.name, side), mark).largest
            for side in sides
        ),
        ZERO,
    )
    if held > symbol.max_notional(leverage):
        raise refuse(Code.MAX_LEVERAGE_RATIO)
    more = held / leverage - held / now_leverage
    if more > 0 and not covers(account, market, quotes, symbol.margin_asset, more):
        raise refuse(Code.MIN_LEVERAGE_RATIO)


def check_multi_assets(account: AccountBooks, market: Market, quotes: Quotes, wanted: bool) -> None:
    """Checks a change of the asset mode: to another mode (-4171), without open orders (-4170), isolated symbols (-4167)
    and negative wallets (-4172), and with enough margin in the new mode (-4169)."""
    if wanted == account.multi_assets:
        raise refuse(Code.SAME_MULTI_ASSETS)
    if account.open_orders or account.open_algos():
        raise refuse(Code.MULTI_ASSETS_OPEN_ORDERS)
    if wanted and account.isolated:
        raise refuse(Code.MULTI_ASSETS_WITH_ISOLATED)
    if any(balance < 0 for balance in account.wallets.values()):
        raise refuse(Code.MULTI_ASSETS_NEGATIVE_WALLET)
    if not margin_suffices(account, market, quotes, multi_assets=wanted):
        raise refuse(Code.MULTI_ASSETS_MARGIN)
