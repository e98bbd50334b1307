"""Liquidates what falls after a price has moved, and warns of what is close to it."""

from __future__ import annotations

from decimal import Decimal

from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import MarginCalled
from gate.paper.books.liquidation import Risk, debts_beyond_all, risks
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
    """The exchange cancels what rests on the positions' symbols, and closes them. Its fund pays what is missing then.

    Not before the last of them is closed: what one position gains pays first for what another has lost.
    """
    for symbol in dict.fromkeys(line.position.symbol for line in risk.positions):
        exchange.cancel_all(account, symbol, now_ms)
    asset = risk.positions[0].asset
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
