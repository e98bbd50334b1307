"""Signed endpoints that take several orders in one request. Each order succeeds or fails by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from gate.paper.market.errors import Code, ExchangeError, refuse
from gate.paper.rest.answers import error_body
from gate.paper.rest.endpoints import Body, Route, SignedCall, SignedEndpoint
from gate.paper.rest.endpoints_trade import amend, cancel, place
from gate.paper.trading.params import Params

_MOST_PLACED = 5
_MOST_CANCELLED = 10


def orders_in(params: Params) -> list[Params]:
    """The parameters of each order in `batchOrders`; none if it can't be read."""
    try:
        rows = msgspec.json.decode(params.text("batchOrders") or "[]", type=list[dict[str, str | int | bool | None]])
    except msgspec.MsgspecError:
        return []
    return [Params({name: _text(value) for name, value in row.items()}) for row in rows]


def _text(value: str | int | bool | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _each(call: SignedCall, rows: Iterable[Params], act: Callable[[SignedCall], Body]) -> Body:
    return [_answer(call, row, act) for row in rows]


def _answer(call: SignedCall, params: Params, act: Callable[[SignedCall], Body]) -> object:
    one = SignedCall(msgspec.structs.replace(call.call, params=params), call.account)
    try:
        return act(one)
    except ExchangeError as refusal:
        return error_body(refusal)


def _orders(call: SignedCall) -> list[Params]:
    call.params.need_text("batchOrders")
    rows = orders_in(call.params)
    if not 1 <= len(rows) <= _MOST_PLACED:
        raise refuse(Code.BATCH_SIZE)
    return rows


def place_batch(call: SignedCall) -> Body:
    return _each(call, _orders(call), place)


def amend_batch(call: SignedCall) -> Body:
    return _each(call, _orders(call), amend)


def cancel_batch(call: SignedCall) -> Body:
    symbol = call.params.need_text("symbol")
    numbers, names = _list(call, "orderIdList"), _list(call, "origClientOrderIdList")
    rows = [Params({"symbol": symbol, "orderId": number}) for number in numbers] or [
        Params({"symbol": symbol, "origClientOrderId": name}) for name in names
    ]
    if not rows:
        raise refuse(Code.MANDATORY_PARAM, "orderIdList")
    if len(rows) > _MOST_CANCELLED:
        raise refuse(Code.BATCH_SIZE)
    return _each(call, rows, cancel)


def _list(call: SignedCall, name: str) -> list[str]:
    # python-binance spells these names in small letters.
    text = call.params.text(name) or call.params.text(name.lower()) or "[]"
    try:
        rows = msgspec.json.decode(text, type=list[int | str])
    except msgspec.MsgspecError:
        raise refuse(Code.MANDATORY_PARAM, name) from None
    return [str(row) for row in rows]


def _count(params: Params) -> int:
    return max(1, len(orders_in(params)))


ENDPOINTS: dict[Route, SignedEndpoint] = {
    ("POST", "/fapi/v1/batchOrders"): SignedEndpoint(place_batch, weight=5, orders=_count),
    ("PUT", "/fapi/v1/batchOrders"): SignedEndpoint(amend_batch, weight=5, orders=_count),
    ("DELETE", "/fapi/v1/batchOrders"): SignedEndpoint(cancel_batch),
}
