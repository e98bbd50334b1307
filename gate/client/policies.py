"""The policy in force: which one it is, by whom and why, and that a caller follows it."""

from __future__ import annotations

from typing import Final

from gate.client.caller import Caller
from gate.protocol.explain import explain_error
from gate.protocol.texts import brief, line_of, whole_or_none
from gate.store.wire import Dialogue
from gate.values.errors import InvalidPolicy, StoreError, StoreFailure, cut
from gate.values.log_words import log_of, pairs
from gate.values.policy import PolicyInForce, policy_of_figures

TRIES: Final = 4
"""How often an intent is judged where the store names another policy each time. A person changes it seldom."""
_log: Final = log_of("gate")


def policy_in_force(caller: Caller) -> Dialogue[PolicyInForce | None]:
    """The policy in force, or None. A caller that follows takes it over. Raises StoreFailure."""
    fields = ("policy", "figures", "policy_at", "policy_by", "policy_reason")
    key = caller.keyspace.applied
    try:
        applied = yield ("GET", key)
        if applied is None:
            key = caller.keyspace.state
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
        caller.follow(fingerprint, policy)
    return PolicyInForce(cut(fingerprint), policy, problem, whole_or_none(at), by, reason, applied is not None)


def learn(caller: Caller) -> Dialogue[None]:
    """Follows the policy in force. A failure leaves it for another time."""
    try:
        yield from policy_in_force(caller)
    except StoreFailure as failure:
        _log.warning("POLICY NOT READ %s", pairs(detail=failure))


def by_a_person(applied: bytes) -> list[bytes]:
    """The policy that a person has put in force: fingerprint, figures, at, by, reason."""
    fingerprint, at, figures, by, reason = (*applied.split(b"\n", 4), b"", b"", b"", b"")[:5]
    return [fingerprint, figures, at, by, reason]
