"""Asks the exchange about intents in doubt, and settles them.

Safe from any number of processes at once: settling is atomic, and the same answer twice changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from msgspec import structs

from gate.client.gates import AsyncGate
from gate.exchange.failures import ExchangeFailure, Failure, OrderNotFound
from gate.exchange.port import CLOCK_LEAD_MS, Exchange
from gate.executor.clock_watch import ClockWatch
from gate.executor.late_orders import LOOKS_AFTER_S, LateOrders, settle_if_late
from gate.executor.look_up import find_order_of_any_type
from gate.values.errors import StoreError, StoreFailure
from gate.values.log_words import log_of, pairs
from gate.values.outcome import Outcome, Settlement
from gate.values.record import Record
from gate.values.reports import Absence, DoubtfulPermit, InDoubt
from gate.values.verdict import Permit

_log: Final = log_of("gate.reconcile")

RECONCILE_EVERY_S: Final = 5.0
"""The pause between two rounds."""
_TOLD_AGAIN_S: Final = 300.0
"""How often the log tells of an intent of which nothing new was found out."""
_REMEMBERED: Final = 1_000
_PAGE: Final = 20
_TOGETHER: Final = 10
_BUDGET: Final = Decimal("0.5")
"""From this share of the exchange's limits on, the loop rests until their windows end. Entries rest from 0.8 on."""


class Finding(StrEnum):
    """What became of an intent that was in doubt."""

    PLACED = "PLACED"
    """The exchange has its order, and the record says so."""
    NOT_PLACED = "NOT_PLACED"
    """The exchange has none, and can accept none any more. The intent is never admitted again, since it may have been
    sent."""
    WAIT = "WAIT"
    """The exchange has no order yet, but a request may still be on its way. Ask again."""
    UNREADABLE = "UNREADABLE"
    """The exchange gave no usable answer. Ask again."""
    LAPSED = "LAPSED"
    """Neither its record nor the state's copy is left, so its symbol isn't known. A person has to look for its client
    order id."""
    SETTLED = "SETTLED"
    """The exchange gave no usable answer, and somebody else has settled it meanwhile: the detail is the record."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One intent that was in doubt."""

    intent_id: str
    client_order_id: str
    finding: Finding
    detail: str = ""
    settlement: Settlement | None = None
    retry_after_ms: int | None = None
    """How long to send no request, if the exchange says so."""
    permit: Permit | None = None
    """The intent's; None for LAPSED."""

    @property
    def done(self) -> bool:
        """Whether the intent is no longer in doubt."""
        if self.finding is Finding.SETTLED:
            return True
        return self.finding in (Finding.PLACED, Finding.NOT_PLACED) and bool(self.settlement)


async def reconcile(gate: AsyncGate, exchange: Exchange, *, at_most: int = 100, skip: int = 0) -> list[Reconciled]:
    """Asks for intents in doubt, oldest first, after `skip` of them, and settles what is certain. Raises StoreFailure.

    When the exchange answers with a ban or a limit, the rest is left for later.
    """
    found = await _asked(gate, exchange, await gate.in_doubt(at_most, skip))
    for each in found:
        _tell(each)
    return found


def _tell(each: Reconciled) -> None:
    symbol, side = (each.permit.symbol, each.permit.side) if each.permit else ("-", "-")
    told = pairs(id=each.intent_id, symbol=symbol, side=side, finding=each.finding, detail=each.detail)
    if each.done:
        _log.info("RECONCILED %s", told)
    else:
        _log.info("NOT RECONCILED %s", told)


