"""SCAN, and what helps a user that has no right to it."""

from __future__ import annotations

from typing import Final

from gate.store.failures import Forbidden
from gate.store.wire import Dialogue

_GRANT: Final = "an administrator grants it by ACL SETUSER … +scan, which shows the names of other accounts' keys, too"


def scan(cursor: bytes, pattern: str, count: int) -> Dialogue[tuple[bytes, list[bytes]]]:
    """A page: where to go on, and the names on it. Raises StoreFailure."""
    try:
        after, names = yield ("SCAN", cursor.decode(), "MATCH", pattern, "COUNT", count)
    except Forbidden as forbidden:
        raise Forbidden(f"{forbidden}; {_GRANT}") from None
    return after, names
