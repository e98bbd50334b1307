"""Tickets, orders and fills, as frozen values."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from gate.paper.market.decimals import ZERO
from gate.paper.market.terms import (
    AlgoStatus,
    ConditionalType,
    OrderStatus,
    OrderType,
    PositionSide,
    ResponseType,
    Side,
    TimeInForce,
    WorkingType,
)


class Ticket(Struct, frozen=True, kw_only=True):
    """A new order as the client sent it. Its parameters are read and typed, but no rule is checked yet."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal = ZERO
    time_in_force: TimeInForce = TimeInForce.GTC
    position_side: PositionSide | None = None
    reduce_only: bool = False
    reduce_only_sent: bool = False
    client_order_id: str = ""
    response_type: ResponseType = ResponseType.ACK
    close_position: bool = False  # only a triggered closePosition order carries this


class AlgoTicket(Struct, frozen=True, kw_only=True):
    """A new conditional order as the client sent it."""

    symbol: str
    side: Side
    type: ConditionalType
    trigger_price: Decimal
    quantity: Decimal = ZERO
    price: Decimal = ZERO
    time_in_force: TimeInForce = TimeInForce.GTC
    position_side: PositionSide | None = None
    reduce_only: bool = False
    reduce_only_sent: bool = False
    close_position: bool = False
    working_type: WorkingType = WorkingType.CONTRACT_PRICE
    price_protect: bool = False
    client_algo_id: str = ""


class Order(Struct, frozen=True, kw_only=True):
    order_id: int
    client_order_id: str
    symbol: str
    side: Side
    position_side: PositionSide
    type: OrderType
    orig_type: str
    time_in_force: TimeInForce
    status: OrderStatus
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    close_position: bool
    assumed_price: Decimal  # what the margin check assumed; open orders hold margin at it
    time_ms: int
    update_ms: int
    executed: Decimal = ZERO
    cum_quote: Decimal = ZERO

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.executed

    @property
    def average_price(self) -> Decimal:
        return self.cum_quote / self.executed if self.executed else ZERO

    @property
    def position_key(self) -> tuple[str, PositionSide]:
        return self.symbol, self.position_side

    @property
    def reduces(self) -> bool:
        """Whether the order can only reduce a position: by its flag, or in hedge mode by its direction."""
        return self.reduce_only or (self.position_side, self.side) in _HEDGE_EXITS


_HEDGE_EXITS = frozenset({(PositionSide.LONG, Side.SELL), (PositionSide.SHORT, Side.BUY)})


def is_hedge_exit(position_side: PositionSide, side: Side) -> bool:
    """In hedge mode LONG + SELL and SHORT + BUY reduce, whatever else is sent."""
    return (position_side, side) in _HEDGE_EXITS


class AlgoOrder(Struct, frozen=True, kw_only=True):
    algo_id: int
    client_algo_id: str
    ticket: AlgoTicket
    position_side: PositionSide
    status: AlgoStatus
    create_ms: int
    update_ms: int
    trigger_ms: int = 0
    actual_order_id: int | None = None
    refusal: str = ""  # why its order was refused when it fired

    def triggered_by(self, price: Decimal) -> bool:
        """Stops fire when the price runs against the side, take-profits when it runs with it."""
        rising = (self.ticket.side is Side.BUY) == self.ticket.type.is_stop
        return price >= self.ticket.trigger_price if rising else price <= self.ticket.trigger_price


class Trade(Struct, frozen=True, kw_only=True):
    """One fill."""

    trade_id: int
    order_id: int
    symbol: str
    side: Side
    position_side: PositionSide
    price: Decimal
    quantity: Decimal
    realized_pnl: Decimal
    commission: Decimal
    margin_asset: str
    maker: bool
    time_ms: int
    liquidation: bool = False

    @property
    def quote_quantity(self) -> Decimal:
        return self.price * self.quantity
