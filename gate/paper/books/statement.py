"""An account's margins and available balances at the current prices. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gate.paper.books.account import AccountBooks
from gate.paper.books.margin import AssetMargin, PositionMargin, asset_margin, collateral_value, exposure
from gate.paper.books.orders import Order
from gate.paper.market.decimals import ONE, ZERO
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Market, Symbol
from gate.paper.market.terms import PositionSide

Quotes = Mapping[str, Quote]

_DOLLARS = frozenset({"USDT", "USDC"})
# The share of each asset that counts as collateral in multi-assets mode. The exchange changes these figures; they are
# of medium confidence.
_HAIRCUT: Mapping[str, Decimal] = {
    "USDT": Decimal("0.9999"),
    "USDC": Decimal("0.9999"),
    "BTC": Decimal("0.95"),
    "ETH": Decimal("0.95"),
    "BNB": Decimal("0.95"),
}


def position_margin(
    account: AccountBooks, symbol: Symbol, side: PositionSide, quote: Quote, orders: list[Order]
) -> PositionMargin:
    position = account.position(symbol.name, side)
    exposed = exposure(position, orders, quote.mark)
    return PositionMargin(
        position=position,
        asset=symbol.margin_asset,
        mark=quote.mark,
        leverage=account.leverage(symbol),
        isolated=symbol.name in account.isolated,
        exposure=exposed,
        maintenance=symbol.maintenance_margin(abs(exposed.position)),
    )


def position_margins(
    account: AccountBooks, market: Market, quotes: Quotes, asset: str | None = None
) -> list[PositionMargin]:
    """A line for each position that is held or has open orders, in one margin asset or in all."""
    orders: dict[tuple[str, PositionSide], list[Order]] = {
        (position.symbol, position.side): [] for position in account.held_positions()
    }
    for order in account.open_orders.values():
        orders.setdefault(order.position_key, []).append(order)
    return [
        position_margin(account, market.symbols[name], side, quotes[name], open_orders)
        for (name, side), open_orders in orders.items()
        if asset in (None, market.symbols[name].margin_asset)
    ]


def asset_margins(account: AccountBooks, market: Market, quotes: Quotes) -> dict[str, AssetMargin]:
    lines = position_margins(account, market, quotes)
    names = dict.fromkeys([*account.wallets, *(line.asset for line in lines)])
    return {
        name: asset_margin(name, account.wallets.get(name, ZERO), [line for line in lines if line.asset == name])
        for name in names
    }


def cross_wallet(account: AccountBooks, market: Market, asset: str) -> Decimal:
    """As AssetMargin.cross_wallet, without the margins of every position: each event of a fill tells it."""
    apart = (
        position.isolated_wallet
        for position in account.held_positions()
        if market.symbols[position.symbol].margin_asset == asset
    )
    return account.wallets.get(asset, ZERO) - sum(apart, ZERO)


def usd_index(asset: str, quotes: Quotes) -> Decimal:
    """An asset's price in USD: one for the dollar coins, else its perpetual's mark price; zero if it has none."""
    if asset in _DOLLARS:
        return ONE
    quote = quotes.get(index_symbol(asset))
    return quote.mark if quote else ZERO


def index_symbol(asset: str) -> str:
    """The perpetual whose mark price is an asset's price in USD, if there is one."""
    return f"{asset}USDT"


def free_margin(account: AccountBooks, market: Market, quotes: Quotes, asset: str) -> Decimal:
    """The margin for new orders in a margin asset; below zero when losses exceed it. In USD in multi-assets mode."""
    if account.multi_assets:
        return _collateral(asset_margins(account, market, quotes), quotes)
    lines_of_asset = position_margins(account, market, quotes, asset)
    return asset_margin(asset, account.wallets.get(asset, ZERO), lines_of_asset).free


def _collateral(lines: Mapping[str, AssetMargin], quotes: Quotes) -> Decimal:
    return collateral_value(lines.values(), {name: usd_index(name, quotes) for name in lines}, _HAIRCUT)


def covers(account: AccountBooks, market: Market, quotes: Quotes, asset: str, cost: Decimal) -> bool:
    """Whether the free margin covers a cost in a margin asset. In multi-assets mode an asset without an index can't."""
    index = usd_index(asset, quotes) if account.multi_assets else ONE
    return index > 0 and cost * index <= free_margin(account, market, quotes, asset)


def margin_suffices(account: AccountBooks, market: Market, quotes: Quotes, *, multi_assets: bool) -> bool:
    """Whether an asset mode would cover the positions and orders: each asset by itself, or all assets together."""
    lines = asset_margins(account, market, quotes)
    if multi_assets:
        borne = all(usd_index(name, quotes) for name, line in lines.items() if line.initial)
        return borne and _collateral(lines, quotes) >= 0
    return all(line.free >= 0 for line in lines.values())


def available_balance(account: AccountBooks, market: Market, quotes: Quotes, asset: str) -> Decimal:
    """The exchange's `availableBalance`: free margin, never shown below zero."""
    return max(ZERO, free_margin(account, market, quotes, asset))


def asset_available(account: AccountBooks, market: Market, quotes: Quotes, asset: str) -> Decimal:
    """`availableBalance` of one asset, in that asset, in either mode."""
    available = available_balance(account, market, quotes, asset)
    if not account.multi_assets:
        return available
    index = usd_index(asset, quotes)
    return available / index if index else ZERO
