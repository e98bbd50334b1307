"""Looks at one intent that claim nothing: every guard's answer, its record, whether its permit still holds."""

from __future__ import annotations

from gate.client.caller import Caller
from gate.client.halts import halt_in_force
from gate.client.policies import TRIES, learn
from gate.client.scripted import scripted
from gate.protocol.explain import explain_error, explain_refused_write
from gate.protocol.last_look import decode_last_look
from gate.protocol.permits import UNCLAIMED
from gate.protocol.texts import line_of
from gate.store.failures import ReplyLost
from gate.store.wire import Dialogue
from gate.values.errors import StoreError, StoreFailure, StoreUnavailable
from gate.values.intent import Intent
from gate.values.last_look import STORE_LOST, LastLook
from gate.values.record import Record, decode_record
from gate.values.reports import Halt, Inspection
from gate.values.verdict import Permit


def inspect(caller: Caller, intent: Intent, tries: int = TRIES) -> Dialogue[Inspection]:
    """Returns every guard's answer; writes nothing. Raises InvalidIntent and StoreFailure, also where all guards
    pass on a server that takes no verdict."""
    protocol = caller.protocol
    try:
        reply, _ = yield from scripted("inspect", protocol.inspect(intent))
    except StoreError as error:
        raise StoreError(explain_error(str(error))) from None
    if caller.follows and tries > 1 and reply[1] not in (b"", protocol.policy_fingerprint.encode()):
        yield from learn(caller)
        if caller.protocol is not protocol:
            return (yield from inspect(caller, intent, tries - 1))
    found = protocol.replies.decode_inspection(reply, intent)
    if found.admitted and (why := (yield from refusal_of_writes(caller))):
        raise StoreError(why)
    return found


def refusal_of_writes(caller: Caller) -> Dialogue[str]:
    """Why the server takes no verdict now, and what to do. Empty where it takes them, or where this user may not
    ask. Raises StoreUnavailable: where writes are paused, a server answers only what reads."""
    try:
        yield from scripted("takes_writes", caller.protocol.takes_writes())
    except StoreFailure as failure:
        why = explain_refused_write(str(failure))
        if why is None and isinstance(failure, StoreUnavailable):
            raise
        return why or ""
    return ""


def lookup(caller: Caller, intent_id: str) -> Dialogue[Record | None]:
    """The record of an intent, or None. Raises StoreFailure."""
    key = caller.keyspace.record(intent_id)
    try:
        reply = yield ("GET", key)
    except ReplyLost:
        reply = yield ("GET", key)
    except StoreError as error:
        raise StoreError(explain_error(f"{error} key={key}")) from None
    if reply is None:
        return None
    record = decode_record(intent_id, line_of(reply))
    caller.saw(record.fence, record.line)
    return record


def last_look(caller: Caller, permit: Permit, needed_ms: int, placed_after: str | None = None) -> Dialogue[LastLook]:
    """Whether a permit still holds. Never raises for a store failure: then it doesn't."""
    try:
        if permit.token == UNCLAIMED:
            return _halted_look((yield from halt_in_force(caller.keyspace)), permit)
        look = caller.protocol.last_look(permit, needed_ms, placed_after)
        # An exit goes without the store: asking one that stands still once more would only hold it up.
        goes = permit.is_exit and caller.policy.exits_without_store
        reply, _ = yield from scripted("last_look", look, late_is_final=goes)
        return decode_last_look(reply, placed_after, is_exit=permit.is_exit)
    except StoreFailure as failure:
        return LastLook(False, STORE_LOST, explain_error(str(failure)))


def ever_run(caller: Caller) -> Dialogue[bool]:
    """Whether anything was ever admitted under the prefix. Raises StoreFailure."""
    try:
        fence = yield ("HGET", caller.keyspace.state, "fence")
    except StoreError:
        return True  # damaged, so somebody has used it
    return fence not in (None, b"0")


def _halted_look(halt: Halt | None, permit: Permit) -> LastLook:
    """Whether a permit that has claimed nothing still holds: only a halt binds it."""
    if halt is None or (permit.is_exit and not halt.stops_exits):
        return LastLook(True, "HOLDS")
    return LastLook(False, "HALTED", str(halt))
