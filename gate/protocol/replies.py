"""Decodes the scripts' replies: a verdict, the guards' answers, a settlement. Pure: no I/O, no clock."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from gate.protocol.explain import explain_denial
from gate.protocol.keyspace import Keyspace
from gate.protocol.last_look import HOLDS, look_of_a_verdict
from gate.protocol.permits import permit_of_line, unclaimed_permit
from gate.protocol.texts import line_of, unreadable
from gate.values.errors import cut, shown
from gate.values.fields import read_whole
from gate.values.guards import GUARDS, Reason
from gate.values.intent import Intent
from gate.values.last_look import LastLook
from gate.values.outcome import Settled, Settlement
from gate.values.policy import Policy
from gate.values.record import Record, decode_record
from gate.values.reports import GuardReport, Inspection
from gate.values.verdict import Mode, Permit, Verdict

_LONGEST_DETAIL: Final = 1000
_LOCK_ASKED_AGAIN_MS: Final = 250
"""How soon to ask for a lock again that was taken just now. Most orders are settled by then."""
_SETTLED: Final = frozenset({Settled.SETTLED, Settled.ALREADY, Settled.CONFLICT, Settled.FENCED})
_DENIALS: Final = frozenset(guard.reason for guard in GUARDS)


class Replies:
    """The replies to the calls of one account under one policy."""

    def __init__(self, keyspace: Keyspace, policy: Policy) -> None:
        self._keyspace: Final = keyspace
        self._policy: Final = policy
        self._mode: Final = Mode(policy.mode)

    def decode_verdict(
        self, reply: bytes, intent: Intent, reserve: Decimal, started_ns: int, placed_after: str | None = None
    ) -> Verdict:
        """The verdict from evaluate's line. Raises StoreError for a line that the script doesn't write.

        `started_ns`: the monotonic clock before the call. `placed_after`: as the call was made with.
        """
        look = HOLDS if placed_after is None else None
        if placed_after is not None and reply.startswith(b"admitted "):
            reply, _, told = reply.partition(b"\n")
            look = look_of_a_verdict(told, placed_after)
        text = line_of(reply)  # a person may have written a switch's text, in any encoding and of any length
        try:
            return self._verdict(text, intent, reserve, started_ns, look)
        except (ValueError, LookupError):
            raise unreadable("a verdict", text) from None

    def _verdict(self, text: str, intent: Intent, reserve: Decimal, started_ns: int, look: LastLook | None) -> Verdict:
        word, _, rest = text.partition(" ")
        if word == "admitted":
            try:
                permit = permit_of_line(self._keyspace, intent, text, reserve, started_ns)
            except (ValueError, InvalidOperation):  # the record was damaged between an admission and its replay
                return Verdict(
                    False, Reason.STORE_ERROR, f"{self._keyspace.record(intent.id)} is damaged: {shown(text)}"
                )
            if not permit.observed:
                return Verdict(True, Reason.ADMITTED, permit=permit, mode=self._mode, look=look)
            word, _, rest = text.split(" ", 10)[10].partition(" ")
            return self._denial(word, rest, intent, permit)
        if word == "OBSERVED":
            word, _, rest = rest.partition(" ")
            return self._denial(word, rest, intent, unclaimed_permit(self._keyspace, self._policy, intent, started_ns))
        return self._denial(word, rest, intent)

    def _denial(self, word: str, rest: str, intent: Intent, permit: Permit | None = None) -> Verdict:
        """The verdict of the guard that denies; with a permit, of one that would deny, were this caller enforcing."""
        reason, (wait, _, detail) = _reason(word), rest.partition(" ")
        prior, waits_ms = None, read_whole(wait)
        if reason in (Reason.DUPLICATE, Reason.CONFLICT):
            prior = decode_record(intent.id, detail)
        wait_ms = waits_ms if waits_ms >= 0 else None
        return Verdict(
            permit is not None,
            reason,
            detail=self._explained(reason, detail, prior, wait_ms, intent),
            retry_after_ms=self._retry_after_ms(reason, wait_ms),
            permit=permit,
            prior=prior,
            mode=self._mode,
            age_ms=_age_ms(reason, detail),
        )

    def decode_inspection(self, reply: list[object], intent: Intent) -> Inspection:
        """Reads every guard's answer from inspect's rows. Raises StoreError for rows that it doesn't give."""
        try:
            return self._inspection(reply, intent)
        except ValueError:
            raise unreadable("the guards' answers", reply) from None

    def _inspection(self, reply: list[object], intent: Intent) -> Inspection:
        now, _, *rows = reply
        denials: dict[bytes, list[bytes]] = {row[0]: row for row in rows}  # type: ignore[index,misc]  # a reply's rows
        reports = []
        keys = {**self._keyspace.of_account(), **self._keyspace.of_intent(intent.id, intent.symbol, intent.side)}
        for guard in GUARDS:
            key = keys[guard.key] if guard.key else ""
            denial = denials.get(guard.reason.encode())
            if denial is None:
                exempt = intent.is_exit and guard.exempts_exits
                said = "exempt: reduce-only" if exempt else ""
                reports.append(GuardReport(guard.name, True, key, detail=said, exempt=exempt))
                continue
            word, wait, detail = map(line_of, denial)
            reason, waits_ms = _reason(word), read_whole(wait)
            prior = decode_record(intent.id, detail) if guard.key == "record" else None
            wait_ms = waits_ms if waits_ms >= 0 else None
            explained = self._explained(reason, detail, prior, wait_ms, intent)
            age_ms = _age_ms(reason, detail)
            again_ms = self._retry_after_ms(reason, wait_ms)
            reports.append(
                GuardReport(guard.name, False, key, reason, wait_ms, explained, age_ms=age_ms, retry_after_ms=again_ms)
            )
        return Inspection(tuple(reports), self._mode, int(now))  # type: ignore[call-overload]  # the server's clock as text

    def _retry_after_ms(self, reason: Reason, wait_ms: int | None) -> int | None:
        """When to ask again. A lock is released when its order is settled, mostly long before it lapses.

        The longer it is held already, the later: so whoever asks again does that a few times, not every moment.
        """
        if reason is not Reason.LOCKED or wait_ms is None:
            return wait_ms
        held_ms = self._policy.lock_ttl_ms - wait_ms
        return min(wait_ms, max(held_ms, _LOCK_ASKED_AGAIN_MS))

    def _explained(self, reason: Reason, detail: str, prior: Record | None, wait_ms: int | None, intent: Intent) -> str:
        # A permit's lock always has a TTL. A lock without a wait has none, so the gate didn't make it.
        endless = self._keyspace.lock(intent.symbol, intent.side) if reason is Reason.LOCKED and wait_ms is None else ""
        explained = explain_denial(reason, detail, self._policy, self._keyspace, prior, endless, wait_ms)
        return cut(explained, _LONGEST_DETAIL)


