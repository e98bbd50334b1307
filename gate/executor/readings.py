"""What an order needs to know of the exchange. An exit must not wait: it does without what can't be had soon."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from decimal import Decimal
from typing import Final, TypeVar

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange, Filters
from gate.executor.attempt import Attempt
from gate.executor.order_plan import needs_mark_price, sized_by_mark_price, unfiltered
from gate.values.verdict import Permit

T = TypeVar("T")

_FRESH_FILTERS_S: Final = 60
_LONGEST_WAIT_OF_AN_EXIT_S: Final = 1.0


async def read_hedge_mode(exchange: Exchange, attempt: Attempt, *, otherwise: bool) -> bool:
    """Whether the account is in hedge mode. For an exit `otherwise`, where that can't be read soon."""
    if not attempt.intent.is_exit:
        return await exchange.hedge_mode()
    # An exit only reduces in either mode: where the account's can't be read, one is as good to try as the other.
    said = await _soon(exchange.hedge_mode(), attempt.permit)
    return otherwise if said is None else said


async def read_filters(exchange: Exchange, attempt: Attempt) -> Filters | None:
    """What is allowed for the intent's symbol; None where the exchange doesn't have it."""
    intent = attempt.intent
    if not intent.is_exit:
        return await exchange.filters(intent.symbol)
    # An exit takes what filters there are, however old, and does without where there are none: the exchange judges.
    try:
        async with asyncio.timeout(_longest_wait_s(attempt.permit)):
            return await exchange.filters(intent.symbol, no_older_than_s=math.inf)
    except (ExchangeFailure, TimeoutError):
        known = exchange.known_filters(intent.symbol)
    if known is None and intent.quantity is None:
        return await exchange.filters(intent.symbol)  # a notional makes no quantity without a lot size
    return known or unfiltered(intent.symbol)


async def read_latest_filters(exchange: Exchange, symbol: str) -> Filters | None:
    """What is allowed now: old filters refuse nothing for good."""
    return await exchange.filters(symbol, no_older_than_s=_FRESH_FILTERS_S)


async def read_mark_price(exchange: Exchange, attempt: Attempt) -> Decimal:
    """The mark price; 0 where the order can be planned without."""
    intent = attempt.intent
    if needs_mark_price(intent):
        return await exchange.mark_price(intent.symbol)
    if sized_by_mark_price(intent):
        return await _soon(exchange.mark_price(intent.symbol), attempt.permit) or Decimal(0)
    return Decimal(0)


async def _soon(reading: Awaitable[T], permit: Permit) -> T | None:
    """What is read, or None where it can't be had soon."""
    try:
        async with asyncio.timeout(_longest_wait_s(permit)):
            return await reading
    except (ExchangeFailure, TimeoutError):
        return None


def _longest_wait_s(permit: Permit) -> float:
    return min(_LONGEST_WAIT_OF_AN_EXIT_S, permit.remaining_ms / 4000)
