"""A caller without a policy of its own follows the one in force, and takes a new one over without a denial."""

from __future__ import annotations

import dataclasses
import logging
import time
from decimal import Decimal

import pytest
import redis

from gate import Gate, InvalidField, Mode, Outcome, Policy, Reason, StoreError
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.session import declare_whole
from tests.servers.store import Store
from tests.servers.wire import Wire

WIDE = Policy(rate_global_limit=9, rate_symbol_limit=2, margin_buffer=Decimal("0.5"))
NARROW = Policy(rate_global_limit=2, cooldown_symbol_ms=1_000)
OLD = Policy(max_age_ms=1_200_000)


def trips(wire: Wire) -> int:
    return wire.requests["EVALSHA"] + wire.requests["HMGET"]


def test_a_new_caller_goes_by_the_policy_in_force(open_gate: OpenGate) -> None:
    open_gate(WIDE).apply_policy(by="ops", reason="test")
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.policy == WIDE
    assert permit.reserved == 60, "200 / 5, and the half of the policy in force on top"
    at.admitted(gate.evaluate(at.entry("sig-2", side="SELL")))
    assert gate.evaluate(at.entry("sig-3", symbol="BTCUSDT", side="SELL")).reason is Reason.LOCKED


def test_a_policy_that_comes_is_taken_over_without_a_denial(open_gate: OpenGate) -> None:
    gate, ops = open_gate(), open_gate(Policy())
    at.admitted(gate.evaluate(at.entry()))
    for number, policy in enumerate((NARROW, WIDE, Policy(), WIDE)):
        ops.apply_policy(policy, by="ops", reason="test")
        verdict = gate.evaluate(at.entry(f"sig-{number + 2}", at.SYMBOLS[number + 1]))
        assert verdict.reason in (Reason.ADMITTED, Reason.RATE_GLOBAL, Reason.COOLDOWN_GLOBAL)
        assert gate.policy == policy


