"""Whether the exchange has an intent's order: asked by client order id, until it shows or its absence is certain."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from gate.exchange.failures import Consequence, ExchangeFailure, OrderNotFound
from gate.exchange.port import Exchange, OrderAnswer
from gate.executor.attempt import Attempt

_log: Final = logging.getLogger("gate.executor")

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0
CLOCKS_APART_MS: Final = 3_600_000
"""An order that the exchange took so much before the strategy decided isn't this intent's: the intent's id was in use
before. It is far more than clocks differ: an order of this intent that counted as another's would be sent again."""


async def find_order(
    exchange: Exchange, symbol: str, client_order_id: str, *, conditional: bool, decided_ms: int
) -> OrderAnswer:
    """The order, if it is the intent's. Raises OrderNotFound, ExchangeFailure.

    `decided_ms`: when the strategy decided, epoch ms. No order of the intent is older.
    """
    order = await exchange.find_order(symbol, client_order_id, conditional=conditional)
    if order.time_ms and order.time_ms < decided_ms - CLOCKS_APART_MS:
        _log.warning("order %s of %s has this client order id, but is older than the intent", order.order_id, symbol)
        raise OrderNotFound
    return order


async def find_order_of_any_type(exchange: Exchange, symbol: str, client_order_id: str, decided_ms: int) -> OrderAnswer:
    """The order of a record, which doesn't tell its type: a plain one or a conditional one. Raises as find_order."""
    try:
        return await find_order(exchange, symbol, client_order_id, conditional=False, decided_ms=decided_ms)
    except OrderNotFound:
        return await find_order(exchange, symbol, client_order_id, conditional=True, decided_ms=decided_ms)


async def look_up(exchange: Exchange, attempt: Attempt, *, acceptable_for_ms: int) -> OrderAnswer | None:
    """The order of an attempt, asked for with back-off while the permit lives; None where nobody can tell by then.

    Raises OrderNotFound for a certain absence: only once no request for the order can be accepted any more, which is
    `acceptable_for_ms` from now. The attempt holds what went wrong on the way.
    """
    intent, permit = attempt.intent, attempt.permit
    acceptable_until_ns = time.monotonic_ns() + acceptable_for_ms * 1_000_000
    attempt.stopped_by = attempt.unanswered = None
    pause_s = FIRST_PAUSE_S
    while permit.live:
        certain = time.monotonic_ns() >= acceptable_until_ns
        until_next_s = pause_s
        try:
            return await find_order(
                exchange,
                intent.symbol,
                permit.client_order_id,
                conditional=intent.is_conditional,
                decided_ms=intent.timestamp_ms,
            )
        except OrderNotFound:
            if certain:
                raise
            until_next_s = min(pause_s, max((acceptable_until_ns - time.monotonic_ns()) / 1e9, 0))
        except ExchangeFailure as failed:
            failure = attempt.unanswered = failed.failure
            _log.info("id=%s look-up of %s failed: %s", permit.intent_id, permit.client_order_id, str(failed))
            if failure.stops_asking:
                attempt.stopped_by = failure
                until_next_s = max(pause_s, (failure.rest_ms or 0) / 1000)
                if failure.consequence is Consequence.STOP and not failure.rest_ms:
                    break  # keys that don't work get no better by being tried again
        left_s = permit.remaining_ms / 1000
        if attempt.stopped_by is not None and until_next_s >= left_s:
            break
        await asyncio.sleep(min(until_next_s, left_s))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    return None
