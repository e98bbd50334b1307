"""The readings of the exchange that an order needs. An exit doesn't wait: it goes on without a slow reading."""

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
    """Whether the account is in hedge mode. For an exit, `otherwise` if the mode can't be read soon."""
    if not attempt.intent.is_exit:
        return await exchange.hedge_mode()
    # An exit only reduces a position in either mode, so it is safe to try one when the account's mode can't be read.
    said = await _soon(exchange.hedge_mode(), attempt.permit)
    return otherwise if said is None else said


async def read_filters(exchange: Exchange, attempt: Attempt) -> Filters | None:
    """The filters of the intent's symbol; None if the exchange doesn't have the symbol."""
    intent = attempt.intent
    if not intent.is_exit:
        return await exchange.filters(intent.symbol)
    # An exit uses the known filters at any age, and goes on without any if there are none: the exchange checks it.
    try:
        async with asyncio.timeout(_longest_wait_s(attempt.permit)):
            return await exchange.filters(intent.symbol, no_older_than_s=math.inf)
    except (ExchangeFailure, TimeoutError):
        known = exchange.known_filters(intent.symbol)
    if known is None and intent.notional is not None:
        return await exchange.filters(intent.symbol)  # a notional needs the lot size to become a quantity
    return known or unfiltered(intent.symbol)


async def read_latest_filters(exchange: Exchange, symbol: str) -> Filters | None:
    """The present filters, since old filters must not refuse an intent for good."""
    return await exchange.filters(symbol, no_older_than_s=_FRESH_FILTERS_S)


async def read_mark_price(exchange: Exchange, attempt: Attempt) -> Decimal:
    """The mark price; 0 if the order can be planned without it."""
    intent = attempt.intent
    if needs_mark_price(intent):
        return await exchange.mark_price(intent.symbol)
    if sized_by_mark_price(intent):
        return await _soon(exchange.mark_price(intent.symbol), attempt.permit) or Decimal(0)
    return Decimal(0)


async def _soon(reading: Awaitable[T], permit: Permit) -> T | None:
    """The reading; None if it fails or takes too long."""
    try:
        async with asyncio.timeout(_longest_wait_s(permit)):
            return await reading
    except (ExchangeFailure, TimeoutError):
        return None


def _longest_wait_s(permit: Permit) -> float:
    return min(_LONGEST_WAIT_OF_AN_EXIT_S, permit.remaining_ms / 4000)
