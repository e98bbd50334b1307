"""The intents of late."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from gate.values.record import Record

MOST: Final = 10_000
"""How many may be asked for."""


class RecentIntents(Struct, frozen=True):
    """What the store remembers of the intents that were admitted of late. True when all of it could be read."""

    records: tuple[Record, ...]
    """The oldest first, by their admission. Of an intent whose record has lapsed before its outcome, the copy."""
    more: bool
    """Whether there are older ones."""
    unread: tuple[str, ...]
    """Keys that couldn't be read: permits without a record are missing."""
    now_ms: int
    """The server's clock, epoch ms."""

    def __bool__(self) -> bool:
        return not self.unread
