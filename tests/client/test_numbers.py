"""Numbers stay whole numbers in every key, however large: never an exponent, never a rounded one."""

from __future__ import annotations

from decimal import Decimal

import pytest
import redis

from gate import Outcome, Penalty, Policy
from tests.client import account as at
from tests.client.gates import OpenGate

LONGEST_MS = 30 * 24 * 3600 * 1000  # beyond 2^31
HUGE = Policy(
    rate_symbol_limit=100_000,
    rate_symbol_window_ms=LONGEST_MS,
    rate_global_limit=100_000,
    rate_global_window_ms=LONGEST_MS,
    lock_ttl_ms=1_000_000_000,
    dedup_ttl_ms=LONGEST_MS,
    failure_limit=100_000,
    failure_window_ms=LONGEST_MS,
    safe_mode_ttl_ms=LONGEST_MS,
    cooldown_symbol_ms=LONGEST_MS,
    cooldown_global_ms=LONGEST_MS,
    max_in_flight=100_000,
)
FENCES = [99_999_999, 2**31 - 2, 2**32 - 1, 10**9 - 1, 12 * 10**8 - 1, 10**14 - 1, 10**15 - 1, 2**52, 2**53 - 3]


@pytest.mark.parametrize("fence", FENCES)
def test_fences_stay_whole_numbers(fence: int, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.hset(at.STATE, mapping={"fence": fence, "since": 1_700_000_000_000})
    first = at.admitted(gate.evaluate(at.entry()))
    second = at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT")))
    assert (first.fence, second.fence) == (fence + 1, fence + 2)
    assert redis_client.hget(at.STATE, "fence") == str(fence + 2).encode()
    record = gate.lookup("sig-1")
    assert record is not None
    assert record.fence == fence + 1


@pytest.mark.parametrize("fence", FENCES[:-1])
def test_a_fence_that_the_caller_has_seen_stays_whole(
    fence: int, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    redis_client.hset(at.STATE, mapping={"fence": fence, "since": 1_700_000_000_000})
    at.admitted(gate.evaluate(at.entry()))
    redis_client.flushall()
    assert at.admitted(gate.evaluate(at.exit_("sig-2"))).fence == fence + 1_000_002


@pytest.mark.parametrize("fence", ["9007199254740992", "1e5", "0x10", "7.5", "-3", "many"])
def test_a_fence_that_can_not_grow_by_one_is_damage(
    fence: str, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    redis_client.hset(at.STATE, mapping={"fence": fence, "since": 1_700_000_000_000})
    held = at.contents(redis_client)
    verdict = open_sync_gate().evaluate(at.entry())
    assert not verdict.admitted
    assert at.STATE in verdict.detail
    assert at.contents(redis_client) == held


def numbers(client: redis.Redis) -> list[str]:
    """Every stored number, as it is stored."""
    found: list[str] = []
    for key in at.keys(client):
        kind = at.text(client.type(key))
        if key == at.PLACED:
            found += [part for line in client.lrange(key, 0, -1) for part in at.text(line).split(" ")[:3]]
        elif kind == "list":
            found += [at.text(value) for value in client.lrange(key, 0, -1)]
        elif key.startswith("quantum:exec:processed:"):
            _, _, fence, _, admitted, _, _, span, reserved, _, _ = at.text(client.get(key) or b"").split(" ", 10)
            found += [fence, admitted, span, reserved]
        elif key == at.STATE:
            found += [at.text(client.hget(key, field) or b"") for field in ("fence", "since")]
            copies = [
                at.text(copy) for field, copy in client.hgetall(key).items() if at.text(field).startswith("permit:")
            ]
            for copy in copies:
                _, _, fence, _, admitted, _, _, span, reserved, _, _ = copy.split(" ", 10)
                found += [fence, admitted, span, reserved]
        elif key == at.INFLIGHT:
            found += [at.text(member).partition(":")[0] for member in client.zrange(key, 0, -1)]
            found += [str(client.zcount(key, 4_000_000_000_000, "+inf"))]
        elif key == at.HALT:
            found += [at.text(client.hget(key, "at") or b"")]
        elif key == at.AUDIT:
            found += [act["at"] for act in at.audit(client)]
    return found


def test_no_key_ever_holds_an_exponent(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(HUGE)
    redis_client.hset(at.STATE, mapping={"fence": 3 * 10**8 - 2, "since": 1_700_000_000_000})
    permits = [
        at.admitted(gate.evaluate(at.entry(f"sig-{i}", symbol), reserve=Decimal(10**8)))
        for i, symbol in enumerate(at.SYMBOLS)
    ]
    members = [at.text(member) for member in redis_client.zrange(at.INFLIGHT, 0, -1)]
    assert "100000000000000:sig-9" in members
    assert permits[-1].reserved_ahead == 9 * Decimal(10**8)
    at.admitted(gate.evaluate(at.exit_("sig-exit", side="SELL")))
    for permit, outcome in zip(
        permits,
        [
            Outcome.placed(10**15),
            Outcome.unknown(),
            Outcome.unsent("X", retryable=False),
            Outcome.rejected(-2019, penalty=Penalty(True, LONGEST_MS, LONGEST_MS)),
        ],
        strict=False,
    ):
        assert gate.settle(permit, outcome)
    gate.halt(by="ops", reason="over")
    kept = numbers(redis_client)
    assert len(kept) > 90
    assert [number for number in kept if not number.isdigit()] == []


def test_long_lives_are_kept(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(HUGE)
    permit = at.admitted(gate.evaluate(at.entry()))
    now = at.server_ms(redis_client)
    for key, span in (
        (at.RECORD, HUGE.dedup_ttl_ms),
        (at.LOCK, HUGE.lock_ttl_ms),
        (at.RATE_SYMBOL, LONGEST_MS),
        (at.RATE_GLOBAL, LONGEST_MS),
    ):
        assert span - 60_000 < redis_client.pexpiretime(key) - now <= span, key
    assert redis_client.zscore(at.INFLIGHT, "50000000:sig-1") == permit.deadline_ms
    gate.settle(permit, Outcome.rejected(1, penalty=Penalty(True, LONGEST_MS, LONGEST_MS)))
    wait_ms = gate.evaluate(at.entry("sig-2", "ETHUSDT")).retry_after_ms
    assert wait_ms is not None
    assert LONGEST_MS - 60_000 < wait_ms <= LONGEST_MS
    assert LONGEST_MS - 60_000 < redis_client.pttl(at.COOLDOWN_SYMBOL) <= LONGEST_MS


def test_margin_is_reserved_in_whole_millionths_rounded_up(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    at.admitted(gate.evaluate(at.entry(notional="0.0000001", leverage=1)))
    assert redis_client.zrange(at.INFLIGHT, 0, -1) == [b"1:sig-1"]
    at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT", notional="200", leverage=3)))
    assert at.admitted(gate.evaluate(at.entry("sig-3", "SOLUSDT"))).reserved_ahead == Decimal("83.333335")


@pytest.mark.parametrize("reserve", [Decimal("NaN"), Decimal("-Infinity"), Decimal("Infinity"), Decimal(-1)])
def test_an_invalid_margin_figure_denies(reserve: Decimal, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    verdict = open_gate().evaluate(at.entry(), reserve=reserve)
    assert not verdict.admitted
    assert verdict.reason == "INVALID"
    assert at.keys(redis_client) == {at.STATE}
