"""The exits that rest against a position: why an exit was refused that has nothing left to reduce (-2022, -4118)."""

from __future__ import annotations

import asyncio
from typing import Final

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange, RestingOrder
from gate.executor.attempt import Attempt
from gate.values.fields import plain
from gate.values.log_words import log_of, names

_log: Final = log_of("gate.executor")

_LONGEST_S: Final = 2.0
_SHOWN: Final = 5
_CANCELLED: Final = "CANCELLED"
CANCELS_TAKE_MS: Final = 2 * int(_LONGEST_S * 1000)
"""The look whether anything is open, and the cancellations, which go out together."""
_GONE: Final = "-2011"
"""A cancellation: the order is filled or cancelled already."""


async def what_rests(exchange: Exchange, attempt: Attempt) -> tuple[RestingOrder, ...] | None:
    """The open orders that can only reduce what the attempt reduces, plain and conditional; None where the exchange
    doesn't say soon."""
    intent = attempt.intent
    try:
        async with asyncio.timeout(_LONGEST_S):
            resting = await exchange.resting_orders(intent.symbol)
    except (ExchangeFailure, TimeoutError) as failed:
        _log.info("RESTING UNKNOWN %s", names(intent, detail=str(failed) or type(failed).__name__))
        return None
    return tuple(each for each in resting if each.reduces and each.side == intent.side)


def words_for(attempt: Attempt, rests: tuple[RestingOrder, ...] | None) -> str:
    """What rests, in words."""
    if rests is None:
        return "what rests against the position isn't known"
    if not rests:
        return "nothing rests against the position"
    more = f" and {len(rests) - _SHOWN} more" if len(rests) > _SHOWN else ""
    told = f"against the position of {attempt.intent.symbol} rest {_shown(rests[:_SHOWN])}{more}"
    if all(each.conditional for each in rests):
        return f"{told}: conditional orders, which cover nothing before they fire"
    return f"{told}: cancel the plain ones, or have the policy's cancel_conflicting_exits do it"


async def cancel_resting(exchange: Exchange, attempt: Attempt, rests: tuple[RestingOrder, ...]) -> bool:
    """Cancels the plain orders that cover the position. Says whether any is gone, so that the exit has a chance.

    A conditional order stays: before it fires it covers nothing, and it may be the position's last protection. None is
    cancelled where nothing is open.
    """
    intent = attempt.intent
    plain_ones = [each for each in rests if not each.conditional]
    try:
        async with asyncio.timeout(_LONGEST_S):
            if not plain_ones or not await exchange.positions(intent.symbol):
                return False
    except (ExchangeFailure, TimeoutError):
        return False
    answers = await asyncio.gather(*(_cancel(exchange, attempt, each) for each in plain_ones))
    ours = tuple(each for each, answer in zip(plain_ones, answers, strict=True) if answer == _CANCELLED)
    if ours:
        attempt.cancelled = f"cancelled {_shown(ours)}, which left nothing to reduce"
        _log.warning("CANCELLED %s", names(intent, detail=attempt.cancelled))
    return bool(ours) or _GONE in answers


async def _cancel(exchange: Exchange, attempt: Attempt, order: RestingOrder) -> str:
    """What has become of an order: a word for cancelled, else the exchange's code."""
    try:
        async with asyncio.timeout(_LONGEST_S):
            await exchange.cancel(order)
    except (ExchangeFailure, TimeoutError) as failed:
        told = names(attempt.intent, order=order.order_id, detail=str(failed) or "time-out")
        _log.warning("NOT CANCELLED %s", told)
        return failed.failure.code if isinstance(failed, ExchangeFailure) else ""
    return _CANCELLED


def _shown(orders: tuple[RestingOrder, ...]) -> str:
    return ", ".join(f"{each.side} {each.order_type} {_size(each)} (order {each.order_id})" for each in orders)


def _size(order: RestingOrder) -> str:
    if order.left is None:
        return "of unknown size"
    return plain(order.left) if order.left else "of all"
