"""Orders that show up after their absence was settled. Rare: a request that the exchange takes in long after it failed.

An intent that was settled NOT_PLACED is looked up again for ten minutes. Its order, once found, is settled as placed.
The log gets an error, for the strategy has been told that there is no order. The audit in the store tells of every
absence, so those that a dead process has settled are looked up too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from gate.client.gates import AsyncGate
from gate.exchange.failures import ExchangeFailure, OrderNotFound
from gate.exchange.port import Exchange, OrderAnswer
from gate.executor.look_up import find_order_of_any_type
from gate.values.errors import StoreError, StoreFailure
from gate.values.log_words import log_of, names
from gate.values.outcome import Outcome, Settled, Settlement
from gate.values.record import Phase
from gate.values.verdict import Permit

_log: Final = log_of("gate.reconcile")

LOOKS_AFTER_S: Final = (5, 15, 60, 180, 600)
"""When an absence is looked up again, in seconds after it was settled."""
_KEPT_AT_MOST: Final = 1_000
_TRIED_FOR_S: Final = 2 * LOOKS_AFTER_S[-1]
_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True)
class _Absence:
    permit: Permit
    since_s: float
    looks: int = 0
    told: bool = False
    """Whether the exchange has told of its order, and nobody has looked since."""

    @property
    def due_s(self) -> float:
        return self.since_s if self.told else self.since_s + LOOKS_AFTER_S[self.looks]


class LateOrders:
    """The absences that a process looks up again: its own, and those of others. Beyond 1,000 the oldest is dropped."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """`now_s`: a clock in seconds, which never goes back."""
        self._now_s: Final = now_s
        self._absences: deque[_Absence] = deque(maxlen=_KEPT_AT_MOST)
        self._looked_up: str | None = None
        """The client order id of the absence that is being looked up, and so isn't among the others."""
        self._told_meanwhile = False
        self._read: set[str] = set()
        self._unreadable = False
        self._told: Final = asyncio.Event()

    def settled_as_absent(self, permit: Permit) -> None:
        """Notes an intent that has just been settled NOT_PLACED."""
        self._absences.append(_Absence(permit, self._now_s()))

    def hears(self, client_order_id: str) -> None:
        """An event of an order: where its absence was settled, it is looked up at once."""
        if client_order_id == self._looked_up:
            self._told_meanwhile = True
            self._told.set()
        for number, absence in enumerate(self._absences):
            if absence.permit.client_order_id == client_order_id and not absence.told:
                self._absences[number] = replace(absence, told=True)
                self._told.set()

    async def told_within(self, seconds: float) -> None:
        """Waits until an absence is told of as an order, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        self._told.clear()

    async def take_over(self, gate: AsyncGate) -> None:
        """Notes what other processes have settled as absent within the ten minutes. Raises StoreUnavailable."""
        try:
            absences = await gate.absences(LOOKS_AFTER_S[-1] * 1000, self._read)
        except StoreError as error:
            if not self._unreadable:
                _log.warning("absences that other processes have settled can't be read: %s", str(error))
            self._unreadable = True
            return
        self._unreadable, self._read = False, {each.entry for each in absences}
        watched = {each.permit.token for each in self._absences}
        for each in reversed(absences):
            if each.permit is not None and each.permit.token not in watched:
                passed = sum(after_s * 1000 <= each.ago_ms for after_s in LOOKS_AFTER_S)
                # The last look that is past may not have been made.
                self._absences.append(_Absence(each.permit, self._now_s() - each.ago_ms / 1000, max(0, passed - 1)))

    async def look(self, gate: AsyncGate, exchange: Exchange) -> int:
        """Looks up a few that are due. Returns how many orders it found.

        Where the exchange wants no requests, the rest waits. A look-up that fails otherwise is made again, until twenty
        minutes have passed.
        """
        found = looks = 0
        for _ in range(len(self._absences)):
            absence = self._absences.popleft()
            if looks >= _AT_ONCE or absence.due_s > self._now_s():
                self._absences.append(absence)
                continue
            looks += 1
            self._looked_up, self._told_meanwhile = absence.permit.client_order_id, False
            try:
                shows_up = await _shows_up(gate, exchange, absence.permit)
            except ExchangeFailure as failed:
                if failed.failure.stops_asking:
                    self._absences.append(absence)
                    break
                shows_up = None if self._now_s() - absence.since_s < _TRIED_FOR_S else False
            finally:
                self._looked_up = None
            if self._told_meanwhile and shows_up is False:
                # The exchange had answered before it took the order in, or the order came in between.
                self._absences.append(replace(absence, told=True))
            elif shows_up is None:
                self._absences.append(absence)  # the exchange doesn't tell now, or the store doesn't take it
            elif shows_up:
                found += 1
            elif absence.told:
                self._absences.append(replace(absence, told=False))
            elif absence.looks + 1 < len(LOOKS_AFTER_S):
                self._absences.append(replace(absence, looks=absence.looks + 1))
        return found


async def settle_if_late(gate: AsyncGate, exchange: Exchange, permit: Permit) -> tuple[OrderAnswer, Settlement] | None:
    """The order of an intent that was settled as absent, once recorded and told; or None. Raises ExchangeFailure."""
    decided_ms = permit.deadline_ms - gate.policy.lock_ttl_ms - gate.policy.max_age_ms
    try:
        order = await find_order_of_any_type(exchange, permit.symbol, permit.client_order_id, decided_ms)
    except OrderNotFound:
        return None
    settlement = await gate.settle(permit, Outcome.placed(order.order_id))
    _log.error(
        "LATE ORDER %s: it was settled as absent",
        names(permit, order=order.order_id, status=order.status, settlement=settlement.status),
    )
    return order, settlement


async def _shows_up(gate: AsyncGate, exchange: Exchange, permit: Permit) -> bool | None:
    """None when it does, but couldn't be settled. Raises ExchangeFailure."""
    if await _is_recorded(gate, permit):
        return False
    found = await settle_if_late(gate, exchange, permit)
    return None if found and found[1].status is Settled.STORE_UNAVAILABLE else found is not None


async def _is_recorded(gate: AsyncGate, permit: Permit) -> bool:
    """Whether another process has found its order: one alert is enough."""
    try:
        record = await gate.lookup(permit.intent_id)
    except StoreFailure:
        return False
    return record is not None and record.phase is Phase.PLACED
