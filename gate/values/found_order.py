"""The order that an earlier delivery of an intent has placed, and the question for it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gate.values.errors import InvalidField

CLOCKS_APART_MS: Final = 3_600_000
"""An order older than the intent by more than this belongs to an earlier use of the intent's id. The bound is far above
the difference of any two clocks: if this intent's own order counted as another's, it would be sent again."""
_ORDER_ID: Final = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """An order that the exchange has under an intent's client order id. Raises InvalidField without an order id."""

    order_id: str
    """orderId; of a conditional order its algoId."""
    status: str = ""
    """The exchange's word, such as NEW or FILLED; empty if it isn't known."""
    time_ms: int = 0
    """When the exchange took it, epoch ms; 0 if that isn't known. Then it counts as this intent's own."""

    def __post_init__(self) -> None:
        if not isinstance(self.order_id, str) or not _ORDER_ID.fullmatch(self.order_id):
            raise InvalidField("order_id", self.order_id, "is not one word of 1 to 64 characters")

    def is_of(self, decided_ms: int) -> bool:
        """Whether it can be the order of an intent that was decided at this time, epoch ms."""
        return is_of(self.time_ms, decided_ms)


FindOrder = Callable[[str, str], FoundOrder | None]
"""Asks the exchange for an order, by symbol and client order id: a plain one and a conditional one.

None only where the exchange says that it has none. Raises anything where that can't be found out. If it has an
attribute `recv_window_ms`, that is the recvWindow of the service's orders; else 10,000, which is python-binance's.
"""
AsyncFindOrder = Callable[[str, str], Awaitable[FoundOrder | None]]
"""FindOrder for asyncio."""


def is_of(taken_ms: int, decided_ms: int) -> bool:
    """Whether an order of this time can be that of an intent decided then. Epoch ms; 0 for an unknown time."""
    return not taken_ms or taken_ms >= decided_ms - CLOCKS_APART_MS
