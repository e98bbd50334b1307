"""Commissions."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from gate.paper.market.decimals import to_satoshi


class FeeSchedule(Struct, frozen=True):
    """Commission as a share of the notional; the defaults are the exchange's VIP 0 rates for USDⓈ-M futures."""

    maker: Decimal = Decimal("0.000200")
    taker: Decimal = Decimal("0.000500")

    def commission(self, quantity: Decimal, price: Decimal, *, maker: bool) -> Decimal:
        return to_satoshi(quantity * price * (self.maker if maker else self.taker))
