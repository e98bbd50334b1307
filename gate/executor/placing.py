"""From a permit to an order at the exchange, or to why there is none."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, TypeVar

from gate.client.gates import AsyncGate
from gate.exchange.failures import FILTER_CODES, ExchangeFailure
from gate.exchange.port import CLOCK_LEAD_MS, SIGNER_AHEAD_MS, Exchange, Filters
from gate.executor.ending import Ending, absent, forgotten, in_doubt, placed, refused, unfit, unsent
from gate.executor.look_up import Sought, look_up
from gate.executor.order_plan import (
    OrderPlan,
    PlanRefusal,
    needs_mark_price,
    plan_order,
    sized_by_mark_price,
    unfiltered,
)
from gate.executor.preflight import Cover, Preflight
from gate.values.errors import StoreFailure
from gate.values.intent import Intent
from gate.values.outcome import OutcomeKind
from gate.values.policy import Policy
from gate.values.record import Phase
from gate.values.verdict import Permit

T = TypeVar("T")

_log: Final = logging.getLogger("gate.executor")

_LEAST_TO_SEND_MS: Final = SIGNER_AHEAD_MS + 500
"""An order isn't sent when its permit has less than that left: it could be accepted too late, or its answer could no
longer be acted upon."""
_FRESH_FILTERS_S: Final = 60
_LONGEST_SPARE_READ_S: Final = 1.0
"""What an exit can do without isn't waited for any longer."""

_POSITION_MODE: Final = frozenset({"-4061", "-1106"})
"""Position side or reduce-only doesn't fit the account's position mode."""
_PUT_RIGHT: Final = _POSITION_MODE | {"-1021", "-5028"}
"""Refused for what is put right at once: the mode is read again, the clock was set by the exchange's."""


@dataclass(slots=True)
class Progress:
    """How far the work on a permit has come."""

    may_exist: bool = False
    """Whether the exchange may have an order of the intent: its absence has to be proved then."""


