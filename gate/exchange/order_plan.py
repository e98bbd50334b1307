"""From an intent to an order that the exchange's filters accept. Pure, in Decimal, never beyond the intent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from gate.exchange.orders import Filters
from gate.fields import plain
from gate.intent import Intent


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """A quantity that may be sent, and what it is worth at the price it was planned with."""

    quantity: Decimal
    price: Decimal
    notional: Decimal


@dataclass(frozen=True, slots=True)
class PlanRefusal:
    """Why no order can be made of an intent: a code of one word, and the figures."""

    code: str
    detail: str


def needs_price(intent: Intent) -> bool:
    """Whether an order can't be planned without a price. An exit by quantity needs none."""
    return intent.quantity is None or not intent.is_exit


def plan_order(intent: Intent, filters: Filters, price: Decimal) -> OrderPlan | PlanRefusal:
    """The market order for an intent at a price (the mark price, by which the exchange measures notional).

    The quantity is rounded down to the lot size. An exit need not reach the minimum notional: the exchange lets
    positions of any size be closed. Where no price is needed, it may be 0.
    """
    if not filters.trading:
        return PlanRefusal("SYMBOL_OFF", f"{intent.symbol} isn't trading")
    wanted = intent.quantity if intent.quantity is not None else (intent.notional or Decimal(0)) / price
    steps = ((wanted - filters.min_quantity) / filters.step).to_integral_value(ROUND_FLOOR)
    quantity = filters.min_quantity + steps * filters.step
    if wanted < filters.min_quantity or quantity <= 0:
        return PlanRefusal(
            "MIN_QUANTITY",
            f"{plain(wanted)} is below the least quantity {plain(filters.min_quantity)} of {intent.symbol}",
        )
    if filters.max_quantity is not None and quantity > filters.max_quantity:
        return PlanRefusal(
            "MAX_QUANTITY",
            f"{plain(quantity)} is above the largest market quantity {plain(filters.max_quantity)} of {intent.symbol}",
        )
    notional = quantity * price
    if filters.min_notional is not None and notional < filters.min_notional and not intent.is_exit:
        return PlanRefusal(
            "MIN_NOTIONAL",
            f"{plain(quantity)} at {plain(price)} is {plain(notional)}, below the least notional "
            f"{plain(filters.min_notional)} of {intent.symbol}",
        )
    return OrderPlan(quantity, price, notional)


@dataclass(frozen=True, slots=True)
class MarginCheck:
    """Margin needed, with the buffer, against what is free. In the symbol's margin asset."""

    need: Decimal
    available: Decimal
    reserved_ahead: Decimal

    @property
    def have(self) -> Decimal:
        """What is free when the live permits ahead have taken theirs; below zero when they want more than there is."""
        return self.available - self.reserved_ahead

    @property
    def covered(self) -> bool:
        """Whether the order may be sent."""
        return self.have >= self.need

    def __str__(self) -> str:
        reserved = f" less {self.reserved_ahead:.2f} reserved for others" if self.reserved_ahead else ""
        return f"need {self.need:.2f}, have {self.available:.2f}{reserved}"


def check_margin(
    notional: Decimal, leverage: int, buffer: Decimal, available: Decimal, reserved_ahead: Decimal
) -> MarginCheck:
    """Required = notional / leverage x (1 + buffer); have = available - what live permits ahead have reserved."""
    return MarginCheck(notional / leverage * (1 + buffer), available, reserved_ahead)
