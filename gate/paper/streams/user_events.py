"""The events of an account's user stream, field for field.

The figures come from the books as they stand when something happens, through the same functions as REST's answers.
"""

from __future__ import annotations

from decimal import Decimal

from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import (
    AlgoChanged,
    AssetModeChanged,
    BalancesChanged,
    Happening,
    LeverageChanged,
    ListenKeyExpired,
    MarginCalled,
    OrderChanged,
)
from gate.paper.books.margin import PositionMargin
from gate.paper.books.statement import cross_wallet, position_margin, usd_index
from gate.paper.market.decimals import ZERO, eight, fixed, plain
from gate.paper.market.terms import OrderType, PositionSide
from gate.paper.rest.answers import average
from gate.paper.streams.event import Event, event
from gate.paper.trading.exchange import Exchange

Shape = dict[str, object]


def user_event(exchange: Exchange, account: AccountBooks, happening: Happening) -> Event:
    match happening:
        case OrderChanged():
            return _order_trade_update(exchange, account, happening)
        case AlgoChanged():
            return _algo_update(exchange, happening)
        case BalancesChanged():
            return _account_update(exchange, account, happening)
        case LeverageChanged(symbol, leverage, at_ms):
            return event("ACCOUNT_CONFIG_UPDATE", {**_at(at_ms), "ac": {"s": symbol, "l": leverage}}, symbol)
        case AssetModeChanged(multi_assets, at_ms):
            return event("ACCOUNT_CONFIG_UPDATE", {**_at(at_ms), "ai": {"j": multi_assets}})
        case MarginCalled():
            return _margin_call(exchange, account, happening)
        case ListenKeyExpired(key, at_ms):
            return event("listenKeyExpired", {"E": at_ms, "listenKey": key})


def _at(at_ms: int) -> Shape:
    return {"E": at_ms, "T": at_ms}


def _order_trade_update(exchange: Exchange, account: AccountBooks, changed: OrderChanged) -> Event:
    order, fill = changed.order, changed.fill
    symbol = exchange.market.symbols[order.symbol]
    price, quantity = symbol.price_precision, symbol.quantity_precision
    exposed = _margin(exchange, account, order.symbol, order.position_side).exposure
    shape: Shape = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": order.side.value,
        "o": "LIQUIDATION" if fill is not None and fill.liquidation else order.type.value,
        "f": order.time_in_force.value,
        "q": fixed(order.quantity, quantity),
        "p": fixed(order.price, price),
        "ap": average(order, symbol),
        "sp": fixed(ZERO, price),
        "x": changed.execution.value,
        "X": order.status.value,
        "i": order.order_id,
        "l": fixed(fill.quantity if fill else ZERO, quantity),
        "z": fixed(order.executed, quantity),
        "L": fixed(fill.price if fill else ZERO, price),
        "T": order.update_ms,
        "t": fill.trade_id if fill else 0,
        "b": plain(exposed.bids),
        "a": plain(exposed.asks),
        "m": fill.maker if fill else False,
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": order.orig_type,
        "ps": order.position_side.value,
        "cp": order.close_position,
        "rp": eight(fill.realized_pnl if fill else ZERO),
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_MAKER",
        "pm": "NONE",
        "gtd": 0,
        "er": "0",
    }
    if fill is not None:
        shape |= {"N": fill.margin_asset, "n": eight(fill.commission)}
    return event("ORDER_TRADE_UPDATE", {**_at(order.update_ms), "o": shape}, order.symbol, order.client_order_id)


