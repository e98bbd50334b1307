"""Looks up an intent's order by its client order id, until the order shows or its absence is certain."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from gate.exchange.failures import Consequence, ExchangeFailure, OrderNotFound
from gate.exchange.port import Exchange, OrderAnswer
from gate.executor.attempt import Attempt
from gate.executor.order_news import OrderNews
from gate.values.found_order import is_of
from gate.values.log_words import log_of, names, pairs

_log: Final = log_of("gate.executor")

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0
_LONGEST_LOOK_OF_AN_EXIT_S: Final = 1.0


async def find_order(
    exchange: Exchange, symbol: str, client_order_id: str, *, conditional: bool, decided_ms: int
) -> OrderAnswer:
    """The intent's order. Raises OrderNotFound, also for an order older than the intent, and ExchangeFailure.

    `decided_ms`: the time of the strategy's decision, epoch ms. No order of the intent is older.
    """
    order = await exchange.find_order(symbol, client_order_id, conditional=conditional)
    if not is_of(order.time_ms, decided_ms):
        _log.warning(
            "OLDER THAN THE INTENT %s",
            pairs(symbol=symbol, order=order.order_id, client_order_id=client_order_id),
        )
        raise OrderNotFound
    return order


async def find_order_of_any_type(exchange: Exchange, symbol: str, client_order_id: str, decided_ms: int) -> OrderAnswer:
    """The order of a record, plain or conditional, since a record doesn't hold the type. Raises as find_order."""
    try:
        return await find_order(exchange, symbol, client_order_id, conditional=False, decided_ms=decided_ms)
    except OrderNotFound:
        return await find_order(exchange, symbol, client_order_id, conditional=True, decided_ms=decided_ms)


async def _find_of_both_types(exchange: Exchange, symbol: str, client_order_id: str, decided_ms: int) -> OrderAnswer:
    """As find_order_of_any_type, both asked at once: an exit waits for it."""
    plain, conditional = await asyncio.gather(
        *(
            find_order(exchange, symbol, client_order_id, conditional=each, decided_ms=decided_ms)
            for each in (False, True)
        ),
        return_exceptions=True,
    )
    for answer in (plain, conditional):
        if isinstance(answer, OrderAnswer):
            return answer
    first, second = (each for each in (plain, conditional) if isinstance(each, BaseException))
    raise second if isinstance(first, OrderNotFound) else first


async def look_once(exchange: Exchange, attempt: Attempt) -> OrderAnswer | None:
    """The order of an exit, asked for once and shortly. None: the exchange has none, or doesn't answer soon."""
    intent, permit = attempt.intent, attempt.permit
    try:
        async with asyncio.timeout(min(_LONGEST_LOOK_OF_AN_EXIT_S, permit.remaining_ms / 4000)):
            return await find_order(
                exchange,
                intent.symbol,
                permit.client_order_id,
                conditional=intent.is_conditional,
                decided_ms=permit.decided_ms(intent.timestamp_ms),
            )
    except (OrderNotFound, ExchangeFailure, TimeoutError):
        return None


async def look_up(
    exchange: Exchange, attempt: Attempt, *, acceptable_for_ms: int, news: OrderNews | None = None
) -> OrderAnswer | None:
    """The order of an attempt, looked up with back-off while the permit lives. None if it stays unknown until then.

    Raises OrderNotFound only for a certain absence: not before `acceptable_for_ms` from now, when the exchange can no
    longer accept a request for the order. The attempt keeps the failures of look-ups.

    `news`: an event of the order answers sooner. That none comes says nothing.
    """
    intent, permit = attempt.intent, attempt.permit
    find = _find_of_both_types if attempt.without_store else partial(find_order, conditional=intent.is_conditional)
    acceptable_until_ns = time.monotonic_ns() + acceptable_for_ms * 1_000_000
    attempt.stopped_by = attempt.unanswered = None
    pause_s = FIRST_PAUSE_S
    if news is not None and (told := await news.answer_on_its_way(attempt)) is not None:
        return told
    while permit.live:
        certain = time.monotonic_ns() >= acceptable_until_ns
        until_next_s = pause_s
        try:
            return await find(
                exchange,
                intent.symbol,
                permit.client_order_id,
                decided_ms=permit.decided_ms(intent.timestamp_ms),
            )
        except OrderNotFound:
            if certain:
                raise
            until_next_s = min(pause_s, max((acceptable_until_ns - time.monotonic_ns()) / 1e9, 0))
        except ExchangeFailure as failed:
            failure = attempt.unanswered = failed.failure
            _log.info("LOOK-UP FAILED %s", names(permit, client_order_id=permit.client_order_id, detail=str(failed)))
            if failure.stops_asking:
                attempt.stopped_by = failure
                until_next_s = max(pause_s, (failure.rest_ms or 0) / 1000)
                if failure.consequence is Consequence.STOP and not failure.rest_ms:
                    break  # keys that the exchange refuses will be refused again
        left_s = permit.remaining_ms / 1000
        if attempt.stopped_by is not None and until_next_s >= left_s:
            break
        until_next_s = min(until_next_s, left_s)
        if news is None:
            await asyncio.sleep(until_next_s)
        elif (told := await news.answer(attempt, until_next_s)) is not None:
            return told
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    return None
