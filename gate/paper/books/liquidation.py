"""How far a position is from its liquidation. Pure.

A cross position falls with all others of its margin asset, when what is left of the cross wallet no longer exceeds
their maintenance margin; an isolated one when that is so of the margin set aside for it. In multi-assets mode the
wallets of all assets count together.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from gate.paper.books.account import AccountBooks
from gate.paper.books.margin import PositionMargin
from gate.paper.books.statement import Quotes, asset_margins, position_margins, usd_index
from gate.paper.market.decimals import ONE, ZERO
from gate.paper.market.symbols import Market

_ROUNDS = 20  # for the bracket at the liquidation price, which isn't known before the price


class Risk(Struct, frozen=True):
    """Positions that fall together, and the margin that they have left."""

    positions: tuple[PositionMargin, ...]
    margin: Decimal

    @property
    def maintenance(self) -> Decimal:
        return sum((line.maintenance for line in self.positions), ZERO)

    @property
    def falls(self) -> bool:
        return self.margin <= self.maintenance

    def is_near(self, share: Decimal) -> bool:
        """Whether the maintenance margin takes at least this share of the margin."""
        return self.maintenance >= self.margin * share


def risks(account: AccountBooks, market: Market, quotes: Quotes) -> list[Risk]:
    """Every position that is held, with those that fall with it."""
    lines = [line for line in position_margins(account, market, quotes) if line.position.quantity]
    found = [Risk((line,), line.position.isolated_wallet + line.unrealized) for line in lines if line.isolated]
    cross = [line for line in lines if not line.isolated]
    if account.multi_assets:
        return [*found, Risk(tuple(cross), _cross_margin(account, market, quotes, None))] if cross else found
    for asset in dict.fromkeys(line.asset for line in cross):
        of_asset = tuple(line for line in cross if line.asset == asset)
        found.append(Risk(of_asset, _cross_margin(account, market, quotes, asset)))
    return found


def _cross_margin(account: AccountBooks, market: Market, quotes: Quotes, asset: str | None) -> Decimal:
    """Cross wallet and open profit: of one asset in that asset, or of all in USD."""
    lines = asset_margins(account, market, quotes)
    return sum(
        (
            (line.cross_wallet + line.cross_unrealized) * (ONE if asset else usd_index(name, quotes))
            for name, line in lines.items()
            if asset in (None, name)
        ),
        ZERO,
    )


def liquidation_price(account: AccountBooks, market: Market, quotes: Quotes, line: PositionMargin) -> Decimal:
    """The mark price at which a position falls, everything else as it is; zero if there is none."""
    risk = next((each for each in risks(account, market, quotes) if line in each.positions), None)
    if risk is None:
        return ZERO
    moving = [each for each in risk.positions if each.position.symbol == line.position.symbol]
    still = risk.margin - sum((each.unrealized for each in moving), ZERO)
    still -= sum((each.maintenance for each in risk.positions if each not in moving), ZERO)
    return _price_at_zero(market, moving, still)


def _price_at_zero(market: Market, moving: Iterable[PositionMargin], still: Decimal) -> Decimal:
    """The price p at which still + Σ(quantity·p − cost) = Σ(|quantity|·p·rate − cum)."""
    lines = list(moving)
    symbol = market.symbols[lines[0].position.symbol]
    price = lines[0].mark
    for _ in range(_ROUNDS):
        slope, constant = ZERO, still
        for line in lines:
            quantity = line.position.quantity
            bracket = symbol.bracket_for(abs(quantity) * price)
            slope += quantity - abs(quantity) * bracket.maintenance_rate
            constant += bracket.cum - line.position.cost
        found = -constant / slope if slope else ZERO
        if found <= 0:
            return ZERO
        if found == price:
            break
        price = found
    return price
