"""Whether the exchange has an intent's order: asked by client order id, until it shows or its absence is certain."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from gate.exchange.failures import Consequence, ExchangeFailure, Failure, OrderNotFound
from gate.exchange.port import Exchange, OrderAnswer
from gate.values.verdict import Permit

_log: Final = logging.getLogger("gate.executor")

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0
CLOCKS_APART_MS: Final = 3_600_000
"""An order that the exchange took so much before the strategy decided isn't this intent's: the intent's id was in use
before. Far more than clocks differ, for to take an order of ours for a stranger's would be to send a second one."""


@dataclass(frozen=True, slots=True)
class Sought:
    """An order that may exist."""

    symbol: str
    client_order_id: str
    conditional: bool
    decided_ms: int
    """When the strategy decided, epoch ms: no order of the intent is older."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """What a search came to: the order, or its certain absence, or neither while the permit lived."""

    order: OrderAnswer | None = None
    absent: bool = False
    stopped_by: Failure | None = None
    """What the exchange answered when it would hear no more of us: a ban, too many requests, keys that don't work."""
    last_failure: Failure | None = None
    """Why the last question had no answer, where it had none."""


async def find_order(exchange: Exchange, sought: Sought) -> OrderAnswer:
    """The order, if it is the intent's. Raises OrderNotFound, ExchangeFailure."""
    order = await exchange.find_order(sought.symbol, sought.client_order_id, conditional=sought.conditional)
    if order.time_ms and order.time_ms < sought.decided_ms - CLOCKS_APART_MS:
        _log.warning(
            "order %s of %s has this client order id, but is older than the intent", order.order_id, sought.symbol
        )
        raise OrderNotFound
    return order


async def find_order_of_any_type(exchange: Exchange, symbol: str, client_order_id: str, decided_ms: int) -> OrderAnswer:
    """The order of a record, which doesn't tell its type: a plain one or a conditional one. Raises as find_order."""
    try:
        return await find_order(exchange, Sought(symbol, client_order_id, False, decided_ms))
    except OrderNotFound:
        return await find_order(exchange, Sought(symbol, client_order_id, True, decided_ms))


async def look_up(exchange: Exchange, sought: Sought, permit: Permit, *, acceptable_for_ms: int) -> LookUp:
    """Asks with back-off while the permit lives.

    Absence counts only once no request for the order can be accepted any more: `acceptable_for_ms` from now.
    """
    acceptable_until_ns = time.monotonic_ns() + acceptable_for_ms * 1_000_000
    pause_s, stopped_by, failure = FIRST_PAUSE_S, None, None
    while permit.live:
        certain = time.monotonic_ns() >= acceptable_until_ns
        until_next_s = pause_s
        try:
            return LookUp(order=await find_order(exchange, sought))
        except OrderNotFound:
            if certain:
                return LookUp(absent=True, stopped_by=stopped_by)
            until_next_s = min(pause_s, max((acceptable_until_ns - time.monotonic_ns()) / 1e9, 0))
        except ExchangeFailure as failed:
            failure = failed.failure
            _log.info("id=%s look-up of %s failed: %s", permit.intent_id, sought.client_order_id, str(failed))
            if failure.stops_asking:
                stopped_by = failure
                until_next_s = max(pause_s, (failure.rest_ms or 0) / 1000)
                if failure.consequence is Consequence.STOP and not failure.rest_ms:
                    break
        left_s = permit.remaining_ms / 1000
        if stopped_by is not None and until_next_s >= left_s:
            break
        await asyncio.sleep(min(until_next_s, left_s))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    return LookUp(stopped_by=stopped_by, last_failure=failure)
