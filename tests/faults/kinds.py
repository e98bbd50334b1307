"""The faults, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gate import Policy
from tests.faults import clocks, disagreements, exits, halts, late, memory
from tests.faults.arena import Arena
from tests.faults.desk import POLICY
from tests.faults.store import FAKETIME


@dataclass(frozen=True)
class Kind:
    """One kind of fault. `act` takes a batch of accounts through what leads to it, the fault, and what comes after."""

    group: str
    act: Callable[[Arena], Awaitable[None]]
    policies: tuple[Policy, ...] = ()
    """From which each worker gets one; the first where none is named."""
    judges_windows: bool = True
    exits_count: bool = True
    """Whether an exit must have found its place in the account's window."""
    steps_clock: bool = False
    own_users: bool = False
    """Whether each account has a user of its own at the store."""

    @property
    def available(self) -> bool:
        """Whether this machine can cause the fault: a clock that steps needs libfaketime."""
        return not self.steps_clock or FAKETIME is not None


KINDS: Final = {
    "stale replica": Kind("memory", memory.stale_replica),
    "split brain": Kind("memory", memory.split_brain),
    "flush": Kind("memory", memory.flushed),
    "log cut short": Kind("memory", memory.log_cut_short),
    "old snapshot": Kind("memory", memory.old_snapshot),
    "restored by hand": Kind("memory", memory.restored_by_hand),
    "worker stands still": Kind("clocks", clocks.worker_stands_still),
    "process stopped": Kind("clocks", clocks.process_stopped),
    "halt, worker stands still": Kind("halts", halts.worker_stands_still),
    "halt, stopped at a point": Kind("halts", halts.process_stopped_at_a_point),
    "halt, process stopped": Kind("halts", halts.process_stopped),
    # A step ahead ends windows early, and it ends the lock of a request that has had its last look; docs/design.md says
    # so. Orders and deadlines are judged, and that no look passes once another has had the symbol.
    "store's clock steps": Kind("clocks", clocks.clock_steps, judges_windows=False, steps_clock=True),
    # The windows of before lapse with the records, and those of meanwhile lie in the future.
    "clock passes records": Kind("clocks", clocks.clock_passes_records, judges_windows=False, steps_clock=True),
    "two policies": Kind(
        "policies",
        disagreements.two_policies,
        (POLICY, disagreements.TIGHTER, disagreements.SHORTER, disagreements.LONGER),
    ),
    # An exit passes without its place in the window, where it may not write it.
    "right missing": Kind("acl", disagreements.right_missing, exits_count=False, own_users=True),
    "exit without a store": Kind("exits", exits.exits_without_store, (exits.GOING,), exits_count=False, own_users=True),
    # What limits and stops hold may be evicted; docs/design.md says so.
    "keys evicted": Kind("evict", disagreements.keys_evicted, judges_windows=False),
    "late order": Kind("late", late.late_order),
}
GROUPS: Final = tuple(dict.fromkeys(kind.group for kind in KINDS.values()))
