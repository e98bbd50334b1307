"""The margin pre-flight: what an order will cost, with a buffer, against what is free. Pure, in Decimal.

The exchange's cost of an order is assumed price x quantity / leverage + open loss; the fee comes on top. Its formulas
for short limits and orders at market are known with medium confidence only, hence the buffer: -2019 is the authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from typing import Final

from gate.exchange.port import SymbolConfig
from gate.values.fields import plain
from gate.values.intent import Intent

_SHOWN: Final = Decimal("1e-8")  # the exchange's own precision
_ROOMY: Final = Context(prec=80)
_MARKET_MARKUP: Final = Decimal("1.0015")
"""The exchange reckons an order at market at the last price and so much more. We take the mark price for the last."""


@dataclass(frozen=True, slots=True)
class MarginCheck:
    """Margin needed, with the buffer, against what is free. In the symbol's margin asset."""

    need: Decimal
    available: Decimal | None
    """None when it can't be told: nothing is sent then."""
    reserved_ahead: Decimal

    @property
    def have(self) -> Decimal | None:
        """What is free when the live permits ahead have taken theirs; below zero when they want more than there is."""
        return None if self.available is None else self.available - self.reserved_ahead

    @property
    def covered(self) -> bool:
        """Whether the order may be sent."""
        return self.have is not None and self.have >= self.need

    def __str__(self) -> str:
        need = plain(self.need.quantize(_SHOWN, ROUND_UP, _ROOMY))
        if self.available is None:
            return f"need {need}, have unknown"
        # Rounded apart, so that what doesn't suffice never looks as if it did.
        reserved = f" less {plain(self.reserved_ahead.quantize(_SHOWN, ROUND_UP, _ROOMY))} reserved for others"
        have = plain(self.available.quantize(_SHOWN, ROUND_DOWN, _ROOMY))
        return f"need {need}, have {have}{reserved if self.reserved_ahead else ''}"


def margin_need(
    intent: Intent, quantity: Decimal, reference_price: Decimal, mark: Decimal, config: SymbolConfig, buffer: Decimal
) -> Decimal:
    """What an order of that quantity takes: its initial margin and the buffer on it, the open loss, the taker's fee.

    `reference_price`: a limit, a trigger price, or the mark price of an order at market.
    """
    buys = intent.side == "BUY"
    if intent.order_type == "LIMIT":
        assumed = reference_price if buys else max(reference_price, mark * _MARKET_MARKUP)
        order_price, valued = reference_price, mark
    else:
        # What waits for its trigger is reckoned once that is reached: the mark price is about there by then.
        assumed = order_price = reference_price * _MARKET_MARKUP
        valued = reference_price
    under_water = order_price - valued if buys else valued - order_price
    open_loss = quantity * max(Decimal(0), under_water)
    notional = quantity * assumed
    return notional / config.leverage * (1 + buffer) + open_loss + notional * config.fee_rate
