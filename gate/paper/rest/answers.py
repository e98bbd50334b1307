"""The exchange's answers about orders and fills, field for field: strings where it has strings. Pure."""

from __future__ import annotations

from gate.paper.books.orders import AlgoOrder, Order, Trade
from gate.paper.market.decimals import ZERO, eight, fixed, plain
from gate.paper.market.errors import ExchangeError
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Symbol
from gate.paper.market.terms import AlgoStatus, OrderStatus, OrderType, ResponseType, Side

Answer = dict[str, object]

_AVERAGE_PLACES = 5
_SHOWN_DEPTH = 1_000  # lots to show for a quote without a depth limit


def error_body(error: ExchangeError) -> Answer:
    return {"code": error.code, "msg": error.message}


def new_order(order: Order, symbol: Symbol, response_type: ResponseType, *, old: bool = False) -> Answer:
    """The answer to a new order. With ACK it has no fills, even for a market order.

    Since July 2026 it has no price of the fill either. `old`: with RESULT it has, as before.
    """
    if response_type is ResponseType.RESULT:
        price = {"avgPrice": average(order, symbol), "cumQuote": _cum_quote(order, symbol)} if old else {}
        return {**_order(order, symbol), **price}
    return {
        **_order(order, symbol),
        "status": OrderStatus.NEW.value,
        "executedQty": fixed(ZERO, symbol.quantity_precision),
        "cumQty": fixed(ZERO, symbol.quantity_precision),
    }


def order_state(order: Order, symbol: Symbol) -> Answer:
    """An order as queries, lists and cancellations answer it."""
    return {
        **_order(order, symbol),
        "avgPrice": average(order, symbol),
        "cumQuote": _cum_quote(order, symbol),
        "time": order.time_ms,
    }


def _order(order: Order, symbol: Symbol) -> Answer:
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status.value,
        "clientOrderId": order.client_order_id,
        "price": fixed(order.price, symbol.price_precision),
        "origQty": fixed(order.quantity, symbol.quantity_precision),
        "executedQty": fixed(order.executed, symbol.quantity_precision),
        "cumQty": fixed(order.executed, symbol.quantity_precision),
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "origType": order.orig_type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.value,
        "positionSide": order.position_side.value,
        "stopPrice": fixed(ZERO, symbol.price_precision),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "updateTime": order.update_ms,
    }


def average(order: Order, symbol: Symbol) -> str:
    """Recorded answers of the exchange average fills of two-decimal prices with five decimals (ETHUSDT "3057.89000"),
    and show "0.00" before the first fill."""
    places = max(_AVERAGE_PLACES, symbol.price_precision) if order.executed else symbol.price_precision
    return fixed(order.average_price, places)


def _cum_quote(order: Order, symbol: Symbol) -> str:
    return fixed(order.cum_quote, symbol.price_precision + symbol.quantity_precision)


def algo_state(algo: AlgoOrder, symbol: Symbol, actual: Order | None) -> Answer:
    """TRIGGERED while the placed order is open, FINISHED when that order is filled, cancelled or expired."""
    ticket = algo.ticket
    places = symbol.price_precision
    status = AlgoStatus.TRIGGERED if actual is not None and actual.status.is_open else algo.status
    answer: Answer = {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_algo_id,
        "algoType": "CONDITIONAL",
        "orderType": ticket.type.value,
        "symbol": ticket.symbol,
        "side": ticket.side.value,
        "positionSide": algo.position_side.value,
        "timeInForce": ticket.time_in_force.value,
        "quantity": fixed(ticket.quantity, symbol.quantity_precision),
        "algoStatus": status.value,
        "actualOrderId": "" if actual is None else str(actual.order_id),
        "actualPrice": average(actual, symbol) if actual else fixed(ZERO, places),
        "triggerPrice": fixed(ticket.trigger_price, places),
        "price": fixed(ticket.price, places),
        "icebergQuantity": None,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": ticket.working_type.value,
        "priceMatch": "NONE",
        "closePosition": ticket.close_position,
        "priceProtect": ticket.price_protect,
        "reduceOnly": ticket.reduce_only or ticket.close_position,
        "createTime": algo.create_ms,
        "updateTime": algo.update_ms,
        "triggerTime": algo.trigger_ms,
        "goodTillDate": 0,
    }
    if actual is not None:
        answer["actualType"] = OrderType.MARKET.value if ticket.type.at_market else OrderType.LIMIT.value
        answer["actualQty"] = plain(actual.executed)
    return answer


def algo_cancelled(algo: AlgoOrder) -> Answer:
    return {"algoId": algo.algo_id, "clientAlgoId": algo.client_algo_id, "code": "200", "msg": "success"}


def trade(fill: Trade, symbol: Symbol) -> Answer:
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "side": fill.side.value,
        "positionSide": fill.position_side.value,
        "price": fixed(fill.price, symbol.price_precision),
        "qty": fixed(fill.quantity, symbol.quantity_precision),
        "quoteQty": fixed(fill.quote_quantity, symbol.price_precision + symbol.quantity_precision),
        "realizedPnl": eight(fill.realized_pnl),
        "commission": eight(fill.commission),
        "commissionAsset": fill.margin_asset,
        "marginAsset": fill.margin_asset,
        "buyer": fill.side is Side.BUY,
        "maker": fill.maker,
        "time": fill.time_ms,
    }


def on_offer(quote: Quote, symbol: Symbol, *, bid: bool) -> str:
    """The quantity at the best price; a thousand lots stand for no limit."""
    offered = quote.bid_depth if bid else quote.ask_depth
    return fixed(symbol.lot.step * _SHOWN_DEPTH if offered is None else offered, symbol.quantity_precision)
