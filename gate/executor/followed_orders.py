"""The gate's orders that are followed, and how far each is known. No I/O."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gate.exchange.streams.order_updates import OrderUpdate

OURS: Final = re.compile(r"g-[A-Za-z0-9_-]{32}", re.ASCII)
"""A client order id that a gate has made."""
_MOST_OPEN: Final = 2_000
_MOST_ENDED: Final = 2_000


@dataclass(slots=True)
class FollowedOrder:
    """One order, as far as it is known."""

    symbol: str
    conditional: bool
    algo_id: str | None = None
    intent_id: str | None = None
    last: OrderUpdate | None = None
    remembered: bool = False
    """Whether it was sent before this executor was made, and `remember` has named it."""
    gone: Callable[[], None] | None = None
    """Called where the exchange has forgotten it."""
    new_ns: int = 0
    """When the exchange told of it as new, on the monotonic clock."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class FollowedOrders:
    """By their client order ids: 2,000 that are open and 2,000 that have ended. Beyond that the oldest is forgotten."""

    def __init__(self) -> None:
        self._open: Final[OrderedDict[str, FollowedOrder]] = OrderedDict()
        self._ended: Final[OrderedDict[str, FollowedOrder]] = OrderedDict()
        self._actual: Final[OrderedDict[str, str]] = OrderedDict()

    @property
    def open(self) -> Mapping[str, FollowedOrder]:
        """Those that aren't known to have ended, the oldest first."""
        return self._open

    def known(self, client_order_id: str) -> FollowedOrder | None:
        return self._open.get(client_order_id) or self._ended.get(client_order_id)

    def note(self, client_order_id: str, symbol: str, conditional: bool) -> FollowedOrder:
        """Follows one that isn't known."""
        order = self._open[client_order_id] = FollowedOrder(symbol, conditional)
        if len(self._open) > _MOST_OPEN:
            # Most often a request that was refused, and of which nothing comes.
            self._open.popitem(last=False)
        return order

    def note_sent(self, client_order_id: str, symbol: str, conditional: bool) -> FollowedOrder:
        """Follows one that is about to be sent."""
        self._ended.pop(client_order_id, None)  # of an earlier order: the exchange lets an id be used again
        return self._open.get(client_order_id) or self.note(client_order_id, symbol, conditional)

    def end(self, client_order_id: str) -> None:
        """Nothing more comes of it. It stays known."""
        if client_order_id in self._open:
            self._ended[client_order_id] = self._open.pop(client_order_id)
            if len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)

    def forget(self, client_order_id: str) -> None:
        """Follows it no more, unless it has ended."""
        self._open.pop(client_order_id, None)

    def note_actual(self, client_order_id: str, actual_order_id: str) -> None:
        """Of a conditional order that has fired: the orderId of what it became."""
        self._actual[actual_order_id] = client_order_id
        if len(self._actual) > _MOST_OPEN:
            self._actual.popitem(last=False)

    def that_became(self, actual_order_id: str) -> str:
        """The client order id of the conditional order; empty where none is known."""
        return self._actual.get(actual_order_id, "")
