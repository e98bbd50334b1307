"""How many permits are live, and what they reserve, is kept and not counted anew: a verdict's cost doesn't grow."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
import redis

from gate import Outcome, Permit, Policy, Reason
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.model.passing_time import let_pass

ROOMY = Policy(rate_symbol_limit=1000, rate_global_limit=1000, max_in_flight=5)
DEEP = Policy(rate_symbol_limit=1000, rate_global_limit=1000, max_in_flight=1000)


def walks(client: redis.Redis) -> int:
    """How often a script has read members of the set."""
    told = client.info("commandstats").get("cmdstat_zrangebyscore", {"calls": 0})
    return int(told["calls"])


def asked(gate: AnyGate, number: int, *, exits: bool = False, notional: str = "200") -> Permit:
    symbol = f"S{number}USDT"
    return at.admitted(gate.evaluate(at.intent(exits, f"sig-{number}", symbol=symbol, notional=notional)))


def kept(client: redis.Redis) -> list[int]:
    """The members of the set, those that are live, and what they reserve: as the state keeps it."""
    packed = client.hget(at.STATE, "in_flight")
    assert isinstance(packed, bytes)
    return [int(number) for number in struct.unpack(">7d", packed)[:3]]


def counted(client: redis.Redis) -> list[int]:
    """The same, counted in the set."""
    live = client.zrangebyscore(at.INFLIGHT, f"({at.server_ms(client)}", "+inf")
    return [client.zcard(at.INFLIGHT), len(live), sum(int(at.text(each).partition(":")[0]) for each in live)]


def test_an_admission_walks_over_no_permit_that_is_live(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(DEEP)
    for number in range(100):
        asked(gate, number)
    before = walks(redis_client)
    assert asked(gate, 100).reserved_ahead == Decimal(5000)
    gate.settle(asked(gate, 101), Outcome.placed(1))
    assert gate.inspect(at.entry("sig-102")).admitted
    assert walks(redis_client) == before
    assert kept(redis_client) == counted(redis_client)


def test_the_limit_and_the_reserve_follow_every_step_of_a_permit(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY)
    permits = [asked(gate, number, notional=str(100 * (number + 1))) for number in range(4)]
    assert [permit.reserved_ahead for permit in permits] == [0, 25, 75, 150]
    asked(gate, 4, exits=True)
    assert kept(redis_client) == counted(redis_client) == [4, 4, 250_000_000]
    held = asked(gate, 5)
    assert gate.evaluate(at.entry("sig-6")).reason is Reason.IN_FLIGHT_LIMIT

    gate.settle(held, Outcome.placed(1))
    for permit, outcome in zip(
        permits, (Outcome.placed(1), Outcome.rejected(-2019), Outcome.unsent("NO"), Outcome.unknown("?")), strict=True
    ):
        assert gate.settle(permit, outcome)
        gate.settle(permit, outcome)  # twice is once
    assert kept(redis_client) == counted(redis_client) == [1, 1, 100_000_000]
    assert asked(gate, 6).reserved_ahead == 100


def test_what_lapses_is_subtracted_once(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(ROOMY)
    lost = [asked(gate, number) for number in range(5)]
    let_pass(redis_client, ROOMY.lock_ttl_ms - 1_000)
    assert gate.evaluate(at.entry("sig-5")).reason is Reason.IN_FLIGHT_LIMIT
    let_pass(redis_client, 1_000)
    assert asked(gate, 6).reserved_ahead == 0
    before = walks(redis_client)
    assert asked(gate, 7).reserved_ahead == 50
    assert walks(redis_client) == before
    # Those in doubt are settled later: they are no longer among the live ones.
    for permit in lost:
        assert gate.settle(permit, Outcome.placed(1))
    assert kept(redis_client) == counted(redis_client) == [2, 2, 100_000_000]


def test_what_lapses_at_the_very_moment_of_a_count_is_subtracted_once(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY)
    for number in range(3):
        asked(gate, number)
    now = at.server_ms(redis_client)
    # One ended when they were counted last, another right after it.
    redis_client.zadd(at.INFLIGHT, {"50000000:sig-0": now - 1_000, "50000000:sig-1": now - 999})
    count = struct.pack(">7d", 3, 2, 100_000_000, now - 1_000, now - 999, now, now)
    redis_client.hset(at.STATE, "in_flight", count)
    assert asked(gate, 3).reserved_ahead == 50
    assert kept(redis_client) == counted(redis_client)


@pytest.mark.parametrize(
    "text", ["", "many", "1 0 0 0 0", struct.pack(">5d", 1, 0, 0, 0, 0), struct.pack(">7d", 1, 0, 0, 0, 0, 0, 0)]
)
def test_a_count_that_does_not_fit_the_set_is_made_anew(
    text: str | bytes, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY)
    for number in range(3):
        asked(gate, number)
    redis_client.hset(at.STATE, "in_flight", text)
    assert asked(gate, 3).reserved_ahead == 150
    assert kept(redis_client) == counted(redis_client)


def test_a_member_that_a_person_takes_out_is_noticed(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(ROOMY)
    for number in range(5):
        asked(gate, number)
    redis_client.zrem(at.INFLIGHT, "50000000:sig-2")
    assert asked(gate, 5).reserved_ahead == 200


def test_a_member_that_a_person_has_taken_out_is_noticed_where_it_is_settled(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY)
    taken = asked(gate, 0)
    asked(gate, 1)
    redis_client.zrem(at.INFLIGHT, "50000000:sig-0")
    assert gate.settle(taken, Outcome.placed(1))
    assert asked(gate, 2).reserved_ahead == 50
    assert kept(redis_client) == counted(redis_client)


def test_a_clock_that_goes_back_counts_anew(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(ROOMY)
    for number in range(3):
        asked(gate, number)
    let_pass(redis_client, ROOMY.lock_ttl_ms)
    asked(gate, 3)
    let_pass(redis_client, -ROOMY.lock_ttl_ms)
    assert asked(gate, 4).reserved_ahead == 200
    assert kept(redis_client) == counted(redis_client)


def test_a_set_that_is_damaged_behind_a_count_that_is_kept_denies_entries(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY)
    asked(gate, 0)
    redis_client.delete(at.INFLIGHT)
    redis_client.set(at.INFLIGHT, "damaged")
    held = at.contents(redis_client)
    verdict = gate.evaluate(at.entry())
    assert (verdict.reason, at.INFLIGHT in verdict.detail) == (Reason.STORE_ERROR, True)
    assert at.contents(redis_client) == held


def test_an_exit_past_a_damaged_set_spoils_no_count(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(ROOMY)
    for number in range(2):
        asked(gate, number)
    redis_client.delete(at.INFLIGHT)
    redis_client.set(at.INFLIGHT, "damaged")
    asked(gate, 2, exits=True)
    redis_client.delete(at.INFLIGHT)
    assert asked(gate, 3).reserved_ahead == 100, "what a hand has taken out counts until its deadline"
    let_pass(redis_client, ROOMY.lock_ttl_ms)
    assert asked(gate, 4).reserved_ahead == 0
    assert kept(redis_client) == counted(redis_client)


def test_a_clock_that_was_back_while_exits_came_denies_nobody_for_good(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY)
    asked(gate, 0)
    let_pass(redis_client, -120_000)  # two minutes back
    for number in (1, 2, 3, 4):
        asked(gate, number, exits=True)
    let_pass(redis_client, 240_000)
    asked(gate, 5)
    assert kept(redis_client) == counted(redis_client)


def test_a_count_that_has_drifted_denies_nobody(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(ROOMY)
    asked(gate, 0)
    now = at.server_ms(redis_client)
    redis_client.hset(at.STATE, "in_flight", struct.pack(">7d", 1, 99, 0, now - 1_000, 2**53 - 1, now, now))
    asked(gate, 1)
    assert kept(redis_client) == counted(redis_client)
