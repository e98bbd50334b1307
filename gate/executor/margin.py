"""The margin check: the margin that an order needs, with a buffer, against the free margin. Pure, in Decimal.

The exchange's cost of an order is assumed price x quantity / leverage + open loss, plus the fee. Its formulas for short
limit orders and market orders are known with medium confidence only, hence the buffer. The exchange decides, by -2019.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from typing import Final

from msgspec import Struct

from gate.exchange.port import SymbolConfig
from gate.values.fields import plain
from gate.values.intent import Intent

_ZERO: Final = Decimal(0)
_SHOWN: Final = Decimal("1e-8")  # the exchange's own precision
_ROOMY: Final = Context(prec=80)
_MARKET_MARKUP: Final = Decimal("1.0015")
"""The exchange values a market order at the last price times this. The gate uses the mark price for the last price."""


class MarginCheck(Struct, frozen=True):
    """The margin needed, with the buffer, and the margin available. In the symbol's margin asset."""

    need: Decimal
    available: Decimal | None
    """None when it is unknown. Then nothing is sent."""
    reserved_ahead: Decimal

    @property
    def have(self) -> Decimal | None:
        """The margin left by the live permits ahead; below zero when they reserve more than is available."""
        return None if self.available is None else self.available - self.reserved_ahead

    @property
    def covered(self) -> bool:
        """Whether the order may be sent."""
        return self.have is not None and self.have >= self.need

    def __str__(self) -> str:
        need = plain(self.need.quantize(_SHOWN, ROUND_UP, _ROOMY))
        if self.available is None:
            return f"need {need}, have unknown"
        # Need rounds up and have rounds down, so a text never shows enough margin where there isn't.
        reserved = f" less {plain(self.reserved_ahead.quantize(_SHOWN, ROUND_UP, _ROOMY))} reserved for others"
        have = plain(self.available.quantize(_SHOWN, ROUND_DOWN, _ROOMY))
        return f"need {need}, have {have}{reserved if self.reserved_ahead else ''}"


def margin_need(
    intent: Intent,
    quantity: Decimal,
    reference_price: Decimal,
    mark: Decimal,
    config: SymbolConfig,
    buffer: Decimal,
    closes: Decimal = _ZERO,
) -> Decimal:
    """The margin that an order of that quantity needs: initial margin with the buffer, open loss, the taker's fee.

    `reference_price`: the limit, the trigger price, or the mark price for a market order. `closes`: how much is
    open on the other side. The order closes that first, and what it has for initial margin is free then.
    """
    buys = intent.side == "BUY"
    if intent.order_type == "LIMIT":
        assumed = reference_price if buys else max(reference_price, mark * _MARKET_MARKUP)
        order_price, valued = reference_price, mark
    else:
        # The exchange values a conditional order at its trigger, when the mark price is near the trigger price.
        assumed = order_price = reference_price * _MARKET_MARKUP
        valued = reference_price
    under_water = order_price - valued if buys else valued - order_price
    open_loss = quantity * max(_ZERO, under_water)
    notional = quantity * assumed
    opened, freed = max(_ZERO, quantity - closes) * assumed, closes * mark
    initial = max(_ZERO, opened * (1 + buffer) - freed) / config.leverage
    return initial + open_loss + notional * config.fee_rate
