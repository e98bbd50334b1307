"""What happens to an account, told at the moment it happens.

The books tell each change once, to one listener, right after they have made it. Streams are built from these values and
from the books as they stand then, so they never say anything else than REST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from gate.paper.books.orders import AlgoOrder, Order, Trade
from gate.paper.market.terms import AlgoStatus, OrderStatus, PositionSide


class Execution(StrEnum):
    """What a report about an order is for."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    CALCULATED = "CALCULATED"  # a liquidation's fill
    AMENDMENT = "AMENDMENT"
    TRADE_PREVENTION = "TRADE_PREVENTION"


_OF_STATUS = {
    OrderStatus.NEW: Execution.NEW,
    OrderStatus.CANCELED: Execution.CANCELED,
    OrderStatus.EXPIRED: Execution.EXPIRED,
    OrderStatus.EXPIRED_IN_MATCH: Execution.TRADE_PREVENTION,
}


class OrderChanged(Struct, frozen=True):
    """An order is new, filled (`fill`), amended or over."""

    order: Order
    fill: Trade | None = None
    amended: bool = False

    @property
    def execution(self) -> Execution:
        if self.fill is not None:
            return Execution.CALCULATED if self.fill.liquidation else Execution.TRADE
        return Execution.AMENDMENT if self.amended else _OF_STATUS[self.order.status]


class AlgoChanged(Struct, frozen=True):
    """A conditional order is in this status; `actual` is the order that it has become."""

    algo: AlgoOrder
    status: AlgoStatus
    actual: Order | None
    at_ms: int


class BalancesChanged(Struct, frozen=True):
    """Wallets and positions have changed. `reason` is the exchange's word for why.

    `moved` has each asset and how much came or went, profit, loss and commission left out.
    """

    reason: str
    moved: Mapping[str, Decimal]
    positions: tuple[tuple[str, PositionSide], ...]
    at_ms: int


class LeverageChanged(Struct, frozen=True):
    symbol: str
    leverage: int
    at_ms: int


class AssetModeChanged(Struct, frozen=True):
    multi_assets: bool
    at_ms: int


class MarginCalled(Struct, frozen=True):
    """These positions are close to their liquidation."""

    positions: tuple[tuple[str, PositionSide], ...]
    at_ms: int


class ListenKeyExpired(Struct, frozen=True):
    """The key's stream says so, and nothing after it."""

    key: str
    at_ms: int


Happening = (
    OrderChanged | AlgoChanged | BalancesChanged | LeverageChanged | AssetModeChanged | MarginCalled | ListenKeyExpired
)
Listener = Callable[[Happening], None]


def nobody(_: Happening) -> None:
    """The listener of an account that no stream watches."""
