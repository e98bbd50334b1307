"""One policy per account: a caller with another policy opens nothing."""

from __future__ import annotations

import time

import pytest
import redis

from gate import AsyncGate, Gate, InvalidField, Outcome, Penalty, Policy, Reason
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.model.passing_time import let_pass

STRICT, LAX = Policy(), Policy(rate_global_limit=50)


def test_the_first_admission_puts_its_policy_in_force(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    at.admitted(open_gate(STRICT).evaluate(at.entry()))
    assert redis_client.hget(at.STATE, "policy") == STRICT.fingerprint.encode()


def test_an_admission_puts_its_policy_in_force_where_there_is_none(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.hset(at.STATE, mapping={"fence": 7, "since": 1_700_000_000_000})
    permit = at.admitted(open_gate(STRICT).evaluate(at.entry()))
    assert (permit.fence, permit.verify) == (8, False)
    assert redis_client.hmget(at.STATE, "policy", "since") == [STRICT.fingerprint.encode(), b"1700000000000"]


def test_a_denial_puts_no_policy_in_force(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(at.SAFE_MODE, "1")
    assert not open_gate(STRICT).evaluate(at.entry())
    assert not redis_client.hexists(at.STATE, "policy")


def test_a_caller_with_another_policy_can_only_exit(open_gate: OpenGate) -> None:
    at.admitted(open_gate(STRICT).evaluate(at.entry()))
    other = open_gate(LAX)
    verdict = other.evaluate(at.entry("sig-2", "ETHUSDT"))
    assert verdict.reason is Reason.POLICY_MISMATCH
    assert verdict.retryable
    assert STRICT.fingerprint in verdict.detail
    assert LAX.fingerprint in verdict.detail
    at.admitted(other.evaluate(at.exit_("sig-3", "ETHUSDT")))


def test_an_exit_does_not_change_the_policy_in_force(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    at.admitted(open_gate(STRICT).evaluate(at.entry()))
    at.admitted(open_gate(LAX).evaluate(at.exit_("sig-2", "ETHUSDT")))
    assert redis_client.hget(at.STATE, "policy") == STRICT.fingerprint.encode()


def test_apply_switches_the_policy_and_is_audited(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    strict, lax = open_gate(STRICT), open_gate(LAX)
    fence = at.admitted(strict.evaluate(at.entry())).fence
    act = lax.apply_policy(by="ops", reason="quiet market")
    assert (act.audited, act.before, act.changed) == (True, STRICT.fingerprint, (LAX.fingerprint,))
    assert strict.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.POLICY_MISMATCH
    assert at.admitted(lax.evaluate(at.entry("sig-2", "ETHUSDT"))).fence == fence + 1
    assert [(each["what"], each["by"], each["reason"]) for each in at.audit(redis_client)] == [
        (f"policy {LAX.fingerprint}", "ops", "quiet market")
    ]
    status = strict.status()
    assert (status.policy_agrees, status.policy_in_force) == (False, LAX.fingerprint)


def test_apply_on_an_empty_account_says_that_none_was_in_force(open_gate: OpenGate) -> None:
    gate = open_gate(STRICT)
    assert gate.apply_policy(by="ops", reason="first").before is None
    at.admitted(gate.evaluate(at.entry()))


# What an exit brings, and what a settlement brings: shorter in everything that keys live by.
HASTY = Policy(
    skew_ms=0,
    dedup_ttl_ms=60_000,
    max_age_ms=20_000,
    rate_global_limit=2,
    rate_global_window_ms=5_000,
    failure_window_ms=5_000,
    failure_limit=2,
    safe_mode_ttl_ms=5_000,
)


def test_an_exit_of_another_policy_is_remembered_as_long_as_the_policy_in_force_says(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Forgotten early, it would be sent a second time."""
    at.admitted(open_gate(STRICT).evaluate(at.entry("sig-0", "ETHUSDT")))
    hasty = open_gate(HASTY)
    at.admitted(hasty.evaluate(at.exit_()))
    assert redis_client.pttl(at.RECORD) > STRICT.dedup_ttl_ms - 60_000
    old = at.exit_("sig-2", timestamp=time.time_ns() // 1_000_000 - 60_000)
    assert at.admitted(hasty.evaluate(old)), "fresh by the policy in force"
    ahead = at.exit_("sig-3", timestamp=time.time_ns() // 1_000_000 + 3_000)
    assert at.admitted(hasty.evaluate(ahead)), "not too far ahead by the policy in force"


def test_an_exit_before_any_policy_is_remembered_for_longer_than_its_caller_says(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """The policy that comes may take the intent for fresh for longer, and the exit would be sent a second time."""
    hasty = open_gate(HASTY)
    permit = at.admitted(hasty.evaluate(at.exit_()))
    assert redis_client.pttl(at.RECORD) > 23 * 3_600_000
    assert hasty.settle(permit, Outcome.placed("7"))
    assert redis_client.pttl(at.RECORD) > 23 * 3_600_000


def test_an_exit_that_went_without_the_store_before_any_policy_is_remembered_for_as_long(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    hasty = open_gate(HASTY)
    assert hasty.settle(hasty.permit_without_store(at.exit_()), Outcome.placed("7"))
    assert redis_client.pttl(at.RECORD) > 23 * 3_600_000


def test_an_exit_of_another_policy_leaves_the_window_that_all_share(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Shortened to the exit's own window, the list would let more entries through than there may be."""
    strict = open_gate(Policy(rate_symbol_limit=100))
    for number in range(4):
        at.admitted(strict.evaluate(at.entry(f"sig-{number}", f"A{number}USDT")))
    hasty = open_gate(HASTY)
    for number in range(4):
        at.admitted(hasty.evaluate(at.exit_(f"out-{number}", f"A{number}USDT")))
    assert redis_client.llen(at.RATE_GLOBAL) == 8
    assert redis_client.pttl(at.RATE_GLOBAL) > HASTY.rate_global_window_ms
    assert strict.evaluate(at.entry("sig-9", "A9USDT")).reason is Reason.RATE_GLOBAL


def test_an_exit_of_another_policy_cuts_no_window_that_is_longer_than_its_own(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """The list lives as long as the window alone, where nothing else needs it for longer."""
    shared = Policy(rate_global_window_ms=600_000, dedup_ttl_ms=700_000)
    strict = open_gate(shared)
    for number in range(shared.rate_global_limit):
        at.admitted(strict.evaluate(at.entry(f"sig-{number}", f"A{number}USDT")))
    at.admitted(open_gate(HASTY).evaluate(at.exit_("out")))
    let_pass(redis_client, shared.rate_global_window_ms - 100_000)
    assert strict.evaluate(at.entry("sig-9", "A9USDT")).reason is Reason.RATE_GLOBAL


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "of the first admission"])
@pytest.mark.parametrize("name", ["dedup_ttl_ms", "max_age_ms", "rate_global_window_ms", "failure_window_ms"])
@pytest.mark.parametrize("text", ["0", "99999999999999999999", "-1", ""])
def test_a_figure_in_force_that_no_policy_has_traps_no_exit(
    redis_client: redis.Redis, open_gate: OpenGate, name: str, text: str, applied: bool
) -> None:
    """A hand has written it."""
    figures = {**STRICT.texts(), "skew_ms": "0", name: text}
    line = "".join(f" {each}={value}" for each, value in figures.items()) + " "
    redis_client.hset(at.STATE, mapping={"fence": 7, "since": 1, "policy": "enforce-x", "figures": line})
    if applied:
        redis_client.set(at.APPLIED, f"enforce-x\n1800000000000\n{line}\nops\ntest")
    gate = open_gate(HASTY)
    permit = at.admitted(gate.evaluate(at.exit_(timestamp=time.time_ns() // 1_000_000 - 1_500)))
    redis_client.delete(at.RECORD)
    assert gate.settle(permit, Outcome.rejected(-2022, penalty=Penalty(count_failure=True)))
    assert redis_client.pttl(at.RECORD) > 0


def test_inspect_looks_at_an_exit_with_the_figures_in_force(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    at.admitted(open_gate(STRICT).evaluate(at.entry("sig-0", "ETHUSDT")))
    assert open_gate(HASTY).inspect(at.exit_(timestamp=time.time_ns() // 1_000_000 - 60_000))


def test_a_failure_is_counted_by_the_policy_in_force(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    at.admitted(open_gate(STRICT).evaluate(at.entry("sig-0", "ETHUSDT")))
    hasty = open_gate(HASTY)
    for number in range(2):
        permit = at.admitted(hasty.evaluate(at.exit_(f"out-{number}")))
        outcome = Outcome.rejected(-2022, penalty=Penalty(count_failure=True))
        assert not hasty.settle(permit, outcome).tripped_safe_mode, "five make a trip, not two"
    assert redis_client.pttl(at.FAILURES) > HASTY.failure_window_ms


def test_without_figures_in_the_state_those_of_the_caller_decide(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    at.admitted(open_gate(STRICT).evaluate(at.entry("sig-0", "ETHUSDT")))
    redis_client.hset(at.STATE, "figures", "damaged")
    at.admitted(open_gate(HASTY).evaluate(at.exit_()))
    assert redis_client.pttl(at.RECORD) <= HASTY.dedup_ttl_ms


def test_apply_keeps_the_figures_and_entries_rest_for_a_window_that_gets_longer(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """The lists know only what the shorter window needed."""
    at.admitted(open_gate(STRICT).evaluate(at.entry("sig-0", "ETHUSDT")))
    longer = open_gate(Policy(rate_global_window_ms=120_000))
    longer.apply_policy(by="ops", reason="calmer")
    verdict = longer.evaluate(at.entry())
    assert verdict.reason is Reason.COOLDOWN_GLOBAL
    assert verdict.detail == "policy applied: a window gets longer"
    assert 100_000 < (verdict.retry_after_ms or 0) <= 120_000
    at.admitted(longer.evaluate(at.exit_("sig-2")))
    assert b" rate_global_window_ms=120000 " in (redis_client.hget(at.STATE, "figures") or b"")


def test_an_apply_is_compared_with_what_a_person_has_applied(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """The copy in the state is one that every caller may write."""
    longer = Policy(rate_global_window_ms=120_000)
    gate = open_gate(longer)
    gate.apply_policy(by="ann", reason="to see its figures")
    forged = redis_client.hget(at.STATE, "figures")
    gate.apply_policy(STRICT, by="ann", reason="first")
    redis_client.delete(at.COOLDOWN_GLOBAL)
    redis_client.hset(at.STATE, mapping={"policy": longer.fingerprint, "figures": forged or b""})
    act = gate.apply_policy(by="ann", reason="a longer window", expected=STRICT.fingerprint)
    assert act.before == STRICT.fingerprint
    assert redis_client.get(at.COOLDOWN_GLOBAL) == b"1", "entries rest until a whole longer window has passed"


def test_how_old_an_entry_may_be_is_what_a_person_has_applied(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """Not what the copy in the state says, which every caller may write."""
    patient = Policy(max_age_ms=2 * STRICT.max_age_ms)
    gate = open_gate(STRICT)
    gate.apply_policy(patient, by="ann", reason="to see its figures")
    forged = redis_client.hget(at.STATE, "figures")
    gate.apply_policy(STRICT, by="ann", reason="the one that counts")
    redis_client.hset(at.STATE, mapping={"policy": patient.fingerprint, "figures": forged or b""})
    old = at.entry(timestamp=time.time_ns() // 1_000_000 - STRICT.max_age_ms - 5_000)
    assert gate.evaluate(old).reason is Reason.STALE


@pytest.mark.parametrize("policy", [Policy(rate_global_window_ms=30_000), Policy(rate_global_limit=50), Policy()])
def test_apply_rests_nothing_where_no_window_gets_longer(
    policy: Policy, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    at.admitted(open_gate(STRICT).evaluate(at.entry("sig-0", "ETHUSDT")))
    gate = open_gate(policy)
    gate.apply_policy(by="ops", reason="test")
    at.admitted(gate.evaluate(at.entry()))


def test_the_script_and_the_client_write_the_figures_alike(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(STRICT)
    at.admitted(gate.evaluate(at.entry()))
    by_script = redis_client.hget(at.STATE, "figures")
    gate.apply_policy(by="ops", reason="the same again")
    assert redis_client.hget(at.STATE, "figures") == by_script


@pytest.mark.parametrize("gates", [Gate, AsyncGate])
def test_a_mapping_is_no_policy(gates: type[Gate] | type[AsyncGate]) -> None:
    with pytest.raises(InvalidField, match=r"policy: .* is not a Policy; of a mapping, Policy\.from_mapping makes one"):
        gates.from_url("redis://127.0.0.1:1", policy={"rate_global_limit": 1})  # type: ignore[arg-type]
