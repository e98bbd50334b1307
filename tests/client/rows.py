"""The fourteen guards of the table: for each, a state in which it alone denies, and one in which it just passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from gate import Outcome, Policy, Reason
from tests.client import account as at
from tests.client.gates import AnyGate

Arrange = Callable[[redis.Redis, AnyGate, bool], None]


@dataclass(frozen=True)
class Row:
    """A guard. `arrange(client, gate, exits)` makes it deny, `spare` takes it to the edge and leaves it passing."""

    guard: str
    reason: Reason
    key: str
    arrange: Arrange
    spare: Arrange
    binds_exits: bool
    never_again: bool = False
    wait: Callable[[int], int] | None = None
    """The wait at a moment of the server's clock; None when nobody can tell."""
    retry: Callable[[int], int] | None = None
    """When to ask again, where that isn't the wait."""
    changes: dict[str, Any] = field(default_factory=dict)
    """The fields that the intent must have."""
    spare_changes: dict[str, Any] = field(default_factory=dict)
    writes: frozenset[str] = frozenset()
    """The keys that the denial may change, for the two trips."""

    def __str__(self) -> str:
        return self.guard


_moments: dict[str, int] = {}


def _now(client: redis.Redis) -> int:
    return at.server_ms(client)


def _nothing(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
    pass


def _record_of(id: str, notional: str) -> Arrange:
    """A record that stands alone: its permit was settled, and nothing else remembers it."""

    def arrange(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
        permit = at.admitted(gate.evaluate(at.intent(exits, id, notional=notional)))
        assert gate.settle(permit, Outcome.placed("8389765"))
        client.delete(at.RATE_SYMBOL)
        client.lset(at.RATE_GLOBAL, 0, "0")  # without the list, the memory would be new

    return arrange


def _text(key: str, value: str, ttl_ms: int) -> Arrange:
    def arrange(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
        _moments[key] = _now(client) + ttl_ms
        client.set(key, value, pxat=_moments[key])

    return arrange


def _left(key: str) -> Callable[[int], int]:
    return lambda now: _moments[key] - now


def _times(key: str, *ages_ms: int) -> Arrange:
    """A list of times, newest first."""

    def arrange(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
        now = _now(client)
        client.rpush(key, *(now - age for age in ages_ms))
        _moments[key] = now - ages_ms[-1]

    return arrange


def _opens(key: str, window_ms: int) -> Callable[[int], int]:
    return lambda now: _moments[key] + window_ms - now


def _halted(scope: str) -> Arrange:
    def arrange(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
        gate.halt(by="ops", reason="CPI print", scope=scope)

    return arrange


def _policy(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
    client.hset(at.STATE, mapping={"fence": 7, "since": 1_700_000_000_000, "policy": "enforce-of-somebody-else"})


def _own_policy(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
    assert gate.apply_policy(Policy(), by="ops", reason="as deployed").audited
    client.delete(at.AUDIT)


def _lost(ago_ms: int) -> Arrange:
    """A loss of memory that was noticed so long ago."""

    def arrange(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
        _moments[at.STATE] = _now(client) - ago_ms
        client.hset(at.STATE, "lost", _moments[at.STATE])

    return arrange


def _until_old(now: int) -> int:
    return _moments[at.STATE] + 60_000 - now


def _in_flight(live: int, past: int) -> Arrange:
    def arrange(client: redis.Redis, gate: AnyGate, exits: bool) -> None:
        now = _now(client)
        client.zadd(at.INFLIGHT, {f"50000000:live-{i}": now + 20_000 for i in range(live)})
        if past:
            client.zadd(at.INFLIGHT, {f"50000000:past-{i}": now - i for i in range(past)})

    return arrange


ROWS = (
    Row("conflict", Reason.CONFLICT, at.RECORD, _record_of("sig-1", "300"), _record_of("sig-2", "300"), True, True),
    Row("duplicate", Reason.DUPLICATE, at.RECORD, _record_of("sig-1", "200"), _record_of("sig-2", "200"), True, True),
    Row(
        "stale",
        Reason.STALE,
        "",
        _nothing,
        _nothing,
        True,
        True,
        changes={"age_ms": 600_001},
        spare_changes={"age_ms": 590_000},
    ),
    Row("policy", Reason.POLICY_MISMATCH, at.STATE, _policy, _own_policy, False),
    Row("memory", Reason.MEMORY_YOUNG, at.STATE, _lost(50_000), _lost(60_000), False, wait=_until_old),
    Row("halt", Reason.HALTED, at.HALT, _halted("entries"), _nothing, False),
    Row(
        "safe_mode",
        Reason.SAFE_MODE,
        at.SAFE_MODE,
        _text(at.SAFE_MODE, "1", 600_000),
        _text(at.SAFE_MODE, "0", 600_000),
        False,
        wait=_left(at.SAFE_MODE),
    ),
    Row(
        "failures",
        Reason.FAILURE_LIMIT,
        at.FAILURES,
        _times(at.FAILURES, 1, 1_000, 2_000, 3_000, 200_000),
        _times(at.FAILURES, 1, 1_000, 2_000, 3_000, 300_000),
        False,
        wait=lambda now: 900_000,
        writes=frozenset({at.SAFE_MODE, at.FAILURES, at.AUDIT, at.REASONS}),
    ),
    Row(
        "cooldown_global",
        Reason.COOLDOWN_GLOBAL,
        at.COOLDOWN_GLOBAL,
        _text(at.COOLDOWN_GLOBAL, "5 orders in 60000 ms", 200_000),
        _text(at.COOLDOWN_GLOBAL, "0", 200_000),
        False,
        wait=_left(at.COOLDOWN_GLOBAL),
    ),
    Row(
        "cooldown_symbol",
        Reason.COOLDOWN_SYMBOL,
        at.COOLDOWN_SYMBOL,
        _text(at.COOLDOWN_SYMBOL, "-2019", 200_000),
        _text(at.COOLDOWN_SYMBOL, "0", 200_000),
        False,
        wait=_left(at.COOLDOWN_SYMBOL),
    ),
    Row(
        "lock",
        Reason.LOCKED,
        at.LOCK,
        _text(at.LOCK, "somebody", 20_000),
        _text("quantum:exec:lock:BTCUSDT:SELL", "somebody", 20_000),
        False,
        wait=_left(at.LOCK),
        retry=lambda now: 30_000 - _left(at.LOCK)(now),  # as long as it is held already
    ),
    Row("in_flight", Reason.IN_FLIGHT_LIMIT, at.INFLIGHT, _in_flight(64, 3), _in_flight(63, 80), False),
    Row(
        "rate_symbol",
        Reason.RATE_SYMBOL,
        at.RATE_SYMBOL,
        _times(at.RATE_SYMBOL, 10_000),
        _times(at.RATE_SYMBOL, 30_000),
        False,
        wait=_opens(at.RATE_SYMBOL, 30_000),
    ),
    Row(
        "rate_global",
        Reason.RATE_GLOBAL,
        at.RATE_GLOBAL,
        _times(at.RATE_GLOBAL, 1, 1_000, 1_000, 2_000, 40_000),
        _times(at.RATE_GLOBAL, 1, 1_000, 1_000, 2_000, 60_000),
        False,
        wait=lambda now: 300_000,  # of the cooldown that it trips
        writes=frozenset({at.COOLDOWN_GLOBAL, at.AUDIT, at.REASONS}),
    ),
)
