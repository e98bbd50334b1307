"""The gate's answer right before an order is sent: whether its permit still holds, and which entries were placed."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from msgspec import Struct

STORE_LOST: Final = "STORE_LOST"
"""What the last look says when the store doesn't answer it."""


class PlacedOrder(Struct, frozen=True):
    """An order that was settled as placed."""

    intent_id: str
    settled_ms: int
    """By the store's clock, epoch ms."""
    reserved: Decimal
    """The margin that was held for it until then; 0 where its caller knew of none."""


class PlacedOrders(Struct, frozen=True):
    """The account's entries that were placed since an earlier last look."""

    now_ms: int
    """The store's clock at this look, epoch ms."""
    orders: tuple[PlacedOrder, ...]
    """The newest first."""
    complete: bool
    """False where the store has forgotten older ones since."""
    newest: str
    """What the next look names, so as to hear of those after it."""


class LastLook(Struct, frozen=True):
    """Whether a permit's order may still be sent. True when it may."""

    holds: bool
    reason: str
    """HOLDS; else PERMIT_LOST, DEADLINE, LOCK_LOST, HALTED, SAFE_MODE or STORE_LOST."""
    detail: str = ""
    placed: PlacedOrders | None = None
    """Where the permit holds and the caller has asked for it. An exit may hold without."""

    def __bool__(self) -> bool:
        return self.holds
