"""The verdict on an intent, and the permit of an exit that the store couldn't judge."""

from __future__ import annotations

import time
from collections.abc import Mapping
from decimal import Decimal

from msgspec import structs

from gate.client.caller import Caller, new_token
from gate.client.denials import denied, unread
from gate.client.halts import halt_question, stops_exits
from gate.client.policies import TRIES, learn
from gate.client.scripted import scripted
from gate.client.settling import settle, try_to_give_back
from gate.client.unheard import Unheard
from gate.protocol import permits
from gate.protocol.explain import explain_no_answer, explain_refusal
from gate.protocol.replies import tells_of_another_policy
from gate.protocol.scripts import Encoded, Pipeline
from gate.store.failures import Forbidden, ReplyLate, ScriptMissing
from gate.store.wire import Dialogue, Reply
from gate.values.errors import InvalidField, InvalidIntent, StoreError, StoreFailure, StoreUnavailable
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.outcome import Outcome
from gate.values.verdict import Permit, Verdict


class _Halted(StoreFailure):
    """The store can't judge an exit, but it tells of a person's halt that stops exits too."""


def evaluate(
    caller: Caller,
    asked: Intent | Mapping[str, object],
    reserve: Decimal | None = None,
    placed_after: str | None = None,
    tries: int = TRIES,
) -> Dialogue[Verdict]:
    """Returns the verdict. Denies for bad input or a store failure; never raises for them."""
    try:
        intent = Intent.read(asked)
        if not isinstance(reserve, Decimal | None):
            raise InvalidIntent("reserve", reserve, "is not a Decimal")
        if not isinstance(placed_after, str | None):
            raise InvalidIntent("placed_after", placed_after, "is not a text")
        protocol = caller.protocol
        margin = protocol.reserve(intent) if reserve is None else reserve
        token, started_ns = new_token(), time.monotonic_ns()
        command = protocol.evaluate(intent, token, caller.fence_seen, margin, placed_after)
    except InvalidIntent as invalid:
        unread(asked, invalid)
        return Verdict(False, Reason.INVALID, str(invalid))
    known = caller.unheard.take(intent) if caller.unheard else None
    if known:
        token, started_ns = known.token, known.started_ns
        command = protocol.evaluate(intent, token, caller.fence_seen, margin, placed_after)
    unheard = Unheard(intent.id, intent.symbol, intent.side, intent.fingerprint, token, started_ns)
    if caller.unheard:
        # Before the verdict: what nobody has heard of may hold this symbol, and a full window trips a cooldown. An
        # exit waits only for what it holds itself.
        try:
            yield from try_to_give_back(caller, intent if intent.is_exit else None)
        except StoreUnavailable as unavailable:  # asking the same store again would double the time
            if known:
                caller.unheard.keep(known)
            why = explain_no_answer(str(unavailable))
            return (yield from _not_judged(caller, intent, Reason.STORE_UNAVAILABLE, why))
        except BaseException:
            if known:
                caller.unheard.keep(known)
            raise
    try:
        if intent.is_exit:
            reply, replayed = yield from _judge_exit(caller, command)
        else:
            reply, replayed = yield from scripted("evaluate", command)
    except StoreFailure as failure:
        # A script breaks off half way only where a right is taken from its user.
        if known or failure.maybe_done or isinstance(failure, Forbidden):
            caller.unheard.keep(unheard)
        if isinstance(failure, _Halted):
            return denied(intent, Verdict(False, Reason.HALTED, str(failure)))
        if isinstance(failure, StoreError):
            return denied(intent, Verdict(False, Reason.STORE_ERROR, explain_refusal(str(failure))))
        return denied(intent, Verdict(False, Reason.STORE_UNAVAILABLE, explain_no_answer(str(failure))))
    except BaseException:
        caller.unheard.keep(unheard)  # cancelled while the command was under way
        raise
    told = tells_of_another_policy(reply, intent) if caller.follows else None
    if told is not None:
        if told and tries > 1 and (caller.take_over(told) or protocol is not caller.protocol):
            # Nothing was claimed. The same intent again, by the policy in force.
            return (yield from evaluate(caller, intent, reserve, placed_after, tries - 1))
        if not told:
            try:
                yield from learn(caller)
            except BaseException:
                caller.unheard.keep(unheard)  # cancelled, and the exit is admitted
                raise
    try:
        verdict = protocol.replies.decode_verdict(reply, intent, margin, started_ns, placed_after)
    except StoreError as unreadable:
        caller.unheard.keep(unheard)  # it may have admitted the intent all the same
        return (yield from _not_judged(caller, intent, Reason.STORE_ERROR, explain_refusal(str(unreadable))))
    if verdict.permit is not None and verdict.permit.token not in (token, permits.UNCLAIMED):
        # This is the answer to another call. Nobody may act on it.
        caller.unheard.keep(unheard)
        other = "the store answered with another permit's token"
        return (yield from _not_judged(caller, intent, Reason.STORE_ERROR, other))
    if verdict.prior is not None:
        caller.saw(verdict.prior.fence, verdict.prior.line)
    if caller.observer is not None:
        try:
            yield from caller.observer.note()
        except BaseException:
            caller.unheard.keep(unheard)  # cancelled: nobody hears of the permit
            raise
    if verdict.permit is None:
        return denied(intent, verdict)
    caller.saw(verdict.permit.fence, verdict.permit.admission)
    if not verdict.permit.live:
        # The permit ran out before the caller got it, so nobody has acted on it. Settling it as unsent lets the
        # intent come again.
        yield from settle(caller, verdict.permit, Outcome.unsent("EXPIRED", "the answer came after the deadline"))
        detail = explain_no_answer("the store's answer came after the permit had run out")
        return (yield from _not_judged(caller, intent, Reason.STORE_UNAVAILABLE, detail))
    # Of a call that has been asked before, the verdict may be as old as the first one. And something was waited for
    # since, where the policy was read or an observer has left its name.
    older = replayed or known is not None or told is not None or caller.observer is not None
    return structs.replace(verdict, look=None) if older else verdict