class Placer:
    """Places one account's orders. It refuses to send without a live permit."""

    def __init__(self, gate: AsyncGate, exchange: Exchange, policy: Policy) -> None:
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._policy: Final = policy
        self.preflight: Final = Preflight(exchange, policy)

    async def place(self, intent: Intent, permit: Permit, progress: Progress) -> Ending:
        """Takes the permit to its end. Raises ExchangeFailure for a read without which there is no order."""
        sought = Sought(intent.symbol, permit.client_order_id, intent.is_conditional, intent.timestamp_ms)
        if permit.verify or permit.observed:
            # Before the margin, though it may be for nothing: an earlier order may have taken just that.
            progress.may_exist = True
            known = await self._earlier_order(sought, permit)
            if known is not None:
                return known
            progress.may_exist = False

        hedge_mode = await self._hedge_mode(intent, permit, otherwise=intent.position_side is not None)
        ending = await self._attempt(intent, permit, sought, hedge_mode, progress)
        if ending.outcome.kind is not OutcomeKind.REJECTED or ending.reason not in _PUT_RIGHT:
            return ending
        # Refused for certain, so that another request isn't a second order.
        progress.may_exist = False
        if ending.reason in _POSITION_MODE:
            self._exchange.forget_hedge_mode()
            hedge_mode = await self._hedge_mode(intent, permit, otherwise=not hedge_mode)
        again = await self._attempt(intent, permit, sought, hedge_mode, progress)
        # Where it came to no second request, the answer to the first one stands.
        return ending if again.outcome.kind is OutcomeKind.UNSENT else again

    async def _attempt(
        self, intent: Intent, permit: Permit, sought: Sought, hedge_mode: bool, progress: Progress
    ) -> Ending:
        filters = await self._filters(intent, permit)
        if filters is None:
            filters = await self._latest_filters(intent)
        if filters is None:
            return unfit(PlanRefusal("UNKNOWN_SYMBOL", f"the exchange has no symbol {intent.symbol}"))
        mark = await self._mark_price(intent, permit)
        plan = plan_order(intent, filters, mark, hedge_mode=hedge_mode)
        if isinstance(plan, PlanRefusal):
            filters = await self._latest_filters(intent) or filters
            plan = plan_order(intent, filters, mark, hedge_mode=hedge_mode)
        if isinstance(plan, PlanRefusal):
            return unfit(plan)

        cover = None
        if not intent.is_exit:
            checked = await self.preflight.cover(intent, permit, plan, filters, mark)
            if isinstance(checked, Ending):
                return checked
            cover = checked
        ending = await self._last_look(permit, cover)
        if ending is None:
            ending = await self._send(intent, plan, sought, permit, progress)
        return replace(ending, margin=cover.check) if cover else ending

    async def _mark_price(self, intent: Intent, permit: Permit) -> Decimal:
        """The mark price; 0 where the order can be planned without."""
        if needs_mark_price(intent):
            return await self._exchange.mark_price(intent.symbol)
        if sized_by_mark_price(intent):
            return await _spare(self._exchange.mark_price(intent.symbol), permit) or Decimal(0)
        return Decimal(0)

    async def _filters(self, intent: Intent, permit: Permit) -> Filters | None:
        if not intent.is_exit:
            return await self._exchange.filters(intent.symbol)
        # An exit takes what filters there are, however old, and does without where there are none: the exchange judges.
        try:
            async with asyncio.timeout(_spare_time_s(permit)):
                return await self._exchange.filters(intent.symbol, no_older_than_s=math.inf)
        except (ExchangeFailure, TimeoutError):
            known = self._exchange.known_filters(intent.symbol)
        if known is None and intent.quantity is None:
            return await self._exchange.filters(intent.symbol)  # a notional makes no quantity without a lot size
        return known or unfiltered(intent.symbol)

    async def _latest_filters(self, intent: Intent) -> Filters | None:
        """Old filters refuse nothing for good."""
        return await self._exchange.filters(intent.symbol, no_older_than_s=_FRESH_FILTERS_S)

    async def _hedge_mode(self, intent: Intent, permit: Permit, *, otherwise: bool) -> bool:
        if not intent.is_exit:
            return await self._exchange.hedge_mode()
        # An exit only reduces in either mode: where the account's can't be read, one is as good to try as the other.
        said = await _spare(self._exchange.hedge_mode(), permit)
        return otherwise if said is None else said

    async def _earlier_order(self, sought: Sought, permit: Permit) -> Ending | None:
        """The order that an earlier delivery may have placed and that Redis doesn't know of; None: there is none.

        After a loss of memory such an order may still be on its way: its absence proves nothing before it can no longer
        be accepted. What can't be found out stays in doubt: to give it back would lose that order from sight.
        """
        young_ms = 0 if permit.observed else self._acceptable_ms - (permit.memory_age_ms or 0)
        if young_ms > 0:
            _log.warning("id=%s the store's memory is new: absence counts in %d ms", permit.intent_id, young_ms)
        found = await look_up(self._exchange, sought, permit, acceptable_for_ms=max(young_ms, 0))
        if found.order is not None:
            return placed(found.order)
        return None if found.absent else forgotten(found, self._policy)

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
            left_ms = permit.remaining_ms
            return unsent("DEADLINE", f"{left_ms} ms of the permit were left, {_LEAST_TO_SEND_MS} are needed")
        return None

    async def _send(
        self, intent: Intent, plan: OrderPlan, sought: Sought, permit: Permit, progress: Progress
    ) -> Ending:
        order = plan.request(intent, permit.client_order_id)
        # Nothing signed within it can be accepted after the deadline, be our clock ahead as far as the exchange allows.
        timeout_ms = min(self._policy.order_timeout_ms, permit.remaining_ms - SIGNER_AHEAD_MS)
        progress.may_exist = True
        try:
            return placed(await self._exchange.place(order, timeout_ms=timeout_ms))
        except ExchangeFailure as failed:
            if not failed.failure.may_exist:
                return self.refused(failed, sent=True)
            unclear = failed.failure
        found = await look_up(self._exchange, sought, permit, acceptable_for_ms=self._acceptable_ms)
        if found.order is not None:
            return placed(found.order)
        return (absent if found.absent else in_doubt)(unclear, self._policy, found.stopped_by)

    def refused(self, failed: ExchangeFailure, *, sent: bool) -> Ending:
        """The ending of a refusal, of the order or before it was sent."""
        if failed.failure.code in FILTER_CODES:
            self._exchange.forget_filters()
        return refused(failed.failure, self._policy, sent=sent)


async def _spare(reading: Awaitable[T], permit: Permit) -> T | None:
    """What an exit can do without, if it is to be had soon."""
    try:
        async with asyncio.timeout(_spare_time_s(permit)):
            return await reading
    except (ExchangeFailure, TimeoutError):
        return None


def _spare_time_s(permit: Permit) -> float:
    return min(_LONGEST_SPARE_READ_S, permit.remaining_ms / 4000)
