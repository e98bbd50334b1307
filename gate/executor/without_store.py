"""Exits that the store can't judge: they go all the same, once the exchange has said that it has no order of theirs.

What holds then: one executor sends an exit once. Another one finds the order at the exchange, and takes it for the
intent's. Two that send at the same moment aren't kept apart, but an exit can't close more than there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from msgspec import structs

from gate.client.gates import AsyncGate
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.values.errors import InvalidField
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.log_words import log_of, names
from gate.values.outcome import Outcome, OutcomeKind, Settled, Settlement
from gate.values.policy import Policy
from gate.values.record import Phase, Record, decode_record
from gate.values.verdict import Permit, Verdict

_log: Final = log_of("gate.executor")

_CANT_JUDGE: Final = (Reason.STORE_UNAVAILABLE, Reason.STORE_ERROR)
_OLD_MS: Final = 1_000
_UNSURE_S: Final = 60
_CLOCKS_APART_MS: Final = 60_000
"""How far this host's clock may be from the store's, which judges an intent's age when it can."""
_KEPT_AT_MOST: Final = 10_000
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


def may_go_without_store(attempt: Attempt) -> bool:
    """Whether an admitted intent may be sent though the store was lost since."""
    return attempt.permit.is_exit and attempt.policy.exits_without_store


@dataclass(frozen=True, slots=True)
class _Unrecorded:
    permit: Permit
    outcome: Outcome

    @property
    def prior(self) -> Record:
        """The record as it will be."""
        phase = Phase.REJECTED if self.outcome.kind is OutcomeKind.UNSENT else Phase(self.outcome.kind.value)
        return replace(decode_record(self.permit.intent_id, self.permit.admission), phase=phase, note=self.outcome.note)


