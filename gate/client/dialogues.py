"""The operations of a gate as dialogues with the store: the verdict, the settlement, and the looks at an intent.

Every operation is a generator. It yields a command; the caller sends it the reply, or throws the failure into it. Gate
and AsyncGate only carry commands and replies over a wire. Retries, replays and decisions are written once, here and in
the modules beside it, so the two gates can't differ.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from msgspec import structs

from gate.client.denials import denied, unread
from gate.client.halts import halt_in_force, halt_question, stops_exits
from gate.client.observing import Observing
from gate.client.symbols import NotingSymbols
from gate.client.unheard import Unheard, UnheardCalls
from gate.protocol.codec import Protocol
from gate.protocol.explain import explain_error, explain_no_answer, explain_refusal, explain_refused_write
from gate.protocol.keyspace import Keyspace
from gate.protocol.last_look import decode_last_look
from gate.protocol.permits import UNCLAIMED, permit_without_store
from gate.protocol.replies import decode_settlement, tells_of_another_policy
from gate.protocol.scripts import Encoded, Message, Pipeline, script
from gate.protocol.texts import brief, line_of, whole_or_none
from gate.store.failures import Forbidden, ReplyLate, ReplyLost, ScriptMissing
from gate.store.wire import Dialogue, Reply
from gate.values.errors import (
    InvalidField,
    InvalidIntent,
    InvalidPolicy,
    StoreError,
    StoreFailure,
    StoreUnavailable,
    cut,
)
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.last_look import LastLook
from gate.values.log_words import log_of, names, pairs
from gate.values.outcome import Outcome, OutcomeKind, Settled, Settlement
from gate.values.policy import Policy, PolicyInForce, policy_of_figures
from gate.values.record import Record, decode_record
from gate.values.reports import Halt, Inspection
from gate.values.verdict import Permit, Verdict

_GIVEN_BACK_AT_ONCE: Final = 64
_NOBODY_HEARD: Final = Outcome.unsent("UNHEARD", "the answer to the evaluation was lost")
_TRIES: Final = 4
"""How often an intent is judged where the store names another policy each time. A person changes it seldom."""
_NO_FENCE: Final = 2**53  # Lua can't count by one beyond 2**53, so a fence that reaches it is damage
_log: Final = log_of("gate")


class _Halted(StoreFailure):
    """The store can't judge an exit, but it tells of a person's halt that stops exits too."""


class Calls:
    """The operations of one account. Without a policy of its own, the caller follows the one in force."""

    def __init__(self, prefix: str, policy: Policy | None) -> None:
        self.follows: Final = policy is None
        own = policy or Policy()
        self.keyspace: Final = Keyspace(prefix, observing=own.observes)
        self.protocol = Protocol(self.keyspace, own)
        self._fence_seen = 0
        self._unheard: Final = UnheardCalls(own.lock_ttl_ms)
        self._symbols: Final = NotingSymbols(self.keyspace.symbols)
        self._observer: Final = Observing(self.keyspace, own.fingerprint) if own.observes else None

    @property
    def policy(self) -> Policy:
        """The caller's own policy, or the one that it follows, as it has last seen it."""
        return self.protocol.policy

    def policy_in_force(self) -> Dialogue[PolicyInForce | None]:
        """The policy in force, or None. A caller that follows takes it over. Raises StoreFailure."""
        fields = ("policy", "figures", "policy_at", "policy_by", "policy_reason")
        key = self.keyspace.applied
        try:
            applied = yield ("GET", key)
            if applied is None:
                key = self.keyspace.state
                parts = yield ("HMGET", key, *fields)
            else:
                parts = by_a_person(applied)
        except StoreError as error:
            raise StoreError(explain_error(f"{error} key={key}")) from None
        said = [b"" if part is None else part for part in parts]
        (fingerprint, figures), (at, by, reason) = map(line_of, said[:2]), map(brief, said[2:])
        if not fingerprint:
            return None
        policy, problem = None, ""
        try:
            policy = policy_of_figures(fingerprint, figures)
        except InvalidPolicy as unreadable:
            problem = "; ".join(unreadable.faults)
        else:
            self.follow(fingerprint, policy)
        return PolicyInForce(cut(fingerprint), policy, problem, whole_or_none(at), by, reason, applied is not None)

    def in_force(self, fingerprint: str, figures: str | None) -> Policy | None:
        """The policy in force, from the state's fields; None where its figures can't be read. Follows it."""
        try:
            policy = policy_of_figures(fingerprint, figures or "")
        except InvalidPolicy:
            return None
        self.follow(fingerprint, policy)
        return policy

    def _take_over(self, told: str) -> bool:
        """Follows the policy of which a reply tells, `fingerprint figures`. False where that changes nothing."""
        fingerprint, _, figures = told.partition(" ")
        try:
            return self.follow(fingerprint, policy_of_figures(fingerprint, figures))
        except InvalidPolicy as unreadable:
            _log.error("POLICY NOT FOLLOWED %s", pairs(policy=fingerprint, detail=unreadable))
            return False

    def follow(self, fingerprint: str, policy: Policy) -> bool:
        if not self.follows or fingerprint == self.protocol.policy_fingerprint:
            return False
        differ = "; ".join(f"{name} {was} -> {now}" for name, was, now in self.policy.differences(policy))
        _log.info("POLICY FOLLOWED %s", pairs(policy=fingerprint, detail=differ))
        self._unheard.lifetime_ns = max(self._unheard.lifetime_ns, policy.lock_ttl_ms * 1_000_000)
        self.protocol = Protocol(self.keyspace, policy, fingerprint)
        return True

    def evaluate(
        self,
        asked: Intent | Mapping[str, object],
        reserve: Decimal | None = None,
        placed_after: str | None = None,
        tries: int = _TRIES,
    ) -> Dialogue[Verdict]:
        """Returns the verdict. Denies for bad input or a store failure; never raises for them."""
        try:
            intent = Intent.read(asked)
            if not isinstance(reserve, Decimal | None):
                raise InvalidIntent("reserve", reserve, "is not a Decimal")
            if not isinstance(placed_after, str | None):
                raise InvalidIntent("placed_after", placed_after, "is not a text")
            protocol = self.protocol
            margin = protocol.reserve(intent) if reserve is None else reserve
            token, started_ns = new_token(), time.monotonic_ns()
            command = protocol.evaluate(intent, token, self._fence_seen, margin, placed_after)
        except InvalidIntent as invalid:
            unread(asked, invalid)
            return Verdict(False, Reason.INVALID, str(invalid))
        known = self._unheard.take(intent) if self._unheard else None
        if known:
            token, started_ns = known.token, known.started_ns
            command = protocol.evaluate(intent, token, self._fence_seen, margin, placed_after)
        unheard = Unheard(intent.id, intent.symbol, intent.side, intent.fingerprint, token, started_ns)
        if self._unheard:
            # Before the verdict: what nobody has heard of may hold this symbol, and a full window trips a cooldown. An
            # exit waits only for what it holds itself.
            try:
                yield from self._give_back(intent if intent.is_exit else None)
            except StoreUnavailable as unavailable:  # asking the same store again would double the time
                if known:
                    self._unheard.keep(known)
                why = explain_no_answer(str(unavailable))
                return (yield from self._not_judged(intent, Reason.STORE_UNAVAILABLE, why))
            except BaseException:
                if known:
                    self._unheard.keep(known)
                raise
        try:
            if intent.is_exit:
                reply, replayed = yield from self._judge_exit(command)
            else:
                reply, replayed = yield from self.scripted("evaluate", command)
        except StoreFailure as failure:
            # A script breaks off half way only where a right is taken from its user.
            if known or failure.maybe_done or isinstance(failure, Forbidden):
                self._unheard.keep(unheard)
            if isinstance(failure, _Halted):
                return denied(intent, Verdict(False, Reason.HALTED, str(failure)))
            if isinstance(failure, StoreError):
                return denied(intent, Verdict(False, Reason.STORE_ERROR, explain_refusal(str(failure))))
            return denied(intent, Verdict(False, Reason.STORE_UNAVAILABLE, explain_no_answer(str(failure))))
        except BaseException:
            self._unheard.keep(unheard)  # cancelled while the command was under way
            raise
        told = tells_of_another_policy(reply, intent) if self.follows else None
        if told is not None:
            if told and tries > 1 and (self._take_over(told) or protocol is not self.protocol):
                # Nothing was claimed. The same intent again, by the policy in force.
                return (yield from self.evaluate(intent, reserve, placed_after, tries - 1))
            if not told:
                try:
                    yield from self.learn()
                except BaseException:
                    self._unheard.keep(unheard)  # cancelled, and the exit is admitted
                    raise
        try:
            verdict = protocol.replies.decode_verdict(reply, intent, margin, started_ns, placed_after)
        except StoreError as unreadable:
            self._unheard.keep(unheard)  # it may have admitted the intent all the same
            return (yield from self._not_judged(intent, Reason.STORE_ERROR, explain_refusal(str(unreadable))))
        if verdict.permit is not None and verdict.permit.token not in (token, UNCLAIMED):
            # This is the answer to another call. Nobody may act on it.
            self._unheard.keep(unheard)
            other = "the store answered with another permit's token"
            return (yield from self._not_judged(intent, Reason.STORE_ERROR, other))
        if verdict.prior is not None:
            self.saw(verdict.prior.fence, verdict.prior.line)
        if self._observer is not None:
            try:
                yield from self._observer.note()
            except BaseException:
                self._unheard.keep(unheard)  # cancelled: nobody hears of the permit
                raise
        if verdict.permit is None:
            return denied(intent, verdict)
        self.saw(verdict.permit.fence, verdict.permit.admission)
        if not verdict.permit.live:
            # The permit ran out before the caller got it, so nobody has acted on it. Settling it as unsent lets the
            # intent come again.
            yield from self.settle(verdict.permit, Outcome.unsent("EXPIRED", "the answer came after the deadline"))
            detail = explain_no_answer("the store's answer came after the permit had run out")
            return (yield from self._not_judged(intent, Reason.STORE_UNAVAILABLE, detail))
        # Of a call that has been asked before, the verdict may be as old as the first one. And something was waited for
        # since, where the policy was read or an observer has left its name.
        older = replayed or known is not None or told is not None or self._observer is not None
        return structs.replace(verdict, look=None) if older else verdict

    def _judge_exit(self, command: Encoded) -> Dialogue[tuple[Reply, bool]]:
        """As `scripted`. An exit may go without the store, and so waits for it twice at most; but a halt of all binds
        it, of which a store that takes no writes may still tell. Raises _Halted then."""
        try:
            return (yield from self.scripted("evaluate", command, late_is_final=True))
        except ReplyLate:
            pass
        except StoreFailure as failure:
            if halt := (yield from self._halt_of_exits()):
                raise _halted(halt, failure) from None
            raise
        # Once more, and the halt beside it: where the store stands still, a third question would take as long again.
        # The halt first: while writes are paused, nothing behind an evaluation is answered. Of many exits at once only
        # the first hears of it so; the others ask again before they go.
        try:
            told, reply = yield Pipeline((halt_question(self.keyspace), command))
        except StoreFailure as failure:
            failure.maybe_done = True
            raise
        if not isinstance(reply, StoreFailure):
            return reply, True
        reply.maybe_done = True
        if halt := stops_exits(self.keyspace, told):
            raise _halted(halt, reply)
        if not isinstance(reply, ScriptMissing):
            raise reply
        try:
            reply, _ = yield from self.scripted("evaluate", command, late_is_final=True)
        except StoreFailure as failure:
            failure.maybe_done = True
            raise
        return reply, True

    def _not_judged(self, intent: Intent, reason: Reason, why: str) -> Dialogue[Verdict]:
        """The denial where the store gave no verdict. An exit may go all the same, unless a halt of all binds it."""
        halt = (yield from self._halt_of_exits()) if intent.is_exit else ""
        return denied(intent, Verdict(False, Reason.HALTED, halt) if halt else Verdict(False, reason, why))

    def _halt_of_exits(self) -> Dialogue[str]:
        try:
            told = yield halt_question(self.keyspace)
        except StoreFailure as failure:
            told = failure
        return stops_exits(self.keyspace, told)

    def learn(self) -> Dialogue[None]:
        """Follows the policy in force. A failure leaves it for another time."""
        try:
            yield from self.policy_in_force()
        except StoreFailure as failure:
            _log.warning("POLICY NOT READ %s", pairs(detail=failure))

    def permit_without_store(self, intent: Intent) -> Permit:
        """The permit of an exit after the store couldn't judge it. No I/O.

        Has the token of the evaluation whose answer was lost: where the store has admitted it, the outcome fits that
        record, and nobody gives the claim back while its order is out.
        """
        if not intent.is_exit:
            raise InvalidField("intent", intent.id, "is an entry; without the store only exits go")
        if not self.policy.exits_without_store:
            raise InvalidField("exits_without_store", False, "is the policy's: no exit goes without the store")
        known = self._unheard.take(intent)
        token = known.token if known else new_token()
        now_ms, now_ns = time.time_ns() // 1_000_000, time.monotonic_ns()
        return permit_without_store(self.keyspace, self.policy, intent, token, now_ms, now_ns)

    def _nothing_without_store(self, permit: Permit) -> Settlement:
        """The end of an exit that wasn't sent: the store may hold a claim of it, which nobody needs."""
        fingerprint = decode_record(permit.intent_id, permit.admission).fingerprint
        self._unheard.keep(
            Unheard(
                intent_id=permit.intent_id,
                symbol=permit.symbol,
                side=permit.side,
                fingerprint=fingerprint,
                token=permit.token,
                started_ns=time.monotonic_ns(),  # from now on: a claim that has run out would use the intent up
                settling=True,
            )
        )
        return Settlement(Settled.ALREADY)

    def give_back(self) -> Dialogue[int]:
        """Settles as unsent what was admitted and nobody has heard of. Returns how many claims are gone.

        A store failure leaves the rest for later; it is never raised.
        """
        try:
            return (yield from self._give_back())
        except StoreUnavailable:
            return 0

    def _give_back(self, intent: Intent | None = None) -> Dialogue[int]:
        """Of one intent, or of any. Raises StoreUnavailable."""
        given = 0
        for _ in range(_GIVEN_BACK_AT_ONCE):
            unheard = self._unheard.next_due(intent)
            if unheard is None:
                break
            try:
                settle = self.protocol.settle(unheard.permit, _NOBODY_HEARD)
                reply, _ = yield from self.scripted("settle", settle, late_is_final=intent is not None)
                settlement = decode_settlement(reply, unheard.intent_id)
            except StoreError:
                self._unheard.keep_tried(unheard)
                continue
            except BaseException:
                self._unheard.keep_settling(unheard)
                raise
            if settlement.status is Settled.FENCED and settlement.record is None:
                self._unheard.keep_tried(unheard)  # the call may still reach a store that stood still
            elif settlement:
                given += 1
                _log.info("GIVEN BACK %s: its admission wasn't heard", names(unheard.permit))
        return given

    def settle(self, permit: Permit, outcome: Outcome) -> Dialogue[Settlement]:
        """Reports an outcome. A store failure is part of the answer; it is never raised."""
        if not isinstance(permit, Permit):  # a verdict is given easily, and None after a denial
            raise InvalidField("permit", permit, "is no Permit; give the permit of a verdict that admits")
        if permit.token == UNCLAIMED:
            return Settlement(Settled.OBSERVED)
        try:
            reply, replayed = yield from self.scripted("settle", self.protocol.settle(permit, outcome))
            settlement = decode_settlement(reply, permit.intent_id)
        except StoreFailure as failure:
            if permit.without_store and outcome.retryable:
                return self._nothing_without_store(permit)
            away = isinstance(failure, StoreUnavailable)
            detail = str(failure) if away else explain_error(str(failure))
            _not_reported(permit, outcome, detail)
            return Settlement(Settled.STORE_UNAVAILABLE if away else Settled.STORE_ERROR, detail=detail)
        if settlement.record is not None:
            self.saw(settlement.record.fence)
            if settlement.status is Settled.SETTLED and not permit.observed:
                yield from self._symbols.note(permit.symbol)
        removes = outcome.retryable and outcome.kind in (OutcomeKind.REJECTED, OutcomeKind.UNSENT)
        if replayed and removes and settlement.status is Settled.FENCED:
            # The first call, whose reply was lost, has removed the record. Another permit may own a new one by now.
            return Settlement(Settled.ALREADY)
        return settlement

    def inspect(self, intent: Intent, tries: int = _TRIES) -> Dialogue[Inspection]:
        """Returns every guard's answer; writes nothing. Raises InvalidIntent and StoreFailure, also where all guards
        pass on a server that takes no verdict."""
        protocol = self.protocol
        try:
            reply, _ = yield from self.scripted("inspect", protocol.inspect(intent))
        except StoreError as error:
            raise StoreError(explain_error(str(error))) from None
        if self.follows and tries > 1 and reply[1] not in (b"", protocol.policy_fingerprint.encode()):
            yield from self.learn()
            if self.protocol is not protocol:
                return (yield from self.inspect(intent, tries - 1))
        found = protocol.replies.decode_inspection(reply, intent)
        if found.admitted and (why := (yield from self.refusal_of_writes())):
            raise StoreError(why)
        return found

    def refusal_of_writes(self) -> Dialogue[str]:
        """Why the server takes no verdict now, and what to do. Empty where it takes them, or where this user may not
        ask. Raises StoreUnavailable: where writes are paused, a server answers only what reads."""
        try:
            yield from self.scripted("takes_writes", self.protocol.takes_writes())
        except StoreFailure as failure:
            why = explain_refused_write(str(failure))
            if why is None and isinstance(failure, StoreUnavailable):
                raise
            return why or ""
        return ""

    def lookup(self, intent_id: str) -> Dialogue[Record | None]:
        """The record of an intent, or None. Raises StoreFailure."""
        key = self.keyspace.record(intent_id)
        try:
            reply = yield ("GET", key)
        except ReplyLost:
            reply = yield ("GET", key)
        except StoreError as error:
            raise StoreError(explain_error(f"{error} key={key}")) from None
        if reply is None:
            return None
        record = decode_record(intent_id, line_of(reply))
        self.saw(record.fence, record.line)
        return record

    def last_look(self, permit: Permit, needed_ms: int, placed_after: str | None = None) -> Dialogue[LastLook]:
        """Whether a permit still holds. Never raises for a store failure: then it doesn't."""
        try:
            if permit.token == UNCLAIMED:
                return _halted_look((yield from halt_in_force(self.keyspace)), permit)
            look = self.protocol.last_look(permit, needed_ms, placed_after)
            # An exit goes without the store: asking one that stands still once more would only hold it up.
            goes = permit.is_exit and self.policy.exits_without_store
            reply, _ = yield from self.scripted("last_look", look, late_is_final=goes)
            return decode_last_look(reply, placed_after, is_exit=permit.is_exit)
        except StoreFailure as failure:
            return LastLook(False, "STORE_LOST", explain_error(str(failure)))

    def ever_run(self) -> Dialogue[bool]:
        """Whether anything was ever admitted under the prefix. Raises StoreFailure."""
        try:
            fence = yield ("HGET", self.keyspace.state, "fence")
        except StoreError:
            return True  # damaged, so somebody has used it
        return fence not in (None, b"0")

    def scripted(self, name: str, command: Message, *, late_is_final: bool = False) -> Dialogue[tuple[Reply, bool]]:
        """Calls a script, the first command of a pipeline. Loads it when the server doesn't have it; repeats the call
        once when a reply is lost, unless it didn't come in time and `late_is_final`.

        The scripts recognise a repeated call by its token. Returns the reply, and whether it answers the repeated call.
        """
        replayed = loaded = False
        while True:
            try:
                return (yield command), replayed
            except StoreFailure as failure:
                missing, lost = isinstance(failure, ScriptMissing), isinstance(failure, ReplyLost)
                again = lost and not replayed and not (late_is_final and isinstance(failure, ReplyLate))
                if (missing and not loaded) or again:
                    loaded, replayed = loaded or missing, replayed or lost
                else:
                    failure.maybe_done = failure.maybe_done or replayed or lost
                    raise
            if not missing:
                continue
            try:
                yield ("SCRIPT", "LOAD", script(name).source)
            except ReplyLost:
                pass  # the server may have loaded the script all the same; the next call shows whether it did
            except StoreFailure as failure:
                failure.maybe_done = replayed
                raise

    def saw(self, fence: int, line: str = "") -> None:
        """Remembers the highest fence that the store has counted. A lower fence later shows that the store lost data.

        `line`: the record that has the fence; empty for the store's own count.
        """
        if self._fence_seen < fence < _NO_FENCE and not _is_of_the_clock(fence, line):
            self._fence_seen = fence


