"""What the replaced system has left under the gate's names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Remedy(StrEnum):
    """What ends a leftover."""

    DELETE = "delete"
    """Clearing deletes it."""
    LAPSE = "lapse"
    """Clearing has it lapse after the time that a record lives. It keeps an intent from a second order until then."""
    WAIT = "wait"
    """It lapses by itself. Until then it is right: the replaced system has sent that order, or is about to."""
    COMMAND = "command"
    """Another command ends it, for a person may have meant it."""
    OTHER = "other"
    """No script reads it, so it stops nothing. Clearing leaves it alone unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A key that isn't the gate's, under a name of the gate's."""

    key: str
    belongs: str
    """The type that belongs there; `record` for that of an intent, `none` for a name that no script reads."""
    problem: str
    """What it holds, and what that stops, for a person."""
    remedy: Remedy
    ttl_ms: int | None
    """None without a TTL."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What was found. True when anything was."""

    found: tuple[Leftover, ...]
    looked_at: int
    """Keys of the account that were looked at."""
    complete: bool
    """False where there were more than are named here: clear these, then look again."""

    def __bool__(self) -> bool:
        return bool(self.found)