class _Telling:
    """What the rounds of one process have said of intents that stay in doubt."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[Finding, float]] = {}
        """By intent id, the latest last: what was found, and when that was told, in seconds."""

    def tell(self, each: Reconciled) -> None:
        """Of what stays in doubt as it was, only every _TOLD_AGAIN_S."""
        now_s = time.monotonic()
        finding, told_s = self._said.get(each.intent_id, (None, 0.0))
        if not each.done and each.finding is finding and now_s - told_s < _TOLD_AGAIN_S:
            return
        _tell(each)
        self._said.pop(each.intent_id, None)
        if not each.done:
            self._said[each.intent_id] = each.finding, now_s
        if len(self._said) > _REMEMBERED:
            self._said.pop(next(iter(self._said)))


async def _asked(gate: AsyncGate, exchange: Exchange, doubt: InDoubt) -> list[Reconciled]:
    """What became of each of them."""
    found: list[Reconciled] = []
    stopped_by: Failure | None = None
    waiting = list(doubt.permits)
    while waiting:
        # The first goes alone: where the exchange wants no requests, it gets one and not many.
        together = _TOGETHER if found else 1
        wave, waiting = waiting[:together], waiting[together:]
        if stopped_by is not None:
            found += [_not_asked(doubtful.permit, stopped_by) for doubtful in wave]
            continue
        asked = await asyncio.gather(*(_ask_safely(gate, exchange, each, doubt.now_ms) for each in wave))
        found += [each for each, _ in asked]
        stopped_by = next((failure for _, failure in asked if failure is not None), None)
    found += [Reconciled(intent_id, gate.client_order_id(intent_id), Finding.LAPSED) for intent_id in doubt.lapsed]
    return found


async def _ask_safely(
    gate: AsyncGate, exchange: Exchange, doubtful: DoubtfulPermit, now_ms: int
) -> tuple[Reconciled, Failure | None]:
    """What became of one intent, and the failure after which nothing more must be asked."""
    try:
        return await _ask(gate, exchange, doubtful.record, doubtful.permit, now_ms), None
    except ExchangeFailure as failed:
        stops = failed.failure if failed.failure.stops_asking else None
        said = f"{failed.failure.code}: {failed.failure.told}"
        return _unreadable(doubtful.permit, said, stops.rest_ms if stops else None), stops


def _unreadable(permit: Permit, detail: str, retry_after_ms: int | None = None) -> Reconciled:
    return Reconciled(
        permit.intent_id,
        permit.client_order_id,
        Finding.UNREADABLE,
        detail,
        retry_after_ms=retry_after_ms,
        permit=permit,
    )


def _not_asked(permit: Permit, stopped_by: Failure) -> Reconciled:
    wait = f", for {stopped_by.rest_ms} ms" if stopped_by.rest_ms else ""
    detail = f"not asked: the exchange answers {stopped_by.code}{wait}"
    return _unreadable(permit, detail, stopped_by.rest_ms)


async def reconcile_all(gate: AsyncGate, exchange: Exchange) -> list[Reconciled]:
    """Asks once for every intent in doubt, and for every one that was settled as absent within the last ten minutes.
    Of those it returns what isn't absent after all, or can't be asked for. Raises StoreFailure."""
    absences: tuple[Absence, ...] = ()
    unread: StoreError | None = None
    try:
        absences = await gate.absences(LOOKS_AFTER_S[-1] * 1000)
    except StoreError as error:  # damaged, or forbidden; what is in doubt matters more
        unread = error
    found: list[Reconciled] = []
    while page := await reconcile(gate, exchange, skip=_still_open(found)):
        page = [await _as_settled_meanwhile(gate, each) for each in page]
        found += page
        if any(each.retry_after_ms for each in page):
            return found
    if unread is not None:  # only now: a store that answers nothing at all has said so
        _log.warning("what was settled as absent lately can't be read: %s", str(unread))
    for permit in filter(None, (each.permit for each in absences)):
        try:
            late = await settle_if_late(gate, exchange, permit)
        except ExchangeFailure as failed:
            said = f"settled as absent, and a late order can't be looked for: {failed.failure.code}: "
            found.append(_unreadable(permit, said + failed.failure.told, failed.failure.rest_ms))
            if failed.failure.stops_asking:
                break
        else:
            if late is not None:
                order, settlement = late
                detail = f"order {order.order_id} {order.status}, late: it was settled as absent"
                names = permit.intent_id, permit.client_order_id
                found.append(Reconciled(*names, Finding.PLACED, detail, settlement, permit=permit))
    return found


async def _as_settled_meanwhile(gate: AsyncGate, found: Reconciled) -> Reconciled:
    """What others have made of it, where the exchange wouldn't tell: its answer may have taken seconds."""
    if found.finding is not Finding.UNREADABLE:
        return found
    try:
        record = await gate.lookup(found.intent_id)
    except StoreFailure:
        return found  # what was settled before it is still to be told
    if record is None or record.settled_ms is None:
        return found
    return replace(found, finding=Finding.SETTLED, detail=str(record))


