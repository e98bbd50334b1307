"""What people and trips did to an account."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

KEPT: Final = 10_000
"""About how many entries a stream of the audit keeps."""


class AuditEntry(Struct, frozen=True):
    """An entry of the audit."""

    at_ms: int
    """When it was written, by the server's clock, epoch ms."""
    what: str
    """The act, such as `halt entries` or `trip safe_mode`. Like `by` and `reason`, `?` where the entry doesn't say."""
    by: str
    """Who did it, as they have named themselves; `gate` for what the gate itself noticed or tripped."""
    reason: str
    user: str
    """The user of a person's act that the server knows; empty for what the gate does, and where nobody could tell."""
    key: str
    """The stream in which it stands."""
    entry: str
    """Its id there."""
    by_worker: bool
    """Whether it stands where workers note what they find: whoever has a worker's rights can write there."""
    observing: bool
    """Whether it is of callers that only observe, which have switches of their own."""


class UnreadStream(Struct, frozen=True):
    """A stream of the audit that couldn't be read."""

    key: str
    problem: str


class Audit(Struct, frozen=True):
    """What people and trips did. True when all of it could be read."""

    entries: tuple[AuditEntry, ...]
    """The oldest first."""
    more: bool
    """Whether there are older ones within the time asked for."""
    unread: tuple[UnreadStream, ...]
    """Streams that couldn't be read; the others were."""
    now_ms: int
    """The server's clock, epoch ms."""

    def __bool__(self) -> bool:
        return not self.unread