def test_the_new_figures_decide_at_once(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate, ops = open_gate(), open_gate(Policy())
    for number in range(2):
        at.admitted(gate.evaluate(at.entry(f"sig-{number}", at.SYMBOLS[number])))
    ops.apply_policy(NARROW, by="ops", reason="test")
    verdict = gate.evaluate(at.entry("sig-3", "SOLUSDT"))
    assert verdict.reason is Reason.RATE_GLOBAL
    assert verdict.detail == "2 in 60 s is the limit; beyond it the account rests 300 s"


def test_a_verdict_takes_one_trip_and_one_more_where_the_policy_is_new(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    ops = open_gate(WIDE)
    at.admitted(ops.evaluate(at.entry("sig-9", at.SYMBOLS[9])))  # it loads the script, too
    gate = open_gate(url=wire.url)
    counts = []
    for number in range(6):
        if number == 3:
            ops.apply_policy(Policy(rate_global_limit=8), by="ops", reason="test")
        before = trips(wire)
        at.admitted(gate.evaluate(at.intent(number == 5, f"sig-{number}", symbol=at.SYMBOLS[number])))
        counts.append(trips(wire) - before)
    assert counts == [2, 1, 1, 2, 1, 1]


def test_an_exit_passes_in_one_go_and_its_caller_learns_by_it(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    at.admitted(open_gate(WIDE).evaluate(at.entry("sig-9", at.SYMBOLS[9])))  # it loads the script, too
    gate = open_gate(url=wire.url)
    at.admitted(gate.evaluate(at.exit_()))
    assert (wire.requests["EVALSHA"], gate.policy) == (1, WIDE)
    before = trips(wire)
    permit = at.admitted(gate.evaluate(at.exit_("sig-2", "ETHUSDT")))
    assert (trips(wire) - before, permit.verify) == (1, False), "from then on it brings the policy in force"


def test_an_exit_passes_where_its_caller_cannot_learn(
    redis_client: redis.Redis, wire: Wire, open_sync_gate: OpenGate
) -> None:
    open_sync_gate(WIDE).apply_policy(by="ops", reason="test")
    gate = open_sync_gate(url=wire.url, timeout_ms=300)
    lost = wire.withhold_next_reply("GET")
    at.admitted(gate.evaluate(at.exit_()))
    assert lost.happened
    assert gate.policy == Policy()


def test_an_age_that_only_the_policy_in_force_allows_is_no_denial(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Its caller doesn't know of that policy yet, and would call the intent stale by its own."""
    open_gate(OLD).apply_policy(by="ops", reason="test")
    aged = at.entry(timestamp=at.server_ms(redis_client) - 900_000)
    assert open_gate().inspect(aged)
    at.admitted(open_gate().evaluate(aged))
    too_old = at.entry("sig-2", "ETHUSDT", timestamp=at.server_ms(redis_client) - 1_300_000)
    assert open_gate().evaluate(too_old).reason is Reason.STALE
    early = Policy(skew_ms=60_000)
    open_gate(OLD).apply_policy(early, by="ops", reason="test")
    at.admitted(open_gate().evaluate(at.entry("sig-3", "SOLUSDT", timestamp=at.server_ms(redis_client) + 30_000)))


@pytest.mark.outside_roles("one caller asks and acts")
def test_inspect_and_status_go_by_the_policy_in_force(open_gate: OpenGate) -> None:
    open_gate(NARROW).apply_policy(by="ops", reason="test")
    assert open_gate().inspect(at.entry())
    gate = open_gate()
    status = gate.status()
    assert (status.policy_agrees, status.policy, gate.policy) == (True, NARROW, NARROW)


def test_who_asks_what_is_in_doubt_learns_how_old_its_intents_may_be(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Reconciling looks for orders since the decision. With a smaller age it would overlook one, and call it absent."""
    holder = open_gate(OLD)
    assert holder.settle(at.admitted(holder.evaluate(at.entry())), Outcome.unknown("no answer"))
    redis_client.zadd(at.INFLIGHT, {"60000000:sig-1": 1})  # its deadline is past
    gate = open_gate()
    assert gate.in_doubt().permits
    assert gate.policy == OLD


def test_a_pinned_caller_is_denied_and_told_which_figures_differ(open_gate: OpenGate) -> None:
    open_gate(WIDE).apply_policy(by="ops", reason="test")
    pinned = open_gate(Policy(rate_symbol_limit=2))
    verdict, inspection = pinned.evaluate(at.entry()), pinned.inspect(at.entry())
    assert (verdict.reason, pinned.policy) == (Reason.POLICY_MISMATCH, Policy(rate_symbol_limit=2))
    said = verdict.detail.partition(": ")[2]
    assert said == "rate_global_limit is 9, here 5, margin_buffer is 0.5, here 0.25"
    assert inspection.denial is not None
    assert inspection.denial.detail == verdict.detail
    assert pinned.status().differing == (("rate_global_limit", "9", "5"), ("margin_buffer", "0.5", "0.25"))


def test_the_change_is_logged_figure_by_figure(open_gate: OpenGate, caplog: pytest.LogCaptureFixture) -> None:
    open_gate(NARROW).apply_policy(by="ops", reason="test")
    with caplog.at_level(logging.INFO, logger="gate"):
        at.admitted(open_gate().evaluate(at.entry()))
    [said] = [each.message for each in caplog.records if each.message.startswith("POLICY FOLLOWED ")]
    assert said.endswith('rate_global_limit 5 -> 2; cooldown_symbol_ms 300000 -> 1000"')


@pytest.mark.parametrize("figures", [None, "damaged", " rate_global_limit=50 mode=enforce ", " dark_pool=1 "])
def test_figures_that_cannot_be_read_are_not_guessed(
    redis_client: redis.Redis, open_gate: OpenGate, figures: str | None
) -> None:
    open_gate(WIDE).apply_policy(by="ops", reason="test")
    redis_client.set(at.APPLIED, WIDE.fingerprint + ("" if figures is None else f"\n1\n{figures}"))
    gate = open_gate()
    verdict = gate.evaluate(at.entry())
    assert verdict.reason is Reason.POLICY_MISMATCH
    assert "`gate policy apply` puts one in force" in verdict.detail
    assert gate.policy == Policy()
    in_force = gate.policy_in_force()
    assert in_force is not None
    assert (in_force.fingerprint, in_force.policy, bool(in_force.problem)) == (WIDE.fingerprint, None, True)
    at.admitted(gate.evaluate(at.exit_("sig-2")))


def test_the_policy_of_those_that_observe_is_followed_by_nobody_else(open_gate: OpenGate) -> None:
    open_gate(dataclasses.replace(NARROW, mode="observe")).apply_policy(by="ops", reason="test")
    gate = open_gate()
    verdict = gate.evaluate(at.entry())
    assert (verdict.reason, verdict.mode, gate.policy) == (Reason.ADMITTED, Mode.ENFORCE, Policy())


def test_the_policy_in_force_says_since_when_and_by_whom(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    assert gate.policy_in_force() is None
    before = at.server_ms(redis_client)
    at.admitted(gate.evaluate(at.entry()))
    first = gate.policy_in_force()
    assert first is not None
    assert (first.fingerprint, first.policy, first.by, first.reason) == (
        *(Policy().fingerprint, Policy()),
        *("gate", "the first admission"),
    )
    assert before <= (first.at_ms or 0) <= at.server_ms(redis_client)
    open_gate(WIDE).apply_policy(by="ann", reason="a listing")
    then = gate.policy_in_force()
    assert then is not None
    assert (then.policy, then.by, then.reason) == (WIDE, "ann", "a listing")
    assert gate.policy == WIDE, "looking is learning"


@pytest.mark.outside_roles("one caller asks and acts")
def test_a_caller_that_follows_has_no_policy_to_apply(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    with pytest.raises(InvalidField, match="policy"):
        gate.apply_policy(by="ops", reason="test")
    assert not redis_client.hexists(at.STATE, "policy")
    gate.apply_policy(WIDE, by="ops", reason="test")
    assert gate.policy == WIDE


def test_a_policy_that_another_has_replaced_meanwhile_is_not_replaced(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    gate.apply_policy(WIDE, by="ops", reason="test", expected="-")
    for expected in ("-", NARROW.fingerprint):
        with pytest.raises(StoreError, match="another policy has come since"):
            gate.apply_policy(NARROW, by="ops", reason="test", expected=expected)
    assert redis_client.hget(at.STATE, "policy") == WIDE.fingerprint.encode()
    gate.apply_policy(NARROW, by="ops", reason="test", expected=WIDE.fingerprint)


def test_a_policy_that_is_in_force_no_more_is_not_replaced(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """The store has lost what its author saw: what counts now, nobody has compared with."""
    gate = open_gate()
    gate.apply_policy(WIDE, by="ops", reason="test")
    redis_client.flushall()
    with pytest.raises(StoreError, match="another policy has come since"):
        gate.apply_policy(NARROW, by="ops", reason="test", expected=WIDE.fingerprint)
    assert gate.policy_in_force() is None


def test_a_claim_is_given_back_as_long_as_it_lives_by_the_policy_in_force(
    redis_client: redis.Redis, wire: Wire, open_sync_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_sync_gate(Policy(lock_ttl_ms=60_000)).apply_policy(by="ops", reason="test")
    gate = open_sync_gate(url=wire.url, timeout_ms=300)
    at.admitted(gate.evaluate(at.entry()))
    for _ in range(2):  # the replay too
        wire.withhold_next_reply("EVALSHA")
    assert gate.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.STORE_UNAVAILABLE
    now_ns = time.monotonic_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns() + 40_000_000_000)
    assert redis_client.exists("quantum:exec:lock:ETHUSDT:BUY")
    assert gate.give_back() == 1
    assert not redis_client.exists("quantum:exec:lock:ETHUSDT:BUY")


def test_where_no_policy_is_in_force_the_first_admission_puts_the_defaults_in_force(
    store: Store, redis_client: redis.Redis
) -> None:
    declare_whole(redis_client)
    with Gate.from_url(store.url) as gate, Gate.from_url(store.url, policy=WIDE) as pinned:
        at.admitted(gate.evaluate(at.entry()))
        assert pinned.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.POLICY_MISMATCH
