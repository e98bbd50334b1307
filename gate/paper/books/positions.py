"""A position, and the effect of a fill on it. Pure."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec import Struct

from gate.paper.market.decimals import ZERO, to_satoshi
from gate.paper.market.terms import PositionSide, Side


class Position(Struct, frozen=True):
    """A holding in one symbol.

    `quantity` is signed. `cost` is the price of the whole holding at its opening, with the same sign. It replaces an
    average entry price, whose rounding would keep realised and unrealised PnL from adding up to the cash flow.
    `isolated_wallet` is the margin set aside for the position, zero under cross margin.
    """

    symbol: str
    side: PositionSide
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    isolated_wallet: Decimal = ZERO
    update_ms: int = 0

    @property
    def entry_price(self) -> Decimal:
        return self.cost / self.quantity if self.quantity else ZERO

    def notional(self, mark: Decimal) -> Decimal:
        """Signed value at the mark price."""
        return self.quantity * mark

    def unrealized(self, mark: Decimal) -> Decimal:
        return self.quantity * mark - self.cost

    def reducible_by(self, side: Side) -> Decimal:
        """How much an order of this side can take from the position before it's flat."""
        return max(ZERO, -self.quantity * side.sign)


def after_fill(
    position: Position, side: Side, quantity: Decimal, price: Decimal, now_ms: int, isolated_leverage: int | None = None
) -> tuple[Position, Decimal]:
    """The position after a fill, and the PnL that it realised (margin asset).

    A fill against the position closes it first; the rest opens the other side. With `isolated_leverage`, the opened
    part sets its margin aside, and the closed part gives its share back.
    """
    closed = min(quantity, position.reducible_by(side))
    opened = quantity - closed
    realized, cost, isolated = ZERO, position.cost, position.isolated_wallet
    if closed:
        share = closed / abs(position.quantity)
        all_of_it = closed == abs(position.quantity)
        cost_share = position.cost if all_of_it else to_satoshi(position.cost * share)
        realized = -side.sign * closed * price - cost_share
        cost -= cost_share
        isolated = ZERO if all_of_it else isolated - to_satoshi(isolated * share)
    cost += side.sign * opened * price
    if opened and isolated_leverage:
        isolated += to_satoshi(opened * price / isolated_leverage)
    return (
        msgspec.structs.replace(
            position,
            quantity=position.quantity + side.sign * quantity,
            cost=cost,
            isolated_wallet=isolated,
            update_ms=now_ms,
        ),
        realized,
    )