async def keep_reconciling(
    gate: AsyncGate, exchange: Exchange, late: LateOrders, *, every_s: float | None = None
) -> None:
    """Asks for intents in doubt, beside the executions, until the task is cancelled.

    A page at a time, every `every_s` or RECONCILE_EVERY_S; at once after a full page that got on, so that many in doubt
    don't take hours. In turn: what can't be found out must not keep the rest from being asked for. With a budget:
    orders must not come near the exchange's limits because of it. Also gives back claims that nobody heard of, looks
    for orders that are late, and warns where the store's clock is off.
    """
    skip, clock, telling = 0, ClockWatch(), _Telling()
    while True:
        pause_s, rest_ms = RECONCILE_EVERY_S if every_s is None else every_s, None
        try:
            await gate.give_back()
            rest_ms = exchange.near_limit_ms(_BUDGET)
            if rest_ms is None:
                await late.take_over(gate)
                await late.look(gate, exchange)
                asked_ms = time.time_ns() // 1_000_000
                doubt = await gate.in_doubt(_PAGE, skip)
                clock.sees(doubt.now_ms, asked_ms, time.time_ns() // 1_000_000, gate.policy.skew_ms)
                found = await _asked(gate, exchange, doubt)
                for each in found:
                    telling.tell(each)
                skip = skip + _still_open(found) if found else 0
                for each in found:
                    if each.finding is Finding.NOT_PLACED and each.done and each.permit is not None:
                        late.settled_as_absent(each.permit)
                if len(found) >= _PAGE and any(each.done for each in found):
                    pause_s = 0
                # The exchange prolongs a ban for those who go on asking, and a ban holds exits too.
                rest_ms = max((each.retry_after_ms for each in found if each.retry_after_ms), default=None)
        except StoreFailure as failure:
            _log.warning(
                "nothing reconciled: %s", str(failure)
            )  # as text: a log record that is kept would keep the frames of the error
        except Exception:
            _log.exception("reconciling failed")  # a bug must not end the loop
        if rest_ms is None:
            await late.told_within(pause_s)
        else:
            await asyncio.sleep(max(pause_s, rest_ms / 1000))


def _still_open(found: list[Reconciled]) -> int:
    return sum(not each.done for each in found)


async def _ask(gate: AsyncGate, exchange: Exchange, record: Record, permit: Permit, now_ms: int) -> Reconciled:
    # The record doesn't hold the time of the decision. But an intent is admitted only while it is fresh.
    decided_ms = record.admitted_ms - gate.policy.max_age_ms
    try:
        order = await find_order_of_any_type(exchange, record.symbol, permit.client_order_id, decided_ms)
    except OrderNotFound:
        # Nothing is sent after the deadline. The exchange accepts nothing later than its clock may lag behind ours.
        if now_ms - permit.deadline_ms <= CLOCK_LEAD_MS:
            return Reconciled(record.intent_id, permit.client_order_id, Finding.WAIT, permit=permit)
        # Without the admission: where its holder has just given it back, that is no loss of memory.
        unsure = structs.replace(permit, admission="")
        settlement = await gate.settle(unsure, Outcome.not_placed("reconciled: the exchange has no such order"))
        return Reconciled(
            record.intent_id, permit.client_order_id, Finding.NOT_PLACED, settlement=settlement, permit=permit
        )
    settlement = await gate.settle(permit, Outcome.placed(order.order_id))
    fired = f", fired as {order.actual_order_id}" if order.actual_order_id else ""
    detail = f"order {order.order_id} {order.status}{fired}"
    return Reconciled(record.intent_id, permit.client_order_id, Finding.PLACED, detail, settlement, permit=permit)
