"""The gate's answer to an intent: a verdict, with a permit or a reason."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from msgspec import Struct

from gate.values.errors import InvalidField
from gate.values.guards import Reason
from gate.values.last_look import LastLook
from gate.values.record import Record

NEVER_RETRYABLE: Final = frozenset({Reason.CONFLICT, Reason.DUPLICATE, Reason.STALE, Reason.INVALID})


class Mode(StrEnum):
    """Whether a caller goes by its verdicts. The caller's own choice."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


_PLAIN_TYPES: Final = ("MARKET", "LIMIT")
_ALGO_TYPES: Final = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
"""What the exchange takes at its endpoint for conditional orders only, since December 2025."""


# Every call makes one, and a Verdict. As frozen dataclasses of so many fields they would take ten times as long.
class Permit(Struct, frozen=True):
    """The right to send one order for one intent, until its deadline."""

    intent_id: str
    symbol: str
    side: str
    token: str
    fence: int
    client_order_id: str
    deadline_ms: int
    """The deadline in epoch ms of the server's clock."""
    expires_ns: int
    """The deadline on this process's monotonic clock, counted from before the call: no permit outlives its lock."""
    verify: bool = False
    """Before sending, ask the exchange whether an order with this client order id exists."""
    memory_age_ms: int | None = None
    """With verify: the least age, in ms, of an order that the store may have forgotten. A young order may still be on
    its way to the exchange, so its absence there proves nothing yet."""
    is_exit: bool = False
    reserved: Decimal = Decimal(0)
    """Margin that this permit reserves while it is live, in the margin asset."""
    reserved_ahead: Decimal = Decimal(0)
    """Margin that earlier live permits reserve, in the margin asset."""
    admission: str = ""
    """The record as the admission wrote it. Settling sends it along, so that the store remembers an order whose record
    it has lost."""
    observed: bool = False
    """The intent would be denied, but its caller only observes. Claims the intent's id, under the observers' keys, and
    nothing else: no lock, no place in a window. Without a token where an earlier delivery has claimed the id."""
    without_store: bool = False
    """Of an exit that the store couldn't judge. Claims nothing; settling it writes the record."""

    def id_parameter(self, order_type: str) -> dict[str, str]:
        """The order's parameter that carries `client_order_id`: newClientOrderId, of a conditional type clientAlgoId.

        python-binance drops the wrong one without a word, and makes up an id by which nobody finds the order. So raises
        InvalidField for what is none of the exchange's types, as it writes them.
        """
        if order_type not in _PLAIN_TYPES + _ALGO_TYPES:
            types = ", ".join(_PLAIN_TYPES + _ALGO_TYPES)
            raise InvalidField("order_type", order_type, f"is no type of the exchange's; give one of {types}")
        return {"clientAlgoId" if order_type in _ALGO_TYPES else "newClientOrderId": self.client_order_id}

    def decided_ms(self, said_ms: int) -> int:
        """When the intent was decided, epoch ms: as it says, but no later than the permit. An exit may be dated
        ahead: it would else not know its own order."""
        return min(said_ms, self.deadline_ms) if self.deadline_ms else said_ms

    @property
    def remaining_ms(self) -> int:
        """Milliseconds until the permit runs out; 0 when it has run out."""
        return max(0, (self.expires_ns - time.monotonic_ns()) // 1_000_000)

    @property
    def live(self) -> bool:
        """Whether the permit may still act. A holder must send nothing after its permit has run out."""
        return time.monotonic_ns() < self.expires_ns


class Verdict(Struct, frozen=True):
    """An admission with a permit, or a denial with a reason. True when admitted."""

    admitted: bool
    reason: Reason
    """Of an observed admission: the reason for which an enforcing caller would be denied."""
    detail: str = ""
    retry_after_ms: int | None = None
    """Milliseconds after which a retry makes sense; None when that is unknown or never (see `retryable`)."""
    permit: Permit | None = None
    prior: Record | None = None
    """For DUPLICATE and CONFLICT: the record of the earlier delivery."""
    mode: Mode = Mode.ENFORCE
    age_ms: int | None = None
    """For STALE: the intent's age on the server's clock; below 0 when its time is in the future."""
    look: LastLook | None = None
    """Of an admission: what a last look would have told at the moment of the verdict, for a caller that sends its order
    without waiting for anything. None: ask for one. None too where the
    verdict is older than the answer that brought it."""

    def __bool__(self) -> bool:
        return self.admitted

    @property
    def retryable(self) -> bool:
        """Whether the gate may admit the same intent later: while it is fresh, or once its time has come."""
        return not self.admitted and (self.reason not in NEVER_RETRYABLE or self.from_the_future)

    @property
    def from_the_future(self) -> bool:
        """Whether the denial's cause is an intent time in the future."""
        return self.age_ms is not None and self.age_ms < 0

    @property
    def retry_after(self) -> timedelta | None:
        """`retry_after_ms` as a timedelta."""
        return None if self.retry_after_ms is None else timedelta(milliseconds=self.retry_after_ms)
