"""Evaluations whose answer was lost. The store may have admitted them, and only their caller knows their tokens."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from gate.values.intent import Intent
from gate.values.verdict import Permit

_KEPT_AT_MOST: Final = 4096
_AGAIN_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Unheard:
    """One evaluation without an answer."""

    intent_id: str
    symbol: str
    side: str
    fingerprint: str
    token: str
    started_ns: int
    """The monotonic clock before the call."""
    tried_ns: int | None = None
    """When its permit was last given back in vain: the call hadn't reached the store."""

    @property
    def permit(self) -> Permit:
        """A permit to settle with. Send nothing with it."""
        return Permit(
            intent_id=self.intent_id,
            symbol=self.symbol,
            side=self.side,
            token=self.token,
            fence=0,
            client_order_id="",
            deadline_ms=0,
            expires_ns=0,
        )


class UnheardCalls:
    """The evaluations of a process that got no answer. Each is held by one caller at a time.

    No lock protects them, since a fork could leave a lock held for ever; every access is a single, atomic operation
    instead. After a fork they belong to the parent process.
    """

    def __init__(self, lifetime_ms: int) -> None:
        """`lifetime_ms`: a permit's life. What is older holds nothing any more."""
        self._lifetime_ns: Final = lifetime_ms * 1_000_000
        self._calls: dict[tuple[str, str], Unheard] = {}
        self._pid = os.getpid()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, intent: Intent) -> Unheard | None:
        """That of an intent which comes again: its token gets the permit that was lost, instead of DUPLICATE."""
        if self._pid != os.getpid():
            self._calls, self._pid = {}, os.getpid()
        return self._calls.pop((intent.id, intent.fingerprint), None)

    def keep(self, unheard: Unheard) -> None:
        """Keeps one. Beyond 4,096, the oldest is left to its deadline."""
        self._calls[unheard.intent_id, unheard.fingerprint] = unheard
        if len(self._calls) > _KEPT_AT_MOST:
            with suppress(StopIteration, RuntimeError):  # another thread was quicker
                self._calls.pop(next(iter(self._calls)), None)

    def keep_tried(self, unheard: Unheard) -> None:
        """Keeps one that was given back in vain: the call may still reach the store. It is due again after a second."""
        self.keep(replace(unheard, tried_ns=time.monotonic_ns()))

    def next_due(self) -> Unheard | None:
        """Takes one to give back; None if none is due. Forgets those whose permits have run out."""
        if self._pid != os.getpid():
            return None
        now_ns = time.monotonic_ns()
        for key, unheard in list(self._calls.items()):
            if now_ns - unheard.started_ns > self._lifetime_ns:
                self._calls.pop(key, None)
            elif unheard.tried_ns is None or now_ns - unheard.tried_ns >= _AGAIN_NS:
                return self._calls.pop(key, None)
        return None
