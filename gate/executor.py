"""One intent, from verdict to a settled outcome: never without a live permit, never blind to what became of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import TracebackType
from typing import Final, Self

from msgspec import structs

from gate.client import AsyncGate
from gate.ending import Ending, absent, broken_off, forgotten, in_doubt, placed, refused, unfit, unsent
from gate.errors import InvalidIntent, StoreFailure
from gate.exchange.failures import FILTER_CODES
from gate.exchange.order_plan import OrderPlan, PlanRefusal, needs_mark_price, plan_order
from gate.exchange.orders import CLOCK_LEAD_MS, SIGNER_AHEAD_MS, Exchange, ExchangeFailure, Filters, Placement
from gate.execution import Execution, Terminal
from gate.intent import Intent
from gate.look_up import FIRST_PAUSE_S, LONGEST_PAUSE_S, Sought, look_up
from gate.outcome import Penalty, Settled
from gate.policy import Policy
from gate.preflight import Cover, Preflight
from gate.reconcile import reconcile
from gate.record import Phase
from gate.verdict import Permit, Reason, Verdict

_log: Final = logging.getLogger("gate.executor")

_LEAST_TO_SEND_MS: Final = SIGNER_AHEAD_MS + 500
"""An order isn't sent when its permit has less than that left: it could be accepted too late, or its answer could no
longer be acted upon."""
RECONCILE_EVERY_S: Final = 5.0
"""How often an executor that has nothing else to do asks for what is in doubt."""
_RECONCILED_AT_ONCE: Final = 10
_NEAR_LIMITS: Final = "near the exchange's own rate limits"
_MODE_DIFFERS: Final = "-4061"  # the order's position side doesn't fit the account's position mode

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
        self._preflight: Final = Preflight(exchange, self._policy)
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
        self._reconciling = asyncio.create_task(self._reconcile_when_idle())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reconciling is not None:
            self._reconciling.cancel()
            await asyncio.wait([self._reconciling])

    async def _reconcile_when_idle(self) -> None:
        while True:
            if self._running == 0 and self._exchange.near_limit_ms() is None:
                try:
                    await reconcile(self._gate, self._exchange, at_most=_RECONCILED_AT_ONCE)
                except StoreFailure as failure:
                    _log.warning("nothing reconciled: %s", failure)
                except Exception:
                    _log.exception("reconciling failed")  # a fault of our own must not end it for good
            await asyncio.sleep(RECONCILE_EVERY_S)

    async def _executed(self, asked: Intent | Mapping[str, object]) -> Execution:
        try:
            intent = asked if isinstance(asked, Intent) else Intent.from_mapping(asked)
        except InvalidIntent as invalid:
            verdict = Verdict(False, Reason.INVALID, str(invalid))
            return self._denied(str(asked.get("id", "?")) if isinstance(asked, Mapping) else "?", verdict)
        verdict = await self._gate.evaluate(intent, reserve=self._preflight.reserve(intent))
        if verdict.permit is None:
            return self._denied(intent.id, verdict)
        if verdict.permit.observed:
            _log.warning("OBSERVED id=%s would be denied: %s %s", intent.id, verdict.reason, verdict.detail)
        if verdict.permit.observed and verdict.reason in (Reason.DUPLICATE, Reason.CONFLICT):
            # Observing, the gate lets it pass. But this is what sends, and one intent is one order all the same.
            return self._denied(intent.id, structs.replace(verdict, admitted=False, permit=None))
        return await self._settled(intent, verdict, verdict.permit)

    async def _settled(self, intent: Intent, verdict: Verdict, permit: Permit) -> Execution:
        """Runs the permit's work, and settles whatever comes of it, also when this task is cancelled."""
        progress = _Progress()
        cancelled = None
        try:
            ending = await self._act(intent, permit, progress)
        except ExchangeFailure as failed:
            ending = self._refused(failed, sent=progress.may_exist)
        except asyncio.CancelledError as error:
            cancelled, ending = error, broken_off(error, self._policy, may_exist=progress.may_exist)
        except Exception as error:
            _log.exception("id=%s executor failed", intent.id)
            ending = broken_off(error, self._policy, may_exist=progress.may_exist)
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

    async def _act(self, intent: Intent, permit: Permit, progress: _Progress) -> Ending:
        sought = Sought(intent.symbol, permit.client_order_id, intent.is_conditional, intent.timestamp_ms)
        if permit.verify:
            # Before the margin, though it may be for nothing: an earlier order may have taken just that.
            progress.may_exist = True
            known = await self._earlier_order(sought, permit)
            if known is not None:
                return known
            progress.may_exist = False

        filters = await self._exchange.filters(intent.symbol)
        if filters is None:
            return unfit(PlanRefusal("UNKNOWN_SYMBOL", f"the exchange has no symbol {intent.symbol}"))
        hedge_mode = await self._hedge_mode(intent)
        mark = await self._exchange.mark_price(intent.symbol) if needs_mark_price(intent) else Decimal(0)
        plan = plan_order(intent, filters, mark, hedge_mode=hedge_mode)
        if isinstance(plan, PlanRefusal):
            return unfit(plan)

        cover = None
        if not intent.is_exit:
            checked = await self._preflight.cover(intent, permit, plan, filters, mark)
            if isinstance(checked, Ending):
                return checked
            cover = checked

        ending = await self._last_look(permit, cover)
        if ending is None:
            ending = await self._send(intent, plan, sought, permit, progress)
        if ending.reason == _MODE_DIFFERS:
            # Refused for certain, so that another request isn't a second order.
            self._exchange.forget_hedge_mode()
            turned = await self._replanned(intent, filters, mark, permit)
            if turned is not None:
                ending = await self._send(intent, turned, sought, permit, progress)
        return replace(ending, margin=cover.check) if cover else ending

    async def _hedge_mode(self, intent: Intent) -> bool:
        try:
            return await self._exchange.hedge_mode()
        except ExchangeFailure:
            if not intent.is_exit:
                raise
            return intent.position_side is not None  # an exit doesn't wait: what it says will do

    async def _replanned(self, intent: Intent, filters: Filters, mark: Decimal, permit: Permit) -> OrderPlan | None:
        """The order for the position mode that the account has by now, if it may still be sent."""
        try:
            plan = plan_order(intent, filters, mark, hedge_mode=await self._exchange.hedge_mode())
        except ExchangeFailure:
            return None
        if isinstance(plan, PlanRefusal) or await self._last_look(permit, None) is not None:
            return None
        return plan

    async def _earlier_order(self, sought: Sought, permit: Permit) -> Ending | None:
        """The order that an earlier delivery may have placed, in a time that Redis has forgotten; None: there is none.

        While this memory is young, such an order may still be on its way: its absence proves nothing before it can no
        longer be accepted. What can't be found out stays in doubt: to give it back would lose that order from sight.
        """
        young_ms = self._acceptable_ms - (permit.memory_age_ms or 0)
        if young_ms > 0:
            _log.warning("id=%s the store's memory is new: absence counts in %d ms", permit.intent_id, young_ms)
        found = await look_up(self._exchange, sought, permit, acceptable_for_ms=max(young_ms, 0))
        if found.order is not None:
            return placed(found.order)
        return None if found.absent else forgotten(self._policy, found.stopped_by)

    @property
    def _acceptable_ms(self) -> int:
        """How long after signing the exchange may still accept a request."""
        return self._exchange.recv_window_ms + CLOCK_LEAD_MS

    async def _last_look(self, permit: Permit, cover: Cover | None) -> Ending | None:
        """Right before sending: a permit that ran out, or that the store no longer knows, sends nothing."""
        if not permit.observed:
            try:
                record = await self._gate.lookup(permit.intent_id)
            except StoreFailure as failure:
                return unsent("STORE_LOST", str(failure))
            if record is None or record.token != permit.token or record.phase is not Phase.ADMITTED:
                return unsent("PERMIT_LOST", "the store has forgotten this permit, or another has taken its place")
        stale = cover.stale if cover else None
        if stale is not None:
            return stale
        # Last, for all of the above takes time.
        if permit.remaining_ms < _LEAST_TO_SEND_MS:
            return unsent("DEADLINE", f"{permit.remaining_ms} ms of the permit were left")
        return None

    async def _send(
        self, intent: Intent, plan: OrderPlan, sought: Sought, permit: Permit, progress: _Progress
    ) -> Ending:
        order = plan.request(intent, permit.client_order_id)
        # Nothing signed within it can be accepted after the deadline, be our clock ahead as far as the exchange allows.
        timeout_ms = min(self._policy.order_timeout_ms, permit.remaining_ms - SIGNER_AHEAD_MS)
        progress.may_exist = True
        try:
            return placed(await self._exchange.place(order, timeout_ms=timeout_ms))
        except ExchangeFailure as failed:
            if failed.failure.placement is Placement.NOT_PLACED:
                return self._refused(failed, sent=True)
            unclear = failed.failure
        # Counted from here: no request was signed later, also where the exchange signed a second one.
        found = await look_up(self._exchange, sought, permit, acceptable_for_ms=self._acceptable_ms)
        if found.order is not None:
            return placed(found.order)
        return (absent if found.absent else in_doubt)(unclear, self._policy, found.stopped_by)

    def _refused(self, failed: ExchangeFailure, *, sent: bool) -> Ending:
        if failed.failure.code in FILTER_CODES:
            self._exchange.forget_filters()
        return refused(failed.failure, self._policy, sent=sent)

    async def _report(self, intent: Intent, verdict: Verdict, permit: Permit, ending: Ending) -> Execution:
        ending = self._resting_near_the_limits(permit, ending)
        settlement = await self._gate.settle(permit, ending.outcome)
        pause_s = FIRST_PAUSE_S
        while settlement.status is Settled.STORE_UNAVAILABLE and permit.live:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
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

    def _resting_near_the_limits(self, permit: Permit, ending: Ending) -> Ending:
        """The account rests before the exchange bans it: with the outcome, in the same call."""
        rest_ms = None if permit.observed else self._exchange.near_limit_ms()
        if rest_ms is None:
            return ending
        _log.warning("RATE LIMIT NEAR id=%s entries rest %d ms", permit.intent_id, rest_ms)
        rest = Penalty(cooldown_global_ms=rest_ms, reason=_NEAR_LIMITS).joined(ending.outcome.penalty)
        return replace(ending, outcome=replace(ending.outcome, penalty=rest))

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
    """How far the work on a permit has come."""

    may_exist: bool = False
    """Whether the exchange may have an order of the intent: its absence has to be proved then."""
