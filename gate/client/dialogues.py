"""The operations of a gate as dialogues with the store: the commands that each sends, and how it reads the replies.

Every operation is a generator. It yields a command; the caller sends it the reply, or throws the failure into it. Gate
and AsyncGate only carry commands and replies over a wire. Retries, replays and decisions are written once, here, so the
two gates can't differ.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeVar

from msgspec import structs

from gate.client.clearing import Clearing, decode_look, together
from gate.client.copies import LOOK, Server, copies_of, followed_by_waits, server_of
from gate.client.denials import denied, unread
from gate.client.facts import facts_of_server
from gate.client.leftovers import Looked, calls_to_clear, find
from gate.client.observing import Observing, observers
from gate.client.symbols import AT_MOST as SYMBOLS_AT_MOST
from gate.client.symbols import NotingSymbols, keys_of_few, known_symbols
from gate.client.unheard import Unheard, UnheardCalls
from gate.protocol.codec import Protocol, decode_last_look, decode_settlement
from gate.protocol.explain import explain_error, explain_no_answer, explain_refusal
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Message, Pipeline, script
from gate.protocol.texts import brief, line_of, whole_or_none
from gate.store.failures import Forbidden, ReplyLost, ScriptMissing
from gate.store.wire import Reply
from gate.values.errors import (
    InvalidField,
    InvalidIntent,
    InvalidPolicy,
    StoreError,
    StoreFailure,
    StoreUnavailable,
    cut,
)
from gate.values.fields import check_sentence
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.last_look import LastLook
from gate.values.leftovers import Leftovers
from gate.values.log_words import log_of, names, pairs
from gate.values.outcome import NOT_PLACED, Outcome, OutcomeKind, Settled, Settlement
from gate.values.policy import Policy, PolicyInForce, policy_of_figures
from gate.values.record import Phase, Record, decode_record
from gate.values.reports import Absence, Act, Copies, DoubtfulPermit, Halt, InDoubt, Inspection, Observer, StillOut
from gate.values.verdict import Permit, Verdict

T = TypeVar("T")
Dialogue = Generator[Message, Reply, T]

SCOPES: Final = ("entries", "all")
HALT_FIELDS: Final = ("scope", "by", "reason", "at")
RESETS: Final = ("safe_mode", "cooldowns", "failures", "all")
_GIVEN_BACK_AT_ONCE: Final = 64
_ABSENCES_AT_ONCE: Final = 1_000
_SETTLED_AS_ABSENT: Final = b"settled as absent"  # lua/settle.lua
_NOBODY_HEARD: Final = Outcome.unsent("UNHEARD", "the answer to the evaluation was lost")
_REPLAYED: Final = 2
_TRIES: Final = 4
"""How often an intent is judged where the store names another policy each time. A person changes it seldom."""
_ANSWER_LOST: Final = "the answer was lost; repeat it"
_UNCLAIMED: Final = ""  # the token of a permit that has claimed nothing
_NO_FENCE: Final = 2**53  # Lua can't count by one beyond 2**53, so a fence that reaches it is damage
_UNREADABLE: Final = Halt("?", "?", "its key was damaged", None)
_log: Final = log_of("gate")


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
            self._follow(fingerprint, policy)
        return PolicyInForce(cut(fingerprint), policy, problem, whole_or_none(at), by, reason, applied is not None)

    def in_force(self, fingerprint: str, figures: str | None) -> Policy | None:
        """The policy in force, from the state's fields; None where its figures can't be read. Follows it."""
        try:
            policy = policy_of_figures(fingerprint, figures or "")
        except InvalidPolicy:
            return None
        self._follow(fingerprint, policy)
        return policy

    def _take_over(self, told: str) -> bool:
        """Follows the policy of which a reply tells, `fingerprint figures`. False where that changes nothing."""
        fingerprint, _, figures = told.partition(" ")
        try:
            return self._follow(fingerprint, policy_of_figures(fingerprint, figures))
        except InvalidPolicy as unreadable:
            _log.error("POLICY NOT FOLLOWED %s", pairs(policy=fingerprint, detail=unreadable))
            return False

    def _follow(self, fingerprint: str, policy: Policy) -> bool:
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
            token, started_ns = _new_token(), time.monotonic_ns()
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
                if not intent.is_exit:
                    return Verdict(False, Reason.STORE_UNAVAILABLE, explain_no_answer(str(unavailable)))
            except BaseException:
                if known:
                    self._unheard.keep(known)
                raise
        try:
            reply, replayed = yield from self._scripted("evaluate", command)
        except StoreFailure as failure:
            # A script breaks off half way only where a right is taken from its user.
            if failure.maybe_done or isinstance(failure, Forbidden):
                self._unheard.keep(unheard)
            if isinstance(failure, StoreError):
                return denied(intent, Verdict(False, Reason.STORE_ERROR, explain_refusal(str(failure))))
            return denied(intent, Verdict(False, Reason.STORE_UNAVAILABLE, explain_no_answer(str(failure))))
        except BaseException:
            self._unheard.keep(unheard)  # cancelled while the command was under way
            raise
        told = protocol.tells_of_another_policy(reply, intent) if self.follows else None
        if told is not None:
            if told and tries > 1 and (self._take_over(told) or protocol is not self.protocol):
                # Nothing was claimed. The same intent again, by the policy in force.
                return (yield from self.evaluate(intent, reserve, placed_after, tries - 1))
            if not told:
                try:
                    yield from self._learn()
                except BaseException:
                    self._unheard.keep(unheard)  # cancelled, and the exit is admitted
                    raise
        try:
            verdict = protocol.decode_verdict(reply, intent, margin, started_ns, placed_after)
        except StoreError as unreadable:
            self._unheard.keep(unheard)  # it may have admitted the intent all the same
            return denied(intent, Verdict(False, Reason.STORE_ERROR, explain_refusal(str(unreadable))))
        if verdict.permit is not None and verdict.permit.token not in (token, _UNCLAIMED):
            # This is the answer to another call. Nobody may act on it.
            self._unheard.keep(unheard)
            return denied(intent, Verdict(False, Reason.STORE_ERROR, "the store answered with another permit's token"))
        if verdict.prior is not None:
            self.saw(verdict.prior.fence)
        if self._observer is not None:
            try:
                yield from self._observer.note()
            except BaseException:
                self._unheard.keep(unheard)  # cancelled: nobody hears of the permit
                raise
        if verdict.permit is None:
            return denied(intent, verdict)
        self.saw(verdict.permit.fence)
        if not verdict.permit.live:
            # The permit ran out before the caller got it, so nobody has acted on it. Settling it as unsent lets the
            # intent come again.
            yield from self.settle(verdict.permit, Outcome.unsent("EXPIRED", "the answer came after the deadline"))
            detail = explain_no_answer("the store's answer came after the permit had run out")
            return denied(intent, Verdict(False, Reason.STORE_UNAVAILABLE, detail))
        # Of a call that has been asked before, the verdict may be as old as the first one. And something was waited for
        # since, where the policy was read or an observer has left its name.
        older = replayed or known is not None or told is not None or self._observer is not None
        return structs.replace(verdict, look=None) if older else verdict

    def _learn(self) -> Dialogue[None]:
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
        token = known.token if known else _new_token()
        return self.protocol.permit_without_store(intent, token, time.time_ns() // 1_000_000, time.monotonic_ns())

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
                reply, _ = yield from self._scripted("settle", self.protocol.settle(unheard.permit, _NOBODY_HEARD))
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
        if permit.token == _UNCLAIMED:
            return Settlement(Settled.OBSERVED)
        try:
            reply, replayed = yield from self._scripted("settle", self.protocol.settle(permit, outcome))
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
            reply, _ = yield from self._scripted("inspect", protocol.inspect(intent))
        except StoreError as error:
            raise StoreError(explain_error(str(error))) from None
        if self.follows and tries > 1 and reply[1] not in (b"", protocol.policy_fingerprint.encode()):
            yield from self._learn()
            if self.protocol is not protocol:
                return (yield from self.inspect(intent, tries - 1))
        found = protocol.decode_inspection(reply, intent)
        if found.admitted and (refuses := (yield from facts_of_server()).refuses_writes):
            raise StoreError(refuses)
        return found

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
        self.saw(record.fence)
        return record

    def last_look(self, permit: Permit, needed_ms: int, placed_after: str | None = None) -> Dialogue[LastLook]:
        """Whether a permit still holds. Never raises for a store failure: then it doesn't."""
        try:
            if permit.token == _UNCLAIMED:
                return _halted_look((yield from self.halt_in_force()), permit)
            reply, _ = yield from self._scripted("last_look", self.protocol.last_look(permit, needed_ms, placed_after))
            return decode_last_look(reply, placed_after, is_exit=permit.is_exit)
        except StoreFailure as failure:
            return LastLook(False, "STORE_LOST", explain_error(str(failure)))

    def in_doubt(self, at_most: int, skip: int) -> Dialogue[InDoubt]:
        """Permits past their deadline without a final outcome, the oldest first. Raises StoreFailure."""
        seconds, micros = yield ("TIME",)
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        members = yield from self._past_deadlines(now_ms, at_most, skip)
        permits, lapsed = [], []
        if self.follows and members:
            yield from self._learn()  # how old the intents of these may be is a figure of the policy
        records = yield from self._records_or_copies(members)
        for intent_id in members:
            record = records.get(intent_id)
            if record is None:
                lapsed.append(intent_id)
            elif record.deadline_ms is not None:
                permits.append(DoubtfulPermit(record, self.protocol.permit_of(record)))
        return InDoubt(tuple(permits), tuple(lapsed), now_ms)

    def _past_deadlines(self, now_ms: int, at_most: int, skip: int) -> Dialogue[list[str]]:
        """The intents of permits past their deadline, entries and exits, the oldest first."""
        found: list[tuple[float, str]] = []
        for key in (self.keyspace.inflight, self.keyspace.exits):
            try:
                said = yield ("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, skip + at_most, "WITHSCORES")
            except StoreError as error:
                raise StoreError(explain_error(f"{error} key={key}")) from None
            ids = [brief(member.partition(b":")[2]) for member in said[::2]]
            found += zip(map(float, said[1::2]), ids, strict=True)
        return [intent_id for _, intent_id in sorted(found)[skip : skip + at_most]]

    def absences(self, within_ms: int, known: Collection[str]) -> Dialogue[tuple[Absence, ...]]:
        """What was settled as absent lately, the newest first, from the audit. Raises StoreFailure."""
        found, learns = [], self.follows
        seconds, micros = yield ("TIME",)
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        entries = []
        for key in (self.keyspace.audit, self.keyspace.journal):
            try:
                entries += yield ("XREVRANGE", key, "+", max(0, now_ms - within_ms), "COUNT", _ABSENCES_AT_ONCE)
            except StoreError as error:
                raise StoreError(explain_error(f"{error} key={key}")) from None
        entries.sort(key=lambda each: [int(part) for part in each[0].split(b"-")], reverse=True)
        for entry, parts in entries[:_ABSENCES_AT_ONCE]:
            fields = dict(zip(parts[::2], parts[1::2], strict=True))
            if fields.get(b"what") != _SETTLED_AS_ABSENT:
                continue
            number, permit = entry.decode(), None
            if number not in known:
                if learns:
                    yield from self._learn()  # as in in_doubt
                    learns = False
                permit = yield from self._permit_of_absent(brief(fields.get(b"reason", b"")))
            found.append(Absence(number, max(0, now_ms - int(number.partition("-")[0])), permit))
        return tuple(found)

    def _permit_of_absent(self, intent_id: str) -> Dialogue[Permit | None]:
        record = yield from self.lookup(intent_id)
        if record is None or record.phase is not Phase.REJECTED or record.code != NOT_PLACED:
            return None
        permit = self.protocol.permit_of(record)
        return structs.replace(permit, deadline_ms=record.admitted_ms + self.policy.lock_ttl_ms)

    def _records_or_copies(self, ids: Sequence[str]) -> Dialogue[dict[str, Record]]:
        """The records of permits; of those that have lapsed, the copies in the state. Raises StoreFailure."""
        found: dict[str, Record] = {}
        if not ids:
            return found
        keys = [self.keyspace.record(intent_id) for intent_id in ids]
        replies = yield from self._asked_again(Pipeline(tuple(("GET", key) for key in keys)))
        for intent_id, key, reply in zip(ids, keys, replies, strict=True):
            if isinstance(reply, StoreError):
                raise StoreError(explain_error(f"{reply} key={key}"))
            if isinstance(reply, StoreUnavailable):
                raise reply
            if reply is not None:
                found[intent_id] = decode_record(intent_id, line_of(reply))
        copies = yield from self.copies_in_state([intent_id for intent_id in ids if intent_id not in found])
        found |= {each: copy for each, copy in copies.items() if copy.deadline_ms is not None}
        for record in found.values():
            self.saw(record.fence)
        return found

    def copies_in_state(self, ids: Sequence[str]) -> Dialogue[dict[str, Record]]:
        """The copies of unsettled permits' records in the state key, which outlive the records. Of those that have one.

        None where the state is damaged: status shows that, and the permits themselves must stay visible.
        """
        if not ids:
            return {}
        fields = (self.keyspace.permit_field(intent_id) for intent_id in ids)
        try:
            replies = yield from self._asked_again(("HMGET", self.keyspace.state, *fields))
        except StoreError:
            return {}
        return {
            intent_id: decode_record(intent_id, line_of(reply))
            for intent_id, reply in zip(ids, replies, strict=True)
            if reply is not None
        }

    def _asked_again(self, question: Message) -> Dialogue[Reply]:
        """The reply; asks once more where the first one is lost."""
        try:
            return (yield question)
        except ReplyLost:
            return (yield question)

    def ever_run(self) -> Dialogue[bool]:
        """Whether anything was ever admitted under the prefix. Raises StoreFailure."""
        try:
            fence = yield ("HGET", self.keyspace.state, "fence")
        except StoreError:
            return True  # damaged, so somebody has used it
        return fence not in (None, b"0")

    def halt_in_force(self) -> Dialogue[Halt | None]:
        """The halt that is on, or None. A halt with a damaged key has `?` in its fields. Raises StoreFailure."""
        key = self.keyspace.halt
        if (yield ("EXISTS", key)) == 0:
            return None
        try:
            parts = yield ("HMGET", key, *HALT_FIELDS)
        except StoreError:
            return _UNREADABLE
        return halt_of([None if part is None else brief(part) for part in parts])

    def clearing(self, scope: str) -> Clearing:
        """The looks that follow a halt of that scope. Raises InvalidField."""
        _one_of("scope", scope, SCOPES)
        return Clearing(scope, self.policy.lock_ttl_ms)

    def still_out(self, clearing: Clearing) -> Dialogue[StillOut]:
        """What may still reach the exchange, of enforcing and of observing callers. Raises StoreFailure."""
        looks = []
        for observing in (False, True):
            command = self.protocol.still_out(clearing.since_ms, clearing.exits_too, observing=observing)
            try:
                reply, _ = yield from self._scripted("still_out", command)
            except StoreError as error:
                raise StoreError(explain_error(str(error))) from None
            looks.append(decode_look(reply))
        return clearing.see(together(*looks))

    def halt(self, by: str, reason: str, scope: str) -> Dialogue[Act]:
        """Stops entries, or everything. Raises InvalidField, StoreFailure."""
        _one_of("scope", scope, SCOPES)
        audited, in_force, copies = yield from self._control("halt", by, reason, scope)
        return Act("halt", audited, changed=in_force, copies=copies)

    def resume(self, by: str, reason: str) -> Dialogue[Act]:
        """Ends a halt. Raises InvalidField, StoreFailure."""
        check_sentence("by", by)
        check_sentence("reason", reason)
        known = yield from self.halt_in_force()
        at = "-" if known is None else str(known.at_ms or "")
        audited, before, copies = yield from self._control("resume", by, reason, at)
        return Act("resume", audited, before=_first(before), copies=copies)

    def reset(self, what: str, by: str, reason: str) -> Dialogue[Act]:
        """Switches off safe mode, cooldowns or the failure count. Raises InvalidField, StoreFailure."""
        _one_of("what", what, RESETS)
        cooldowns: tuple[str, ...] = ()
        if what in ("cooldowns", "all"):
            cooldowns = yield from self._cooldowns()
        audited, cleared, copies = yield from self._control("reset", by, reason, what, cooldowns)
        return Act("reset", audited, changed=cleared, copies=copies)

    def apply_policy(self, policy: Policy | None, by: str, reason: str, expected: str) -> Dialogue[Act]:
        """Puts a policy in force for the account. Raises InvalidField, StoreFailure."""
        if policy is None and self.follows:
            raise InvalidField(
                "policy", None, "is needed: this caller has none of its own, and follows the one in force"
            )
        policy = policy or self.policy
        applied = Protocol(self.keyspace, policy)
        what = applied.policy_fingerprint
        audited, before, copies = yield from self._control("policy", by, reason, what, (), applied, expected)
        self._follow(what, policy)
        return Act("policy", audited, before=_first(before), changed=(what,), copies=copies)

    def init(self, by: str, reason: str) -> Dialogue[Act]:
        """Says that no order of an earlier memory is on its way. Raises InvalidField, StoreFailure."""
        audited, before, copies = yield from self._control("init", by, reason, "")
        return Act("init", audited, before=_first(before), copies=copies)

    def observers(self) -> Dialogue[tuple[Observer, ...]]:
        """Who has observed the account in the last day. Raises StoreUnavailable."""
        return (yield from observers(self.keyspace.observers))

    def leftovers(self, looked: Looked | None) -> Dialogue[Leftovers]:
        """What the replaced system has left under the account's names. Raises StoreFailure."""
        return (yield from find(Keyspace(self.keyspace.prefix), looked))

    def clear_leftovers(self, found: Leftovers, by: str, reason: str, *, others: bool) -> Dialogue[Act]:
        """Clears them. Raises InvalidField, StoreFailure."""
        check_sentence("by", by)
        check_sentence("reason", reason)
        account, lapse_ms = Keyspace(self.keyspace.prefix), self.policy.dedup_ttl_ms
        audited, cleared = True, list[str]()
        for command in calls_to_clear(account, found.found, by, reason, lapse_ms, others=others):
            reply, _ = yield from self._scripted("leftovers", command)
            audited = audited and bool(reply[0])
            cleared.extend(map(line_of, reply[1:]))
        return Act("leftovers", audited, changed=tuple(cleared))

    def _cooldowns(self) -> Dialogue[tuple[str, ...]]:
        """The keys of the cooldowns that are on; on a server of many keys, of symbols that are known. Raises
        StoreFailure."""
        found = yield from keys_of_few(self.keyspace.cooldown_symbol_prefix + "*")
        if found is not None:
            return tuple(found)
        symbols = set((yield from known_symbols(self.keyspace.symbols)))
        try:
            members = yield ("ZRANGE", self.keyspace.inflight, 0, SYMBOLS_AT_MOST - 1)
        except StoreError:
            members = []
        ids = [brief(member.partition(b":")[2]) for member in members[:SYMBOLS_AT_MOST]]
        symbols |= {record.symbol for record in (yield from self.copies_in_state(ids)).values() if record.symbol}
        keys = [self.keyspace.cooldown_symbol(symbol) for symbol in sorted(symbols)]
        if not keys:
            return ()
        there = yield Pipeline(tuple(("EXISTS", key) for key in keys))
        return tuple(key for key, count in zip(keys, there, strict=True) if count != 0)

    def _control(
        self,
        act: str,
        by: str,
        reason: str,
        what: str,
        cooldowns: tuple[str, ...] = (),
        protocol: Protocol | None = None,
        expected: str = "",
    ) -> Dialogue[tuple[bool, tuple[str, ...], Copies]]:
        """Whether the act is audited, what it has changed, and where it is kept. Waits for replicas and disk."""
        check_sentence("by", by)
        check_sentence("reason", reason)
        try:
            server = server_of((yield LOOK))
        except StoreFailure as failure:
            server = Server(doubt=str(failure))  # the act must not fail because of a look
        command = (protocol or self.protocol).control(
            act, by, reason, _new_token(), what, cooldowns, expected, server.user
        )
        pipeline = followed_by_waits(command, server)
        try:
            replies, _ = yield from self._scripted("control", pipeline)
            if isinstance(replies[0], StoreError):
                raise replies[0]
        except StoreError as error:
            raise StoreError(explain_error(str(error))) from None
        (audited, *rest), copies = replies[0], copies_of(server, pipeline, replies)
        if audited == _REPLAYED:
            written = rest == [1]
            return True, (), copies if written else Copies(copies.replicas, doubt=_ANSWER_LOST)
        return bool(audited), tuple(map(line_of, rest)), copies

    def _scripted(self, name: str, command: Message) -> Dialogue[tuple[Reply, bool]]:
        """Calls a script, the first command of a pipeline. Loads it when the server doesn't have it; repeats the call
        once when a reply is lost.

        The scripts recognise a repeated call by its token. Returns the reply, and whether it answers the repeated call.
        """
        replayed = loaded = False
        while True:
            try:
                return (yield command), replayed
            except StoreFailure as failure:
                missing, lost = isinstance(failure, ScriptMissing), isinstance(failure, ReplyLost)
                if (missing and not loaded) or (lost and not replayed):
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

    def saw(self, fence: int) -> None:
        """Remembers the highest fence that the store has given. A lower fence later shows that the store lost data."""
        if self._fence_seen < fence < _NO_FENCE:
            self._fence_seen = fence


def halt_of(parts: Sequence[str | None]) -> Halt:
    """A halt from HALT_FIELDS. One without a scope stops entries."""
    scope, by, reason, at = parts
    return Halt(scope or "entries", by or "?", reason or "?", whole_or_none(at))


def by_a_person(applied: bytes) -> list[bytes]:
    """The policy that a person has put in force: fingerprint, figures, at, by, reason."""
    fingerprint, at, figures, by, reason = (*applied.split(b"\n", 4), b"", b"", b"", b"")[:5]
    return [fingerprint, figures, at, by, reason]


def _halted_look(halt: Halt | None, permit: Permit) -> LastLook:
    """Whether a permit that has claimed nothing still holds: only a halt binds it."""
    if halt is None or (permit.is_exit and halt.scope not in ("all", "?")):
        return LastLook(True, "HOLDS")
    return LastLook(False, "HALTED", f"{halt.scope} halted by {halt.by}: {halt.reason}")


def _not_reported(permit: Permit, outcome: Outcome, why: str) -> None:
    told = names(permit, outcome=outcome.kind, detail=why)
    _log.warning("NOT REPORTED %s: the intent is in doubt until that is repeated, or it is reconciled", told)


def _first(parts: tuple[str, ...]) -> str | None:
    return parts[0] or None if parts else None


def _new_token() -> str:
    return secrets.token_urlsafe(12)


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidField(field, value, f"is not one of {', '.join(allowed)}")
