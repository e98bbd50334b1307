"""The exits that rest against a position: why an exit was refused that has nothing left to reduce (-2022, -4118)."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange, RestingOrder
from gate.executor.attempt import Attempt
from gate.values.fields import plain
from gate.values.log_words import names

_log: Final = logging.getLogger("gate.executor")

_LONGEST_S: Final = 2.0
_SHOWN: Final = 5


async def what_rests(exchange: Exchange, attempt: Attempt) -> tuple[RestingOrder, ...] | None:
    """The open orders that can only reduce what the attempt reduces, plain and conditional; None where the exchange
    doesn't say soon."""
    intent = attempt.intent
    try:
        async with asyncio.timeout(_LONGEST_S):
            resting = await exchange.resting_orders(intent.symbol)
    except (ExchangeFailure, TimeoutError) as failed:
        _log.info("%s what rests isn't known: %s", names(intent), str(failed) or type(failed).__name__)
        return None
    return tuple(each for each in resting if each.reduces and each.side == intent.side)


def told(attempt: Attempt, rests: tuple[RestingOrder, ...] | None) -> str:
    """What rests, in words."""
    if rests is None:
        return "what rests against the position isn't known"
    if not rests:
        return "nothing rests against the position"
    more = f" and {len(rests) - _SHOWN} more" if len(rests) > _SHOWN else ""
    return f"against the position of {attempt.intent.symbol} rest {_shown(rests[:_SHOWN])}{more}"


async def cancelled(exchange: Exchange, attempt: Attempt, rests: tuple[RestingOrder, ...]) -> bool:
    """Cancels what covers the position. Says whether anything was, so that the exit has a chance.

    Plain orders first: a conditional one covers nothing before it fires, and may be the position's last protection. So
    those go only where no plain order rests. None goes where nothing is open.
    """
    intent = attempt.intent
    try:
        if not await exchange.positions(intent.symbol):
            return False
    except ExchangeFailure:
        return False
    gone = []
    for each in [each for each in rests if not each.conditional] or rests:
        try:
            await exchange.cancel(each)
            gone.append(each)
        except ExchangeFailure as failed:
            _log.warning("%s order %s wasn't cancelled: %s", names(intent), each.order_id, str(failed))
    if gone:
        attempt.cancelled = f"cancelled {_shown(tuple(gone))}, which left nothing to reduce"
        _log.warning("CANCELLED %s %s", names(intent), attempt.cancelled)
    return bool(gone)


def _shown(orders: tuple[RestingOrder, ...]) -> str:
    return ", ".join(f"{each.side} {each.order_type} {_size(each)} (order {each.order_id})" for each in orders)


def _size(order: RestingOrder) -> str:
    if order.left is None:
        return "of unknown size"
    return plain(order.left) if order.left else "of all"
