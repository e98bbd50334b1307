"""One intent, from verdict to a settled outcome: never without a live permit, never blind to what became of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Protocol

from gate.client import AsyncGate
from gate.exchange.order_plan import MarginCheck, OrderPlan, PlanRefusal, check_margin, plan_order
from gate.exchange.orders import (
    Consequence,
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
from gate.outcome import Outcome, Penalty
from gate.policy import Policy
from gate.verdict import Permit, Reason, Verdict

_log: Final = logging.getLogger("gate.executor")

_LEAST_TO_SEND_MS: Final = 500
"""An order isn't sent when its permit has less than that left: the answer could no longer be acted upon."""
_FIRST_LOOK_UP_S: Final = 0.2
_LONGEST_LOOK_UP_PAUSE_S: Final = 2.0
_ABSENCE_MARGIN_MS: Final = 1_500
"""Beyond signing time + recvWindow, until a request can no longer be accepted: the exchange allows a signer's clock to
run 1 s ahead of its own."""

# Words that operators grep for, kept from the service that the gate replaces.
_DENIAL_WORDS: Final = {
    Reason.DUPLICATE: "IDEMPOTENCY_SKIP",
    Reason.LOCKED: "LOCK_SKIP",
    Reason.RATE_SYMBOL: "RATE_LIMIT_SKIP",
    Reason.RATE_GLOBAL: "GLOBAL_RATE_LIMIT",
    Reason.STALE: "STALE_INTENT_DROP",
}


