"""The mark prices that streams have told, each with its age. Pure but for the clock."""

from __future__ import annotations

import time
from decimal import Decimal

from msgspec import Struct


class Marked(Struct, frozen=True):
    """A mark price, and when it stood."""

    price: Decimal
    at_ns: int
    """On the monotonic clock: not after its event's own time, as far as the exchange's clock is known."""


class MarkPrices:
    """The latest of each symbol."""

    def __init__(self) -> None:
        self._known: dict[str, Marked] = {}
        self.changes = 0
        """How often a price has come, or all were forgotten."""
        self._clock: tuple[int, int] | None = None

    def set_clock(self, exchange_ms: int, at_ns: int) -> None:
        """The exchange's clock at a moment of ours. A price that comes late is known by it."""
        self._clock = exchange_ms, at_ns

    def stood_at_ns(self, event_ms: int) -> int:
        """The moment of an event on our clock: its own time, and never later than now."""
        now_ns = time.monotonic_ns()
        if self._clock is None:
            return now_ns
        clock_ms, clock_ns = self._clock
        return min(now_ns, clock_ns + (event_ms - clock_ms) * 1_000_000)

    def heard(self, symbol: str, price: Decimal, event_ms: int) -> None:
        """The latest price: those of one connection come in order."""
        self._known[symbol] = Marked(price, self.stood_at_ns(event_ms))
        self.changes += 1

    def forget(self) -> None:
        """The connection has ended: what it told counts no more."""
        self._known.clear()
        self.changes += 1

    def of(self, symbol: str, since_ns: int) -> Marked | None:
        """The price, unless it is older than that."""
        known = self._known.get(symbol)
        return None if known is None or known.at_ns < since_ns else known

    def latest(self, symbol: str) -> Decimal | None:
        """The price, however old."""
        known = self._known.get(symbol)
        return None if known is None else known.price
