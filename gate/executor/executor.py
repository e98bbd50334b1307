"""One intent, from verdict to a settled outcome: never without a live permit, never blind to what became of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from msgspec import structs

from gate.client.gates import AsyncGate
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange
from gate.executor.ending import MARGIN_UNRESERVED, Ending, broken_off
from gate.executor.execution import Execution, Terminal
from gate.executor.look_up import FIRST_PAUSE_S, LONGEST_PAUSE_S
from gate.executor.placing import Placer, Progress
from gate.executor.reconcile import keep_reconciling
from gate.values.errors import InvalidIntent
from gate.values.fields import plain
from gate.values.intent import Intent
from gate.values.outcome import Penalty, Settled, Settlement
from gate.values.policy import Policy
from gate.values.verdict import Permit, Reason, Verdict

T = TypeVar("T")

_log: Final = logging.getLogger("gate.executor")

_NEAR_LIMITS: Final = "near the exchange's own rate limits"

# Words that operators grep for, kept from the service that the gate replaces.
_DENIAL_WORDS: Final = {
    Reason.DUPLICATE: "IDEMPOTENCY_SKIP",
    Reason.LOCKED: "LOCK_SKIP",
    Reason.RATE_SYMBOL: "RATE_LIMIT_SKIP",
    Reason.RATE_GLOBAL: "GLOBAL_RATE_LIMIT",
    Reason.STALE: "STALE_INTENT_DROP",
}


class Executor:
    """Executes intents of one account. Any number may run at once.

    In an `async with` block it also settles what is in doubt, its own and that of workers that died, whenever it has
    nothing else to do.
    """

    def __init__(self, gate: AsyncGate, exchange: Exchange, policy: Policy | None = None) -> None:
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._policy: Final = policy or gate.policy
        self._placer: Final = Placer(gate, exchange, self._policy)
        self._observed: set[str] = set()
        self._running = 0
        self._reconciling: asyncio.Task[None] | None = None

    async def execute(self, asked: Intent | Mapping[str, object]) -> Execution:
        """Takes one intent to a terminal state. Raises nothing that an intent, the store or the exchange can cause."""
        self._running += 1
        try:
            return await self._executed(asked)
        finally:
            self._running -= 1

    async def __aenter__(self) -> Self:
        self._reconciling = asyncio.create_task(
            keep_reconciling(self._gate, self._exchange, idle=lambda: self._running == 0)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reconciling is not None:
            self._reconciling.cancel()
            await asyncio.wait([self._reconciling])

    async def _executed(self, asked: Intent | Mapping[str, object]) -> Execution:
        try:
            intent = Intent.read(asked)
        except InvalidIntent as invalid:
            return self._denied(invalid.intent_id, Verdict(False, Reason.INVALID, str(invalid)))
        execution = await self._once(intent)
        if execution.reason == MARGIN_UNRESERVED and execution.retryable:
            # What the symbol takes is known by now: with that reserved it comes again, once.
            execution = await self._once(intent)
        return execution

    async def _once(self, intent: Intent) -> Execution:
        reserve = self._placer.preflight.reserve(intent)
        verdict, cancelled = await _through_with(self._gate.evaluate(intent, reserve=reserve))
        permit = verdict.permit
        if cancelled is not None:
            # Nobody acts on the permit any more: given back, so that it holds up no other.
            if permit is not None:
                ending = broken_off(cancelled, self._policy, may_exist=permit.verify)
                await _through_with(self._gate.settle(permit, ending.outcome))
            raise cancelled
        if permit is None:
            return self._denied(intent.id, verdict)
        if not permit.observed:
            return await self._settled(intent, verdict, permit)

        # Observing, the gate lets it pass and remembers nothing of it. But this is what sends: one intent, one order.
        _log.warning("OBSERVED id=%s would be denied: %s %s", intent.id, verdict.reason, verdict.detail)
        if verdict.reason in (Reason.DUPLICATE, Reason.CONFLICT):
            return self._denied(intent.id, structs.replace(verdict, admitted=False, permit=None))
        if intent.id in self._observed:
            again = Verdict(False, Reason.DUPLICATE, "is being executed already", mode=verdict.mode)
            return self._denied(intent.id, again)
        self._observed.add(intent.id)
        try:
            return await self._settled(intent, verdict, permit)
        finally:
            self._observed.discard(intent.id)

    async def _settled(self, intent: Intent, verdict: Verdict, permit: Permit) -> Execution:
        """Runs the permit's work, and settles whatever comes of it, also when this task is cancelled."""
        progress = Progress()
        cancelled = None
        try:
            ending = await self._placer.place(intent, permit, progress)
        except ExchangeFailure as failed:
            ending = self._placer.refused(failed, sent=progress.may_exist)
        except asyncio.CancelledError as error:
            cancelled, ending = error, broken_off(error, self._policy, may_exist=progress.may_exist)
        except Exception as error:
            _log.exception("id=%s executor failed", intent.id)
            ending = broken_off(error, self._policy, may_exist=progress.may_exist)
        execution, again = await _through_with(self._report(intent, verdict, permit, ending))
        cancelled = again or cancelled
        if cancelled is not None:
            raise cancelled
        return execution

    async def _report(self, intent: Intent, verdict: Verdict, permit: Permit, ending: Ending) -> Execution:
        ending = self._resting_near_the_limits(permit, ending)
        settlement = await self._gate.settle(permit, ending.outcome)
        pause_s, repeated = FIRST_PAUSE_S, False
        while settlement.status is Settled.STORE_UNAVAILABLE and permit.live:
            await asyncio.sleep(pause_s)
            pause_s, repeated = min(pause_s * 2, LONGEST_PAUSE_S), True
            settlement = await self._gate.settle(permit, ending.outcome)
        if repeated and ending.outcome.retryable and settlement == Settlement(Settled.FENCED):
            settlement = Settlement(Settled.ALREADY)  # a call of which no answer came has removed the record
        if not settlement:
            _log.warning("id=%s not settled: %s %s", intent.id, settlement.status, settlement.detail)
        if settlement.tripped_safe_mode:
            _log.warning("SAFE MODE TRIGGERED id=%s", intent.id)
        order = ending.order
        _log.info("TERMINAL STATE: %s id=%s %s", ending.state, intent.id, _words(intent, ending))
        if order and intent.is_exit and order.filled_quantity > 0:
            _log.info("CLOSE_EXECUTED id=%s symbol=%s order=%s", intent.id, intent.symbol, order.order_id)
        penalty = ending.outcome.penalty
        rest_ms = max(penalty.cooldown_symbol_ms, penalty.cooldown_global_ms) if penalty else 0
        # A removal that wasn't reported leaves the intent used up: no retry then.
        retryable = ending.outcome.retryable and bool(settlement)
        return Execution(
            state=ending.state,
            intent_id=intent.id,
            verdict=verdict,
            reason=ending.reason,
            detail=ending.detail,
            retryable=retryable,
            retry_after_ms=rest_ms if retryable and rest_ms else None,
            client_order_id=permit.client_order_id,
            order_id=order.order_id if order else None,
            filled_quantity=order.filled_quantity if order else Decimal(0),
            average_price=order.average_price if order else None,
            margin=ending.margin,
            settlement=settlement,
        )

    def _resting_near_the_limits(self, permit: Permit, ending: Ending) -> Ending:
        """The account rests before the exchange bans it: with the outcome, in the same call."""
        rest_ms = None if permit.observed else self._exchange.near_limit_ms()
        if rest_ms is None:
            return ending
        _log.warning("RATE LIMIT NEAR id=%s entries rest %d ms", permit.intent_id, rest_ms)
        rest = Penalty(cooldown_global_ms=rest_ms, reason=_NEAR_LIMITS).joined(ending.outcome.penalty)
        return replace(ending, outcome=replace(ending.outcome, penalty=rest))

    def _denied(self, intent_id: str, verdict: Verdict) -> Execution:
        words = filter(None, (verdict.reason.value, _DENIAL_WORDS.get(verdict.reason), verdict.detail))
        _log.info("TERMINAL STATE: DENIED id=%s reason=%s", intent_id, " ".join(words))
        return Execution(
            state=Terminal.DENIED,
            intent_id=intent_id,
            verdict=verdict,
            reason=verdict.reason.value,
            detail=verdict.detail,
            retryable=verdict.retryable,
            retry_after_ms=verdict.retry_after_ms,
            order_id=verdict.prior.order_id if verdict.prior else None,
        )


async def _through_with(work: Coroutine[Any, Any, T]) -> tuple[T, asyncio.CancelledError | None]:
    """Goes through with it, in a task of its own, though this one is cancelled meanwhile: that is for afterwards."""
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    return task.result(), cancelled


def _words(intent: Intent, ending: Ending) -> str:
    order = ending.order
    order_id = order.order_id if order else "-"
    words = [f"symbol={intent.symbol} side={intent.side} reason={ending.reason} order={order_id}"]
    if order and order.filled_quantity:
        words.append(f"filled={plain(order.filled_quantity)}")
    if order and order.average_price:
        words.append(f"price={plain(order.average_price)}")
    if ending.detail:
        words.append(ending.detail)
    return " ".join(words)
