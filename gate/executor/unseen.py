"""Orders that were placed, and that the live account doesn't include yet: their margin counts as reserved until then.

A permit's margin is reserved until its order is settled. A reading of the account that begins after the verdict
includes what was settled before. What the streams tell may be older: so the last look, right before sending, brings
what was settled since the one before, and each of these counts until its event is there, or a snapshot that began
after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from gate.exchange.port import Exchange, LiveFigures
from gate.values.last_look import PlacedOrder, PlacedOrders

LAG_MS: Final = 2_000
"""An order that isn't seen for longer shows that the streams lag: they count again after a new snapshot."""
_LONGEST_STEP_MS: Final = 60_000
"""How far the store's clock may have stepped forward before the first look, at a failover. Later looks see it."""


class _Look(Struct, frozen=True):
    """A last look that was answered."""

    began_ns: int
    told_ns: int
    now_ms: int
    """The store's clock at it."""


class Asked(Struct, frozen=True):
    """What a last look asks for."""

    placed_after: str
    before: _Look | None
    """The one that told of `placed_after`: what this one tells was settled later."""
    began_ns: int

    def latest_ns(self, settled_ms: int, now_ms: int, told_ns: int) -> int:
        """The moment of a settlement on the monotonic clock, at the latest, by its age on the store's.

        That clock steps at a failover. If it has gone farther since the look before than ours, it went forward, and the
        age may be too much by so much.
        """
        if self.before is None:
            return told_ns - max(0, now_ms - settled_ms - _LONGEST_STEP_MS) * 1_000_000
        passed_ns = self.began_ns - self.before.told_ns  # at least
        step_ns = max(0, (now_ms - self.before.now_ms) * 1_000_000 - passed_ns)
        return min(told_ns, max(told_ns - (now_ms - settled_ms) * 1_000_000 + step_ns, self.before.began_ns))


class _Placed(Struct, frozen=True):
    client_order_id: str
    reserved: Decimal
    settled_ns: int
    """On the monotonic clock, at the latest."""


class UnseenOrders:
    """Those of one account. Nothing here waits, so that what it says holds at the moment of sending."""

    def __init__(self, exchange: Exchange, client_order_id: Callable[[str], str]) -> None:
        self._exchange: Final = exchange
        self._client_order_id: Final = client_order_id
        self._placed: Final[dict[str, _Placed]] = {}  # by intent id
        self._newest = ""
        self._told: tuple[PlacedOrder, ...] = ()
        self._look: _Look | None = None
        self._unknown_until_ns = 0

    def ask(self) -> Asked:
        """What the next last look asks for. Call it right before."""
        return Asked(self._newest, self._look, time.monotonic_ns())

    def told(self, asked: Asked, placed: PlacedOrders) -> None:
        """Takes what a last look told, right after its answer."""
        now_ns, settled_ns = time.monotonic_ns(), 0
        # Looks at once are told of the same orders, which one of them takes: what was counted once isn't counted anew.
        known_already = placed.complete and placed.orders == self._told
        self._told = placed.orders
        for each in () if known_already else placed.orders:
            settled_ns = asked.latest_ns(each.settled_ms, placed.now_ms, now_ns)
            known = self._placed.get(each.intent_id)
            client_order_id = known.client_order_id if known else self._client_order_id(each.intent_id)
            self._placed[each.intent_id] = _Placed(client_order_id, each.reserved, settled_ns)
        if not placed.complete:
            # Others came before the oldest of these, and nobody knows them any more.
            self._unknown_until_ns = max(self._unknown_until_ns, settled_ns or now_ns)
        self._newest, self._look = placed.newest, _Look(asked.began_ns, now_ns, placed.now_ms)

    def reserved(self, live: LiveFigures) -> Decimal | None:
        """The margin of those that the figures don't include. None where that isn't known, or the streams lag: then
        nothing that they tell of the account counts before a new snapshot."""
        if live.snapshot_ns <= self._unknown_until_ns:
            self._exchange.doubt_live("more orders were placed than the store tells of")
            return None
        known, reserved, late_ns = True, Decimal(0), time.monotonic_ns() - LAG_MS * 1_000_000
        for intent_id, placed in tuple(self._placed.items()):
            if placed.settled_ns < live.snapshot_ns or self._exchange.has_seen(placed.client_order_id):
                del self._placed[intent_id]
            elif placed.settled_ns < late_ns:
                self._exchange.doubt_live(f"{placed.client_order_id} was placed, and no event of it has come")
                return None
            else:
                known, reserved = known and placed.reserved > 0, reserved + placed.reserved
        return reserved if known else None
