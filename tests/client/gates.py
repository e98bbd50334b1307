"""Gate and AsyncGate behind one interface, so one test covers both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from decimal import Decimal
from typing import Any, Protocol, TypeVar, cast

import pytest
import redis

from gate import (
    Absence,
    Act,
    AsyncGate,
    Audit,
    Diagnosis,
    Gate,
    Halt,
    InDoubt,
    Inspection,
    Intent,
    LastLook,
    Leftovers,
    Observer,
    Outcome,
    Permit,
    Policy,
    PolicyInForce,
    RecentIntents,
    Record,
    SeenServices,
    Settlement,
    Status,
    StillOut,
    Verdict,
)
from gate.client.leftovers import Looked
from tests.servers.store import Store
from tests.servers.users import IN_ROLES, url_of_user

T = TypeVar("T")

# Far above what a loaded machine needs for one round trip. Tests that lose replies use a shorter one of their own.
PATIENT_MS = 5_000


class AnyGate(Protocol):
    """The methods of Gate, and of AsyncGate behind AwaitedGate."""

    def evaluate(
        self,
        intent: Intent | Mapping[str, object],
        *,
        reserve: Decimal | None = None,
        placed_after: str | None = None,
    ) -> Verdict: ...
    def settle(self, permit: Permit, outcome: Outcome) -> Settlement: ...
    def inspect(self, intent: Intent | Mapping[str, object]) -> Inspection: ...
    def lookup(self, intent_id: str) -> Record | None: ...
    def last_look(self, permit: Permit, *, needed_ms: int, placed_after: str | None = None) -> LastLook: ...
    def in_doubt(self, at_most: int = 100, skip: int = 0) -> InDoubt: ...
    def give_back(self) -> int: ...
    def absences(self, within_ms: int, known: Collection[str] = ()) -> tuple[Absence, ...]: ...
    def audit(self, at_most: int = 100, *, within_ms: int | None = None) -> Audit: ...
    def diagnose(self, looked: Looked | None = None, *, proof: bool = True) -> Diagnosis: ...
    def recent_intents(
        self, at_most: int = 100, *, symbol: str | None = None, looked: Looked | None = None
    ) -> RecentIntents: ...
    def permit_without_store(self, intent: Intent) -> Permit: ...
    def client_order_id(self, intent_id: str) -> str: ...
    def ever_run(self) -> bool: ...
    def halt_in_force(self) -> Halt | None: ...
    def status(self) -> Status: ...
    def halt(self, *, by: str, reason: str, scope: str = "entries") -> Act: ...
    def still_out(self, scope: str = "entries") -> StillOut: ...
    def until_clear(self, scope: str = "entries", *, told: Callable[[StillOut], None] | None = None) -> StillOut: ...
    def leave_trace(self) -> None: ...
    def claim_account(self, digest: str) -> str | None: ...
    def claim_prefix(self, account: str) -> bool: ...
    def note_account(self, account: str) -> None: ...
    def leave_account(self, digest: str, account: str | None = None, *, at_once: bool = False) -> None: ...
    def seen_services(self) -> SeenServices: ...
    def resume(self, *, by: str, reason: str) -> Act: ...
    def reset(self, what: str, *, by: str, reason: str) -> Act: ...
    def apply_policy(self, policy: Policy | None = None, *, by: str, reason: str, expected: str = "") -> Act: ...
    def policy_in_force(self) -> PolicyInForce | None: ...
    @property
    def policy(self) -> Policy: ...
    def init(self, *, by: str, reason: str) -> Act: ...
    def observers(self) -> tuple[Observer, ...]: ...
    def leftovers(self, looked: Looked | None = None) -> Leftovers: ...
    def clear_leftovers(self, found: Leftovers, *, by: str, reason: str, others: bool = False) -> Act: ...
    def close(self) -> None: ...


class AwaitedGate:
    """An AsyncGate on its own event loop. Each call blocks until its end."""

    def __init__(self, gate: AsyncGate) -> None:
        self._gate = gate
        self._runner = asyncio.Runner()
        self._closed = False

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def evaluate(
        self,
        intent: Intent | Mapping[str, object],
        *,
        reserve: Decimal | None = None,
        placed_after: str | None = None,
    ) -> Verdict:
        return self._run(self._gate.evaluate(intent, reserve=reserve, placed_after=placed_after))

    def settle(self, permit: Permit, outcome: Outcome) -> Settlement:
        return self._run(self._gate.settle(permit, outcome))

    def inspect(self, intent: Intent | Mapping[str, object]) -> Inspection:
        return self._run(self._gate.inspect(intent))

    def lookup(self, intent_id: str) -> Record | None:
        return self._run(self._gate.lookup(intent_id))

    def last_look(self, permit: Permit, *, needed_ms: int, placed_after: str | None = None) -> LastLook:
        return self._run(self._gate.last_look(permit, needed_ms=needed_ms, placed_after=placed_after))

    def give_back(self) -> int:
        return self._run(self._gate.give_back())

    def absences(self, within_ms: int, known: Collection[str] = ()) -> tuple[Absence, ...]:
        return self._run(self._gate.absences(within_ms, known))

    def audit(self, at_most: int = 100, *, within_ms: int | None = None) -> Audit:
        return self._run(self._gate.audit(at_most, within_ms=within_ms))

    def diagnose(self, looked: Looked | None = None, *, proof: bool = True) -> Diagnosis:
        return self._run(self._gate.diagnose(looked, proof=proof))

    def recent_intents(
        self, at_most: int = 100, *, symbol: str | None = None, looked: Looked | None = None
    ) -> RecentIntents:
        return self._run(self._gate.recent_intents(at_most, symbol=symbol, looked=looked))

    def in_doubt(self, at_most: int = 100, skip: int = 0) -> InDoubt:
        return self._run(self._gate.in_doubt(at_most, skip))

    def permit_without_store(self, intent: Intent) -> Permit:
        return self._gate.permit_without_store(intent)

    def client_order_id(self, intent_id: str) -> str:
        return self._gate.client_order_id(intent_id)

    def ever_run(self) -> bool:
        return self._run(self._gate.ever_run())

    def halt_in_force(self) -> Halt | None:
        return self._run(self._gate.halt_in_force())

    def status(self) -> Status:
        return self._run(self._gate.status())

    def halt(self, *, by: str, reason: str, scope: str = "entries") -> Act:
        return self._run(self._gate.halt(by=by, reason=reason, scope=scope))

    def still_out(self, scope: str = "entries") -> StillOut:
        return self._run(self._gate.still_out(scope))

    def until_clear(self, scope: str = "entries", *, told: Callable[[StillOut], None] | None = None) -> StillOut:
        return self._run(self._gate.until_clear(scope, told=told))

    def leave_trace(self) -> None:
        self._run(self._gate.leave_trace())

    def claim_account(self, digest: str) -> str | None:
        return self._run(self._gate.claim_account(digest))

    def claim_prefix(self, account: str) -> bool:
        return self._run(self._gate.claim_prefix(account))

    def note_account(self, account: str) -> None:
        self._run(self._gate.note_account(account))

    def leave_account(self, digest: str, account: str | None = None, *, at_once: bool = False) -> None:
        self._run(self._gate.leave_account(digest, account, at_once=at_once))

    def seen_services(self) -> SeenServices:
        return self._run(self._gate.seen_services())

    def note_flatten(self, what: str, *, by: str, reason: str) -> Act:
        return self._run(self._gate.note_flatten(what, by=by, reason=reason))

    def resume(self, *, by: str, reason: str) -> Act:
        return self._run(self._gate.resume(by=by, reason=reason))

    def reset(self, what: str, *, by: str, reason: str) -> Act:
        return self._run(self._gate.reset(what, by=by, reason=reason))

    def apply_policy(self, policy: Policy | None = None, *, by: str, reason: str, expected: str = "") -> Act:
        return self._run(self._gate.apply_policy(policy, by=by, reason=reason, expected=expected))

    def policy_in_force(self) -> PolicyInForce | None:
        return self._run(self._gate.policy_in_force())

    @property
    def policy(self) -> Policy:
        return self._gate.policy

    def init(self, *, by: str, reason: str) -> Act:
        return self._run(self._gate.init(by=by, reason=reason))

    def observers(self) -> tuple[Observer, ...]:
        return self._run(self._gate.observers())

    def leftovers(self, looked: Looked | None = None) -> Leftovers:
        return self._run(self._gate.leftovers(looked))

    def clear_leftovers(self, found: Leftovers, *, by: str, reason: str, others: bool = False) -> Act:
        return self._run(self._gate.clear_leftovers(found, by=by, reason=reason, others=others))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._run(self._gate.close())
            self._runner.close()


_OPERATORS = frozenset(
    {
        *(
            "halt",
            "resume",
            "note_flatten",
            "reset",
            "apply_policy",
            "init",
            "still_out",
            "until_clear",
            "halt_in_force",
        ),
        *("status", "audit", "recent_intents", "seen_services", "observers"),
    }
)
_ADMINISTRATORS = frozenset({"leftovers", "clear_leftovers", "diagnose"})  # which keys these are nobody knows before


class GateInRoles:
    """Calls each method of a gate as the user whose part it is. Gates of all three kinds look the same."""

    def __init__(self, worker: Any, operator: Any, administrator: Any) -> None:
        self._worker, self._operator, self._administrator = worker, operator, administrator

    def __getattr__(self, name: str) -> Any:
        if name in _ADMINISTRATORS:
            return getattr(self._administrator, name)
        return getattr(self._operator if name in _OPERATORS else self._worker, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """A test that replaces a method replaces the worker's."""
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(self._worker, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._worker, name)

    def close(self) -> None:
        for each in (self._worker, self._operator, self._administrator):
            each.close()