def tells_of_another_policy(reply: bytes, intent: Intent) -> str | None:
    """From evaluate's reply: `fingerprint figures` of the policy in force, where it isn't the caller's. Empty where
    the reply tells only that there is one: an exit that passes under another."""
    if not intent.is_exit and reply.startswith(b"admitted "):
        return None
    words = line_of(reply).split(" ", 10)
    if words[0] == "POLICY_MISMATCH":
        return " ".join(words[2:])
    return "" if words[0] == "admitted" and "d" in "".join(words[9:10]) else None


def decode_settlement(reply: bytes, intent_id: str) -> Settlement:
    """The answer from settle's line. Raises StoreError for others."""
    word, _, rest = line_of(reply).partition(" ")
    if word not in _SETTLED:
        raise unreadable("a settlement", reply)
    found: list[str] = []
    if word == "SETTLED":
        words, _, rest = rest.partition(" ")
        found = words.split(",")
    record = decode_record(intent_id, rest) if rest else None
    return Settlement(Settled(word), record, "safe_mode" in found, memory_lost="memory" in found, late="late" in found)


def _reason(word: str) -> Reason:
    """The reason of a denial. Raises ValueError for a word that no guard has."""
    reason = Reason(word)
    if reason not in _DENIALS:
        raise ValueError(word)
    return reason


def _age_ms(reason: Reason, detail: str) -> int | None:
    """The intent's age, which the scripts give as the detail of STALE."""
    return read_whole(detail) if reason is Reason.STALE else None
