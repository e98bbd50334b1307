"""Reads order parameters into tickets: the mandatory and the forbidden parameters of each order type. Pure."""

from __future__ import annotations

from gate.paper.books.orders import AlgoTicket, Ticket
from gate.paper.market.decimals import ZERO
from gate.paper.market.errors import Code, refuse
from gate.paper.market.terms import (
    ConditionalType,
    OrderType,
    PositionSide,
    ResponseType,
    Side,
    TimeInForce,
    WorkingType,
)
from gate.paper.trading.params import Params

_TRAILING = "TRAILING_STOP_MARKET"


def read_ticket(params: Params) -> Ticket:
    """An order of the plain endpoint. Conditional types belong on the algo endpoint (-4120)."""
    symbol = params.need_text("symbol")
    side = params.need_word("side", Side, Code.INVALID_SIDE)
    order_type = _plain_type(params)
    if params.flag("closePosition"):
        raise refuse(Code.STRATEGY_INVALID, order_type, "true")
    reduce_only = params.flag("reduceOnly")
    time_in_force = params.word("timeInForce", TimeInForce, Code.INVALID_TIF)
    price = params.decimal("price")
    if order_type is OrderType.LIMIT:
        if time_in_force is None:
            raise refuse(Code.MANDATORY_PARAM, "timeInForce")
        quantity = params.need_decimal("quantity")
        price = params.need_decimal("price")
    else:
        for name, value in (("timeInForce", time_in_force), ("price", price)):
            if value is not None:
                raise refuse(Code.PARAM_NOT_REQUIRED, name)
        quantity = params.need_decimal("quantity")
    return Ticket(
        symbol=symbol,
        side=side,
        type=order_type,
        quantity=quantity,
        price=price or ZERO,
        time_in_force=time_in_force or TimeInForce.GTC,
        position_side=params.word("positionSide", PositionSide, Code.INVALID_PARAMETER),
        reduce_only=bool(reduce_only),
        reduce_only_sent=reduce_only is not None,
        client_order_id=params.client_id("newClientOrderId") or "",
        response_type=params.word("newOrderRespType", ResponseType, Code.INVALID_RESPONSE_TYPE) or ResponseType.ACK,
    )


def _plain_type(params: Params) -> OrderType:
    text = params.need_text("type").upper()
    if text in ConditionalType.__members__ or text == _TRAILING:
        raise refuse(Code.CONDITIONAL_ELSEWHERE)
    return params.need_word("type", OrderType, Code.INVALID_ORDER_TYPE)


def read_algo_ticket(params: Params) -> AlgoTicket:
    """An order of the algo endpoint."""
    if params.need_text("algoType") != "CONDITIONAL":
        raise refuse(Code.INVALID_PARAMETER, "algoType")
    symbol = params.need_text("symbol")
    side = params.need_word("side", Side, Code.INVALID_SIDE)
    order_type = params.need_word("type", ConditionalType, Code.INVALID_ORDER_TYPE)
    reduce_only = params.flag("reduceOnly")
    close_position = bool(params.flag("closePosition"))
    quantity = params.decimal("quantity")
    if close_position:
        if not order_type.at_market:
            raise refuse(Code.STRATEGY_INVALID, order_type, "true")
        if quantity:
            raise refuse(Code.QUANTITY_WITH_CLOSE)
        if reduce_only is not None:
            raise refuse(Code.PARAM_NOT_REQUIRED, "reduceonly")
    elif quantity is None:
        raise refuse(Code.MANDATORY_PARAM, "quantity")
    trigger_price = params.need_decimal("triggerPrice")
    if trigger_price <= 0:
        raise refuse(Code.STOP_PRICE_NOT_POSITIVE)
    return AlgoTicket(
        symbol=symbol,
        side=side,
        type=order_type,
        trigger_price=trigger_price,
        quantity=quantity or ZERO,
        price=ZERO if order_type.at_market else params.need_decimal("price"),
        time_in_force=params.word("timeInForce", TimeInForce, Code.INVALID_TIF) or TimeInForce.GTC,
        position_side=params.word("positionSide", PositionSide, Code.INVALID_PARAMETER),
        reduce_only=bool(reduce_only),
        reduce_only_sent=reduce_only is not None,
        close_position=close_position,
        working_type=params.word("workingType", WorkingType, Code.INVALID_PARAMETER) or WorkingType.CONTRACT_PRICE,
        price_protect=bool(params.flag("priceProtect")),
        client_algo_id=params.client_id("clientAlgoId") or "",
    )
