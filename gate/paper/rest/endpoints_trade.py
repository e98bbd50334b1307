"""Signed endpoints that place, find and cancel orders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from gate.paper.books.orders import AlgoOrder, Order, Ticket, Trade
from gate.paper.market.errors import Code, refuse
from gate.paper.market.terms import OrderType, ResponseType, Side
from gate.paper.rest import answers
from gate.paper.rest.endpoints import Body, Route, SignedCall, SignedEndpoint, one_order
from gate.paper.rest.weights import per_symbol
from gate.paper.trading import conditional
from gate.paper.trading.tickets import read_algo_ticket, read_ticket

_Row = TypeVar("_Row")

_MOST_ROWS = 1_000
_DEFAULT_ROWS = 500


def place(call: SignedCall) -> Body:
    ticket = read_ticket(call.params)
    symbol = call.exchange.symbol(ticket.symbol)
    order = call.exchange.place(
        call.account, ticket, call.now_ms, received_ms=call.call.received_ms, self_trade=call.call.self_trade
    )
    return answers.new_order(order, symbol, ticket.response_type, old=call.call.old_answers)


def place_test(call: SignedCall) -> Body:
    """Makes every check of a new order, but places none."""
    ticket = read_ticket(call.params)
    symbol = call.exchange.symbol(ticket.symbol)
    return answers.new_order(call.exchange.rehearse(call.account, ticket, call.now_ms), symbol, ResponseType.ACK)


def get(call: SignedCall) -> Body:
    order = _find(call)
    if order is None:
        raise refuse(Code.NO_SUCH_ORDER)
    return _state(call, order)


def get_open(call: SignedCall) -> Body:
    order = _find(call)
    if order is None or not order.status.is_open:
        raise refuse(Code.NO_SUCH_ORDER)
    return _state(call, order)


def cancel(call: SignedCall) -> Body:
    return _state(call, call.exchange.cancel(call.account, _find(call), call.now_ms))


def amend(call: SignedCall) -> Body:
    order = _find(call)
    ticket = Ticket(
        symbol=call.params.need_text("symbol"),
        side=call.params.need_word("side", Side, Code.INVALID_SIDE),
        type=OrderType.LIMIT,
        quantity=call.params.need_decimal("quantity"),
        price=call.params.need_decimal("price"),
    )
    return _state(call, call.exchange.amend(call.account, order, ticket, call.now_ms))


def cancel_all(call: SignedCall) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    call.exchange.cancel_all(call.account, symbol.name, call.now_ms)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def open_orders(call: SignedCall) -> Body:
    name = call.params.text("symbol")
    if name is not None:
        return [_state(call, order) for order in call.account.open_on(call.exchange.symbol(name).name)]
    return [_state(call, order) for order in call.account.open_orders.values()]


def all_orders(call: SignedCall) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    from_id = call.params.integer("orderId") or 0
    rows = [
        order
        for order in call.account.orders.values()
        if order.symbol == symbol.name and order.order_id >= from_id and _in_time(call, order.time_ms)
    ]
    return [_state(call, order) for order in _page(call, rows, from_start=bool(from_id))]


def user_trades(call: SignedCall) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    order_id, from_id = call.params.integer("orderId"), call.params.integer("fromId")
    rows: list[Trade] = [
        fill
        for fill in call.account.trades
        if fill.symbol == symbol.name
        and order_id in (None, fill.order_id)
        and fill.trade_id >= (from_id or 0)
        and _in_time(call, fill.time_ms)
    ]
    return [answers.trade(fill, symbol) for fill in _page(call, rows, from_start=from_id is not None)]


def countdown_cancel_all(call: SignedCall) -> Body:
    """Starts, restarts or (with zero) stops a symbol's countdown, whose end cancels its orders. The time is in ms."""
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    countdown_ms = call.params.need_integer("countdownTime")
    if countdown_ms < 0:
        raise refuse(Code.INVALID_PARAMETER, "countdownTime")
    if countdown_ms:
        call.account.countdowns[symbol.name] = call.now_ms + countdown_ms
    else:
        call.account.countdowns.pop(symbol.name, None)
    return {"symbol": symbol.name, "countdownTime": str(countdown_ms)}


def place_algo(call: SignedCall) -> Body:
    algo = conditional.place_algo(call.exchange, call.account, read_algo_ticket(call.params), call.now_ms)
    return _algo_state(call, algo)


def get_algo(call: SignedCall) -> Body:
    algo = _find_algo(call)
    if algo is None:
        raise refuse(Code.NO_SUCH_ORDER)
    return _algo_state(call, algo)


