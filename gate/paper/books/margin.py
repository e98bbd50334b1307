"""Order cost, open loss, initial and maintenance margin, available balance. Pure Decimal code.

Sources: the exchange's "cost required to open a position" and its account endpoints. The assumed prices of short limits
and of market orders are of medium confidence; -2019 of the real exchange remains the authority.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from gate.paper.books.orders import Order
from gate.paper.books.positions import Position
from gate.paper.market.decimals import ONE, ZERO
from gate.paper.market.prices import Quote
from gate.paper.market.terms import OrderType, Side

_MARKET_MARKUP = Decimal("1.0015")


def assumed_price(order_type: OrderType, side: Side, price: Decimal, quote: Quote) -> Decimal:
    """The price at which the exchange calculates an order's margin.

    A short is valued at the mark price once it is filled, so no short is assumed below it.
    """
    if side is Side.BUY:
        return quote.last * _MARKET_MARKUP if order_type is OrderType.MARKET else price
    return max(quote.last * _MARKET_MARKUP, quote.mark, price)


def losing_price(order_type: OrderType, side: Side, price: Decimal, assumed: Decimal, quote: Quote) -> Decimal:
    """The price at which the exchange calculates an order's open loss: a limit's own, else the worst that it meets."""
    if side is Side.BUY:
        return assumed
    return price if order_type is OrderType.LIMIT else quote.bid


def open_loss(side: Side, quantity: Decimal, price: Decimal, mark: Decimal) -> Decimal:
    """The order's immediate loss at the mark price: quantity x |min(0, direction x (mark - price))|."""
    return quantity * max(ZERO, side.sign * (price - mark))


class Exposure(Struct, frozen=True):
    """A position's signed notional and the notional of its open opening orders, by side."""

    position: Decimal = ZERO
    bids: Decimal = ZERO
    asks: Decimal = ZERO

    @property
    def largest(self) -> Decimal:
        """The larger notional of the position after a fill of all bids, or of all asks."""
        return max(abs(self.position + self.bids), abs(self.position - self.asks))

    @property
    def beyond_position(self) -> Decimal:
        """The notional that open orders add to the position's."""
        return self.largest - abs(self.position)

    def with_order(self, side: Side, notional: Decimal) -> Exposure:
        if side is Side.BUY:
            return Exposure(self.position, self.bids + notional, self.asks)
        return Exposure(self.position, self.bids, self.asks + notional)


def exposure(position: Position, open_orders: Iterable[Order], mark: Decimal) -> Exposure:
    """The exposure of a position and its open orders. Orders that can only reduce hold no margin."""
    bids = asks = ZERO
    for order in open_orders:
        if order.reduces:
            continue
        if order.side is Side.BUY:
            bids += order.remaining * order.assumed_price
        else:
            asks += order.remaining * order.assumed_price
    return Exposure(position.notional(mark), bids, asks)


def order_cost(
    now: Exposure,
    side: Side,
    quantity: Decimal,
    opening: Decimal,
    price: Decimal,
    mark: Decimal,
    leverage: int,
    losing_at: Decimal | None = None,
) -> Decimal:
    """The additional margin that an order needs: the growth of the largest exposure / leverage, plus open loss.

    Without a position and orders this is price x quantity / leverage + open loss. `opening` is the part of the
    quantity that doesn't close a position; an order that only closes has no open loss. `losing_at` is the price of the
    open loss, by default `price`. The cost has no fee: the fill charges it.
    """
    growth = max(ZERO, now.with_order(side, quantity * price).largest - now.largest)
    # The closed part of a turn loses too: free margin has its profit at the mark price, the fill has it at the order's.
    losing = quantity if opening else ZERO
    return growth / leverage + open_loss(side, losing, price if losing_at is None else losing_at, mark)


