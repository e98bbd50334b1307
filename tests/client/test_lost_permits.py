"""A permit whose reply was lost goes to one caller in time, or is given back."""

from __future__ import annotations

import os
import time

import pytest
import redis

from gate import Gate, Intent, Outcome, Policy, Reason, Settled
from tests.client.account import LOCK, RECORD, admitted, entry, exit_
from tests.servers.store import Store
from tests.servers.wire import Wire

SHORT = Policy(lock_ttl_ms=400, rate_symbol_limit=100, rate_global_limit=100)


@pytest.fixture
def lossy(store: Store, wire: Wire, redis_client: redis.Redis) -> Gate:
    """A gate whose evaluations run while their replies are lost, as long as the test says so."""
    return Gate.from_url(wire.url, policy=SHORT, timeout_ms=300)


def _unheard(gate: Gate, wire: Wire) -> Intent:
    """An admitted intent whose replies were all lost."""
    gate.evaluate(entry("warm-up", symbol="ETHUSDT"))
    wire.lose_next_reply("EVALSHA")
    wire.lose_next_reply("EVALSHA")
    intent = entry()
    assert gate.evaluate(intent).reason is Reason.STORE_UNAVAILABLE
    return intent


def test_a_permit_that_ran_out_unheard_is_given_back_and_not_handed_out(
    lossy: Gate, wire: Wire, redis_client: redis.Redis
) -> None:
    intent = _unheard(lossy, wire)
    while redis_client.exists(LOCK):
        time.sleep(0)

    late = lossy.evaluate(intent)

    assert not late.admitted
    assert late.retryable
    assert redis_client.get(RECORD) is None, "so that it can come again"
    assert admitted(lossy.evaluate(intent)).live


def test_a_fork_does_not_take_the_lost_permit_along(lossy: Gate, wire: Wire) -> None:
    intent = _unheard(lossy, wire)

    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b"1" if lossy.evaluate(intent).admitted else b"0")
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(told, 1) == b"0"


def test_a_block_sees_its_permit_turn_false_when_it_runs_out(store: Store, redis_client: redis.Redis) -> None:
    with Gate.from_url(store.url, policy=SHORT) as gate, gate.guard(entry()) as held:
        assert held
        while held.permit.live:
            time.sleep(0)
        assert not held


def test_a_report_that_was_lost_is_tried_again_at_the_end_of_the_block(
    store: Store, wire: Wire, redis_client: redis.Redis
) -> None:
    with Gate.from_url(wire.url, timeout_ms=300) as gate:
        gate.evaluate(entry("warm-up", symbol="ETHUSDT"))
        with gate.guard(entry()) as held:
            wire.lose_next_request("EVALSHA")
            wire.lose_next_request("EVALSHA")
            assert held.placed("42").status is Settled.STORE_UNAVAILABLE
        record = gate.lookup("sig-1")

    assert record is not None
    assert record.order_id == "42"


def test_a_replayed_removal_succeeds_even_after_another_permit(
    store: Store, wire: Wire, redis_client: redis.Redis
) -> None:
    policy = Policy(rate_symbol_limit=100, rate_global_limit=100)
    with Gate.from_url(wire.url, policy=policy) as gate, Gate.from_url(store.url, policy=policy) as other:
        permit = admitted(gate.evaluate(entry()))
        other.settle(permit, Outcome.unsent("NO_PRICE"))
        admitted(other.evaluate(entry()))
        assert gate.settle(permit, Outcome.unsent("NO_PRICE")).status is Settled.FENCED

        wire.lose_next_request("EVALSHA")

        assert gate.settle(permit, Outcome.unsent("NO_PRICE")).status is Settled.ALREADY


@pytest.mark.parametrize("exits", [False, True])
def test_a_new_policy_makes_permits_verify(store: Store, redis_client: redis.Redis, exits: bool) -> None:
    """A longer max_age makes an intent fresh again whose record has lapsed."""
    old = Gate.from_url(store.url, policy=Policy())
    new = Gate.from_url(store.url, policy=Policy(max_age_ms=7_200_000, dedup_ttl_ms=8_000_000))
    admitted(old.evaluate(entry("first", symbol="ETHUSDT")))
    redis_client.hset("quantum:exec:state", "since", 1)
    assert not admitted(old.evaluate(entry("second", symbol="SOLUSDT"))).verify

    if not exits:
        new.apply_policy(by="ops", reason="longer")
    permit = admitted(new.evaluate(exit_() if exits else entry()))

    assert permit.verify


def test_the_fence_of_an_earlier_delivery_is_remembered(store: Store, redis_client: redis.Redis) -> None:
    """Even a worker that got only denials notices that the memory was rolled back."""
    placing, denied = Gate.from_url(store.url), Gate.from_url(store.url)
    admitted(placing.evaluate(entry("first", symbol="ETHUSDT")))
    redis_client.hset("quantum:exec:state", "since", 1)
    fence_before = redis_client.hget("quantum:exec:state", "fence")
    admitted(placing.evaluate(entry("sig-1", symbol="SOLUSDT")))
    assert denied.evaluate(entry("sig-1", symbol="SOLUSDT")).reason is Reason.DUPLICATE
    redis_client.hset("quantum:exec:state", "fence", fence_before)
    redis_client.delete(RECORD, "quantum:exec:lock:SOLUSDT:BUY", "quantum:exec:rate:symbol:SOLUSDT")

    assert denied.evaluate(entry("sig-1", symbol="SOLUSDT")).reason is Reason.MEMORY_YOUNG
    assert admitted(denied.evaluate(entry("sig-1", symbol="SOLUSDT", reduce_only=True))).verify


@pytest.mark.parametrize("asked", [None, [], "x", b"x", 7])
def test_input_that_is_no_intent_is_denied(store: Store, redis_client: redis.Redis, asked: object) -> None:
    with Gate.from_url(store.url) as gate:
        assert gate.evaluate(asked).reason is Reason.INVALID  # type: ignore[arg-type]