class ExitsWithoutStore:
    """One executor's exits: which of them may have been sent, and which the store doesn't know of yet."""

    def __init__(self, gate: AsyncGate) -> None:
        self._gate: Final = gate
        self._sent: dict[str, None] = {}
        self._held_elsewhere: dict[str, float] = {}
        """Until when another's permit lives, on the monotonic clock."""
        self._going: set[str] = set()
        self._unrecorded: dict[str, _Unrecorded] = {}
        self._recording: asyncio.Task[None] | None = None
        self._failed_at_s = -float(_UNSURE_S)
        self._closed = self._closing = False

    def unrecorded(self, intent: Intent) -> Verdict | None:
        """The denial of an exit that goes, or went, without the store, of which the store knows nothing yet."""
        known = self._unrecorded.get(intent.id)
        if known is not None:
            return Verdict(False, Reason.DUPLICATE, f"it went without the store: {known.prior}", prior=known.prior)
        if intent.id in self._going:
            return Verdict(False, Reason.DUPLICATE, "it is on its way, without the store")
        return None

    def attempt(self, intent: Intent, verdict: Verdict, policy: Policy) -> Attempt | Verdict:
        """The attempt of an exit that the store can't judge; a denial where that isn't allowed, or was done before."""
        if verdict.reason not in _CANT_JUDGE:
            self._note_another_holder(intent, verdict, policy)
            return verdict
        self._failed_at_s = time.monotonic()
        if not (intent.is_exit and policy.exits_without_store and self._gate.policy.exits_without_store):
            return verdict
        if (age_ms := time.time_ns() // 1_000_000 - intent.timestamp_ms) > policy.max_age_ms + _CLOCKS_APART_MS:
            return Verdict(False, Reason.STALE, f"it is {age_ms // 1000} s old; of the store: {verdict.detail}")
        again = self.unrecorded(intent)
        if again is None and intent.id in self._sent:
            again = Verdict(False, Reason.DUPLICATE, f"this process has sent it; of the store: {verdict.detail}")
        if again is not None:
            return again
        if time.monotonic() < self._held_elsewhere.get(intent.id, 0.0):
            held = "another delivery holds its permit, and may be about to send it"
            return structs.replace(verdict, detail=f"{held}; of the store: {verdict.detail}")
        try:
            permit = self._gate.permit_without_store(intent)
        except InvalidField:  # the policy in force, which was learnt just now, holds exits back
            return verdict
        _log.warning("WITHOUT STORE %s", names(intent, reason=verdict.reason, detail=verdict.detail))
        return Attempt(intent, verdict, permit, policy)

    def _note_another_holder(self, intent: Intent, verdict: Verdict, policy: Policy) -> None:
        """Until that one's permit has run out, the exit doesn't go from here without the store: two at one moment find
        no order of each other at the exchange."""
        prior = verdict.prior
        if intent.is_exit and prior is not None and prior.phase is Phase.ADMITTED:
            self._held_elsewhere[intent.id] = time.monotonic() + policy.lock_ttl_ms / 1000
            if len(self._held_elsewhere) > _KEPT_AT_MOST:
                del self._held_elsewhere[next(iter(self._held_elsewhere))]

    def may_have_gone(self, attempt: Attempt) -> bool:
        """Whether another process may have sent an exit without the store, and ended before it was recorded.

        One that is delivered again is older than a second, or this process too has seen the store fail. One that is
        dated ahead may be of any age.
        """
        if not may_go_without_store(attempt):
            return False
        age_ms = time.time_ns() // 1_000_000 - attempt.intent.timestamp_ms
        return abs(age_ms) > _OLD_MS or time.monotonic() - self._failed_at_s < _UNSURE_S

    @contextmanager
    def under_way(self, attempt: Attempt) -> Iterator[None]:
        """While an exit is on its way, no second one of its intent goes without the store."""
        intent = attempt.intent
        if not intent.is_exit:
            yield
            return
        self._sent[intent.id] = None
        if len(self._sent) > _KEPT_AT_MOST:
            del self._sent[next(iter(self._sent))]
        if attempt.without_store:
            self._going.add(intent.id)
        try:
            yield
        finally:
            self._going.discard(intent.id)

    def ended(self, attempt: Attempt, execution: Execution) -> None:
        """Has the outcome of an exit recorded, once the store answers, where it went without."""
        outcome, settlement = execution.outcome, execution.settlement
        if outcome is None or not attempt.permit.is_exit:
            return
        if outcome.retryable:
            self._sent.pop(attempt.intent.id, None)
            if not attempt.without_store:
                self._held_elsewhere.pop(attempt.intent.id, None)  # the permit that was seen was this one
        elif attempt.without_store and not settlement:
            self._unrecorded[attempt.intent.id] = waiting = _Unrecorded(attempt.permit, outcome)
            if self._closed:
                if not self._closing:  # else the end of that tells of it
                    _log.error("NOT RECORDED %s", names(attempt.permit, went_without_store=waiting.prior))
            elif self._recording is None or self._recording.done():
                self._recording = asyncio.create_task(self._keep_recording())

    def open(self) -> None:
        """From here on, what isn't recorded is tried again by itself."""
        self._closed = False

    async def close(self) -> None:
        """Records what isn't recorded yet, if the store answers."""
        self._closed = self._closing = True
        try:
            if self._recording is not None:
                self._recording.cancel()
                await asyncio.wait([self._recording])
            for intent_id, waiting in list(self._unrecorded.items()):
                if not await self._record(intent_id, waiting):
                    break
        finally:  # also where it is cancelled: nothing else tells of them
            self._closing = False
            for waiting in self._unrecorded.values():
                _log.error("NOT RECORDED %s", names(waiting.permit, went_without_store=waiting.prior))

    async def _keep_recording(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._unrecorded:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            for intent_id, waiting in list(self._unrecorded.items()):
                try:
                    if not await self._record(intent_id, waiting):
                        break
                except Exception:
                    _log.exception("%s recording failed", names(waiting.permit))  # a bug must not end the loop

    async def _record(self, intent_id: str, waiting: _Unrecorded) -> bool:
        """Reports one outcome. False where the store can't be asked."""
        permit = waiting.permit
        settlement = await self._gate.settle(permit, waiting.outcome)
        if settlement.status is Settled.STORE_UNAVAILABLE:
            return False
        overdue_ms = time.time_ns() // 1_000_000 - permit.deadline_ms
        if settlement.status is Settled.STORE_ERROR and overdue_ms < self._gate.policy.dedup_ttl_ms:
            return True
        if _is_held(settlement) and overdue_ms < self._gate.policy.lock_ttl_ms:
            return True  # by a claim that is on its way back, or by another process that goes at this moment
        del self._unrecorded[intent_id]
        held = settlement.record
        if settlement:
            _log.warning("RECORDED %s", names(permit, went_without_store=held))
        elif held is None or held.order_id != waiting.prior.order_id:
            _log.error(
                "NOT RECORDED %s",
                names(
                    permit,
                    went_without_store=waiting.prior,
                    status=settlement.status,
                    store_has=held or settlement.detail,
                ),
            )
        return True


def _is_held(settlement: Settlement) -> bool:
    held = settlement.record
    return settlement.status is Settled.FENCED and held is not None and held.phase is Phase.ADMITTED
