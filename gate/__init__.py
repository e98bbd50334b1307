"""gate: one atomic verdict in front of every order.

    from gate import Gate, Intent, Outcome, Policy

The names below are the public interface; everything else may change.
"""

from gate.calls import Act
from gate.client import AsyncGate, AsyncGuardedPermit, Gate, GuardedPermit
from gate.errors import (
    GateError,
    InvalidField,
    InvalidIntent,
    InvalidPolicy,
    StoreError,
    StoreFailure,
    StoreUnavailable,
)
from gate.inspection import GuardReport, Halt, Inspection, Standing, Status
from gate.intent import Intent
from gate.outcome import Outcome, OutcomeKind, Penalty, Settled, Settlement
from gate.policy import Policy
from gate.record import Phase, Record
from gate.verdict import Mode, Permit, Reason, Verdict

__all__ = [
    "Act",
    "AsyncGate",
    "AsyncGuardedPermit",
    "Gate",
    "GateError",
    "GuardReport",
    "GuardedPermit",
    "Halt",
    "Inspection",
    "Intent",
    "InvalidField",
    "InvalidIntent",
    "InvalidPolicy",
    "Mode",
    "Outcome",
    "OutcomeKind",
    "Penalty",
    "Permit",
    "Phase",
    "Policy",
    "Reason",
    "Record",
    "Settled",
    "Settlement",
    "Standing",
    "Status",
    "StoreError",
    "StoreFailure",
    "StoreUnavailable",
    "Verdict",
]
