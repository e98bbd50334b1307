"""Doubt denies: a damaged key stops the intents of its guard, is named, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from gate import Outcome, Penalty, Policy, Reason, Settled
from tests.client import account as at
from tests.client.gates import OpenGate

Damage = Callable[[redis.Redis, str], object]


def a_list(client: redis.Redis, key: str) -> object:
    client.delete(key)
    return client.rpush(key, "1")


def a_hash(client: redis.Redis, key: str) -> object:
    return client.hset(key, "field", "1")


def a_text(client: redis.Redis, key: str) -> object:
    client.delete(key)
    return client.set(key, "1")


def entries_that_are_no_times(client: redis.Redis, key: str) -> object:
    return client.rpush(key, *["yesterday"] * 5)


def entries_that_are_not_finite(client: redis.Redis, key: str) -> object:
    return client.rpush(key, *["nan"] * 5)


def a_member_without_a_margin(client: redis.Redis, key: str) -> object:
    return client.zadd(key, {"sig-0": 4_000_000_000_000})


def state_of(field: str, text: str) -> Damage:
    def damage(client: redis.Redis, key: str) -> object:
        return client.hset(key, mapping={"fence": "7", "since": "1700000000000", field: text})

    return damage


WRONG_TYPES: list[tuple[str, Damage, bool]] = [
    # key, what is wrong with it, whether exits read it too
    (at.RECORD, a_list, True),
    (at.RECORD, a_hash, True),
    (at.APPLIED, a_list, False),
    (at.APPLIED, a_hash, False),
    (at.STATE, a_text, False),
    (at.STATE, a_list, False),
    (at.HALT, a_text, True),
    (at.HALT, a_list, True),
    (at.SAFE_MODE, a_list, False),
    (at.SAFE_MODE, a_hash, False),
    (at.FAILURES, a_text, False),
    (at.FAILURES, a_hash, False),
    (at.COOLDOWN_GLOBAL, a_list, False),
    (at.COOLDOWN_GLOBAL, a_hash, False),
    (at.COOLDOWN_SYMBOL, a_list, False),
    (at.COOLDOWN_SYMBOL, a_hash, False),
    (at.LOCK, a_list, False),
    (at.LOCK, a_hash, False),
    (at.INFLIGHT, a_text, False),
    (at.INFLIGHT, a_list, False),
    (at.RATE_SYMBOL, a_text, False),
    (at.RATE_SYMBOL, a_hash, False),
    (at.RATE_GLOBAL, a_text, False),
    (at.RATE_GLOBAL, a_hash, False),
]
DAMAGED_VALUES: list[tuple[str, Damage, bool]] = [
    (at.FAILURES, entries_that_are_no_times, False),
    (at.FAILURES, entries_that_are_not_finite, False),
    (at.RATE_SYMBOL, entries_that_are_no_times, False),
    (at.RATE_SYMBOL, entries_that_are_not_finite, False),
    (at.RATE_GLOBAL, entries_that_are_no_times, False),
    (at.RATE_GLOBAL, entries_that_are_not_finite, False),
    (at.INFLIGHT, a_member_without_a_margin, False),
    (at.STATE, state_of("fence", "many"), False),
    (at.STATE, state_of("fence", "nan"), False),
    (at.STATE, state_of("fence", "inf"), False),
    (at.STATE, state_of("fence", ""), False),
    (at.STATE, state_of("since", "yesterday"), False),
    (at.STATE, state_of("since", "nan"), False),
]
READ_BY_ENTRIES = WRONG_TYPES + DAMAGED_VALUES


def case(parameters: object) -> str:
    return getattr(parameters, "__name__", str(parameters)).removeprefix("quantum:")


@pytest.mark.parametrize(("key", "damage", "binds_exits"), READ_BY_ENTRIES, ids=case)
def test_a_damaged_key_denies_entries_by_its_name_and_nothing_is_written(
    key: str, damage: Damage, binds_exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    damage(redis_client, key)
    held = at.contents(redis_client)
    verdict = gate.evaluate(at.entry())
    assert verdict.reason is Reason.STORE_ERROR
    assert not verdict.admitted
    assert verdict.permit is None
    assert key in verdict.detail.split()[0]
    assert at.contents(redis_client) == held


@pytest.mark.parametrize(("key", "damage", "binds_exits"), READ_BY_ENTRIES, ids=case)
def test_a_damaged_key_traps_an_exit_only_where_the_guard_applies_to_it(
    key: str, damage: Damage, binds_exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    damage(redis_client, key)
    held = at.contents(redis_client)
    verdict = gate.evaluate(at.exit_())
    if binds_exits:
        assert verdict.reason is (Reason.HALTED if key == at.HALT else Reason.STORE_ERROR)
        assert key in verdict.detail
        assert f"DEL {key}" in verdict.detail or (key, damage, binds_exits) not in WRONG_TYPES
        assert at.contents(redis_client) == held
        return
    permit = at.admitted(verdict)
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED
    if (key, damage, binds_exits) in WRONG_TYPES:
        assert at.contents(redis_client)[key] == held[key], "the damaged key wasn't left alone"


@pytest.mark.parametrize(("key", "damage", "binds_exits"), WRONG_TYPES, ids=case)
def test_a_person_is_told_what_to_do_about_a_wrong_type(
    key: str, damage: Damage, binds_exits: bool, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    damage(redis_client, key)
    assert f"DEL {key}" in gate.evaluate(at.entry()).detail
    redis_client.delete(key)
    if key == at.STATE:  # without it the memory is new
        assert gate.evaluate(at.entry()).reason is Reason.MEMORY_YOUNG
        at.wait_out(redis_client)
    at.admitted(gate.evaluate(at.entry()))


def test_two_exits_past_an_unreadable_state_have_different_fences(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    before = at.admitted(gate.evaluate(at.entry("sig-0", "ETHUSDT")))
    redis_client.delete(at.STATE)
    redis_client.set(at.STATE, "1")
    first, second = (at.admitted(gate.evaluate(at.exit_(f"sig-{i}", at.SYMBOLS[i]))) for i in (2, 3))
    assert before.fence < first.fence < second.fence
    assert first.verify
    assert second.verify
    redis_client.delete(at.STATE)
    repaired = at.admitted(gate.evaluate(at.exit_("sig-4", "ADAUSDT")))
    assert repaired.fence > before.fence
    assert repaired.verify


@pytest.mark.parametrize("saw", ["its permit", "its record", "a duplicate", "what is in doubt"])
def test_an_exit_past_a_damaged_state_does_not_make_the_mended_one_look_lost(
    saw: str, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    assert gate.settle(at.admitted(gate.evaluate(at.entry())), Outcome.placed(1))
    since = redis_client.hget(at.STATE, "since")
    redis_client.hset(at.STATE, "since", "yesterday")
    exits = open_sync_gate() if saw != "its permit" else gate
    permit = at.admitted(exits.evaluate(at.exit_("exit-1")))
    assert permit.fence > 10**15, "made of the clock"
    redis_client.hset(at.STATE, "since", since)
    if saw == "its record":
        assert gate.lookup("exit-1") is not None
    elif saw == "a duplicate":
        assert gate.evaluate(at.exit_("exit-1")).reason is Reason.DUPLICATE
    elif saw == "what is in doubt":
        redis_client.zadd(at.EXITS, {f"0:{permit.intent_id}": 1})
        assert [each.record.fence for each in gate.in_doubt().permits] == [permit.fence]
    assert gate.evaluate(at.entry("next", "ETHUSDT")).reason is Reason.ADMITTED
    assert not redis_client.hexists(at.STATE, "lost")


@pytest.mark.parametrize(
    "key", [at.LOCK, at.RATE_SYMBOL, at.RATE_GLOBAL, at.INFLIGHT, at.STATE, at.FAILURES, at.SAFE_MODE, at.AUDIT]
)
@pytest.mark.parametrize("kind", ["placed", "rejected", "unsent", "unknown"])
@pytest.mark.parametrize("trips", [False, True], ids=["counts", "trips"])
def test_an_outcome_is_recorded_despite_damage_under_other_keys(
    key: str, kind: str, trips: bool, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(key)
    if key == at.INFLIGHT:
        redis_client.set(key, "1")
    else:
        redis_client.zadd(key, {"1": 1.0})
    damaged = redis_client.dump(key)
    penalty = Penalty(count_failure=True, cooldown_symbol_ms=1000, cooldown_global_ms=1000, safe_mode=trips)
    outcome = {
        "placed": Outcome.placed(1, penalty=penalty),
        "rejected": Outcome.rejected(-2019, penalty=penalty),
        "unsent": Outcome.unsent("X", penalty=penalty),
        "unknown": Outcome.unknown(penalty=penalty),
    }[kind]
    assert gate.settle(permit, outcome).status is Settled.SETTLED
    assert redis_client.dump(key) == damaged


@pytest.mark.parametrize("limit", [1, 5])
def test_a_trip_leaves_a_damaged_counter_for_a_person_to_see(
    limit: int, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(Policy(failure_limit=limit))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.set(at.FAILURES, "1")
    settlement = gate.settle(permit, Outcome.rejected(-2015, penalty=Penalty(count_failure=True, safe_mode=True)))
    assert settlement.tripped_safe_mode
    assert redis_client.get(at.FAILURES) == b"1"


def test_a_record_of_the_wrong_type_can_not_be_settled(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.RECORD)
    redis_client.rpush(at.RECORD, "1")
    held = at.contents(redis_client)
    settlement = gate.settle(permit, Outcome.placed(1))
    assert settlement.status is Settled.STORE_ERROR
    assert at.RECORD in settlement.detail
    assert not settlement
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("key", [at.SAFE_MODE, at.COOLDOWN_GLOBAL, at.COOLDOWN_SYMBOL, at.RECORD, at.LOCK])
def test_bytes_that_are_no_text_deny_like_any_other_value(
    key: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    redis_client.set(key, "Störung \n".encode("latin-1"), ex=60)
    verdict = gate.evaluate(at.entry())
    assert not verdict.admitted
    assert verdict.reason not in (Reason.STORE_ERROR, Reason.STORE_UNAVAILABLE)
    inspection = gate.inspect(at.entry())
    assert inspection.reason is verdict.reason
    gate.lookup("sig-1")
    gate.status()


def test_halts_in_bytes_that_are_no_text_deny(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.hset(at.HALT, mapping={"scope": "all", "by": b"\xff", "reason": b"\xfe"})
    assert gate.evaluate(at.exit_()).reason is Reason.HALTED
    halt = gate.status().halt
    assert halt is not None
    assert halt.scope == "all"


@pytest.mark.parametrize(
    ("key", "loses"),
    [(at.RECORD, "may be admitted again"), (at.INFLIGHT, "shows which intents"), (at.STATE, "say verify")],
)
def test_the_remedy_says_what_is_lost_with_the_key(
    key: str, loses: str, open_gate: OpenGate, redis_client: redis.Redis
) -> None:
    redis_client.delete(key)
    redis_client.sadd(key, "of the wrong type")
    assert loses in open_gate().evaluate(at.entry()).detail