def permit_without_store(caller: Caller, intent: Intent) -> Permit:
    """The permit of an exit after the store couldn't judge it. No I/O.

    Has the token of the evaluation whose answer was lost: where the store has admitted it, the outcome fits that
    record, and nobody gives the claim back while its order is out.
    """
    if not intent.is_exit:
        raise InvalidField("intent", intent.id, "is an entry; without the store only exits go")
    if not caller.policy.exits_without_store:
        raise InvalidField("exits_without_store", False, "is the policy's: no exit goes without the store")
    known = caller.unheard.take(intent)
    token = known.token if known else new_token()
    now_ms, now_ns = time.time_ns() // 1_000_000, time.monotonic_ns()
    return permits.permit_without_store(caller.keyspace, caller.policy, intent, token, now_ms, now_ns)


def _judge_exit(caller: Caller, command: Encoded) -> Dialogue[tuple[Reply, bool]]:
    """As `scripted`. An exit may go without the store, and so waits for it twice at most; but a halt of all binds
    it, of which a store that takes no writes may still tell. Raises _Halted then."""
    try:
        return (yield from scripted("evaluate", command, late_is_final=True))
    except ReplyLate:
        pass
    except StoreFailure as failure:
        if halt := (yield from _halt_of_exits(caller)):
            raise _halted(halt, failure) from None
        raise
    # Once more, and the halt beside it: where the store stands still, a third question would take as long again.
    # The halt first: while writes are paused, nothing behind an evaluation is answered. Of many exits at once only
    # the first hears of it so; the others ask again before they go.
    try:
        told, reply = yield Pipeline((halt_question(caller.keyspace), command))
    except StoreFailure as failure:
        failure.maybe_done = True
        raise
    if not isinstance(reply, StoreFailure):
        return reply, True
    reply.maybe_done = True
    if halt := stops_exits(caller.keyspace, told):
        raise _halted(halt, reply)
    if not isinstance(reply, ScriptMissing):
        raise reply
    try:
        reply, _ = yield from scripted("evaluate", command, late_is_final=True)
    except StoreFailure as failure:
        failure.maybe_done = True
        raise
    return reply, True


def _not_judged(caller: Caller, intent: Intent, reason: Reason, why: str) -> Dialogue[Verdict]:
    """The denial where the store gave no verdict. An exit may go all the same, unless a halt of all binds it."""
    halt = (yield from _halt_of_exits(caller)) if intent.is_exit else ""
    return denied(intent, Verdict(False, Reason.HALTED, halt) if halt else Verdict(False, reason, why))


def _halt_of_exits(caller: Caller) -> Dialogue[str]:
    try:
        told = yield halt_question(caller.keyspace)
    except StoreFailure as failure:
        told = failure
    return stops_exits(caller.keyspace, told)


def _halted(halt: str, failure: StoreFailure) -> _Halted:
    halted = _Halted(halt)
    halted.maybe_done = failure.maybe_done
    return halted
