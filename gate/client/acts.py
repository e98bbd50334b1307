"""What a person does to an account, and what may still be on its way after a halt."""

from __future__ import annotations

from typing import Final

from gate.client.caller import Caller, new_token
from gate.client.clearing import Clearing, decode_look, together
from gate.client.copies import Server, copies_of, followed_by_waits, look_at, server_of
from gate.client.doubtful import copies_in_state
from gate.client.halts import halt_in_force
from gate.client.scripted import scripted
from gate.client.symbols import AT_MOST, Unseen, keys_of_few, known_symbols
from gate.protocol.codec import Protocol
from gate.protocol.explain import explain_error
from gate.protocol.scripts import Pipeline
from gate.protocol.texts import intent_id_of, line_of
from gate.store.wire import Dialogue
from gate.values.errors import InvalidField, StoreError, StoreFailure
from gate.values.fields import check_sentence
from gate.values.policy import Policy
from gate.values.reports import Act, Copies, StillOut

SCOPES: Final = ("entries", "all")
RESETS: Final = ("safe_mode", "cooldowns", "failures", "all")
_REPLAYED: Final = 2
_ANSWER_LOST: Final = "the answer was lost; repeat it"


def halt(caller: Caller, by: str, reason: str, scope: str) -> Dialogue[Act]:
    """Stops entries, or everything. Raises InvalidField, StoreFailure."""
    _one_of("scope", scope, SCOPES)
    audited, in_force, copies = yield from _control(caller, "halt", by, reason, scope)
    return Act("halt", audited, changed=in_force, copies=copies)


def clearing(caller: Caller, scope: str) -> Clearing:
    """The looks that follow a halt of that scope. Raises InvalidField."""
    _one_of("scope", scope, SCOPES)
    return Clearing(scope, caller.policy.lock_ttl_ms)


def still_out(caller: Caller, clearing: Clearing) -> Dialogue[StillOut]:
    """What may still reach the exchange, of enforcing and of observing callers. Raises StoreFailure."""
    looks = []
    for observing in (False, True):
        command = caller.protocol.still_out(clearing.since_ms, clearing.exits_too, observing=observing)
        try:
            reply, _ = yield from scripted("still_out", command)
        except StoreError as error:
            raise StoreError(explain_error(str(error))) from None
        looks.append(decode_look(reply))
    return clearing.see(together(*looks))


def resume(caller: Caller, by: str, reason: str) -> Dialogue[Act]:
    """Ends a halt. Raises InvalidField, StoreFailure."""
    check_sentence("by", by)
    check_sentence("reason", reason)
    known = yield from halt_in_force(caller.keyspace)
    at = "-" if known is None else str(known.at_ms or "")
    audited, before, copies = yield from _control(caller, "resume", by, reason, at)
    return Act("resume", audited, before=_first(before), changed=tuple(filter(None, before)), copies=copies)


def note_flatten(caller: Caller, what: str, by: str, reason: str) -> Dialogue[Act]:
    """Audits what was cancelled and closed at the exchange. Raises InvalidField, StoreFailure."""
    check_sentence("what", what)
    audited, _, copies = yield from _control(caller, "flatten", by, reason, what)
    return Act("flatten", audited, copies=copies)


def reset(caller: Caller, what: str, by: str, reason: str) -> Dialogue[Act]:
    """Switches off safe mode, cooldowns or the failure count. Raises InvalidField, StoreFailure."""
    _one_of("what", what, RESETS)
    cooldowns: tuple[str, ...] = ()
    if what in ("cooldowns", "all"):
        cooldowns = yield from _cooldowns(caller)
    audited, cleared, copies = yield from _control(caller, "reset", by, reason, what, cooldowns)
    return Act("reset", audited, changed=cleared, copies=copies)


def apply_policy(caller: Caller, policy: Policy | None, by: str, reason: str, expected: str) -> Dialogue[Act]:
    """Puts a policy in force for the account. Raises InvalidField, StoreFailure."""
    if policy is None and caller.follows:
        raise InvalidField("policy", None, "is needed: this caller has none of its own, and follows the one in force")
    policy = policy or caller.policy
    applied = Protocol(caller.keyspace, policy)
    what = applied.policy_fingerprint
    audited, before, copies = yield from _control(caller, "policy", by, reason, what, (), applied, expected)
    caller.follow(what, policy)
    return Act("policy", audited, before=_first(before), changed=(what,), copies=copies)


def init(caller: Caller, by: str, reason: str) -> Dialogue[Act]:
    """Says that no order of an earlier memory is on its way. Raises InvalidField, StoreFailure."""
    audited, before, copies = yield from _control(caller, "init", by, reason, "")
    return Act("init", audited, before=_first(before), copies=copies)


def _cooldowns(caller: Caller) -> Dialogue[tuple[str, ...]]:
    """The keys of the cooldowns that are on; on a server of many keys, of symbols that are known. Raises
    StoreFailure."""
    found = yield from keys_of_few(caller.keyspace.cooldown_symbol_prefix + "*")
    if not isinstance(found, Unseen):
        return tuple(found)
    symbols = set((yield from known_symbols(caller.keyspace.symbols)))
    try:
        members = yield ("ZRANGE", caller.keyspace.inflight, 0, AT_MOST - 1)
    except StoreError:
        members = []
    ids = [intent_id_of(member) for member in members[:AT_MOST]]
    symbols |= {record.symbol for record in (yield from copies_in_state(caller, ids)).values() if record.symbol}
    keys = [caller.keyspace.cooldown_symbol(symbol) for symbol in sorted(symbols)]
    if not keys:
        return ()
    there = yield Pipeline(tuple(("EXISTS", key) for key in keys))
    return tuple(key for key, count in zip(keys, there, strict=True) if count != 0)


def _control(
    caller: Caller,
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
        server = server_of((yield look_at(caller.keyspace)))
    except StoreFailure as failure:
        server = Server(doubt=str(failure))  # the act must not fail because of a look
    command = (protocol or caller.protocol).control(
        act, by, reason, new_token(), what, cooldowns, expected, server.user
    )
    pipeline = followed_by_waits(command, server)
    try:
        replies, _ = yield from scripted("control", pipeline)
        if isinstance(replies[0], StoreError):
            raise replies[0]
    except StoreError as error:
        raise StoreError(explain_error(str(error))) from None
    (audited, *rest), copies = replies[0], copies_of(server, pipeline, replies)
    if audited == _REPLAYED:
        written = rest == [1]
        return True, (), copies if written else Copies(copies.replicas, doubt=_ANSWER_LOST)
    return bool(audited), tuple(map(line_of, rest)), copies


def _first(parts: tuple[str, ...]) -> str | None:
    return parts[0] or None if parts else None


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidField(field, value, f"is not one of {', '.join(allowed)}")
