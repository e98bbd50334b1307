"""A permit whose reply was lost goes to one caller in time, or is given back."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import redis

from gate import Gate, Intent, Outcome, Policy, Reason, Settled
from tests.client.account import LOCK, RECORD, admitted, entry, exit_
from tests.servers.store import PrivateStore, Store
from tests.servers.wire import Wire

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)
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


def test_what_nobody_heard_of_is_given_back_as_soon_as_the_store_answers(
    lossy: Gate, wire: Wire, redis_client: redis.Redis
) -> None:
    _unheard(lossy, wire)
    assert redis_client.exists(LOCK)

    other = admitted(lossy.evaluate(entry("sig-2")))

    assert redis_client.get(LOCK) == other.token.encode(), "the same symbol and side, at once"
    assert redis_client.get(RECORD) is None, "so that it can come again"
    assert redis_client.hget("quantum:exec:state", "permit:sig-1") is None
    assert redis_client.llen("quantum:exec:rate:global") == 2, "warm-up and sig-2"


def test_a_process_without_intents_gives_back_when_it_is_told_to(
    lossy: Gate, wire: Wire, redis_client: redis.Redis
) -> None:
    intent = _unheard(lossy, wire)
    assert lossy.give_back() == 1
    assert not redis_client.exists(LOCK, RECORD)
    assert lossy.give_back() == 0
    assert admitted(lossy.evaluate(intent)).token


def test_an_intent_that_comes_again_takes_up_its_own_permit_instead(
    lossy: Gate, wire: Wire, redis_client: redis.Redis
) -> None:
    intent = _unheard(lossy, wire)
    token = redis_client.get(LOCK)
    assert admitted(lossy.evaluate(intent)).token.encode() == token
    assert lossy.give_back() == 0, "it has a holder now"


def test_an_outage_leaves_no_symbol_locked(private_store: PrivateStore) -> None:
    """The store stands still while many intents come. It carries out their calls later, and nobody waits for them."""
    policy = Policy(rate_symbol_limit=1000, rate_global_limit=1000, max_in_flight=1000)
    symbols = [f"S{number}USDT" for number in range(40)]
    with Gate.from_url(private_store.url, policy=policy, timeout_ms=100) as gate, private_store.client() as client:
        gate.init(by="tests", reason="a new account")
        callers = [Gate.from_url(private_store.url, policy=policy, timeout_ms=100) for _ in range(4)]
        for number, caller in enumerate(callers):
            admitted(caller.evaluate(exit_(f"warm-{number}")))
        client.delete("quantum:exec:inflight")
        private_store.pause()
        with ThreadPoolExecutor(4) as pool:
            shares = [(caller, symbols[number::4]) for number, caller in enumerate(callers)]
            list(pool.map(lambda share: [share[0].evaluate(entry(f"lost-{s}", s)) for s in share[1]], shares))
        private_store.resume()
        client.ping()
        held = client.keys("quantum:exec:lock:*")
        for caller in callers:
            caller.give_back()
        assert held, "some calls were carried out"
        assert client.keys("quantum:exec:lock:*") == []
        assert client.zcard("quantum:exec:inflight") == 0
        for caller, share in shares:
            for symbol in share:
                assert caller.evaluate(entry(f"next-{symbol}", symbol)).admitted
            caller.close()


def test_a_call_that_reaches_the_store_late_is_given_back_late(
    store: Store, wire: Wire, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes may wait in the buffer of a server that stands still."""
    with Gate.from_url(wire.url, policy=ROOMY, timeout_ms=300) as gate:
        gate.evaluate(entry("warm-up", symbol="ETHUSDT"))
        wire.lose_next_request("EVALSHA")
        wire.lose_next_request("EVALSHA")
        assert gate.evaluate(entry()).reason is Reason.STORE_UNAVAILABLE
        assert gate.give_back() == 0, "the store doesn't know of it"
        assert gate.give_back() == 0
        calls = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
        gate.give_back()
        assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == calls, "not more than once a second"
        later_ns = time.monotonic_ns() + 1_000_000_000
        monkeypatch.setattr("gate.client.unheard.time.monotonic_ns", lambda: later_ns)
        gate.give_back()
        assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1
        later_ns += ROOMY.lock_ttl_ms * 1_000_000
        gate.give_back()
        assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1, "for a permit's life at most"


def test_a_token_that_was_given_back_without_an_answer_is_used_for_no_further_permit(
    lossy: Gate, wire: Wire, redis_client: redis.Redis
) -> None:
    """That settlement may still be on its way. It would take record, lock and slots from a permit that is alive."""
    intent = _unheard(lossy, wire)
    lost = redis_client.get(LOCK)
    for _ in range(2):
        wire.lose_next_request("EVALSHA")
    assert lossy.give_back() == 0
    permit = admitted(lossy.evaluate(intent))
    assert permit.token.encode() != lost


def test_figures_that_can_not_be_cost_no_token(lossy: Gate, wire: Wire, redis_client: redis.Redis) -> None:
    intent = _unheard(lossy, wire)
    assert lossy.evaluate(intent, reserve=Decimal("NaN")).reason is Reason.INVALID
    assert lossy.give_back() == 1


def test_an_exit_does_not_wait_until_what_others_hold_is_given_back(wire: Wire, redis_client: redis.Redis) -> None:
    with Gate.from_url(wire.url, policy=ROOMY, timeout_ms=300) as gate:
        _unheard(gate, wire)
        wire.forget_requests()
        admitted(gate.evaluate(exit_("exit-1", "SOLUSDT")))
        assert wire.requests["EVALSHA"] == 1
        assert redis_client.exists(LOCK), "the next entry gives it back"
        assert gate.give_back() == 1
