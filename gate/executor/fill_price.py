"""The price of a fill. The answer to an order doesn't carry it any more: its event does, else it is looked up, once.

After the settlement: neither the order nor its record waits for a price, and none depends on it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec.structs import replace

from gate.exchange.port import Exchange, OrderAnswer
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.executor.order_news import OrderNews
from gate.values.fields import plain
from gate.values.log_words import inform, log_of, names

_log: Final = log_of("gate.executor")

_LONGEST_S: Final = 2.0


async def with_fill_price(exchange: Exchange, news: OrderNews, attempt: Attempt, execution: Execution) -> Execution:
    """The execution, with the average price of what is filled. Without it where the exchange doesn't tell it soon, or
    where its own limits are near: those belong to orders. Raises nothing but a cancellation."""
    if not execution.filled_quantity or execution.average_price is not None:
        return execution
    told = await news.answer_on_its_way(attempt)
    if told is not None and told.average_price is not None:
        return _with_price_of(told, attempt, execution)
    if exchange.near_limit_ms() is not None:
        return execution
    intent = attempt.intent
    try:
        async with asyncio.timeout(_LONGEST_S):
            order = await exchange.find_order(
                intent.symbol, attempt.permit.client_order_id, conditional=intent.is_conditional
            )
    except Exception as failed:  # whatever it is, the order is placed and settled
        _log.info("FILL PRICE UNKNOWN %s", names(intent, detail=str(failed) or type(failed).__name__))
        return execution
    return _with_price_of(order, attempt, execution)


def _with_price_of(order: OrderAnswer, attempt: Attempt, execution: Execution) -> Execution:
    if order.order_id != execution.order_id or order.filled_quantity < execution.filled_quantity:
        return execution  # it doesn't know of the fill yet, or is another order of the same client order id
    if order.average_price is None:
        return execution
    seen = attempt.placed(order)
    filled, price = plain(order.filled_quantity), plain(order.average_price)
    inform(_log, "FILL PRICE", attempt.intent, order=order.order_id, filled=filled, price=price)
    return replace(
        execution,
        state=seen.state,
        reason=seen.reason,
        actual_order_id=seen.actual_order_id,
        filled_quantity=seen.filled_quantity,
        average_price=seen.average_price,
    )