def cancel_algo(call: SignedCall) -> Body:
    return answers.algo_cancelled(conditional.cancel_algo(call.account, _find_algo(call), call.now_ms))


def cancel_all_algos(call: SignedCall) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    for algo in call.account.open_algos(symbol.name):
        conditional.cancel_algo(call.account, algo, call.now_ms)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def open_algos(call: SignedCall) -> Body:
    name = call.params.text("symbol")
    if name is not None:
        call.exchange.symbol(name)
    return [_algo_state(call, algo) for algo in call.account.open_algos(name)]


def all_algos(call: SignedCall) -> Body:
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    rows = [algo for algo in call.account.algo_orders.values() if algo.ticket.symbol == symbol.name]
    return [_algo_state(call, algo) for algo in rows if _in_time(call, algo.create_ms)]


def _find(call: SignedCall) -> Order | None:
    """By orderId or origClientOrderId; one of them is mandatory. An order of another symbol isn't found."""
    symbol = call.exchange.symbol(call.params.need_text("symbol"))
    order_id = call.params.integer("orderId")
    client_id = call.params.text("origClientOrderId")
    if order_id is not None:
        order = call.account.orders.get(order_id)
    elif client_id is not None:
        order = call.account.by_client_id(client_id)
    else:
        raise refuse(Code.MANDATORY_PARAM, "orderId")
    return order if order is not None and order.symbol == symbol.name else None


def _find_algo(call: SignedCall) -> AlgoOrder | None:
    algo_id, client_id = call.params.integer("algoId"), call.params.text("clientAlgoId")
    if algo_id is not None:
        return call.account.algo_orders.get(algo_id)
    if client_id is not None:
        return call.account.algo_by_client_id(client_id)
    raise refuse(Code.MANDATORY_PARAM, "algoId")


def _state(call: SignedCall, order: Order) -> answers.Answer:
    return answers.order_state(order, call.exchange.market.symbols[order.symbol])


def _algo_state(call: SignedCall, algo: AlgoOrder) -> answers.Answer:
    actual = call.account.orders.get(algo.actual_order_id or 0)
    return answers.algo_state(algo, call.exchange.market.symbols[algo.ticket.symbol], actual)


def _in_time(call: SignedCall, time_ms: int) -> bool:
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    return (start is None or time_ms >= start) and (end is None or time_ms <= end)


def _page(call: SignedCall, rows: Iterable[_Row], *, from_start: bool) -> list[_Row]:
    """The newest rows, or the first rows from an id on. Always the oldest first."""
    listed = list(rows)
    limit = max(1, min(call.params.integer("limit") or _DEFAULT_ROWS, _MOST_ROWS))
    return listed[:limit] if from_start else listed[-limit:]


ENDPOINTS: dict[Route, SignedEndpoint] = {
    ("POST", "/fapi/v1/order"): SignedEndpoint(place, weight=0, orders=one_order),
    ("POST", "/fapi/v1/order/test"): SignedEndpoint(place_test, weight=0),
    ("GET", "/fapi/v1/order"): SignedEndpoint(get),
    ("PUT", "/fapi/v1/order"): SignedEndpoint(amend, orders=one_order),
    ("DELETE", "/fapi/v1/order"): SignedEndpoint(cancel),
    ("GET", "/fapi/v1/openOrder"): SignedEndpoint(get_open),
    ("GET", "/fapi/v1/openOrders"): SignedEndpoint(open_orders, per_symbol(1, 40)),
    ("DELETE", "/fapi/v1/allOpenOrders"): SignedEndpoint(cancel_all),
    ("GET", "/fapi/v1/allOrders"): SignedEndpoint(all_orders, weight=5),
    ("GET", "/fapi/v1/userTrades"): SignedEndpoint(user_trades, weight=5),
    ("POST", "/fapi/v1/countdownCancelAll"): SignedEndpoint(countdown_cancel_all, weight=10),
    ("POST", "/fapi/v1/algoOrder"): SignedEndpoint(place_algo, weight=0, orders=one_order),
    ("GET", "/fapi/v1/algoOrder"): SignedEndpoint(get_algo),
    ("DELETE", "/fapi/v1/algoOrder"): SignedEndpoint(cancel_algo),
    ("GET", "/fapi/v1/openAlgoOrders"): SignedEndpoint(open_algos, per_symbol(1, 40)),
    ("GET", "/fapi/v1/allAlgoOrders"): SignedEndpoint(all_algos, weight=5),
    ("DELETE", "/fapi/v1/algoOpenOrders"): SignedEndpoint(cancel_all_algos),
}
