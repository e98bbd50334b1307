"""A lost reply changes nothing: the replay gives the same admission, fence and settlement."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from gate import Outcome, Penalty, Phase, Policy, Reason, Settled, StoreUnavailable
from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import script
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.wire import Fault, Wire

# Short enough to wait for in vain, long enough for the answer that comes after that.
BRIEF_MS = 800
# Nobody waits for it: a connection that breaks is told at once.
PATIENT_MS = 20_000

Lose = Callable[[Wire], Fault]


def reply_lost(wire: Wire) -> Fault:
    return wire.lose_next_reply("EVALSHA")


def reply_withheld(wire: Wire) -> Fault:
    return wire.withhold_next_reply("EVALSHA")


def request_lost(wire: Wire) -> Fault:
    return wire.lose_next_request("EVALSHA")


def refused(wire: Wire) -> None:
    wire.refuse()


LOSSES: list[Lose] = [reply_lost, reply_withheld, request_lost]
each_loss = pytest.mark.parametrize("lose", LOSSES, ids=["reply lost", "reply withheld", "request lost"])


def timeout_ms(*losses: object) -> int:
    return BRIEF_MS if reply_withheld in losses else PATIENT_MS


def admissions(client: redis.Redis) -> tuple[int, int, int]:
    return (
        int(client.hget(at.STATE, "fence") or 0),
        client.llen(at.RATE_GLOBAL),
        client.zcard(at.INFLIGHT),
    )


@each_loss
@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
def test_a_lost_evaluate_leads_to_the_one_admission(
    lose: Lose, warm: bool, redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(url=wire.url, timeout_ms=timeout_ms(lose))
    if warm:
        gate.inspect(at.entry())
        gate.lookup("sig-1")
    redis_client.script_load(script("evaluate").source)
    fault = lose(wire)
    permit = at.admitted(gate.evaluate(at.entry()))
    fault.wait()
    assert permit.fence == 1
    assert admissions(redis_client) == (1, 1, 1)
    assert redis_client.get(at.LOCK) == permit.token.encode()
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED


@each_loss
def test_a_lost_evaluate_of_an_exit_leads_to_its_one_admission(
    lose: Lose, redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    """It is repeated behind the question for a halt."""
    gate = open_gate(url=wire.url, timeout_ms=timeout_ms(lose))
    gate.lookup("sig-1")
    redis_client.script_load(script("evaluate").source)
    fault = lose(wire)
    permit = at.admitted(gate.evaluate(at.exit_()))
    fault.wait()
    assert (permit.fence, redis_client.llen(at.RATE_GLOBAL)) == (1, 1)
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED


@each_loss
@pytest.mark.parametrize("kind", ["placed", "rejected", "unsent", "unknown", "retryable"])
def test_a_lost_settle_settles_once(
    lose: Lose, kind: str, redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(failure_limit=5), url=wire.url, timeout_ms=timeout_ms(lose))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.script_load(script("settle").source)
    penalty = Penalty(count_failure=True)
    fault = lose(wire)
    settlement = gate.settle(
        permit,
        {
            "placed": Outcome.placed(1, penalty=penalty),
            "rejected": Outcome.rejected(-2019, penalty=penalty),
            "unsent": Outcome.unsent("X", retryable=False, penalty=penalty),
            "unknown": Outcome.unknown(penalty=penalty),
            "retryable": Outcome.rejected(-1001, retryable=True, penalty=penalty),
        }[kind],
    )
    fault.wait()
    assert settlement, settlement
    assert settlement.status in (Settled.SETTLED, Settled.ALREADY)
    assert redis_client.llen(at.FAILURES) == 1
    assert (gate.lookup("sig-1") is None) is (kind == "retryable")


@each_loss
@pytest.mark.parametrize("kind", ["placed", "unknown", "retryable"])
def test_a_lost_settle_after_the_record_has_lapsed_settles_once(
    lose: Lose, kind: str, redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(failure_limit=5), url=wire.url, timeout_ms=timeout_ms(lose))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.script_load(script("settle").source)
    redis_client.delete(at.RECORD)
    penalty = Penalty(count_failure=True)
    fault = lose(wire)
    settlement = gate.settle(
        permit,
        {
            "placed": Outcome.placed(1, penalty=penalty),
            "unknown": Outcome.unknown(penalty=penalty),
            "retryable": Outcome.rejected(-1001, retryable=True, penalty=penalty),
        }[kind],
    )
    fault.wait()
    assert settlement.status in (Settled.SETTLED, Settled.ALREADY)
    assert redis_client.llen(at.FAILURES) == 1
    assert (gate.lookup("sig-1") is None) is (kind == "retryable")
    assert redis_client.hexists(at.STATE, "permit:sig-1") is (kind == "unknown")


def test_a_lost_denial_is_a_denial(redis_client: redis.Redis, wire: Wire, open_gate: OpenGate) -> None:
    gate = open_gate(url=wire.url, timeout_ms=PATIENT_MS)
    redis_client.set(at.SAFE_MODE, "1")
    gate.evaluate(at.entry())
    wire.lose_next_reply("EVALSHA")
    assert gate.evaluate(at.entry()).reason is Reason.SAFE_MODE


SECONDS: dict[str, Callable[[Wire], object]] = {
    "lost too": reply_lost,
    "withheld too": reply_withheld,
    "request lost": request_lost,
    "refused": refused,
}


@pytest.mark.parametrize("second", SECONDS)
@pytest.mark.parametrize("lose", LOSSES[:2], ids=["reply lost", "reply withheld"])
def test_when_the_replay_is_lost_too_it_denies_and_the_next_delivery_gets_the_permit(
    lose: Lose, second: str, redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(url=wire.url, timeout_ms=timeout_ms(lose, SECONDS[second]))
    gate.evaluate(at.entry("warm", "ETHUSDT"))
    first_try = time.monotonic_ns()
    lose(wire)
    SECONDS[second](wire)
    verdict = gate.evaluate(at.entry())
    assert verdict.reason is Reason.STORE_UNAVAILABLE
    assert (verdict.admitted, verdict.retryable, verdict.permit) == (False, True, None)
    after_first_try = time.monotonic_ns()
    wire.accept()
    wire.forget_requests()

    found = gate.evaluate(at.entry())
    permit = at.admitted(found)
    assert wire.requests["EVALSHA"] == 1
    assert permit.fence == 2
    assert admissions(redis_client)[0] == 2
    assert redis_client.get(at.LOCK) == permit.token.encode()
    lock_ns = 30_000 * 1_000_000
    assert first_try + lock_ns <= permit.expires_ns <= after_first_try + lock_ns
    assert gate.evaluate(at.entry()).reason is Reason.DUPLICATE
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED


def test_another_intent_with_that_id_does_not_get_the_lost_permit(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(url=wire.url, timeout_ms=PATIENT_MS)
    gate.evaluate(at.entry("warm", "ETHUSDT"))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    assert not gate.evaluate(at.entry())
    lost = at.text(redis_client.get(at.LOCK))
    other = at.admitted(gate.evaluate(at.entry(notional="300")))
    assert other.token != lost, "the lost permit was given back, and this one is its own"
    assert redis_client.get(at.LOCK) == other.token.encode()
    assert redis_client.zcard(at.INFLIGHT) == 2, "it and the first"
    assert gate.evaluate(at.entry()).reason is Reason.CONFLICT


def test_an_exit_with_that_id_does_not_get_the_lost_permit(wire: Wire, open_gate: OpenGate) -> None:
    """An exit goes at once: it doesn't give back first what nobody has heard of."""
    gate = open_gate(url=wire.url, timeout_ms=PATIENT_MS)
    gate.evaluate(at.entry("warm", "ETHUSDT"))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    assert not gate.evaluate(at.entry())
    assert gate.evaluate(at.exit_()).reason is Reason.CONFLICT
    at.admitted(gate.evaluate(at.entry()))


