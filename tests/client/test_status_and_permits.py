"""Status shows what denies, and a permit knows how long it may act."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import redis
from msgspec import structs

from gate import Damage, Gate, Outcome, Policy, Status
from gate.values.guards import GUARDS
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.client.rows import ROWS, Row
from tests.servers.store import Store

ROOMY = Policy(rate_symbol_limit=10_000, rate_global_limit=10_000, max_in_flight=10_000)


def standing(status: Status, key: str) -> bool:
    return any(each.key == key and each.on for each in status.standing)


SHOWN = [row for row in ROWS if row.guard not in ("conflict", "duplicate", "stale", "policy", "halt", "in_flight")]


@pytest.mark.parametrize("row", SHOWN, ids=str)
def test_status_shows_what_denies_and_writes_nothing(row: Row, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    assert not standing(gate.status(), row.key)
    row.arrange(redis_client, gate, False)
    held = at.contents(redis_client)
    status = gate.status()
    assert standing(status, row.key)
    assert at.contents(redis_client) == held
    assert status.stopped is ("BTCUSDT" not in row.key)


@pytest.mark.parametrize("row", SHOWN, ids=str)
def test_status_does_not_show_a_passing_guard_as_on(row: Row, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    row.spare(redis_client, gate, False)
    assert not standing(gate.status(), row.key)


@pytest.mark.parametrize(
    "key",
    [
        *(at.SAFE_MODE, at.COOLDOWN_GLOBAL, at.COOLDOWN_SYMBOL, at.FAILURES, at.RATE_GLOBAL),
        *(at.RATE_SYMBOL, at.LOCK, at.INFLIGHT, at.STATE, at.HALT),
    ],
)
def test_status_shows_damage_and_hides_nothing_behind_it(
    key: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    redis_client.delete(key)
    if key == at.INFLIGHT:
        redis_client.set(key, "1")
    else:
        redis_client.zadd(key, {"x": 1})
    shown = at.SAFE_MODE if key != at.SAFE_MODE else at.COOLDOWN_GLOBAL
    redis_client.set(shown, "1")
    status = gate.status()
    assert standing(status, shown)
    assert [each.detail[:7] for each in status.standing if each.key == key] == ["damaged"]
    [damage] = [each.damage for each in status.damaged.values()]
    assert damage is not None
    assert (damage.holds, damage.problem) == (
        "string" if key == at.INFLIGHT else "zset",
        f"a {damage.holds}, where a {damage.belongs} belongs",
    )


def test_damage_inside_a_value_of_the_right_type_is_told_by_what_is_wrong(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.rpush(at.RATE_GLOBAL, "yesterday")
    damaged = open_gate().status().damaged
    assert {name: each.damage for name, each in damaged.items()} == {
        "rate_global": Damage("an entry is not a time", "list", "list")
    }


@pytest.mark.parametrize(
    ("name", "key", "belongs"),
    [("audit", at.AUDIT, "stream"), ("reasons", at.REASONS, "hash"), ("placed", at.PLACED, "list")],
)
def test_damage_of_what_no_guard_reads_is_shown_and_denies_nothing(
    name: str, key: str, belongs: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.set(key, "1")
    gate = open_gate()
    status = gate.status()
    [damaged] = status.standing
    assert (damaged.name, damaged.key, damaged.on, status.stopped) == (name, key, False, False)
    assert damaged.damage == Damage(f"a string, where a {belongs} belongs", belongs, "string")
    at.admitted(gate.evaluate(at.entry()))


@pytest.mark.parametrize("fields", [{"note": "by hand"}, {"scope": ""}, {"scope": "all"}], ids=str)
def test_status_shows_a_halt_made_by_hand(
    fields: dict[Any, Any], redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    redis_client.hset(at.HALT, mapping=fields)
    assert not gate.evaluate(at.entry())
    assert gate.status().halt is not None


def test_status_counts_permits_doubts_and_margin(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permits = [at.admitted(gate.evaluate(at.entry(f"sig-{i}", symbol))) for i, symbol in enumerate(at.SYMBOLS[:3])]
    redis_client.zadd(at.INFLIGHT, {"50000000:sig-2": at.server_ms(redis_client) - 1})
    gate.settle(permits[0], Outcome.placed(1))
    status = gate.status()
    assert (status.in_flight, status.in_doubt, status.reserved) == (1, 1, Decimal(50))
    assert (status.fence, status.policy_in_force, status.policy_agrees) == (3, ROOMY.fingerprint, True)
    assert status.memory_since_ms is not None
    assert not status.stopped


def test_a_permit_acts_until_its_lock_runs_out_and_no_longer(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(lock_ttl_ms=20_000))
    before = time.monotonic_ns()
    server_before = at.server_ms(redis_client)
    permit = at.admitted(gate.evaluate(at.entry()))
    server_after = at.server_ms(redis_client)
    after = time.monotonic_ns()
    assert before + 20_000 * 10**6 <= permit.expires_ns <= after + 20_000 * 10**6
    assert server_before + 20_000 <= permit.deadline_ms <= server_after + 20_000
    assert redis_client.pexpiretime(at.LOCK) >= permit.deadline_ms, "the permit would outlive its lock"
    assert permit.live
    assert 0 < permit.remaining_ms <= 20_000
    dead = structs.replace(permit, expires_ns=time.monotonic_ns() - 1)
    assert not dead.live
    assert dead.remaining_ms == 0


def test_threads_share_a_gate(store: Store, redis_client: redis.Redis) -> None:
    callers, each = 8, 40
    start = threading.Barrier(callers)
    with Gate.from_url(store.url, policy=ROOMY, timeout_ms=10_000) as gate, ThreadPoolExecutor(callers) as pool:

        def trade(caller: int) -> list[int]:
            start.wait()
            fences = []
            for number in range(each):
                intent = at.entry(f"sig-{caller}-{number}", at.SYMBOLS[caller])
                permit = at.admitted(gate.evaluate(intent))
                assert (permit.intent_id, permit.symbol) == (intent.id, intent.symbol)
                assert gate.settle(permit, Outcome.placed(number))
                fences.append(permit.fence)
            return fences

        fences = [fence for own in pool.map(trade, range(callers)) for fence in own]
    assert sorted(fences) == list(range(1, callers * each + 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_shares_no_connection_with_its_parent(store: Store, redis_client: redis.Redis) -> None:
    with Gate.from_url(store.url, policy=ROOMY, timeout_ms=10_000) as gate:

        def symbols_of(letter: str) -> bool:
            """Whether each call got its own reply."""
            for number in range(100):
                intent = at.entry(f"{letter}-{number}", f"{letter}{number}USDT")
                if at.admitted(gate.evaluate(intent)).symbol != intent.symbol:
                    return False
            return True

        at.admitted(gate.evaluate(at.entry("sig-0", "ADAUSDT")))
        child = os.fork()
        if child == 0:
            good = False
            try:
                good = symbols_of("C")
            finally:
                os._exit(0 if good else 1)
        own = symbols_of("P")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert own
    assert redis_client.hget(at.STATE, "fence") == b"201"


def test_the_audit_is_capped(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate()
    with redis_client.pipeline(transaction=False) as pipeline:
        for _ in range(12_000):
            pipeline.xadd(at.AUDIT, {"what": "x"})
        pipeline.execute()
    gate.halt(by="ops", reason="test")
    assert 10_000 <= redis_client.xlen(at.AUDIT) < 10_500


@pytest.mark.parametrize("key", [at.SAFE_MODE, at.COOLDOWN_GLOBAL, at.COOLDOWN_SYMBOL])
def test_a_switch_that_holds_an_empty_text_denies_and_is_shown_as_on(
    key: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    redis_client.set(key, "")
    assert not gate.evaluate(at.entry())
    assert [(each.key, each.on, each.detail) for each in gate.status().standing] == [(key, True, "an empty text")]


def test_what_stands_is_listed_in_the_order_of_the_guards(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    at.admitted(gate.evaluate(at.entry()))
    for key in (at.COOLDOWN_SYMBOL, at.COOLDOWN_GLOBAL, at.SAFE_MODE):
        redis_client.set(key, "1", ex=900)
    redis_client.rpush(at.HALT, "damaged")
    names = [each.name for each in gate.status().standing]
    order = [guard.name for guard in GUARDS]
    assert names == sorted(names, key=order.index)
    assert set(names) == {
        "halt",
        "safe_mode",
        "cooldown_global",
        "cooldown_symbol",
        "lock",
        "rate_symbol",
        "rate_global",
    }