def _algo_update(exchange: Exchange, changed: AlgoChanged) -> Event:
    algo, actual = changed.algo, changed.actual
    ticket = algo.ticket
    symbol = exchange.market.symbols[ticket.symbol]
    price, quantity = symbol.price_precision, symbol.quantity_precision
    kind = OrderType.MARKET if ticket.type.at_market else OrderType.LIMIT
    shape: Shape = {
        "caid": algo.client_algo_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": ticket.type.value,
        "s": ticket.symbol,
        "S": ticket.side.value,
        "ps": algo.position_side.value,
        "f": ticket.time_in_force.value,
        "q": fixed(ticket.quantity, quantity),
        "X": changed.status.value,
        "ai": "" if actual is None else str(actual.order_id),
        "ap": average(actual, symbol) if actual else fixed(ZERO, price),
        "aq": fixed(actual.executed if actual else ZERO, quantity),
        "act": kind.value if actual else "0",
        "tp": fixed(ticket.trigger_price, price),
        "p": fixed(ticket.price, price),
        "V": "EXPIRE_MAKER",
        "wt": ticket.working_type.value,
        "pm": "NONE",
        "cp": ticket.close_position,
        "pP": ticket.price_protect,
        "R": ticket.reduce_only or ticket.close_position,
        "tt": algo.trigger_ms,
        "gtd": 0,
        "rm": algo.refusal,
    }
    return event("ALGO_UPDATE", {**_at(changed.at_ms), "o": shape}, ticket.symbol, algo.client_algo_id)


def _account_update(exchange: Exchange, account: AccountBooks, changed: BalancesChanged) -> Event:
    balances: list[Shape] = [
        {
            "a": name,
            "wb": eight(account.wallets.get(name, ZERO)),
            "cw": eight(cross_wallet(account, exchange.market, name)),
            "bc": eight(moved),
        }
        for name, moved in changed.moved.items()
    ]
    positions = [_position(exchange, account, *key) for key in changed.positions]
    shape: Shape = {"m": changed.reason, "B": balances, "P": positions}
    symbol = changed.positions[0][0] if changed.positions else None
    return event("ACCOUNT_UPDATE", {**_at(changed.at_ms), "a": shape}, symbol)


def _position(exchange: Exchange, account: AccountBooks, name: str, side: PositionSide) -> Shape:
    line = _margin(exchange, account, name, side)
    entry = plain(Decimal(eight(line.position.entry_price)))
    return {
        "s": name,
        "pa": fixed(line.position.quantity, exchange.market.symbols[name].quantity_precision),
        "ep": entry,
        "bep": entry,
        "cr": eight(account.realized.get((name, side), ZERO)),
        "up": eight(line.unrealized),
        "mt": "isolated" if line.isolated else "cross",
        "iw": eight(line.position.isolated_wallet),
        "ps": side.value,
    }


def _margin_call(exchange: Exchange, account: AccountBooks, called: MarginCalled) -> Event:
    lines = [_margin(exchange, account, *key) for key in called.positions]
    shape: Shape = {"E": called.at_ms}
    if not all(line.isolated for line in lines):
        shape["cw"] = eight(_bearing_wallet(exchange, account, lines[0].asset))
    shape["p"] = [
        {
            "s": line.position.symbol,
            "ps": line.position.side.value,
            "pa": fixed(line.position.quantity, exchange.market.symbols[line.position.symbol].quantity_precision),
            "mt": "ISOLATED" if line.isolated else "CROSSED",
            "iw": eight(line.position.isolated_wallet),
            "mp": eight(line.mark),
            "up": eight(line.unrealized),
            "mm": eight(line.maintenance),
        }
        for line in lines
    ]
    return event("MARGIN_CALL", shape, lines[0].position.symbol)


def _bearing_wallet(exchange: Exchange, account: AccountBooks, asset: str) -> Decimal:
    """The cross wallet that bears a position: its margin asset's, or in multi-assets mode all together, in USD."""
    if not account.multi_assets:
        return cross_wallet(account, exchange.market, asset)
    return sum(
        (cross_wallet(account, exchange.market, name) * usd_index(name, exchange.quotes) for name in account.wallets),
        ZERO,
    )


def _margin(exchange: Exchange, account: AccountBooks, name: str, side: PositionSide) -> PositionMargin:
    symbol = exchange.market.symbols[name]
    return position_margin(account, symbol, side, exchange.quotes[name], account.open_on(name, side))