def _is_of_the_clock(fence: int, line: str) -> bool:
    """Whether it is an exit's from a damaged state: the moment of its admission in µs (lua/include/next_fence.lua). No
    counter comes near it, so once the state is mended, what it counts would look like a loss."""
    return line.split(" ", 5)[4:5] == [str(fence // 1000)]


def by_a_person(applied: bytes) -> list[bytes]:
    """The policy that a person has put in force: fingerprint, figures, at, by, reason."""
    fingerprint, at, figures, by, reason = (*applied.split(b"\n", 4), b"", b"", b"", b"")[:5]
    return [fingerprint, figures, at, by, reason]


def _halted_look(halt: Halt | None, permit: Permit) -> LastLook:
    """Whether a permit that has claimed nothing still holds: only a halt binds it."""
    if halt is None or (permit.is_exit and not halt.stops_exits):
        return LastLook(True, "HOLDS")
    return LastLook(False, "HALTED", str(halt))


def _halted(halt: str, failure: StoreFailure) -> _Halted:
    halted = _Halted(halt)
    halted.maybe_done = failure.maybe_done
    return halted


def _not_reported(permit: Permit, outcome: Outcome, why: str) -> None:
    told = names(permit, outcome=outcome.kind, detail=why)
    _log.warning("NOT REPORTED %s: the intent is in doubt until that is repeated, or it is reconciled", told)


def new_token() -> str:
    return secrets.token_urlsafe(12)
