"""A person's halt: whether one is on, by whom and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gate.protocol.explain import explain_refusal
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Command
from gate.protocol.texts import brief, whole_or_none
from gate.store.wire import Dialogue, Reply
from gate.values.errors import StoreError, StoreFailure
from gate.values.reports import Halt

HALT_FIELDS: Final = ("scope", "by", "reason", "at")
UNREADABLE: Final = Halt("?", "?", "its key is damaged, so exits are stopped too", None)


def halt_in_force(keyspace: Keyspace) -> Dialogue[Halt | None]:
    """The halt that is on, or None. A halt with a damaged key has `?` in its fields. Raises StoreFailure."""
    key = keyspace.halt
    if (yield ("EXISTS", key)) == 0:
        return None
    try:
        parts = yield ("HMGET", key, *HALT_FIELDS)
    except StoreError:
        return UNREADABLE
    return halt_of([None if part is None else brief(part) for part in parts])


def halt_question(keyspace: Keyspace) -> Command:
    """Asks for a halt that stops exits, in one command."""
    return ("HMGET", keyspace.halt, *HALT_FIELDS)


def stops_exits(keyspace: Keyspace, told: Reply | StoreFailure) -> str:
    """Who has halted exits too, and why, by the answer to halt_question; empty where nobody has, or nobody can tell. A
    halt whose key has another type stops them."""
    if isinstance(told, StoreFailure):
        damaged = str(told).startswith("WRONGTYPE")
        return explain_refusal(f"{told} key={keyspace.halt}") if damaged else ""
    halt = halt_of([None if part is None else brief(part) for part in told])
    return str(halt) if halt.stops_exits else ""


def halt_of(parts: Sequence[str | None]) -> Halt:
    """A halt from HALT_FIELDS. One without a scope stops entries."""
    scope, by, reason, at = parts
    return Halt(scope or "entries", by or "?", reason or "?", whole_or_none(at))
