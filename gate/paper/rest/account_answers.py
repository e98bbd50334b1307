"""The exchange's answers about accounts, balances and positions, field for field. Pure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypedDict

from gate.paper.books.account import AccountBooks
from gate.paper.books.margin import AssetMargin, PositionMargin, asset_margin
from gate.paper.books.statement import (
    asset_available,
    asset_margins,
    available_balance,
    position_margin,
    position_margins,
    usd_index,
)
from gate.paper.market.decimals import ONE, ZERO, eight, fixed, plain
from gate.paper.market.symbols import Symbol
from gate.paper.market.terms import PositionSide
from gate.paper.rest.answers import Answer
from gate.paper.trading.exchange import Exchange

_QUOTE_ASSET = "USDT"


def account(exchange: Exchange, books: AccountBooks, *, version: int) -> Answer:
    """Version 3 lists positions that are held or have orders; version 2 lists every symbol, and the account's rights.

    The totals are in USDT in single-asset mode and in USD over all assets in multi-assets mode.
    """
    margins = asset_margins(books, exchange.market, exchange.quotes)
    answer: Answer = {
        **_totals(exchange, books, margins),
        "assets": [asset_line(exchange, books, name) for name in asset_names(exchange, margins)],
    }
    if version >= 3:
        held = position_margins(books, exchange.market, exchange.quotes)
        return {**answer, "positions": [_account_position_v3(line) for line in held]}
    return {
        "feeTier": 0,
        "feeBurn": False,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "multiAssetsMargin": books.multi_assets,
        "tradeGroupId": -1,
        **answer,
        "positions": [
            _account_position_v2(line, exchange.market.symbols[line.position.symbol])
            for line in every_position(exchange, books)
        ],
    }


def _totals(exchange: Exchange, books: AccountBooks, margins: dict[str, AssetMargin]) -> Answer:
    counted = {name: line for name, line in margins.items() if books.multi_assets or name == _QUOTE_ASSET}

    def total(pick: Callable[[AssetMargin], Decimal]) -> str:
        figures = (
            pick(line) * (usd_index(name, exchange.quotes) if books.multi_assets else ONE)
            for name, line in counted.items()
        )
        return eight(sum(figures, ZERO))

    available = eight(available_balance(books, exchange.market, exchange.quotes, _QUOTE_ASSET))
    return {
        "totalInitialMargin": total(lambda line: line.initial),
        "totalMaintMargin": total(lambda line: line.maintenance),
        "totalWalletBalance": total(lambda line: line.wallet),
        "totalUnrealizedProfit": total(lambda line: line.unrealized),
        "totalMarginBalance": total(lambda line: line.margin_balance),
        "totalPositionInitialMargin": total(lambda line: line.position_initial),
        "totalOpenOrderInitialMargin": total(lambda line: line.open_order_initial),
        "totalCrossWalletBalance": total(lambda line: line.cross_wallet),
        "totalCrossUnPnl": total(lambda line: line.cross_unrealized),
        "availableBalance": available,
        "maxWithdrawAmount": available,
    }


def asset_names(exchange: Exchange, margins: dict[str, AssetMargin]) -> list[str]:
    return list(dict.fromkeys([*(str(row["asset"]) for row in exchange.market.assets), *margins]))


def asset_line(exchange: Exchange, books: AccountBooks, name: str) -> Answer:
    line = _asset_margin(exchange, books, name)
    available = eight(asset_available(books, exchange.market, exchange.quotes, name))
    return {
        "asset": name,
        "walletBalance": eight(line.wallet),
        "unrealizedProfit": eight(line.unrealized),
        "marginBalance": eight(line.margin_balance),
        "maintMargin": eight(line.maintenance),
        "initialMargin": eight(line.initial),
        "positionInitialMargin": eight(line.position_initial),
        "openOrderInitialMargin": eight(line.open_order_initial),
        "crossWalletBalance": eight(line.cross_wallet),
        "crossUnPnl": eight(line.cross_unrealized),
        "availableBalance": available,
        "maxWithdrawAmount": available,
        "marginAvailable": True,
        "updateTime": books.wallets_ms.get(name, 0),
    }


def balance_line(exchange: Exchange, books: AccountBooks, name: str) -> Answer:
    line = _asset_margin(exchange, books, name)
    available = eight(asset_available(books, exchange.market, exchange.quotes, name))
    return {
        "accountAlias": books.name,
        "asset": name,
        "balance": eight(line.wallet),
        "crossWalletBalance": eight(line.cross_wallet),
        "crossUnPnl": eight(line.cross_unrealized),
        "availableBalance": available,
        "maxWithdrawAmount": available,
        "marginAvailable": True,
        "updateTime": books.wallets_ms.get(name, 0),
    }


def _asset_margin(exchange: Exchange, books: AccountBooks, name: str) -> AssetMargin:
    lines = position_margins(books, exchange.market, exchange.quotes, name)
    return asset_margin(name, books.wallets.get(name, ZERO), lines)


def every_position(exchange: Exchange, books: AccountBooks, symbol: str | None = None) -> list[PositionMargin]:
    """One line for each symbol; in hedge mode LONG and SHORT as well as BOTH."""
    sides = (PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT) if books.hedge else (PositionSide.BOTH,)
    return [
        position_margin(books, item, side, exchange.quotes[item.name], books.open_on(item.name, side))
        for item in exchange.market.symbols.values()
        if symbol in (None, item.name)
        for side in sides
    ]


def _account_position_v3(line: PositionMargin) -> Answer:
    return {
        "symbol": line.position.symbol,
        "positionSide": line.position.side.value,
        "positionAmt": plain(line.position.quantity),
        "unrealizedProfit": eight(line.unrealized),
        "isolatedMargin": eight(_isolated_margin(line)),
        "notional": plain(line.notional),
        "isolatedWallet": plain(line.position.isolated_wallet),
        "initialMargin": eight(line.initial),
        "maintMargin": eight(line.maintenance),
        "updateTime": line.position.update_ms,
    }


def _account_position_v2(line: PositionMargin, symbol: Symbol) -> Answer:
    return {
        **_account_position_v3(line),
        "positionInitialMargin": eight(line.position_initial),
        "openOrderInitialMargin": eight(line.open_order_initial),
        "leverage": str(line.leverage),
        "isolated": line.isolated,
        "entryPrice": plain(line.position.entry_price),
        "breakEvenPrice": plain(line.position.entry_price),
        "maxNotional": plain(symbol.max_notional(line.leverage)),
        "bidNotional": plain(line.exposure.bids),
        "askNotional": plain(line.exposure.asks),
    }


def position_risk_v3(line: PositionMargin, symbol: Symbol, liquidation: Decimal) -> Answer:
    return {
        "symbol": symbol.name,
        "positionSide": line.position.side.value,
        "positionAmt": fixed(line.position.quantity, symbol.quantity_precision),
        "entryPrice": _price(line.position.entry_price),
        "breakEvenPrice": _price(line.position.entry_price),
        "markPrice": eight(line.mark),
        "unRealizedProfit": eight(line.unrealized),
        "liquidationPrice": _price(liquidation),
        "isolatedMargin": eight(_isolated_margin(line)),
        "notional": eight(line.notional),
        "marginAsset": line.asset,
        "isolatedWallet": eight(line.position.isolated_wallet),
        "initialMargin": eight(line.initial),
        "maintMargin": eight(line.maintenance),
        "positionInitialMargin": eight(line.position_initial),
        "openOrderInitialMargin": eight(line.open_order_initial),
        "adl": 0,
        "bidNotional": plain(line.exposure.bids),
        "askNotional": plain(line.exposure.asks),
        "updateTime": line.position.update_ms,
    }


def position_risk_v2(line: PositionMargin, symbol: Symbol, liquidation: Decimal) -> Answer:
    return {
        "symbol": symbol.name,
        "positionAmt": fixed(line.position.quantity, symbol.quantity_precision),
        "entryPrice": _price(line.position.entry_price),
        "breakEvenPrice": _price(line.position.entry_price),
        "markPrice": eight(line.mark),
        "unRealizedProfit": eight(line.unrealized),
        "liquidationPrice": _price(liquidation),
        "leverage": str(line.leverage),
        "maxNotionalValue": plain(symbol.max_notional(line.leverage)),
        "marginType": "isolated" if line.isolated else "cross",
        "isolatedMargin": eight(_isolated_margin(line)),
        "isAutoAddMargin": "false",
        "positionSide": line.position.side.value,
        "notional": eight(line.notional),
        "isolatedWallet": eight(line.position.isolated_wallet),
        "updateTime": line.position.update_ms,
    }


def _isolated_margin(line: PositionMargin) -> Decimal:
    return line.position.isolated_wallet + line.unrealized if line.isolated else ZERO


def _price(value: Decimal) -> str:
    """Entry prices are averages, printed with at most eight decimals."""
    return plain(Decimal(eight(value)))


class IncomeLine(TypedDict):
    symbol: str
    incomeType: str
    income: str
    asset: str
    info: str
    time: int
    tranId: int
    tradeId: str


def income_lines(books: AccountBooks) -> list[IncomeLine]:
    """Everything that has changed the wallets, oldest first."""
    rows: list[IncomeLine] = []
    for fill in books.trades:
        parts = [("REALIZED_PNL", fill.realized_pnl)] if fill.realized_pnl else []
        for number, (kind, amount) in enumerate([*parts, ("COMMISSION", -fill.commission)]):
            rows.append(
                IncomeLine(
                    symbol=fill.symbol,
                    incomeType=kind,
                    income=eight(amount),
                    asset=fill.margin_asset,
                    info=kind,
                    time=fill.time_ms,
                    tranId=fill.trade_id * 10 + number,
                    tradeId=str(fill.trade_id),
                )
            )
    for number, moved in enumerate(books.transfers):
        rows.append(
            IncomeLine(
                symbol="",
                incomeType=moved.kind,
                income=eight(moved.amount),
                asset=moved.asset,
                info=moved.kind,
                time=moved.at_ms,
                tranId=moved.at_ms * 1_000 + number,
                tradeId="",
            )
        )
    return sorted(rows, key=lambda row: row["time"])
