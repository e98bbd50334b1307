"""Explains the scripts' denials and errors to a person: what is wrong, what it stops, what to do. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from gate.protocol.keyspace import Keyspace
from gate.values.errors import InvalidPolicy, pasted
from gate.values.fields import read_whole
from gate.values.guards import Reason
from gate.values.keys import KEYS, Key
from gate.values.policy import Policy, policy_of_figures
from gate.values.record import Phase, Record

_KEY_IN_ERROR: Final = re.compile(r" key=(\S+)")
_SCRIPT_IN_ERROR: Final = re.compile(r",? ?script: (?:\S+, )?on @user_script:\d+\.?")
_PATTERNS: Final = tuple((re.compile(":" + re.sub(r"{\w+}", ".+", key.pattern) + "$"), key) for key in KEYS.values())
_REFUSALS: Final = (
    ("replica.", "the server is a replica, which", "give the URL of its primary"),
    ("maxmemory", "the server's memory is full: it", "raise maxmemory, or make room"),
    ("NOREPLICAS", "the server has too few replicas, so it", "bring them back, or lower its min-replicas-to-write"),
    ("MISCONF", "the server can't write to its disk, so it", "its log says why"),
)
"""By what the server's words have in them."""
_SCOPES: Final = {
    "lock": "of this symbol and side ",
    "rate_symbol": "of this symbol ",
    "cooldown_symbol": "of this symbol ",
}


def explain_denial(
    reason: Reason,
    detail: str,
    policy: Policy,
    keyspace: Keyspace,
    prior: Record | None = None,
    endless: str = "",
    wait_ms: int | None = None,
) -> str:
    """A denial's detail in words. `endless`: the key of a lock without a TTL, which never lapses. `wait_ms`: what the
    script says of the wait. Raises ValueError for a detail that the script doesn't give."""
    if prior is not None and prior.phase is Phase.FOREIGN:
        key = pasted(keyspace.record(prior.intent_id))
        return f"{prior}: TTL {key} tells how long (-1: for good), DEL {key} ends it"
    if prior is not None and reason is Reason.CONFLICT:
        return f"{prior}. That is another order: give each an `id` or `intent_id` of its own"
    if prior is not None:
        return str(prior)
    match reason:
        case Reason.STALE if read_whole(detail) >= 0:
            return f"{read_whole(detail) / 1000:.1f} s old, max_age is {policy.max_age_ms / 1000:g} s"
        case Reason.STALE:
            return f"{-read_whole(detail) / 1000:.1f} s in the future, skew allows {policy.skew_ms / 1000:g} s"
        case Reason.MEMORY_YOUNG:
            since = _time_of(read_whole(detail))
            return (
                f"the memory is new since {since}: an order of before may still be on its way; if none can, as on a "
                "new account, `gate init` says so"
            )
        case Reason.POLICY_MISMATCH:
            return _differing(policy, *detail.partition(" ")[::2])
        case Reason.IN_FLIGHT_LIMIT:
            return f"{policy.max_in_flight} permits of entries are live"
        case Reason.FAILURE_LIMIT:
            return f"{policy.failure_limit} failures in {policy.failure_window_ms / 1000:g} s"
        case Reason.LOCKED if endless:
            return (
                f"{endless} has no TTL, so no permit of the gate made it; it denies entries for good, exits pass: "
                f"look with GET {pasted(endless)}, then DEL it"
            )
        case Reason.LOCKED:
            at_most = "" if wait_ms is None else f", {-(-wait_ms // 1000)} s at most"
            return f"another permit is live for this symbol and side{at_most}; free once its order is settled"
        case Reason.RATE_SYMBOL:
            return f"{policy.rate_symbol_limit} in {policy.rate_symbol_window_ms / 1000:g} s is the limit"
        case Reason.RATE_GLOBAL:
            limit = f"{policy.rate_global_limit} in {policy.rate_global_window_ms / 1000:g} s is the limit"
            return f"{limit}; beyond it the account rests {policy.cooldown_global_ms / 1000:g} s"
    return detail


def _differing(own: Policy, in_force: str, figures: str) -> str:
    """Names the figures in which a caller's policy isn't the one in force."""
    said = f"this caller has {own.fingerprint}, in force is {in_force}"
    try:
        differ = policy_of_figures(in_force, figures).differences(own)
    except InvalidPolicy as unreadable:
        return f"{said}; {'; '.join(unreadable.faults)}: `gate policy apply` puts one in force"
    return f"{said}: {', '.join(f'{name} is {there}, here {here}' for name, there, here in differ)}"


def _time_of(ms: int) -> str:
    """The time of day; the figure itself where it is none that a calendar has."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def explain_no_answer(failure: str) -> str:
    """A store that couldn't be asked: what follows."""
    return f"{failure.rstrip('.')}: there is no permit and no order; try the intent again"


def explain_refusal(error: str) -> str:
    """A store that answered with an error: what is wrong, and what follows."""
    return f"{explain_error(error).rstrip('.')}. There is no permit and no order until that is put right"


def explain_refused_write(error: str) -> str | None:
    """Why a server takes no verdict, and what to do, from its refusal of a script that may write. None: the error says
    nothing of that."""
    return next((f"{why} takes no verdict; {remedy}" for sign, why, remedy in _REFUSALS if sign in error), None)


def explain_error(error: str) -> str:
    """A script's error in words: the key, what is wrong with it, what it stops, what to do."""
    found = _KEY_IN_ERROR.search(error)
    if "permission" in error.lower() or "can't run this command" in error:  # nothing is wrong with the key
        said = _SCRIPT_IN_ERROR.sub("", _KEY_IN_ERROR.sub("", error))
        where = f" ({found[1]})" if found else ""
        return f"{said}{where}; the store's user needs every right that identify.lua lists, on all keys of the prefix"
    if not found:
        return _SCRIPT_IN_ERROR.sub("", error)
    key, said = found[1], _SCRIPT_IN_ERROR.sub("", _KEY_IN_ERROR.sub("", error))
    if not error.startswith("WRONGTYPE") and not _SCRIPT_IN_ERROR.search(error):
        return f"{said} ({key})"  # the error isn't about the key's value: no script complained about it
    kind = next((kind for pattern, kind in _PATTERNS if pattern.search(key)), None)
    stops = _stopped_by(kind) if kind else "nothing is admitted"
    paste = pasted(key)
    cure = f"DEL {paste} clears it"
    if kind and kind.cleared_by:
        cure = f"`{kind.cleared_by}` clears it, and is audited; DEL {paste} does too"
    if error.startswith("WRONGTYPE"):
        what = f"{key} holds a value of the wrong type, perhaps left by the system that the gate replaces"
    else:
        what = f"{key}: {said}"
    return (
        f"{what}: {stops}, until its TTL runs out, or for good if it has none (TTL says -1); "
        f"look with TYPE {paste}, then {cure}{kind.caution if kind else ''}"
    )


def _stopped_by(damaged: Key) -> str:
    """What a damaged key stops: what the guards that read it judge."""
    if damaged.name == "record":
        return "this intent is denied, be it an entry or an exit"
    if not damaged.guards:
        kept = "why a switch is on isn't kept" if damaged.name == "reasons" else "acts and trips aren't written down"
        return f"nothing is denied, but {kept}"
    scope = _SCOPES.get(damaged.name, "")
    if all(guard.exempts_exits for guard in damaged.guards):
        return f"entries {scope}are denied, exits pass"
    return f"entries and exits {scope}are denied"
