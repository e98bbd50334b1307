"""What an account holds at the exchange: its resting orders, plain and conditional, and its positions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

from gate.exchange.answers import figure, only_reduces, text, unreadable
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Filters, OrderAnswer, OrderRequest, RestingOrder, Validity

_OF_A_PLAIN_ORDER: Final = ("orderId", "clientOrderId", "type", "origQty")
_OF_A_CONDITIONAL_ORDER: Final = ("algoId", "clientAlgoId", "orderType", "quantity")
_MOST_ORDERS: Final = 50
"""The orders that one position is closed with at most, in one go."""


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """A position that isn't flat."""

    symbol: str
    position_side: str
    """BOTH in one-way mode; LONG or SHORT in hedge mode."""
    quantity: Decimal
    """In base asset; below 0 for a short one."""

    @property
    def closing_side(self) -> str:
        """The side of an order that reduces it."""
        return "SELL" if self.quantity > 0 else "BUY"

    def __str__(self) -> str:
        side = "" if self.position_side == "BOTH" else f" {self.position_side}"
        return f"{self.symbol}{side} {self.quantity:+f}"


class Holder(Protocol):
    """The exchange, as far as an account is cleared there. Every method raises ExchangeFailure."""

    async def resting_orders(self, symbol: str | None = None) -> tuple[RestingOrder, ...]:
        """Every order that may still fill."""

    async def holdings(self) -> tuple[OpenPosition, ...]:
        """Every position that isn't flat."""

    async def cancel_all(self, symbol: str, *, conditional: bool) -> None:
        """Cancels a symbol's orders of one kind."""

    async def filters(self, symbol: str) -> Filters | None:
        """What is allowed for a symbol's orders."""

    def valid_for(self, span_ms: int) -> Validity:
        """From now on, for so long."""

    async def place(self, order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        """Sends an order, once."""


def decode_resting(answer: Any, *, conditional: bool) -> Iterator[RestingOrder]:
    """The rows of openOrders, or of openAlgoOrders."""
    if not isinstance(answer, list):
        raise unreadable("open orders", type(answer).__name__)
    number, client, kind, size = _OF_A_CONDITIONAL_ORDER if conditional else _OF_A_PLAIN_ORDER
    for row in answer:
        try:
            symbol, order_id = text(row["symbol"]), text(row[number])
            side, kinds = text(row.get("side", "?")), row.get(kind, "?")
        except (KeyError, TypeError, AttributeError):
            raise unreadable("open order", None) from None
        yield RestingOrder(
            symbol=symbol,
            side=side,
            order_type=text(kinds),
            order_id=order_id,
            client_order_id=text(row.get(client, "")),
            conditional=conditional,
            reduces=only_reduces(row),
            left=_left(row.get(size), row.get("executedQty", "0")),
        )


def _left(size: Any, executed: Any) -> Decimal | None:
    # An order whose size can't be read still rests, and is cancelled like another.
    try:
        return max(figure("size", size, Decimal(0)) - figure("executedQty", executed, Decimal(0)), Decimal(0))
    except ExchangeFailure:
        return None


def decode_holdings(answer: Any) -> Iterator[OpenPosition]:
    """The rows of positionRisk that aren't flat."""
    if not isinstance(answer, list):
        raise unreadable("positions", type(answer).__name__)
    for row in answer:
        try:
            symbol, side, amount = text(row["symbol"]), text(row["positionSide"]), row["positionAmt"]
        except (KeyError, TypeError):
            raise unreadable("position", None) from None
        quantity = figure(f"positionAmt of {symbol}", amount, least=None)
        if quantity:
            yield OpenPosition(symbol, side, quantity)


def closing_quantities(position: OpenPosition, filters: Filters | None) -> Iterable[Decimal]:
    """The orders that close a position: one, or as many as the largest market order makes necessary."""
    left, largest = abs(position.quantity), None if filters is None else filters.market_lot.max_quantity
    if not largest or left <= largest:
        return [left]
    whole = min(int(left / largest), _MOST_ORDERS)
    rest = left - whole * largest
    return [largest] * whole + ([rest] if 0 < rest <= largest else [])
