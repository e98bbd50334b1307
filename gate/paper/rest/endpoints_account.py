"""Signed endpoints about the account: balances, positions, leverage, modes."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from gate.paper.books.liquidation import liquidation_price
from gate.paper.books.margin import PositionMargin
from gate.paper.books.statement import asset_margins, position_margins
from gate.paper.market.decimals import ZERO, plain
from gate.paper.market.errors import Code, refuse
from gate.paper.market.symbols import Symbol
from gate.paper.rest import account_answers as lines
from gate.paper.rest.answers import Answer
from gate.paper.rest.endpoints import Body, Route, SignedCall, SignedEndpoint
from gate.paper.trading.admission import check_leverage, check_multi_assets

_SUCCESS: Answer = {"code": 200, "msg": "success"}


class MarginType(StrEnum):
    CROSSED = "CROSSED"
    ISOLATED = "ISOLATED"


def account_v2(call: SignedCall) -> Body:
    return lines.account(call.exchange, call.account, version=2)


def account_v3(call: SignedCall) -> Body:
    return lines.account(call.exchange, call.account, version=3)


def balance(call: SignedCall) -> Body:
    margins = asset_margins(call.account, call.exchange.market, call.exchange.quotes)
    names = lines.asset_names(call.exchange, margins)
    return [lines.balance_line(call.exchange, call.account, name) for name in names]


def position_risk_v2(call: SignedCall) -> Body:
    name = _known_symbol(call)
    rows = lines.every_position(call.exchange, call.account, name)
    return [lines.position_risk_v2(row, _symbol_of(call, row), _liquidation_price(call, row)) for row in rows]


def position_risk_v3(call: SignedCall) -> Body:
    """Only held positions and symbols with open orders: a flat symbol gets an empty list."""
    name = _known_symbol(call)
    return [
        lines.position_risk_v3(row, _symbol_of(call, row), _liquidation_price(call, row))
        for row in position_margins(call.account, call.exchange.market, call.exchange.quotes)
        if name in (None, row.position.symbol)
    ]


def _symbol_of(call: SignedCall, row: PositionMargin) -> Symbol:
    return call.exchange.market.symbols[row.position.symbol]


def _liquidation_price(call: SignedCall, row: PositionMargin) -> Decimal:
    if not row.position.quantity:
        return ZERO
    return liquidation_price(call.account, call.exchange.market, call.exchange.quotes, row)


def income(call: SignedCall) -> Body:
    """Profits and commissions of the trades, and what came or went by none; oldest first, the newest of them."""
    symbol, kind = _known_symbol(call), call.params.text("incomeType")
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    rows = [
        row
        for row in lines.income_lines(call.account)
        if symbol in (None, row["symbol"])
        and kind in (None, row["incomeType"])
        and (start is None or row["time"] >= start)
        and (end is None or row["time"] <= end)
    ]
    limit = max(1, min(call.params.integer("limit") or 100, 1_000))
    page = call.params.integer("page")
    return rows[-limit:] if page is None else rows[(page - 1) * limit : page * limit]


def account_config(call: SignedCall) -> Body:
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "dualSidePosition": call.account.hedge,
        "updateTime": 0,
        "multiAssetsMargin": call.account.multi_assets,
        "tradeGroupId": -1,
    }


def symbol_config(call: SignedCall) -> Body:
    name = _known_symbol(call)
    return [
        {
            "symbol": item.name,
            "marginType": (MarginType.ISOLATED if item.name in call.account.isolated else MarginType.CROSSED).value,
            "isAutoAddMargin": False,
            "leverage": call.account.leverage(item),
            "maxNotionalValue": plain(item.max_notional(call.account.leverage(item))),
        }
        for item in call.exchange.market.symbols.values()
        if name in (None, item.name)
    ]


def commission_rate(call: SignedCall) -> Body:
    symbol = _need_symbol(call)
    fees = call.exchange.fees
    return {
        "symbol": symbol.name,
        "makerCommissionRate": format(fees.maker, ".6f"),
        "takerCommissionRate": format(fees.taker, ".6f"),
    }


def leverage_bracket(call: SignedCall) -> Body:
    name = _known_symbol(call)
    return [_brackets(item) for item in call.exchange.market.symbols.values() if name in (None, item.name)]


def _brackets(symbol: Symbol) -> Answer:
    # Only here the exchange answers figures as numbers. The encoder writes Decimals as exact JSON numbers, not floats.
    return {
        "symbol": symbol.name,
        "notionalCoef": 1,
        "brackets": [
            {
                "bracket": row.number,
                "initialLeverage": row.leverage,
                "notionalCap": row.cap,
                "notionalFloor": row.floor,
                "maintMarginRatio": row.maintenance_rate,
                "cum": row.cum,
            }
            for row in symbol.brackets
        ],
    }


def set_leverage(call: SignedCall) -> Body:
    symbol = _need_symbol(call)
    leverage = call.params.need_integer("leverage")
    check_leverage(call.account, call.exchange.market, call.exchange.quotes, symbol, leverage)
    call.account.set_leverage(symbol, leverage, call.now_ms)
    return {
        "symbol": symbol.name,
        "leverage": leverage,
        "maxNotionalValue": plain(symbol.max_notional(leverage)),
    }


def set_margin_type(call: SignedCall) -> Body:
    symbol = _need_symbol(call)
    wanted = call.params.need_word("marginType", MarginType, Code.INVALID_PARAMETER)
    isolated = wanted is MarginType.ISOLATED
    if isolated and call.account.multi_assets:
        raise refuse(Code.ISOLATED_WITH_MULTI_ASSETS)
    if isolated == (symbol.name in call.account.isolated):
        raise refuse(Code.SAME_MARGIN_TYPE)
    if call.account.open_on(symbol.name):
        raise refuse(Code.MARGIN_TYPE_OPEN_ORDERS)
    if any(position.symbol == symbol.name for position in call.account.held_positions()):
        raise refuse(Code.MARGIN_TYPE_POSITION)
    call.account.set_margin_type(symbol, isolated=isolated, now_ms=call.now_ms)
    return _SUCCESS


def get_position_mode(call: SignedCall) -> Body:
    return {"dualSidePosition": call.account.hedge}


def set_position_mode(call: SignedCall) -> Body:
    wanted = call.params.need_flag("dualSidePosition")
    if wanted == call.account.hedge:
        raise refuse(Code.SAME_POSITION_MODE)
    if call.account.open_orders or call.account.open_algos():
        raise refuse(Code.POSITION_MODE_OPEN_ORDERS)
    if any(call.account.held_positions()):
        raise refuse(Code.POSITION_MODE_POSITION)
    call.account.hedge = wanted
    return _SUCCESS


def get_multi_assets(call: SignedCall) -> Body:
    return {"multiAssetsMargin": call.account.multi_assets}


def set_multi_assets(call: SignedCall) -> Body:
    wanted = call.params.need_flag("multiAssetsMargin")
    check_multi_assets(call.account, call.exchange.market, call.exchange.quotes, wanted)
    call.account.set_multi_assets(wanted, call.now_ms)
    return _SUCCESS


def order_rate_limits(call: SignedCall) -> Body:
    limits = call.call.limits
    if limits is None:
        return []
    return [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": limits.orders_per_ten_seconds},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": limits.orders_per_minute},
    ]


def _known_symbol(call: SignedCall) -> str | None:
    name = call.params.text("symbol")
    return None if name is None else call.exchange.symbol(name).name


def _need_symbol(call: SignedCall) -> Symbol:
    return call.exchange.symbol(call.params.need_text("symbol"))


ENDPOINTS: dict[Route, SignedEndpoint] = {
    ("GET", "/fapi/v2/account"): SignedEndpoint(account_v2, weight=5),
    ("GET", "/fapi/v3/account"): SignedEndpoint(account_v3, weight=5),
    ("GET", "/fapi/v2/balance"): SignedEndpoint(balance, weight=5),
    ("GET", "/fapi/v3/balance"): SignedEndpoint(balance, weight=5),
    ("GET", "/fapi/v2/positionRisk"): SignedEndpoint(position_risk_v2, weight=5),
    ("GET", "/fapi/v3/positionRisk"): SignedEndpoint(position_risk_v3, weight=5),
    ("GET", "/fapi/v1/income"): SignedEndpoint(income, weight=30),
    ("GET", "/fapi/v1/accountConfig"): SignedEndpoint(account_config, weight=5),
    ("GET", "/fapi/v1/symbolConfig"): SignedEndpoint(symbol_config, weight=5),
    ("GET", "/fapi/v1/commissionRate"): SignedEndpoint(commission_rate, weight=20),
    ("GET", "/fapi/v1/leverageBracket"): SignedEndpoint(leverage_bracket),
    ("POST", "/fapi/v1/leverage"): SignedEndpoint(set_leverage),
    ("POST", "/fapi/v1/marginType"): SignedEndpoint(set_margin_type),
    ("GET", "/fapi/v1/positionSide/dual"): SignedEndpoint(get_position_mode, weight=30),
    ("POST", "/fapi/v1/positionSide/dual"): SignedEndpoint(set_position_mode),
    ("GET", "/fapi/v1/multiAssetsMargin"): SignedEndpoint(get_multi_assets, weight=30),
    ("POST", "/fapi/v1/multiAssetsMargin"): SignedEndpoint(set_multi_assets),
    ("GET", "/fapi/v1/rateLimit/order"): SignedEndpoint(order_rate_limits),
}
