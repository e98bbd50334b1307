"""How far a position is from its liquidation. Pure.

A cross position falls with all others of its margin asset, when what is left of the cross wallet no longer exceeds
their maintenance margin; an isolated one when that is so of the margin set aside for it. In multi-assets mode the
wallets of all assets count together, in USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from gate.paper.books.account import AccountBooks
from gate.paper.books.margin import AssetMargin, PositionMargin
from gate.paper.books.statement import Quotes, asset_margins, index_symbol, position_margins, usd_index
from gate.paper.market.decimals import ONE, ZERO, to_satoshi
from gate.paper.market.symbols import Market

_ROUNDS = 20  # for the bracket at the liquidation price, which isn't known before the price


class Risk(Struct, frozen=True):
    """Positions that fall together, the margin that they have left, and what they must have at least.

    In the positions' margin asset; for cross positions in multi-assets mode in USD.
    """

    positions: tuple[PositionMargin, ...]
    margin: Decimal
    maintenance: Decimal

    @property
    def falls(self) -> bool:
        return self.margin <= self.maintenance

    def is_near(self, share: Decimal) -> bool:
        """Whether the maintenance margin takes at least this share of the margin."""
        return self.maintenance >= self.margin * share


def risks(account: AccountBooks, market: Market, quotes: Quotes) -> list[Risk]:
    """Every position that is held, with those that fall with it."""
    lines = [line for line in position_margins(account, market, quotes) if line.position.quantity]
    found = [
        Risk((line,), line.position.isolated_wallet + line.unrealized, line.maintenance)
        for line in lines
        if line.isolated
    ]
    cross = tuple(line for line in lines if not line.isolated)
    if not cross:
        return found
    margins = asset_margins(account, market, quotes)
    together = [cross] if account.multi_assets else _by_asset(cross)
    return [*found, *(_cross_risk(account, quotes, margins, positions) for positions in together)]


def _by_asset(lines: Iterable[PositionMargin]) -> Iterable[tuple[PositionMargin, ...]]:
    apart: dict[str, tuple[PositionMargin, ...]] = {}
    for line in lines:
        apart[line.asset] = (*apart.get(line.asset, ()), line)
    return apart.values()


def _cross_risk(
    account: AccountBooks, quotes: Quotes, margins: Mapping[str, AssetMargin], positions: tuple[PositionMargin, ...]
) -> Risk:
    bearing = margins if account.multi_assets else {positions[0].asset}
    margin = sum((margins[name].cross_margin * _unit(account, quotes, name) for name in bearing), ZERO)
    needed = sum((line.maintenance * _unit(account, quotes, line.asset) for line in positions), ZERO)
    return Risk(positions, margin, needed)


def _unit(account: AccountBooks, quotes: Quotes, asset: str) -> Decimal:
    """What one of an asset counts where positions fall together: its price in USD, or one where it stands alone."""
    return usd_index(asset, quotes) if account.multi_assets else ONE


def debts_beyond_all(account: AccountBooks, quotes: Quotes) -> dict[str, Decimal]:
    """What is lost beyond the wallets of all assets together, in the assets in which the account is in debt.

    For multi-assets mode, without positions. A debt that other assets cover stays: nothing is exchanged for it.
    """
    missing = -sum((amount * usd_index(name, quotes) for name, amount in account.wallets.items()), ZERO)
    beyond: dict[str, Decimal] = {}
    for name, amount in account.wallets.items():
        index = usd_index(name, quotes)
        if missing <= 0 or amount >= 0 or not index:
            continue
        paid = min(-amount, missing / index)
        beyond[name] = to_satoshi(paid)
        missing -= paid * index
    return beyond


def liquidation_price(account: AccountBooks, market: Market, quotes: Quotes, line: PositionMargin) -> Decimal:
    """The mark price at which a position falls, everything else as it is; zero if there is none.

    In multi-assets mode a mark price is an asset's price in USD too: what the account has in that asset moves with it.
    """
    risk = next((each for each in risks(account, market, quotes) if line in each.positions), None)
    if risk is None:
        return ZERO
    moving = [each for each in risk.positions if each.position.symbol == line.position.symbol]
    unit = _unit(account, quotes, line.asset)
    left = risk.margin - risk.maintenance
    still = left - sum(((each.unrealized - each.maintenance) * unit for each in moving), ZERO)
    priced = ZERO
    if account.multi_assets:
        priced = _priced_at(account, market, quotes, line.position.symbol)
        still -= priced * line.mark
    return _price_at_zero(market, moving, still, unit, priced)


def _priced_at(account: AccountBooks, market: Market, quotes: Quotes, symbol: str) -> Decimal:
    """The margin left in the asset whose price in USD is this symbol's mark price, in that asset."""
    return sum(
        (
            each.cross_margin - each.maintenance
            for name, each in asset_margins(account, market, quotes).items()
            if index_symbol(name) == symbol
        ),
        ZERO,
    )


def _price_at_zero(
    market: Market, moving: Iterable[PositionMargin], still: Decimal, unit: Decimal, priced: Decimal
) -> Decimal:
    """The price p at which still + priced·p + unit·Σ(quantity·p − cost) = unit·Σ(|quantity|·p·rate − cum)."""
    lines = list(moving)
    symbol = market.symbols[lines[0].position.symbol]
    price = lines[0].mark
    for _ in range(_ROUNDS):
        slope, constant = priced, still
        for line in lines:
            quantity = line.position.quantity
            bracket = symbol.bracket_for(abs(quantity) * price)
            slope += (quantity - abs(quantity) * bracket.maintenance_rate) * unit
            constant += (bracket.cum - line.position.cost) * unit
        found = -constant / slope if slope else ZERO
        if found <= 0:
            return ZERO
        if found == price:
            break
        price = found
    return price
