"""One intent, from verdict to a settled outcome: never without a live permit, never blind to what became of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from msgspec import structs

from gate.client import AsyncGate
from gate.errors import InvalidIntent, StoreFailure
from gate.exchange.failures import FILTER_CODES
from gate.exchange.order_plan import MarginCheck, OrderPlan, PlanRefusal, check_margin, needs_price, plan_order
from gate.exchange.orders import (
    CLOCK_LEAD_MS,
    Consequence,
    Exchange,
    ExchangeFailure,
    Failure,
    Filters,
    OrderAnswer,
    OrderNotFound,
    OrderRequest,
    Placement,
)
from gate.execution import Execution, Terminal
from gate.intent import Intent
from gate.outcome import Outcome, Penalty, Settled
from gate.policy import Policy
from gate.record import Phase
from gate.verdict import Permit, Reason, Verdict

_log: Final = logging.getLogger("gate.executor")

_LEAST_TO_SEND_MS: Final = 500
"""An order isn't sent when its permit has less than that left: the answer could no longer be acted upon."""
_FIRST_LOOK_UP_S: Final = 0.2
_LONGEST_LOOK_UP_PAUSE_S: Final = 2.0

# Words that operators grep for, kept from the service that the gate replaces.
_DENIAL_WORDS: Final = {
    Reason.DUPLICATE: "IDEMPOTENCY_SKIP",
    Reason.LOCKED: "LOCK_SKIP",
    Reason.RATE_SYMBOL: "RATE_LIMIT_SKIP",
    Reason.RATE_GLOBAL: "GLOBAL_RATE_LIMIT",
    Reason.STALE: "STALE_INTENT_DROP",
}


