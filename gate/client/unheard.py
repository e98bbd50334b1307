"""Evaluations whose answer was lost. The store may have admitted them, and only their caller knows their tokens."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gate.values.intent import Intent
from gate.values.verdict import Permit

_KEPT_AT_MOST: Final = 4096
_AGAIN_NS: Final = 1_000_000_000


class Unheard(Struct, frozen=True):
    """One evaluation without an answer. Every evaluation makes one: a Struct takes a tenth of a dataclass's time."""

    intent_id: str
    symbol: str
    side: str
    fingerprint: str
    token: str
    started_ns: int
    """The monotonic clock before the call."""
    settling: bool = False
    """Whether its permit was given back: that may still be on its way."""
    tried_ns: int | None = None
    """When that was answered last: the call hadn't reached the store."""

    def is_of(self, intent: Intent) -> bool:
        """Whether it asked for this intent."""
        return (self.intent_id, self.fingerprint) == (intent.id, intent.fingerprint)

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
        self.lifetime_ns = lifetime_ms * 1_000_000
        self._calls: dict[str, Unheard] = {}  # by token
        self._pid = os.getpid()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, intent: Intent) -> Unheard | None:
        """That of an intent which comes again: its token gets the permit that was lost, instead of DUPLICATE.

        Not one that was given back: the settlement may still be on its way, and would end the new permit.
        """
        if self._pid != os.getpid():
            self._calls, self._pid = {}, os.getpid()
        for token, unheard in list(self._calls.items()):
            if unheard.is_of(intent) and not unheard.settling:
                return self._calls.pop(token, None)
        return None

    def keep(self, unheard: Unheard) -> None:
        """Keeps one. Beyond 4,096, the oldest is left to its deadline."""
        self._calls[unheard.token] = unheard
        if len(self._calls) > _KEPT_AT_MOST:
            with suppress(StopIteration, RuntimeError):  # another thread was quicker
                self._calls.pop(next(iter(self._calls)), None)

    def keep_tried(self, unheard: Unheard) -> None:
        """Keeps one that was given back without success: the call may still reach the store. Due again in a second."""
        self.keep(replace(unheard, settling=True, tried_ns=time.monotonic_ns()))

    def keep_settling(self, unheard: Unheard) -> None:
        """Keeps one whose giving back got no answer. Due as soon as the store answers."""
        self.keep(replace(unheard, settling=True))

    def next_due(self, intent: Intent | None = None) -> Unheard | None:
        """Takes one to give back, of one intent or of any; None if none is due. Forgets those that have run out."""
        if self._pid != os.getpid():
            return None
        now_ns = time.monotonic_ns()
        for token, unheard in list(self._calls.items()):
            due = unheard.tried_ns is None or now_ns - unheard.tried_ns >= _AGAIN_NS
            if now_ns - unheard.started_ns > self.lifetime_ns:
                self._calls.pop(token, None)
            elif due and (intent is None or unheard.is_of(intent)):
                return self._calls.pop(token, None)
        return None
