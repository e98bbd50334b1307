"""Penalties bind once, trips never weaken what a person has set, and every trip is audited."""

from __future__ import annotations

import pytest
import redis

from gate import Outcome, Penalty, Policy, Reason, Settled
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100, failure_limit=3)
FAILURE = Penalty(count_failure=True)


def fail(gate: AnyGate, number: int, penalty: Penalty = FAILURE) -> bool:
    permit = at.admitted(gate.evaluate(at.entry(f"failing-{number}")))
    settlement = gate.settle(permit, Outcome.rejected(-2019, "Margin is insufficient.", penalty=penalty))
    assert settlement.status is Settled.SETTLED
    return settlement.tripped_safe_mode


def test_the_threshold_th_failure_trips_safe_mode_and_clears_the_counter(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    assert [fail(gate, 1), fail(gate, 2)] == [False, False]
    assert redis_client.llen(at.FAILURES) == 2
    assert redis_client.exists(at.SAFE_MODE) == 0
    assert fail(gate, 3) is True
    assert redis_client.exists(at.FAILURES) == 0
    assert 0 < redis_client.pttl(at.SAFE_MODE) <= 900_000
    assert gate.evaluate(at.entry()).reason is Reason.SAFE_MODE
    assert [(act["what"], act["by"]) for act in at.audit(redis_client)] == [("trip safe_mode", "gate")]
    gate.reset("safe_mode", by="ops", reason="account topped up")
    at.admitted(gate.evaluate(at.entry()))


def test_a_limit_of_one_failure_trips_at_the_first(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(failure_limit=1))
    assert fail(gate, 1) is True
    assert gate.evaluate(at.entry(symbol="ETHUSDT")).reason is Reason.SAFE_MODE


def test_a_limit_of_two_failures_trips_at_the_second(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(failure_limit=2, rate_symbol_limit=9, rate_global_limit=9))
    assert fail(gate, 1) is False
    assert fail(gate, 2) is True


def test_failures_count_in_their_window_only(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    now = at.server_ms(redis_client)
    redis_client.rpush(at.FAILURES, now - 300_000, now - 300_001)
    assert [fail(gate, 1), fail(gate, 2)] == [False, False]
    assert fail(gate, 3) is True


def test_the_counter_lapses_by_itself(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    fail(open_gate(ROOMY), 1)
    assert 0 < redis_client.pttl(at.FAILURES) <= 300_000


def test_a_penalty_binds_once_for_a_permit(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    everything = Penalty(count_failure=True, cooldown_symbol_ms=5_000, cooldown_global_ms=5_000)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, Outcome.unknown(penalty=everything))
    assert redis_client.llen(at.FAILURES) == 1
    redis_client.delete(at.COOLDOWN_SYMBOL, at.COOLDOWN_GLOBAL)
    assert gate.settle(permit, Outcome.unknown(penalty=everything)).status is Settled.ALREADY
    assert gate.settle(permit, Outcome.rejected(-2019, penalty=everything)).status is Settled.SETTLED
    assert gate.settle(permit, Outcome.rejected(-2019, penalty=everything)).status is Settled.ALREADY
    assert redis_client.llen(at.FAILURES) == 1
    assert redis_client.exists(at.COOLDOWN_SYMBOL, at.COOLDOWN_GLOBAL) == 0


def test_a_later_penalty_binds_when_the_first_outcome_had_none(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, Outcome.unknown())
    gate.settle(permit, Outcome.rejected(-2019, penalty=FAILURE))
    assert redis_client.llen(at.FAILURES) == 1


def test_cooldowns_of_a_penalty_stop_entries_for_their_time(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    fail(gate, 1, Penalty(cooldown_symbol_ms=7_000_000, cooldown_global_ms=8_000_000))
    assert 6_000_000 < redis_client.pttl(at.COOLDOWN_SYMBOL) <= 7_000_000
    assert 7_000_000 < redis_client.pttl(at.COOLDOWN_GLOBAL) <= 8_000_000
    assert gate.evaluate(at.entry()).reason is Reason.COOLDOWN_GLOBAL
    redis_client.delete(at.COOLDOWN_GLOBAL)
    assert gate.evaluate(at.entry()).reason is Reason.COOLDOWN_SYMBOL
    at.admitted(gate.evaluate(at.entry(symbol="ETHUSDT")))
    assert [act["what"] for act in at.audit(redis_client)] == ["trip cooldown_symbol BTCUSDT", "trip cooldown_global"]


def test_the_penalties_of_the_policy_are_the_documented_ones(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    policy = Policy(cooldown_symbol_ms=1, cooldown_global_ms=2, unknown_cooldown_ms=3)
    assert Penalty.margin_rejection(policy) == Penalty(True, 1), "the symbol rests, the account doesn't"
    assert Penalty.unknown_outcome(policy) == Penalty(False, 3, 0)


REFUSED_KEY = Penalty(safe_mode=True)
OUTCOMES = {
    "placed": Outcome.placed("8389765", penalty=REFUSED_KEY),
    "rejected": Outcome.rejected(-2015, "Invalid API-key, IP, or permissions for action.", penalty=REFUSED_KEY),
    "retryable": Outcome.rejected(-2015, retryable=True, penalty=REFUSED_KEY),
    "unsent": Outcome.unsent("-2015", penalty=REFUSED_KEY),
    "unknown": Outcome.unknown(code=-2015, penalty=REFUSED_KEY),
}


@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_penalty_may_trip_safe_mode_at_once(kind: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(safe_mode_ttl_ms=700_000))
    permit = at.admitted(gate.evaluate(at.entry()))
    settlement = gate.settle(permit, OUTCOMES[kind])
    assert (settlement.status, settlement.tripped_safe_mode) == (Settled.SETTLED, True)
    assert 600_000 < redis_client.pttl(at.SAFE_MODE) <= 700_000
    verdict = gate.evaluate(at.entry("sig-2", "ETHUSDT"))
    assert (verdict.reason, verdict.detail) == (Reason.SAFE_MODE, f"BTCUSDT: {OUTCOMES[kind].why}")
    assert [(act["what"], act["by"], act["reason"]) for act in at.audit(redis_client)] == [
        ("trip safe_mode", "gate", f"BTCUSDT: {OUTCOMES[kind].why}")
    ]
    at.admitted(gate.evaluate(at.exit_("sig-3", "ETHUSDT")))


def test_safe_mode_trips_once_for_a_permit(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, OUTCOMES["unknown"]).tripped_safe_mode
    gate.reset("safe_mode", by="ops", reason="new key")
    assert gate.settle(permit, OUTCOMES["unknown"]).status is Settled.ALREADY
    settlement = gate.settle(permit, OUTCOMES["rejected"])
    assert (settlement.status, settlement.tripped_safe_mode) == (Settled.SETTLED, False)
    assert redis_client.exists(at.SAFE_MODE) == 0


def test_a_switch_that_has_tripped_does_not_trip_again(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    first, second = (at.admitted(gate.evaluate(at.entry(f"sig-{n}", at.SYMBOLS[n]))) for n in (1, 2))
    assert gate.settle(first, OUTCOMES["rejected"]).tripped_safe_mode
    settlement = gate.settle(second, OUTCOMES["rejected"])
    assert (settlement.status, settlement.tripped_safe_mode) == (Settled.SETTLED, False)
    assert len(at.audit(redis_client)) == 1


@pytest.mark.parametrize("failures_before", [0, 1, 2])
def test_a_failure_that_trips_at_once_trips_once_and_the_count_begins_anew(
    failures_before: int, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    for number in range(failures_before):
        assert not fail(gate, number)
    assert fail(gate, 9, Penalty(count_failure=True, safe_mode=True))
    assert reason_of(redis_client, "safe_mode").startswith("BTCUSDT: -2019")
    assert redis_client.exists(at.FAILURES) == 0
    assert len(at.audit(redis_client)) == 1


def reason_of(client: redis.Redis, switch: str) -> str:
    return at.text(client.hget(at.REASONS, switch)).partition(" ")[2]


def test_a_trip_sets_a_switch_to_1_and_nothing_else(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """Programs of the replaced system compare it with that, or call int() on it. Why it is on is told all the same."""
    gate = open_gate(ROOMY)
    penalty = Penalty(safe_mode=True, cooldown_symbol_ms=10_000, cooldown_global_ms=20_000, reason="margin")
    fail(gate, 1, penalty)
    assert {redis_client.get(key) for key in (at.SAFE_MODE, at.COOLDOWN_GLOBAL, at.COOLDOWN_SYMBOL)} == {b"1"}
    told = {each.name: each.detail for each in gate.status().standing if each.on}
    assert (told["safe_mode"], told["cooldown_global"], told["cooldown_symbol"]) == (
        "BTCUSDT: margin",
        "margin",
        "margin",
    )
    assert gate.evaluate(at.entry()).detail == "BTCUSDT: margin"
    redis_client.delete(at.SAFE_MODE)
    assert gate.evaluate(at.entry()).detail == "margin"
    gate.reset("all", by="ops", reason="topped up")
    assert not redis_client.exists(at.REASONS)


@pytest.mark.parametrize("ttl_ms", [600_000, None])
def test_the_reason_of_a_trip_is_not_that_of_a_switch_set_by_hand_since(
    ttl_ms: int | None, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    fail(gate, 1, Penalty(safe_mode=True))
    redis_client.set(at.SAFE_MODE, "1", px=ttl_ms)
    assert gate.evaluate(at.entry()).detail == "1"
    assert [each.detail for each in gate.status().standing if each.name == "safe_mode"] == ["1"]


def test_damaged_reasons_stop_neither_a_trip_nor_a_verdict(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(at.REASONS, "1")
    gate = open_gate(ROOMY)
    fail(gate, 1, Penalty(safe_mode=True))
    assert (gate.evaluate(at.entry()).reason, gate.evaluate(at.entry()).detail) == (Reason.SAFE_MODE, "1")
    assert gate.reset("all", by="ops", reason="looked").changed == (at.SAFE_MODE,)
    [reasons] = gate.status().standing[-1:]
    assert (reasons.name, reasons.on) == ("reasons", False)


SWITCHES = {
    "failures": (at.SAFE_MODE, Penalty(count_failure=True)),
    "at once": (at.SAFE_MODE, Penalty(safe_mode=True)),
    "symbol": (at.COOLDOWN_SYMBOL, Penalty(cooldown_symbol_ms=10_000)),
    "global": (at.COOLDOWN_GLOBAL, Penalty(cooldown_global_ms=10_000)),
}
each_switch = pytest.mark.parametrize(("key", "penalty"), SWITCHES.values(), ids=SWITCHES)


@each_switch
@pytest.mark.parametrize("ttl_ms", [None, 5_000_000], ids=["endless", "longer"])
def test_a_trip_never_shortens_what_a_person_has_set(
    key: str, penalty: Penalty, ttl_ms: int | None, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(failure_limit=1))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.set(key, "by hand", px=ttl_ms)
    held = redis_client.dump(key), redis_client.pexpiretime(key)
    settlement = gate.settle(permit, Outcome.rejected(-2019, penalty=penalty))
    assert settlement.status is Settled.SETTLED
    assert (redis_client.dump(key), redis_client.pexpiretime(key)) == held
    assert at.audit(redis_client) == []


@each_switch
def test_a_trip_leaves_a_switch_of_the_wrong_type_alone(
    key: str, penalty: Penalty, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(failure_limit=1))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.rpush(key, "damaged")
    redis_client.expire(key, 5)  # shorter than any trip
    held = redis_client.dump(key)
    assert gate.settle(permit, Outcome.rejected(-2019, penalty=penalty)).status is Settled.SETTLED
    assert redis_client.dump(key) == held
    assert gate.evaluate(at.entry("sig-2")).reason is Reason.STORE_ERROR


def test_failures_that_no_longer_count_are_not_kept(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    redis_client.rpush(at.FAILURES, *[at.server_ms(redis_client) - 300_000] * 50)
    assert fail(gate, 1) is False
    assert redis_client.llen(at.FAILURES) == ROOMY.failure_limit


@pytest.mark.outside_roles("a worker of the role can't replace a value; tests/security/test_roles.py")
@each_switch
@pytest.mark.parametrize("was", [("by hand", 1_000), ("0", None), ("0", 5_000_000)], ids=["shorter", "off", "off, TTL"])
def test_a_trip_lengthens_a_switch_that_is_shorter_or_off(
    key: str, penalty: Penalty, was: tuple[str, int | None], redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(failure_limit=1, safe_mode_ttl_ms=10_000))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.set(key, was[0], px=was[1])
    gate.settle(permit, Outcome.rejected(-2019, penalty=penalty))
    assert 1_000 < redis_client.pttl(key) <= 10_000
    assert redis_client.get(key) != b"0"


def test_the_trip_of_the_global_rate_writes_the_cooldown_and_the_audit(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(rate_global_limit=2))
    for number in (1, 2):
        gate.settle(at.admitted(gate.evaluate(at.entry(f"sig-{number}", at.SYMBOLS[number]))), Outcome.placed(1))
    verdict = gate.evaluate(at.entry("sig-3"))
    assert verdict.reason is Reason.RATE_GLOBAL
    assert verdict.retry_after_ms == 300_000, "of the trip, which is longer"
    assert 0 < redis_client.pttl(at.COOLDOWN_GLOBAL) <= 300_000
    assert [act["what"] for act in at.audit(redis_client)] == ["trip cooldown_global"]
    assert gate.evaluate(at.entry("sig-4")).reason is Reason.COOLDOWN_GLOBAL
    assert len(at.audit(redis_client)) == 1


def test_the_trip_of_the_failures_writes_safe_mode_and_the_audit_and_clears_them(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    now = at.server_ms(redis_client)
    redis_client.rpush(at.FAILURES, *[now] * 5)
    assert gate.evaluate(at.entry()).reason is Reason.FAILURE_LIMIT
    assert redis_client.exists(at.FAILURES) == 0
    assert 0 < redis_client.pttl(at.SAFE_MODE) <= 900_000
    assert redis_client.ttl(at.SAFE_MODE) > 0
    assert [act["what"] for act in at.audit(redis_client)] == ["trip safe_mode"]
    assert gate.evaluate(at.entry()).reason is Reason.SAFE_MODE
    gate.reset("safe_mode", by="ops", reason="looked into")
    at.admitted(gate.evaluate(at.entry()))


@pytest.mark.parametrize("key", [at.FAILURES, at.RATE_GLOBAL])
def test_a_trip_is_not_prevented_by_a_damaged_audit(key: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    now = at.server_ms(redis_client)
    redis_client.rpush(key, *[now] * 5)
    redis_client.set(at.AUDIT, "not a stream")
    assert gate.evaluate(at.entry()).reason in (Reason.FAILURE_LIMIT, Reason.RATE_GLOBAL)
    assert gate.evaluate(at.entry()).reason in (Reason.SAFE_MODE, Reason.COOLDOWN_GLOBAL)


@pytest.mark.parametrize(("reason", "shown"), [("near the limits", "near the limits"), ("", "8389765")])
def test_a_cooldown_says_why_by_the_penaltys_reason_or_else_the_outcomes_code(
    open_gate: OpenGate, reason: str, shown: str
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))

    gate.settle(permit, Outcome.placed("8389765", penalty=Penalty(cooldown_global_ms=60_000, reason=reason)))

    denied = gate.evaluate(at.entry("next", symbol="ETHUSDT"))
    assert (denied.reason, denied.detail) == (Reason.COOLDOWN_GLOBAL, shown)
