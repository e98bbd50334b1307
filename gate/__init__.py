"""gate: one atomic verdict in front of every order.

    from gate import Gate, Intent, Outcome, Policy

The names below are the public interface; everything else may change. Each name is loaded at its first use, so the
command line answers `gate --help` or a bad option without loading a Redis client.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gate.version import __version__ as __version__

if TYPE_CHECKING:
    from gate.client.gates import AsyncGate, Gate
    from gate.client.guarded import AsyncGuardedPermit, GuardedPermit
    from gate.config import Config, InvalidConfig
    from gate.values.audit import Audit, AuditEntry, UnreadStream
    from gate.values.diagnosis import Check, Diagnosis, Grade
    from gate.values.errors import (
        AccountTaken,
        GateError,
        InvalidField,
        InvalidIntent,
        InvalidPolicy,
        PrefixTaken,
        StoreError,
        StoreFailure,
        StoreUnavailable,
    )
    from gate.values.found_order import FoundOrder
    from gate.values.guards import Reason
    from gate.values.intent import Intent
    from gate.values.last_look import LastLook, PlacedOrder, PlacedOrders
    from gate.values.leftovers import Leftover, Leftovers, Remedy
    from gate.values.outcome import Outcome, OutcomeKind, Penalty, Settled, Settlement
    from gate.values.policy import Policy, PolicyInForce
    from gate.values.recent import RecentIntents
    from gate.values.record import Phase, Record
    from gate.values.reports import (
        Absence,
        Act,
        Copies,
        Damage,
        DoubtfulPermit,
        GuardReport,
        Halt,
        InDoubt,
        Inspection,
        Observer,
        OutPermit,
        SeenService,
        SeenServices,
        Standing,
        Status,
        StillOut,
    )
    from gate.values.verdict import Mode, Permit, Verdict
else:
    _NAMES = {
        "client.gates": "AsyncGate Gate",
        "values.errors": "AccountTaken GateError InvalidField InvalidIntent InvalidPolicy PrefixTaken StoreError "
        "StoreFailure StoreUnavailable",
        "values.audit": "Audit AuditEntry UnreadStream",
        "values.diagnosis": "Check Diagnosis Grade",
        "client.guarded": "AsyncGuardedPermit GuardedPermit",
        "values.reports": "Absence Act Copies Damage DoubtfulPermit GuardReport Halt InDoubt Inspection "
        "Observer OutPermit SeenService SeenServices Standing Status StillOut",
        "values.found_order": "FoundOrder",
        "values.intent": "Intent",
        "values.last_look": "LastLook PlacedOrder PlacedOrders",
        "values.leftovers": "Leftover Leftovers Remedy",
        "values.outcome": "Outcome OutcomeKind Penalty Settled Settlement",
        "values.policy": "Policy PolicyInForce",
        "config": "Config InvalidConfig",
        "values.recent": "RecentIntents",
        "values.record": "Phase Record",
        "values.guards": "Reason",
        "values.verdict": "Mode Permit Verdict",
    }
    _HOMES = {name: f"gate.{module}" for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module 'gate' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *_HOMES})


__all__ = [
    "Absence",
    "AccountTaken",
    "Act",
    "AsyncGate",
    "AsyncGuardedPermit",
    "Audit",
    "AuditEntry",
    "Check",
    "Config",
    "Copies",
    "Damage",
    "Diagnosis",
    "DoubtfulPermit",
    "FoundOrder",
    "Gate",
    "GateError",
    "Grade",
    "GuardReport",
    "GuardedPermit",
    "Halt",
    "InDoubt",
    "Inspection",
    "Intent",
    "InvalidConfig",
    "InvalidField",
    "InvalidIntent",
    "InvalidPolicy",
    "LastLook",
    "Leftover",
    "Leftovers",
    "Mode",
    "Observer",
    "OutPermit",
    "Outcome",
    "OutcomeKind",
    "Penalty",
    "Permit",
    "Phase",
    "PlacedOrder",
    "PlacedOrders",
    "Policy",
    "PolicyInForce",
    "PrefixTaken",
    "Reason",
    "RecentIntents",
    "Record",
    "Remedy",
    "SeenService",
    "SeenServices",
    "Settled",
    "Settlement",
    "Standing",
    "Status",
    "StillOut",
    "StoreError",
    "StoreFailure",
    "StoreUnavailable",
    "UnreadStream",
    "Verdict",
]