class Exchange(Protocol):
    """What the executor asks of an exchange. Every method raises ExchangeFailure."""

    recv_window_ms: int

    async def filters(self, symbol: str) -> Filters | None:
        """What is allowed for a symbol's market orders; None for an unknown symbol."""

    async def mark_price(self, symbol: str) -> Decimal:
        """The price by which notional is measured."""

    async def leverage(self, symbol: str) -> int:
        """What is set for the symbol."""

    async def available_margin(self, asset: str) -> Decimal:
        """What is free for new orders."""

    async def find_order(self, symbol: str, client_order_id: str) -> OrderAnswer:
        """The order of a client order id. Raises OrderNotFound too."""

    async def place(self, order: OrderRequest, *, timeout_s: float) -> OrderAnswer:
        """Sends a market order, once."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """How an admitted intent ended: what is reported to the gate, and what is answered to the caller."""

    outcome: Outcome
    state: Terminal
    reason: str
    detail: str = ""
    order: OrderAnswer | None = None
    margin: MarginCheck | None = None


class Executor:
    """Executes intents of one account. Any number may run at once."""

    def __init__(self, gate: AsyncGate, exchange: Exchange, policy: Policy | None = None) -> None:
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._policy: Final = policy or gate.policy

    async def execute(self, asked: Intent | Mapping[str, object]) -> Execution:
        """Takes one intent to a terminal state. Raises nothing that an intent, the store or the exchange can cause."""
        try:
            intent = asked if isinstance(asked, Intent) else Intent.from_mapping(asked)
        except ValueError as invalid:
            verdict = Verdict(False, Reason.INVALID, str(invalid))
            return self._denied(str(asked.get("id", "?")) if isinstance(asked, Mapping) else "?", verdict)
        verdict = await self._gate.evaluate(intent)
        if verdict.permit is None:
            return self._denied(intent.id, verdict)
        return await self._settled(intent, verdict, verdict.permit)

    async def _settled(self, intent: Intent, verdict: Verdict, permit: Permit) -> Execution:
        """Runs the permit's work, and settles whatever comes of it, also when this task is cancelled."""
        progress = _Progress()
        try:
            ending = await self._act(intent, permit, progress)
        except ExchangeFailure as failed:
            ending = self._refused(failed.failure, sent=progress.sent)
        except BaseException as error:
            ending = self._broken_off(error, progress)
            await asyncio.shield(self._report(intent, verdict, permit, ending))
            if isinstance(error, Exception):
                _log.exception("id=%s executor failed", intent.id)
                return self._execution(intent, verdict, permit, ending)
            raise
        return await self._report(intent, verdict, permit, ending)

    async def _act(self, intent: Intent, permit: Permit, progress: _Progress) -> _Ending:
        filters = await self._exchange.filters(intent.symbol)
        if filters is None:
            return self._unfit(PlanRefusal("UNKNOWN_SYMBOL", f"the exchange has no symbol {intent.symbol}"))
        plan = plan_order(intent, filters, await self._exchange.mark_price(intent.symbol))
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

        if permit.remaining_ms < _LEAST_TO_SEND_MS:
            return _Ending(
                Outcome.unsent("DEADLINE", f"{permit.remaining_ms} ms of the permit were left"),
                Terminal.REJECTED_EXCHANGE,
                "DEADLINE",
                "the permit ran out before the order could be sent",
                margin=margin,
            )
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
        return _Ending(
            Outcome.unsent("INSUFFICIENT_MARGIN", str(check), penalty=Penalty.margin_rejection(self._policy)),
            Terminal.REJECTED_MARGIN,
            "INSUFFICIENT_MARGIN",
            str(check),
            margin=check,
        )

    async def _earlier_order(self, intent: Intent, permit: Permit) -> _Ending | None:
        """The order that an earlier delivery may have placed, in a time that Redis has forgotten."""
        try:
            return self._placed(await self._exchange.find_order(intent.symbol, permit.client_order_id))
        except OrderNotFound:
            return None

    async def _send(self, order: OrderRequest, permit: Permit, progress: _Progress) -> _Ending:
        timeout_s = min(self._policy.order_timeout_ms, permit.remaining_ms) / 1000
        progress.sent = True
        sent_ns = time.monotonic_ns()
        try:
            return self._placed(await self._exchange.place(order, timeout_s=timeout_s))
        except ExchangeFailure as failed:
            if failed.failure.placement is Placement.NOT_PLACED:
                return self._refused(failed.failure, sent=True)
            unclear = failed.failure
        return await self._resolve(order, permit, sent_ns, unclear)

    async def _resolve(self, order: OrderRequest, permit: Permit, sent_ns: int, unclear: Failure) -> _Ending:
        """Asks for the order until it shows, or until its absence is certain, or the permit runs out."""
        acceptable_until_ns = sent_ns + (self._exchange.recv_window_ms + _ABSENCE_MARGIN_MS) * 1_000_000
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
        return _Ending(
            Outcome.placed(order.order_id),
            Terminal.FILLED if order.filled else Terminal.PLACED,
            order.status,
            order=order,
        )

    def _unfit(self, refusal: PlanRefusal) -> _Ending:
        return _Ending(
            Outcome.unsent(refusal.code, refusal.detail, retryable=False),
            Terminal.REJECTED_ORDER,
            refusal.code,
            refusal.detail,
        )

    def _refused(self, failure: Failure, *, sent: bool) -> _Ending:
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
        if not settlement:
            _log.warning("id=%s not settled: %s %s", intent.id, settlement.status, settlement.detail)
        if settlement.tripped_safe_mode:
            _log.warning("SAFE MODE TRIGGERED id=%s", intent.id)
        return replace(self._execution(intent, verdict, permit, ending, log=True), settlement=settlement)

    def _execution(
        self, intent: Intent, verdict: Verdict, permit: Permit, ending: _Ending, *, log: bool = False
    ) -> Execution:
        order = ending.order
        if log:
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
        return Execution(
            state=ending.state,
            intent_id=intent.id,
            verdict=verdict,
            reason=ending.reason,
            detail=ending.detail,
            retryable=ending.outcome.retryable,
            client_order_id=permit.client_order_id,
            order_id=order.order_id if order else None,
            filled_quantity=order.filled_quantity if order else Decimal(0),
            average_price=order.average_price if order else None,
            margin=ending.margin,
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
