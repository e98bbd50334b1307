"""Liquidates what falls after a price has moved, and warns of what is close to it."""

from __future__ import annotations

from decimal import Decimal

from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import MarginCalled
from gate.paper.books.liquidation import Risk, debts_beyond_all, risks
from gate.paper.books.orders import Order
from gate.paper.books.statement import cross_wallet
from gate.paper.trading.exchange import Exchange

_WARNED_AT = Decimal("0.8")  # of the margin: from here on the exchange warns


def liquidate_fallen(exchange: Exchange, now_ms: int) -> None:
    """Close every position whose margin is used up. One that is close to it is warned of, once until it recovers."""
    for account in exchange.accounts.values():
        if not any(account.held_positions()):
            account.warned.clear()
            continue
        for risk in risks(account, exchange.market, exchange.quotes):
            if risk.falls:
                _liquidate(exchange, account, risk, now_ms)
            else:
                _warn(account, risk, now_ms)


def _warn(account: AccountBooks, risk: Risk, now_ms: int) -> None:
    keys = tuple((line.position.symbol, line.position.side) for line in risk.positions)
    if not risk.is_near(_WARNED_AT):
        account.warned.difference_update(keys)
    elif not account.warned.issuperset(keys):
        account.warned.update(keys)
        account.listener(MarginCalled(keys, now_ms))


def _liquidate(exchange: Exchange, account: AccountBooks, risk: Risk, now_ms: int) -> None:
    """The exchange cancels every order that would take of the same margin, and closes the positions.

    Its fund pays what is missing then, and not before: what one position gains pays first for what another has lost.
    """
    asset = risk.positions[0].asset
    for order in [*account.open_orders.values()]:
        if _draws_on(exchange, account, risk, order):
            exchange.cancel(account, order, now_ms)
    before = account.wallets[asset]
    for line in risk.positions:
        exchange.liquidate(account, line.position, now_ms)
    if risk.positions[0].isolated:
        missing = before - account.wallets[asset] - risk.positions[0].position.isolated_wallet
        owed = {asset: missing}
    elif account.multi_assets:
        owed = debts_beyond_all(account, exchange.quotes)
    else:
        owed = {asset: -cross_wallet(account, exchange.market, asset)}
    for name, amount in owed.items():
        if amount > 0:
            account.take_from_fund(name, amount, now_ms)


def _draws_on(exchange: Exchange, account: AccountBooks, risk: Risk, order: Order) -> bool:
    """Whether an order takes of the margin that is used up.

    What opens on an isolated symbol takes of the cross wallet too; what only closes there doesn't.
    """
    fallen = risk.positions[0]
    if fallen.isolated:
        return order.symbol == fallen.position.symbol
    if order.symbol in account.isolated and order.reduces:
        return False
    return account.multi_assets or exchange.market.symbols[order.symbol].margin_asset == fallen.asset
