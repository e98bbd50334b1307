"""What the executor and an exchange say to each other: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

CLOCK_LEAD_MS: Final = 1_500
"""Beyond signing time + recvWindow, until a request can no longer be accepted: the exchange allows a signer's clock to
run 1 s ahead of its own; half a second more is ours."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the exchange allows for a symbol's market orders, from its exchangeInfo. None where it sets no bound."""

    symbol: str
    margin_asset: str
    trading: bool
    step: Decimal
    """Quantities are multiples of it, counted from `min_quantity`."""
    min_quantity: Decimal
    max_quantity: Decimal | None
    min_notional: Decimal | None


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A market order, ready to be sent."""

    symbol: str
    side: str
    quantity: Decimal
    client_order_id: str
    reduce_only: bool
    position_side: str | None


@dataclass(frozen=True, slots=True)
class OrderAnswer:
    """An order that the exchange has."""

    order_id: str
    client_order_id: str
    status: str
    """NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED, …"""
    filled_quantity: Decimal
    average_price: Decimal | None
    """None while nothing is filled."""
    time_ms: int

    @property
    def filled(self) -> bool:
        """Whether all of it is filled. NEW is not: the exchange has it, no more."""
        return self.status == "FILLED"

    @property
    def ended_unfilled(self) -> bool:
        """Whether it has ended without a fill: the exchange had it, and nothing came of it."""
        return self.filled_quantity == 0 and self.status in ("EXPIRED", "EXPIRED_IN_MATCH", "CANCELED", "REJECTED")


class Placement(StrEnum):
    """What is certain about an order after its request failed."""

    NOT_PLACED = "not placed"
    UNKNOWN = "unknown"


class Consequence(StrEnum):
    """What a refusal asks for, beyond not having the order."""

    NONE = "none"
    MARGIN = "margin rejection: counts as a failure, rests symbol and account"
    REST_SYMBOL = "rest the symbol"
    REST_ACCOUNT = "rest the account"
    STOP = "keys or clock don't work: rest the account as long as safe mode would"


@dataclass(frozen=True, slots=True)
class Failure:
    """What came of a request that brought no order back."""

    placement: Placement
    code: str
    """The exchange's code, or a word for the transport's failure."""
    detail: str
    retryable: bool = False
    consequence: Consequence = Consequence.NONE
    rest_ms: int | None = None
    """How long to rest, where the exchange says so (Retry-After)."""


class ExchangeFailure(Exception):
    """A request that failed; `failure` says what is certain. Its text holds no URL, key or signature."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"{failure.code}: {failure.detail}")


class OrderNotFound(Exception):
    """The exchange knows no order of that client order id: now. A request under way may still be accepted."""


class Exchange(Protocol):
    """What the executor asks of an exchange. Every method raises ExchangeFailure."""

    recv_window_ms: int

    async def filters(self, symbol: str) -> Filters | None:
        """What is allowed for a symbol's market orders; None for an unknown symbol."""

    async def mark_price(self, symbol: str) -> Decimal:
        """The price by which notional is measured."""

    async def leverage(self, symbol: str) -> int:
        """What is set for the symbol."""

    async def available_margin(self, asset: str) -> Decimal:
        """What is free for new orders."""

    async def find_order(self, symbol: str, client_order_id: str) -> OrderAnswer:
        """The order of a client order id. Raises OrderNotFound too."""

    def forget_filters(self) -> None:
        """Reads them anew at the next order."""

    async def place(self, order: OrderRequest, *, timeout_ms: int) -> OrderAnswer:
        """Sends a market order, once; it can't be accepted later than that."""
