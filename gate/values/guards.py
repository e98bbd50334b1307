"""The reasons, and the guards that deny with them, in their order. The first that denies is the verdict's reason.

lua/include/guards.lua checks them in this order, and gives these reasons. Keys, reports, screens and documents read
this table. A new guard needs a line in this table, its check in guards.lua, and a test.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Reason(StrEnum):
    """Why an intent is admitted or denied: the guards' reasons in their order, and the client's own."""

    ADMITTED = "ADMITTED"
    CONFLICT = "CONFLICT"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"
    POLICY_MISMATCH = "POLICY_MISMATCH"
    MEMORY_YOUNG = "MEMORY_YOUNG"
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


class Exits(StrEnum):
    """How a guard treats an exit. An exit is an intent that can only reduce a position."""

    APPLY = "apply"
    """The guard judges exits like entries."""
    HALT_ALL = "only by a halt of scope `all`"
    EXEMPT = "exempt"
    """The guard lets exits pass. It doesn't read its key for them, so a damaged key can't block an exit."""
    EXEMPT_NOT_COUNTED = "exempt, not counted"
    EXEMPT_BUT_COUNTED = "exempt, but counted"
    """The guard lets exits pass, but counts them in its window."""


class Guard(NamedTuple):
    """One check of the script."""

    name: str
    """The name in reports and in `--json`."""
    reason: Reason
    """The reason of a denial."""
    key: str | None
    """The key that the guard reads, by its name in the header of evaluate.lua; None if it reads no key."""
    exits: Exits

    @property
    def exempts_exits(self) -> bool:
        """Whether the guard lets every exit pass."""
        return self.exits not in (Exits.APPLY, Exits.HALT_ALL)


GUARDS: Final = (
    Guard("conflict", Reason.CONFLICT, "record", Exits.APPLY),
    Guard("duplicate", Reason.DUPLICATE, "record", Exits.APPLY),
    Guard("stale", Reason.STALE, None, Exits.APPLY),
    Guard("policy", Reason.POLICY_MISMATCH, "state", Exits.EXEMPT),
    Guard("memory", Reason.MEMORY_YOUNG, "state", Exits.EXEMPT),
    Guard("halt", Reason.HALTED, "halt", Exits.HALT_ALL),
    Guard("safe_mode", Reason.SAFE_MODE, "safe_mode", Exits.EXEMPT),
    Guard("failures", Reason.FAILURE_LIMIT, "failures", Exits.EXEMPT),
    Guard("cooldown_global", Reason.COOLDOWN_GLOBAL, "cooldown_global", Exits.EXEMPT),
    Guard("cooldown_symbol", Reason.COOLDOWN_SYMBOL, "cooldown_symbol", Exits.EXEMPT),
    Guard("lock", Reason.LOCKED, "lock", Exits.EXEMPT),
    Guard("in_flight", Reason.IN_FLIGHT_LIMIT, "inflight", Exits.EXEMPT),
    Guard("rate_symbol", Reason.RATE_SYMBOL, "rate_symbol", Exits.EXEMPT_NOT_COUNTED),
    Guard("rate_global", Reason.RATE_GLOBAL, "rate_global", Exits.EXEMPT_BUT_COUNTED),
)
