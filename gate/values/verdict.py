"""The gate's answer to an intent: a verdict, with a permit or a reason."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from msgspec import Struct

from gate.values.record import Record


class Reason(StrEnum):
    """Why. The guards' reasons in their order, and what the client adds."""

    ADMITTED = "ADMITTED"
    CONFLICT = "CONFLICT"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"
    POLICY_MISMATCH = "POLICY_MISMATCH"
    HALTED = "HALTED"
    SAFE_MODE = "SAFE_MODE"
    FAILURE_LIMIT = "FAILURE_LIMIT"
    COOLDOWN_GLOBAL = "COOLDOWN_GLOBAL"
    COOLDOWN_SYMBOL = "COOLDOWN_SYMBOL"
    LOCKED = "LOCKED"
    IN_FLIGHT_LIMIT = "IN_FLIGHT_LIMIT"
    RATE_SYMBOL = "RATE_SYMBOL"
    RATE_GLOBAL = "RATE_GLOBAL"
    INVALID = "INVALID"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_ERROR = "STORE_ERROR"


NEVER_RETRYABLE: Final = frozenset({Reason.CONFLICT, Reason.DUPLICATE, Reason.STALE, Reason.INVALID})


class Mode(StrEnum):
    """Whether the policy that produced a verdict binds."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


# Structs, since both are made for every call: a frozen dataclass of so many fields takes ten times as long.
class Permit(Struct, frozen=True):
    """The right to send one order for one intent, until its deadline."""

    intent_id: str
    symbol: str
    side: str
    token: str
    fence: int
    client_order_id: str
    deadline_ms: int
    """On the server's clock, epoch ms."""
    expires_ns: int
    """The same moment on this process's monotonic clock, counted from before the call: never later than the lock."""
    verify: bool = False
    """Before sending, ask the exchange whether an order with this client order id exists."""
    memory_age_ms: int | None = None
    """With verify: how long the store had been whole at the admission. An order of a permit that it has forgotten may
    be on its way to the exchange so much later."""
    is_exit: bool = False
    reserved: Decimal = Decimal(0)
    """Margin that this permit reserves while it is live, in the margin asset."""
    reserved_ahead: Decimal = Decimal(0)
    """Margin that live permits admitted before this one have reserved."""
    observed: bool = False
    """Would have been denied; the policy in force only observes. It claims nothing, and settling it does nothing."""

    @property
    def remaining_ms(self) -> int:
        """Milliseconds in which this permit may still act; 0 when it has run out."""
        return max(0, (self.expires_ns - time.monotonic_ns()) // 1_000_000)

    @property
    def live(self) -> bool:
        """Whether it may still act. A holder whose permit has run out sends nothing."""
        return time.monotonic_ns() < self.expires_ns


class Verdict(Struct, frozen=True):
    """Admitted with a permit, or denied with a reason. True when admitted."""

    admitted: bool
    reason: Reason
    """Of an observed admission: what it would have been denied for."""
    detail: str = ""
    retry_after_ms: int | None = None
    """When a retry makes sense; None when nobody can tell, or it never does (see `retryable`)."""
    permit: Permit | None = None
    prior: Record | None = None
    """What became of the earlier delivery, for DUPLICATE and CONFLICT."""
    mode: Mode = Mode.ENFORCE
    age_ms: int | None = None
    """For STALE: the intent's age on the server's clock; below 0 when its time is still to come."""

    def __bool__(self) -> bool:
        return self.admitted

    @property
    def retryable(self) -> bool:
        """Whether the same intent may be admitted later, while it is fresh."""
        return not self.admitted and self.reason not in NEVER_RETRYABLE

    @property
    def from_the_future(self) -> bool:
        """Whether it was denied because the intent's time is still to come."""
        return self.age_ms is not None and self.age_ms < 0

    @property
    def retry_after(self) -> timedelta | None:
        """`retry_after_ms` as a timedelta."""
        return None if self.retry_after_ms is None else timedelta(milliseconds=self.retry_after_ms)
