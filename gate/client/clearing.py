"""After a halt: until when an order of a permit that was out may still reach the exchange.

A permit is out until it is settled, or until its deadline, after which the exchange accepts nothing of it. What was
out at the first look is waited for by this process's own clock: a step of the store's clock lets no permit go early.
"""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct, structs

from gate.protocol.texts import line_of
from gate.values.errors import StoreError, shown
from gate.values.fields import read_whole
from gate.values.reports import OutPermit, StillOut

_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.3)
"""Between two looks; the last one goes on. 30 s take about 100 looks."""


class Look(Struct, frozen=True):
    """What still_out.lua replied. Times are the store's."""

    now_ms: int
    scope: str | None
    lock_ttl_ms: int
    lost_ms: int
    """0: no loss; -1: one that nobody has noticed yet."""
    unread: int
    permits: tuple[OutPermit, ...]


def decode_look(reply: list[bytes]) -> Look:
    """The answer from still_out's lines. Raises StoreError for others."""
    try:
        now, scope, lock_ttl, lost, unread = line_of(reply[0]).split(" ")
        permits = []
        for line in reply[1:]:
            deadline, symbol, side, intent_id = line_of(line).split(" ", 3)
            permits.append(OutPermit(intent_id, symbol, side, read_whole(deadline)))
        known = None if scope == "-" else scope
        counts = read_whole(lock_ttl), read_whole(lost), read_whole(unread)
        return Look(read_whole(now), known, *counts, tuple(permits))
    except ValueError:
        raise StoreError(f"the store's answer about permits that are out can't be read: {shown(reply)}") from None


def together(enforcing: Look, observing: Look) -> Look:
    """One look of both. A person's halt binds observing callers too. Whether memory was lost is told by the enforcing
    callers' keys alone: most accounts have no others."""
    return structs.replace(
        enforcing,
        lock_ttl_ms=max(enforcing.lock_ttl_ms, observing.lock_ttl_ms),
        unread=enforcing.unread + observing.unread,
        permits=tuple(sorted((*enforcing.permits, *observing.permits), key=lambda each: each.deadline_ms)),
    )


class Clearing:
    """The looks that follow one halt."""

    def __init__(self, scope: str, lock_ttl_ms: int) -> None:
        """`lock_ttl_ms`: the caller's own figure; that of the policy in force counts where it is longer."""
        self.exits_too: Final = scope == "all"
        self.since_ms = 0
        """The store's time of the first look."""
        self._lock_ttl_ms: Final = lock_ttl_ms
        self._until_ns: dict[OutPermit, int] = {}
        self._forgotten_until_ns = self._unread_until_ns = 0
        self._looks = 0

    def see(self, look: Look) -> StillOut:
        """What is still out, by that look and by this process's clock."""
        at_ns = time.monotonic_ns()
        lifetime_ms = max(self._lock_ttl_ms, look.lock_ttl_ms)
        if self._looks == 0:
            self.since_ms = look.now_ms
        if look.unread and not self._unread_until_ns:
            self._unread_until_ns = at_ns + lifetime_ms * 1_000_000
        if not self._forgotten_until_ns:
            # Permits that the store has forgotten may live. Later looks find the same loss.
            lost_ms = look.now_ms if look.lost_ms < 0 else look.lost_ms
            left_ms = min(lost_ms + lifetime_ms - look.now_ms, lifetime_ms)
            if look.lost_ms and left_ms > 0:
                self._forgotten_until_ns = at_ns + left_ms * 1_000_000
        for permit in look.permits:
            self._until_ns.setdefault(permit, at_ns + (permit.deadline_ms - look.now_ms) * 1_000_000)
        self._looks += 1
        out = tuple(permit for permit in look.permits if self._until_ns[permit] > at_ns)
        unread = look.unread if self._unread_until_ns > at_ns else 0
        ends_ns = [self._until_ns[permit] for permit in out]
        if unread:
            ends_ns.append(self._unread_until_ns)
        forgotten_ms = max(0, -(-(self._forgotten_until_ns - at_ns) // 1_000_000))
        wait_ms = max([forgotten_ms, *(-(-(end_ns - at_ns) // 1_000_000) for end_ns in ends_ns)])
        halted = look.scope
        if self.exits_too and halted not in ("all", "?"):
            halted = None  # exits pass
        return StillOut(out, unread, forgotten_ms, wait_ms, halted)

    def pause_s(self, out: StillOut) -> float | None:
        """How long to wait until the next look; None: there is nothing to wait for any more."""
        if out.clear or out.halted is None:
            return None
        longest_s = _PAUSES_S[min(self._looks, len(_PAUSES_S)) - 1]
        return min(longest_s, (out.wait_ms + 1) / 1000)
