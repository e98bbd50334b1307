"""The verdict in place of a last look, for an order that is sent without waiting for anything after it.

A verdict is one script, as a last look is: at its moment the record and the lock are this permit's, no halt and no safe
mode binds it, and it tells which entries were placed. What a second question would find out later is only what has
changed since; where nothing has been waited for, that is what changes after any last look, too.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from msgspec import Struct

from gate.exchange.port import SIGNER_AHEAD_MS, Validity
from gate.executor.unseen import Asked
from gate.values.last_look import LastLook
from gate.values.verdict import Permit

ROUNDING_MS: Final = 2
"""The store and this process cut their clocks to milliseconds, each its own."""
_SLOWEST_MS: Final = 500
"""The order of a verdict that takes longer gets a new moment, or little would be left of its time."""


class Looked(Struct, frozen=True):
    """A last look that was answered."""

    validity: Validity
    """Of the order, from a moment before the look: the exchange refuses what is delayed after it."""
    asked: Asked
    look: LastLook


class VerdictLook:
    """What a verdict has told in place of a last look. It counts until the event loop turns: whoever waits for
    anything, for however short a time, asks again. Make it right after the verdict's answer."""

    def __init__(self, looked: Looked, began_ns: int) -> None:
        """`began_ns`: when its validity begins, on the monotonic clock."""
        self._looked: Looked | None = looked
        self._began_ns: Final = began_ns
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._looked = None

    def of(self, permit: Permit) -> Looked | None:
        """The look, once. None: it doesn't count any more, or the permit doesn't last as long as the order."""
        looked = self._looked
        if looked is None or time.monotonic_ns() - self._began_ns > _SLOWEST_MS * 1_000_000:
            return None
        if permit.remaining_ms < looked.validity.span_ms + SIGNER_AHEAD_MS + ROUNDING_MS:
            return None
        self._end()
        return looked