@dataclass(frozen=True, slots=True)
class _Ending:
    """How an admitted intent ended: what is reported to the gate, and what is answered to the caller."""

    outcome: Outcome
    state: Terminal
    reason: str
    detail: str = ""
    order: OrderAnswer | None = None
    margin: MarginCheck | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was last read for a symbol."""

    price: Decimal
    leverage: int


def _unsent(code: str, detail: str) -> _Ending:
    """Nothing was sent, and it may come again."""
    return _Ending(Outcome.unsent(code, detail), Terminal.REJECTED_EXCHANGE, code, detail)


class Executor:
    """Executes intents of one account. Any number may run at once."""

    def __init__(self, gate: AsyncGate, exchange: Exchange, policy: Policy | None = None) -> None:
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._policy: Final = policy or gate.policy
        self._last_seen: dict[str, _Seen] = {}

    async def execute(self, asked: Intent | Mapping[str, object]) -> Execution:
        """Takes one intent to a terminal state. Raises nothing that an intent, the store or the exchange can cause."""
        try:
            intent = asked if isinstance(asked, Intent) else Intent.from_mapping(asked)
        except InvalidIntent as invalid:
            verdict = Verdict(False, Reason.INVALID, str(invalid))
            return self._denied(str(asked.get("id", "?")) if isinstance(asked, Mapping) else "?", verdict)
        verdict = await self._gate.evaluate(intent, reserve=self._reserve(intent))
        if verdict.permit is None:
            return self._denied(intent.id, verdict)
        if verdict.permit.observed:
            _log.warning("OBSERVED id=%s would be denied: %s %s", intent.id, verdict.reason, verdict.detail)
        if verdict.permit.observed and verdict.reason in (Reason.DUPLICATE, Reason.CONFLICT):
            # Observing, the gate lets it pass. But this is what sends, and one intent is one order all the same.
            return self._denied(intent.id, structs.replace(verdict, admitted=False, permit=None))
        return await self._settled(intent, verdict, verdict.permit)

    def _reserve(self, intent: Intent) -> Decimal | None:
        """Margin to hold, by what was last read for the symbol; None leaves it to what the intent says."""
        seen = self._last_seen.get(intent.symbol)
        if seen is None or intent.is_exit:
            return None
        notional = intent.notional if intent.notional is not None else (intent.quantity or Decimal(0)) * seen.price
        return notional / seen.leverage * (1 + self._policy.margin_buffer)

    async def _settled(self, intent: Intent, verdict: Verdict, permit: Permit) -> Execution:
        """Runs the permit's work, and settles whatever comes of it, also when this task is cancelled."""
        progress = _Progress()
        cancelled = None
        try:
            ending = await self._act(intent, permit, progress)
        except ExchangeFailure as failed:
            ending = self._refused(failed.failure, sent=progress.sent)
        except asyncio.CancelledError as error:
            cancelled, ending = error, self._broken_off(error, progress)
        except Exception as error:
            _log.exception("id=%s executor failed", intent.id)
            ending = self._broken_off(error, progress)
        # A task of its own: cancelled while it settles, the outcome is reported all the same.
        report = asyncio.create_task(self._report(intent, verdict, permit, ending))
        while not report.done():
            try:
                await asyncio.shield(report)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return report.result()

    async def _act(self, intent: Intent, permit: Permit, progress: _Progress) -> _Ending:
        filters = await self._exchange.filters(intent.symbol)
        if filters is None:
            return self._unfit(PlanRefusal("UNKNOWN_SYMBOL", f"the exchange has no symbol {intent.symbol}"))
        price = await self._exchange.mark_price(intent.symbol) if needs_price(intent) else Decimal(0)
        plan = plan_order(intent, filters, price)
        if isinstance(plan, PlanRefusal):
            return self._unfit(plan)

        margin: MarginCheck | None = None
        if not intent.is_exit:
            checked = await self._margin(intent, permit, plan, filters)
            if isinstance(checked, _Ending):
                return checked
            margin = checked

        if permit.verify:
            known = await self._earlier_order(intent, permit)
            if known is not None:
                return known

        gone = await self._lost_permit(permit)
        if gone is not None:
            return gone
        order = OrderRequest(
            symbol=intent.symbol,
            side=intent.side,
            quantity=plan.quantity,
            client_order_id=permit.client_order_id,
            reduce_only=intent.reduce_only,
            position_side=intent.position_side,
        )
        return replace(await self._send(order, permit, progress), margin=margin)

    async def _margin(self, intent: Intent, permit: Permit, plan: OrderPlan, filters: Filters) -> MarginCheck | _Ending:
        """The pre-flight. A figure that can't be had is no figure: nothing is sent."""
        try:
            leverage = await self._exchange.leverage(intent.symbol)
            self._last_seen[intent.symbol] = _Seen(plan.price, leverage)
            available = await self._exchange.available_margin(filters.margin_asset)
        except ExchangeFailure as failed:
            detail = f"margin can't be told: {failed}"
            _log.warning("MARGIN CHECK id=%s %s", intent.id, detail)
            return _Ending(
                Outcome.unsent("MARGIN_UNREADABLE", detail), Terminal.REJECTED_MARGIN, "MARGIN_UNREADABLE", detail
            )
        check = check_margin(plan.notional, leverage, self._policy.margin_buffer, available, permit.reserved_ahead)
        _log.info("MARGIN CHECK id=%s %s, leverage %d", intent.id, check, leverage)
        if check.covered:
            return check
        _log.warning("INSUFFICIENT MARGIN id=%s %s", intent.id, check)
        if available >= check.need:
            # Enough for this order alone: what is short is only kept for others, and may be free in a moment.
            return replace(_unsent("MARGIN_RESERVED", str(check)), state=Terminal.REJECTED_MARGIN, margin=check)
        return _Ending(
            Outcome.unsent("INSUFFICIENT_MARGIN", str(check), penalty=Penalty.margin_rejection(self._policy)),
            Terminal.REJECTED_MARGIN,
            "INSUFFICIENT_MARGIN",
            str(check),
            margin=check,
        )

    async def _earlier_order(self, intent: Intent, permit: Permit) -> _Ending | None:
        """The order that an earlier delivery may have placed, in a time that Redis has forgotten.

        While this memory is young, such an order may still be on its way: its absence proves nothing before it can no
        longer be accepted.
        """
        young_ms = self._exchange.recv_window_ms + CLOCK_LEAD_MS - (permit.memory_age_ms or 0)
        if young_ms > 0:
            if permit.remaining_ms < young_ms + _LEAST_TO_SEND_MS:
                return _unsent("MEMORY_LOST", "the store has forgotten what was on its way; come again")
            _log.warning("id=%s the store's memory is new: waiting %d ms before the look-up", intent.id, young_ms)
            await asyncio.sleep(young_ms / 1000)
        try:
            return self._placed(await self._exchange.find_order(intent.symbol, permit.client_order_id))
        except OrderNotFound:
            return None

    async def _lost_permit(self, permit: Permit) -> _Ending | None:
        """The last look before sending: a permit that ran out, or that the store no longer knows, sends nothing."""
        if not permit.observed:
            try:
                record = await self._gate.lookup(permit.intent_id)
            except StoreFailure as failure:
                return _unsent("STORE_LOST", str(failure))
            if record is None or record.token != permit.token or record.phase is not Phase.ADMITTED:
                return _unsent("PERMIT_LOST", "the store has forgotten this permit, or another has taken its place")
        # Last, for all of the above takes time.
        if permit.remaining_ms < _LEAST_TO_SEND_MS:
            return _unsent("DEADLINE", f"{permit.remaining_ms} ms of the permit were left")
        return None

    async def _send(self, order: OrderRequest, permit: Permit, progress: _Progress) -> _Ending:
        timeout_ms = min(self._policy.order_timeout_ms, permit.remaining_ms)
        progress.sent = True
        try:
            return self._placed(await self._exchange.place(order, timeout_ms=timeout_ms))
        except ExchangeFailure as failed:
            if failed.failure.placement is Placement.NOT_PLACED:
                return self._refused(failed.failure, sent=True)
            unclear = failed.failure
        # Counted from the failure: no request was signed later, also where the exchange signed a second one.
        return await self._resolve(order, permit, time.monotonic_ns(), unclear)

    async def _resolve(self, order: OrderRequest, permit: Permit, sent_ns: int, unclear: Failure) -> _Ending:
        """Asks for the order until it shows, or until its absence is certain, or the permit runs out."""
        acceptable_until_ns = sent_ns + (self._exchange.recv_window_ms + CLOCK_LEAD_MS) * 1_000_000
        pause_s = _FIRST_LOOK_UP_S
        while permit.live:
            certain = time.monotonic_ns() > acceptable_until_ns
            try:
                return self._placed(await self._exchange.find_order(order.symbol, order.client_order_id))
            except OrderNotFound:
                if certain:
                    return _Ending(
                        Outcome.rejected(unclear.code, "looked up: no such order", retryable=True),
                        Terminal.REJECTED_EXCHANGE,
                        unclear.code,
                        "the request failed, and the exchange has no such order",
                    )
            except ExchangeFailure as failed:
                _log.info("look-up of %s failed: %s", order.client_order_id, failed)
            until_certain_s = (acceptable_until_ns - time.monotonic_ns()) / 1e9
            await asyncio.sleep(min(pause_s, until_certain_s) if until_certain_s > 0 else pause_s)
            pause_s = min(pause_s * 2, _LONGEST_LOOK_UP_PAUSE_S)
        detail = f"{unclear.code}: {unclear.detail}"
        return _Ending(
            Outcome.unknown(unclear.detail, code=unclear.code, penalty=Penalty.unknown_outcome(self._policy)),
            Terminal.UNKNOWN,
            unclear.code,
            detail,
        )

    def _placed(self, order: OrderAnswer) -> _Ending:
        if order.filled:
            state = Terminal.FILLED
        elif order.ended_unfilled:
            state = Terminal.REJECTED_EXCHANGE
        else:
            state = Terminal.PLACED
        return _Ending(Outcome.placed(order.order_id), state, order.status, order=order)

    def _unfit(self, refusal: PlanRefusal) -> _Ending:
        return _Ending(
            Outcome.unsent(refusal.code, refusal.detail, retryable=False),
            Terminal.REJECTED_ORDER,
            refusal.code,
            refusal.detail,
        )

    def _refused(self, failure: Failure, *, sent: bool) -> _Ending:
        if failure.code in FILTER_CODES:
            self._exchange.forget_filters()
        penalty = self._penalty(failure)
        margin = failure.consequence is Consequence.MARGIN
        state = Terminal.REJECTED_MARGIN if margin else Terminal.REJECTED_EXCHANGE
        if sent:
            outcome = Outcome.rejected(failure.code, failure.detail, retryable=failure.retryable, penalty=penalty)
        else:
            outcome = Outcome.unsent(failure.code, failure.detail, penalty=penalty)
        return _Ending(outcome, state, failure.code, failure.detail)

    def _penalty(self, failure: Failure) -> Penalty | None:
        policy = self._policy
        match failure.consequence:
            case Consequence.MARGIN:
                return Penalty.margin_rejection(policy)
            case Consequence.REST_SYMBOL:
                return Penalty(cooldown_symbol_ms=failure.rest_ms or policy.cooldown_symbol_ms)
            case Consequence.REST_ACCOUNT:
                return Penalty(cooldown_global_ms=failure.rest_ms or policy.cooldown_global_ms)
            case Consequence.STOP:
                return Penalty(cooldown_global_ms=max(failure.rest_ms or 0, policy.safe_mode_ttl_ms))
        return None

    def _broken_off(self, error: BaseException, progress: _Progress) -> _Ending:
        """Cancelled, or a fault of our own. After sending, nobody can tell."""
        word = type(error).__name__
        if progress.sent:
            outcome = Outcome.unknown(
                "broken off after sending", code=word, penalty=Penalty.unknown_outcome(self._policy)
            )
            return _Ending(outcome, Terminal.UNKNOWN, word, "broken off after sending")
        return _Ending(Outcome.unsent(word), Terminal.REJECTED_EXCHANGE, word, "broken off before sending")

    async def _report(self, intent: Intent, verdict: Verdict, permit: Permit, ending: _Ending) -> Execution:
        settlement = await self._gate.settle(permit, ending.outcome)
        pause_s = _FIRST_LOOK_UP_S
        while settlement.status is Settled.STORE_UNAVAILABLE and permit.live:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_LOOK_UP_PAUSE_S)
            settlement = await self._gate.settle(permit, ending.outcome)
        if not settlement:
            _log.warning("id=%s not settled: %s %s", intent.id, settlement.status, settlement.detail)
        if settlement.tripped_safe_mode:
            _log.warning("SAFE MODE TRIGGERED id=%s", intent.id)
        order = ending.order
        _log.info(
            "TERMINAL STATE: %s id=%s symbol=%s side=%s reason=%s order=%s %s",
            ending.state,
            intent.id,
            intent.symbol,
            intent.side,
            ending.reason,
            order.order_id if order else "-",
            ending.detail,
        )
        if order and intent.is_exit:
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

    def _denied(self, intent_id: str, verdict: Verdict) -> Execution:
        word = _DENIAL_WORDS.get(verdict.reason, verdict.reason.value)
        _log.info("TERMINAL STATE: DENIED id=%s reason=%s %s %s", intent_id, verdict.reason, word, verdict.detail)
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


@dataclass(slots=True)
class _Progress:
    """How far the work on a permit has come: once a request may have left, its absence has to be proved."""

    sent: bool = False