def urls_in_roles(store: Store, prefix: str, policy: Policy | None) -> tuple[str, str, str]:
    """Of a worker, an operator and the administrator."""
    worker = "observer" if policy is not None and policy.observes else "worker"
    return url_of_user(store, worker, prefix), url_of_user(store, "operator", prefix), store.url


class OpenGate(Protocol):
    """Opens gates on the shared store, or on the one at `url`; all are closed when the test ends."""

    def __call__(
        self,
        policy: Policy | None = None,
        *,
        url: str | None = None,
        prefix: str = "quantum",
        timeout_ms: int = PATIENT_MS,
    ) -> AnyGate: ...


def _opener(store: Store, kind: str, opened: list[AnyGate]) -> OpenGate:
    def open_gate(
        policy: Policy | None = None,
        *,
        url: str | None = None,
        prefix: str = "quantum",
        timeout_ms: int = PATIENT_MS,
    ) -> AnyGate:
        def make(where: str) -> AnyGate:
            kind_of_gate: Any = Gate if kind == "Gate" else AsyncGate
            gate = kind_of_gate.from_url(where, prefix=prefix, policy=policy, timeout_ms=timeout_ms)
            return AwaitedGate(gate) if kind == "AsyncGate" else cast(AnyGate, gate)

        if IN_ROLES and url in (None, store.url):
            opened.append(cast(AnyGate, GateInRoles(*map(make, urls_in_roles(store, prefix, policy)))))
        else:
            opened.append(make(url or store.url))
        return opened[-1]

    return open_gate


@pytest.fixture(params=["Gate", "AsyncGate"])
def open_gate(request: pytest.FixtureRequest, store: Store, redis_client: redis.Redis) -> Iterator[OpenGate]:
    """Opens gates of the kind under test; the shared store is empty when the test begins."""
    opened: list[AnyGate] = []
    yield _opener(store, request.param, opened)
    for gate in opened:
        gate.close()


@pytest.fixture
def open_sync_gate(store: Store, redis_client: redis.Redis) -> Iterator[OpenGate]:
    """Opens Gates only, for tests of the scripts, which are the same for both kinds."""
    opened: list[AnyGate] = []
    yield _opener(store, "Gate", opened)
    for gate in opened:
        gate.close()
