"""The exchange's data of each symbol: precision, filters, leverage brackets. Plain values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct

from gate.paper.market.decimals import ZERO

JsonObject = Mapping[str, object]


class Bracket(Struct, frozen=True):
    """The highest `leverage` for a notional up to `cap` (in margin asset)."""

    number: int
    leverage: int
    floor: Decimal
    cap: Decimal
    maintenance_rate: Decimal
    cum: Decimal


class LotSize(Struct, frozen=True):
    min_quantity: Decimal
    max_quantity: Decimal
    step: Decimal


class Symbol(Struct, frozen=True, kw_only=True):
    name: str
    status: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    price_precision: int
    quantity_precision: int
    tick: Decimal
    min_price: Decimal
    max_price: Decimal
    lot: LotSize
    market_lot: LotSize
    min_notional: Decimal
    multiplier_up: Decimal
    multiplier_down: Decimal
    max_orders: int
    brackets: tuple[Bracket, ...]
    published: JsonObject  # the symbol's object in exchangeInfo, answered as it was captured

    @property
    def max_leverage(self) -> int:
        return max(bracket.leverage for bracket in self.brackets)

    def max_notional(self, leverage: int) -> Decimal:
        """The largest position and open orders, in margin asset, that a leverage allows."""
        return max((b.cap for b in self.brackets if b.leverage >= leverage), default=ZERO)

    def bracket_for(self, notional: Decimal) -> Bracket:
        """The bracket of a position of this absolute notional."""
        return next((b for b in self.brackets if notional < b.cap), self.brackets[-1])

    @property
    def liquidation_fee(self) -> Decimal:
        """The share of the notional that a liquidation costs."""
        return Decimal(str(self.published.get("liquidationFee", "0")))

    def maintenance_margin(self, notional: Decimal) -> Decimal:
        """Maintenance margin of a position of this absolute notional."""
        bracket = self.bracket_for(notional)
        return max(ZERO, notional * bracket.maintenance_rate - bracket.cum)


class Market(Struct, frozen=True):
    """Everything about the exchange that doesn't change while it runs."""

    symbols: Mapping[str, Symbol]
    prices: Mapping[str, Decimal]  # what each symbol opens at
    assets: tuple[JsonObject, ...]  # exchangeInfo's assets
    timezone: str = "UTC"
    exchange_filters: tuple[object, ...] = ()
