"""Who hears of the events of orders, and of gaps in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from gate.exchange.port import GapListener, OrderListener
from gate.values.log_words import log_of

_log: Final = log_of("gate.exchange")

_GAPS_APART_S: Final = 5.0


class Listeners:
    """The listeners of one account's streams. One that fails is logged, and stops no other."""

    def __init__(self) -> None:
        self._to_orders: Final[list[OrderListener]] = []
        self._to_gaps: Final[list[GapListener]] = []
        self._told_ns = -int(_GAPS_APART_S * 1e9)
        self._later: asyncio.TimerHandle | None = None

    def on_order(self, heard: OrderListener) -> Callable[[], None]:
        """Has each event of an order told to the listener from now on. Returns what ends that."""
        self._to_orders.append(heard)
        return partial(self._to_orders.remove, heard)

    def on_gap(self, heard: GapListener) -> Callable[[], None]:
        """Has the listener told when events may have been lost. Returns what ends that."""
        self._to_gaps.append(heard)
        return partial(self._to_gaps.remove, heard)

    def tell_order(self, event: Mapping[str, Any]) -> None:
        """Passes an event on."""
        for listener in tuple(self._to_orders):
            _tell(listener, event)

    def tell_gap(self) -> None:
        """At once, or some time after the last one: each costs the listeners requests."""
        if self._later is not None:
            return
        wait_s = _GAPS_APART_S - (time.monotonic_ns() - self._told_ns) / 1e9
        if wait_s > 0:
            self._later = asyncio.get_running_loop().call_later(wait_s, self.tell_gap_now)
            return
        self._told_ns = time.monotonic_ns()
        self.tell_gap_now()

    def tell_gap_now(self) -> None:
        """However soon after the last one. One that was to come later is told by this."""
        if self._later is not None:
            self._later.cancel()
            self._later, self._told_ns = None, time.monotonic_ns()
        for listener in tuple(self._to_gaps):
            _tell(listener)

    def close(self) -> None:
        """Tells nothing later."""
        if self._later is not None:
            self._later.cancel()


def _tell(listener: Callable[..., None], *arguments: Mapping[str, Any]) -> None:
    try:
        listener(*arguments)
    except Exception:
        _log.exception("LISTENER FAILED")
