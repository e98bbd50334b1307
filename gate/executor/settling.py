"""Settles a finished attempt: reports its outcome to the gate, and completes its execution with the answer."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final

from msgspec import structs

from gate.client.gates import AsyncGate
from gate.exchange.port import Exchange
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.executor.look_up import FIRST_PAUSE_S, LONGEST_PAUSE_S
from gate.values.fields import plain
from gate.values.log_words import Line, inform, log_of, names, pairs
from gate.values.outcome import Outcome, Penalty, Settled, Settlement
from gate.values.verdict import Permit

_log: Final = log_of("gate.executor")

_NEAR_LIMITS: Final = "near the exchange's own rate limits"


async def settle_attempt(gate: AsyncGate, exchange: Exchange, attempt: Attempt, execution: Execution) -> Execution:
    """Reports the execution's outcome to the gate, and returns the execution with the gate's answer."""
    outcome, intent = execution.outcome, attempt.intent
    if outcome is None:
        return execution  # a denial has nothing to report
    outcome = _resting_near_the_limits(exchange, attempt.permit, outcome)
    settlement = await _settle(gate, attempt, outcome)
    if not settlement:
        _log.warning("NOT SETTLED %s", names(intent, status=settlement.status, detail=settlement.detail))
    if settlement.tripped_safe_mode:
        _log.warning("SAFE MODE TRIGGERED %s", names(intent))
    level = logging.WARNING if intent.is_exit and not execution else logging.INFO  # a position stays open
    if _log.isEnabledFor(level):
        _log.log(level, "TERMINAL STATE: %s %s %s", execution.state, names(intent), _words(execution))
    if intent.is_exit and execution.filled_quantity > 0:
        inform(_log, "CLOSE_EXECUTED", intent, order=execution.order_id)
    penalty = outcome.penalty
    rest_ms = max(penalty.cooldown_symbol_ms, penalty.cooldown_global_ms) if penalty else 0
    wait_ms = execution.retry_after_ms if intent.is_exit else rest_ms or None
    # Without a settlement the intent stays used up, so it can't be retried.
    # Without a record, nothing uses the intent up either.
    unrecorded = settlement.status is Settled.FENCED and settlement.record is None
    retryable = outcome.retryable and (bool(settlement) or unrecorded)
    return structs.replace(
        execution,
        retryable=retryable,
        retry_after_ms=wait_ms if retryable else None,
        outcome=outcome,
        settlement=settlement,
    )


def _resting_near_the_limits(exchange: Exchange, permit: Permit, outcome: Outcome) -> Outcome:
    """The outcome, with a rest of the account when it is near the exchange's limits, so the exchange doesn't ban it."""
    rest_ms = None if permit.observed else exchange.near_limit_ms()
    if rest_ms is None:
        return outcome
    _log.warning("RATE LIMIT NEAR %s", names(permit, entries_rest_ms=rest_ms))
    return replace(outcome, penalty=Penalty(cooldown_global_ms=rest_ms, reason=_NEAR_LIMITS).joined(outcome.penalty))


async def _settle(gate: AsyncGate, attempt: Attempt, outcome: Outcome) -> Settlement:
    """Reports the outcome, and repeats that while the store can't be reached and the permit lives.

    The answer to an exit without the store doesn't wait for it: the outcome is reported beside what goes on.
    """
    permit = attempt.permit
    if attempt.without_store and not outcome.retryable:
        return Settlement(
            Settled.STORE_UNAVAILABLE, detail="it went without the store, and is recorded once it answers"
        )
    if attempt.without_store:
        # Nothing is out. Where the store can't be told, the gate gives the claim back once it answers.
        return await gate.settle(structs.replace(permit, without_store=True), outcome)
    settlement = await gate.settle(permit, outcome)
    pause_s, repeated = FIRST_PAUSE_S, False
    while settlement.status is Settled.STORE_UNAVAILABLE and permit.live:
        await asyncio.sleep(pause_s)
        pause_s, repeated = min(pause_s * 2, LONGEST_PAUSE_S), True
        settlement = await gate.settle(permit, outcome)
    if repeated and outcome.retryable and settlement == Settlement(Settled.FENCED):
        return Settlement(Settled.ALREADY)  # an earlier call, whose reply was lost, has removed the record
    return settlement


def _words(execution: Execution) -> Line:
    return pairs(
        reason=execution.reason,
        order=execution.order_id or "-",
        fired_as=execution.actual_order_id,
        filled=plain(execution.filled_quantity) if execution.filled_quantity else None,
        price=plain(execution.average_price) if execution.average_price else None,
        without_store="yes" if execution.without_store else None,
        detail=execution.detail,
    )