def turning_cost(
    position: Position,
    now: Exposure,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    losing_at: Decimal,
    mark: Decimal,
    leverage: int,
) -> Decimal:
    """What the cross wallet pays when an order closes an isolated position and something opens on the other side.

    The position gives its margin back, less the loss that it realises; a profit counts only once it is there. What
    opens, by this order or by those that rest, needs margin of its own. Zero for an order that only closes.
    """
    closed = min(quantity, position.reducible_by(side))
    opened = quantity - closed
    after = Exposure(now.position + side.sign * quantity * mark, now.bids, now.asks)
    more_held = (after.beyond_position - now.beyond_position) / leverage
    if not closed or (not opened and more_held <= 0):
        return ZERO
    share = closed / abs(position.quantity)
    realized = -side.sign * closed * losing_at - position.cost * share
    return opened * price / leverage + more_held - position.isolated_wallet * share + max(ZERO, -realized)


class PositionMargin(Struct, frozen=True, kw_only=True):
    """The margin of one position and its open orders, in margin asset."""

    position: Position
    asset: str
    mark: Decimal
    leverage: int
    isolated: bool
    exposure: Exposure
    maintenance: Decimal

    @property
    def notional(self) -> Decimal:
        return self.exposure.position

    @property
    def unrealized(self) -> Decimal:
        return self.position.unrealized(self.mark)

    @property
    def initial(self) -> Decimal:
        return self.exposure.largest / self.leverage

    @property
    def position_initial(self) -> Decimal:
        return abs(self.exposure.position) / self.leverage

    @property
    def open_order_initial(self) -> Decimal:
        return self.initial - self.position_initial

    @property
    def held_beyond_isolated(self) -> Decimal:
        """The margin from the cross wallet: all under cross margin, else only the margin of the open orders."""
        return self.open_order_initial if self.isolated else self.initial


class AssetMargin(Struct, frozen=True, kw_only=True):
    """One asset's balances, in that asset."""

    asset: str
    wallet: Decimal
    unrealized: Decimal
    cross_unrealized: Decimal
    initial: Decimal
    position_initial: Decimal
    open_order_initial: Decimal
    maintenance: Decimal
    isolated_wallet: Decimal
    held: Decimal

    @property
    def cross_wallet(self) -> Decimal:
        return self.wallet - self.isolated_wallet

    @property
    def margin_balance(self) -> Decimal:
        return self.wallet + self.unrealized

    @property
    def cross_margin(self) -> Decimal:
        """What bears the cross positions: the cross wallet, and their open profit or loss."""
        return self.cross_wallet + self.cross_unrealized

    @property
    def free(self) -> Decimal:
        """The margin left for new orders; below zero when losses exceed it."""
        return self.cross_margin - self.held


def asset_margin(asset: str, wallet: Decimal, positions: Iterable[PositionMargin]) -> AssetMargin:
    unrealized = cross_unrealized = initial = position_initial = maintenance = isolated_wallet = held = ZERO
    for line in positions:
        pnl = line.unrealized
        unrealized += pnl
        if line.isolated:
            isolated_wallet += line.position.isolated_wallet
        else:
            cross_unrealized += pnl
        initial += line.initial
        position_initial += line.position_initial
        maintenance += line.maintenance
        held += line.held_beyond_isolated
    return AssetMargin(
        asset=asset,
        wallet=wallet,
        unrealized=unrealized,
        cross_unrealized=cross_unrealized,
        initial=initial,
        position_initial=position_initial,
        open_order_initial=initial - position_initial,
        maintenance=maintenance,
        isolated_wallet=isolated_wallet,
        held=held,
    )


def collateral_value(
    assets: Iterable[AssetMargin], usd: Mapping[str, Decimal], haircut: Mapping[str, Decimal]
) -> Decimal:
    """Free collateral in multi-assets mode, in USD: each asset at its index, gains and deposits after the haircut."""
    total = ZERO
    for line in assets:
        index = usd.get(line.asset, ZERO)
        value = line.cross_margin * index
        total += (value * haircut.get(line.asset, ONE) if value > 0 else value) - line.held * index
    return total
