"""The guards, in their order: the first that denies is the verdict's reason.

lua/include/guards.lua asks them, in this order and by these reasons. Keys, reports, screens and documents take the rest
from here. To add a guard: a line here, its question there, and a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.values.verdict import Reason


class Exits(StrEnum):
    """What a guard does with an exit, that is, with an intent that can only reduce a position."""

    APPLY = "apply"
    """It judges exits as it judges entries."""
    HALT_ALL = "only by a halt of scope `all`"
    EXEMPT = "exempt"
    """It lets exits pass, and doesn't read its key for them: damage there can't trap one."""
    EXEMPT_NOT_COUNTED = "exempt, not counted"
    EXEMPT_BUT_COUNTED = "exempt, but counted"
    """Exits pass; but they take their place in its window."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One check of the script."""

    name: str
    """As reports and `--json` show it."""
    reason: Reason
    """What it denies with."""
    key: str | None
    """The key that it reads, by its name in the header of evaluate.lua; None where it reads none."""
    exits: Exits

    @property
    def exempts_exits(self) -> bool:
        """Whether it lets every exit pass."""
        return self.exits not in (Exits.APPLY, Exits.HALT_ALL)


GUARDS: Final = (
    Guard("conflict", Reason.CONFLICT, "record", Exits.APPLY),
    Guard("duplicate", Reason.DUPLICATE, "record", Exits.APPLY),
    Guard("stale", Reason.STALE, None, Exits.APPLY),
    Guard("policy", Reason.POLICY_MISMATCH, "state", Exits.EXEMPT),
    Guard("halt", Reason.HALTED, "halt", Exits.HALT_ALL),
    Guard("safe_mode", Reason.SAFE_MODE, "safe_mode", Exits.EXEMPT),
    Guard("failures", Reason.FAILURE_LIMIT, "failures", Exits.EXEMPT),
    Guard("cooldown_global", Reason.COOLDOWN_GLOBAL, "cooldown_global", Exits.EXEMPT),
    Guard("cooldown_symbol", Reason.COOLDOWN_SYMBOL, "cooldown_symbol", Exits.EXEMPT),
    Guard("lock", Reason.LOCKED, "lock", Exits.APPLY),
    Guard("in_flight", Reason.IN_FLIGHT_LIMIT, "inflight", Exits.EXEMPT),
    Guard("rate_symbol", Reason.RATE_SYMBOL, "rate_symbol", Exits.EXEMPT_NOT_COUNTED),
    Guard("rate_global", Reason.RATE_GLOBAL, "rate_global", Exits.EXEMPT_BUT_COUNTED),
)