def test_another_gate_does_not_get_the_lost_permit(wire: Wire, open_gate: OpenGate) -> None:
    gate = open_gate(url=wire.url, timeout_ms=PATIENT_MS)
    gate.evaluate(at.entry("warm", "ETHUSDT"))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    assert not gate.evaluate(at.entry())
    verdict = open_gate().evaluate(at.entry())
    assert verdict.reason is Reason.DUPLICATE
    assert verdict.prior is not None
    assert verdict.prior.phase is Phase.ADMITTED
    at.admitted(gate.evaluate(at.entry()))


def test_settling_with_both_replies_lost_says_so_and_can_be_repeated(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(url=wire.url, timeout_ms=PATIENT_MS)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.script_load(script("settle").source)
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    outcome = Outcome.rejected(-2019, penalty=Penalty(count_failure=True))
    settlement = gate.settle(permit, outcome)
    assert settlement.status is Settled.STORE_UNAVAILABLE
    assert not settlement
    assert gate.settle(permit, outcome).status is Settled.ALREADY
    assert redis_client.llen(at.FAILURES) == 1


@each_loss
def test_an_operators_act_whose_reply_is_lost_is_done_and_audited_once(
    lose: Lose, redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(url=wire.url, timeout_ms=timeout_ms(lose))
    gate.resume(by="ops", reason="warm")
    lose(wire)
    assert gate.halt(by="ops", reason="CPI print").audited
    assert [act["what"] for act in at.audit(redis_client)] == ["resume", "halt entries"]
    assert open_gate().evaluate(at.entry()).reason is Reason.HALTED


def test_an_act_is_known_again_behind_a_page_of_absences(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.resume(by="ops", reason="over")
    [done] = at.audit(redis_client)
    for number in range(50):
        redis_client.xadd(at.AUDIT, {"what": "settled as absent", "by": "gate", "reason": f"sig-{number}"})
    gate.halt(by="ops", reason="CPI print")
    protocol = Protocol(Keyspace("quantum"), Policy())
    redis_client.execute_command(*protocol.control("resume", "ops", "over", done["call"], "-"))
    assert gate.halt_in_force() is not None, "the replay of the resume ends no later halt"


def test_a_look_up_survives_a_lost_reply(wire: Wire, open_gate: OpenGate) -> None:
    gate = open_gate(url=wire.url, timeout_ms=PATIENT_MS)
    at.admitted(gate.evaluate(at.entry()))
    wire.lose_next_reply("GET")
    assert gate.lookup("sig-1") is not None
    for _ in range(2):
        wire.lose_next_reply("GET")
    with pytest.raises(StoreUnavailable):
        gate.lookup("sig-1")


def test_what_is_in_doubt_is_found_over_a_lost_reply(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(), url=wire.url, timeout_ms=PATIENT_MS)
    at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.RECORD)
    redis_client.zadd(at.INFLIGHT, {"50000000:sig-1": 1})
    for asked in ("GET", "HMGET"):  # for records, and for the copies of those that have lapsed
        wire.lose_next_reply(asked)
        assert [record.intent_id for record in gate.in_doubt().records] == ["sig-1"]
        for _ in range(2):
            wire.lose_next_reply(asked)
        with pytest.raises(StoreUnavailable):
            gate.in_doubt()


def test_a_verdict_is_one_round_trip(redis_client: redis.Redis, wire: Wire, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(rate_symbol_limit=9, rate_global_limit=99), url=wire.url)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, Outcome.placed(1))
    assert gate.inspect(at.entry("sig-2")).admitted
    wire.forget_requests()
    permit = at.admitted(gate.evaluate(at.entry("sig-2")))
    assert wire.requests == {"EVALSHA": 1}
    gate.evaluate(at.entry("sig-2"))
    assert wire.requests == {"EVALSHA": 2}
    gate.settle(permit, Outcome.placed(1))
    assert wire.requests == {"EVALSHA": 3}
    gate.inspect(at.entry("sig-2"))
    assert wire.requests == {"EVALSHA": 3, "EVALSHA_RO": 1}
    assert gate.inspect(at.entry("sig-3")).admitted
    assert wire.requests == {"EVALSHA": 4, "EVALSHA_RO": 2}, "and whether the server takes verdicts"
    assert sum(wire.handshakes.values()) == 0
