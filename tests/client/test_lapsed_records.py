"""An intent in doubt stays in sight when its record lapses: the state keeps a copy until a final outcome."""

from __future__ import annotations

import dataclasses
import time

import pytest
import redis
from msgspec import structs

from gate import InvalidField, Outcome, Penalty, Permit, Phase, Policy, Reason, Settled
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.model.passing_time import let_pass

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100, dedup_ttl_ms=2_000_000)
COPY = "permit:sig-1"
DAY_MS = 24 * 3600 * 1000

FINAL = {
    "placed": Outcome.placed("8389765"),
    "rejected": Outcome.rejected(-4164, "Order's notional must be no smaller than 5"),
    "unsent": Outcome.unsent("NO_MARGIN", "needs 50, has 3", retryable=False),
}
REMOVING = {
    "rejected, retryable": Outcome.rejected(-1001, retryable=True),
    "unsent, retryable": Outcome.unsent("SHUTDOWN"),
}
UNKNOWN = {"unknown": Outcome.unknown("read timed out")}
OUTCOMES = FINAL | REMOVING | UNKNOWN


def abandoned(gate: AnyGate, client: redis.Redis, exits: bool = False) -> Permit:
    """The permit of a worker that died a day ago."""
    permit = at.admitted(gate.evaluate(at.intent(exits)))
    let_pass(client, DAY_MS)
    assert client.exists(at.RECORD, at.LOCK) == 0
    return permit


def copy_of(client: redis.Redis) -> str | None:
    text = client.hget(at.STATE, COPY)
    return None if text is None else at.text(text)


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
@pytest.mark.parametrize("kind", FINAL | UNKNOWN)
def test_an_outcome_after_the_record_has_lapsed_makes_a_new_record(
    kind: str, exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    gate.apply_policy(by="ops", reason="as built")
    permit = abandoned(gate, redis_client, exits)
    settlement = gate.settle(permit, OUTCOMES[kind])
    assert settlement.status is Settled.SETTLED
    record = gate.lookup("sig-1")
    assert record is not None
    assert record == settlement.record
    assert record.phase is {"placed": Phase.PLACED, "unknown": Phase.UNKNOWN}.get(kind, Phase.REJECTED)
    kept = at.kept_of(permit.token, kind)
    assert (record.token, record.fence, record.symbol, record.is_exit) == (kept, permit.fence, "BTCUSDT", exits)
    assert ROOMY.dedup_ttl_ms - 60_000 < redis_client.pttl(at.RECORD) <= ROOMY.dedup_ttl_ms
    assert gate.evaluate(at.intent(exits)).reason is Reason.DUPLICATE


@pytest.mark.parametrize("kind", OUTCOMES)
@pytest.mark.parametrize("lapsed", [False, True], ids=["in time", "lapsed"])
def test_only_what_stays_in_doubt_is_kept_beyond_its_record(
    kind: str, lapsed: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = abandoned(gate, redis_client) if lapsed else at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, OUTCOMES[kind])
    assert (redis_client.hexists(at.STATE, COPY), redis_client.zcard(at.INFLIGHT)) == (
        (True, 1) if kind == "unknown" else (False, 0)
    )


@pytest.mark.parametrize("kind", REMOVING)
def test_a_retryable_outcome_leaves_nothing_behind(kind: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = abandoned(gate, redis_client)
    settlement = gate.settle(permit, OUTCOMES[kind])
    assert (settlement.status, settlement.record) == (Settled.SETTLED, None)
    assert at.keys(redis_client) == {at.STATE}
    of_the_policy = {b"policy", b"figures", b"policy_at", b"policy_by", b"policy_reason"}
    assert set(redis_client.hkeys(at.STATE)) == {b"fence", b"since", b"run_id", b"in_flight"} | of_the_policy
    again = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.FENCED
    assert gate.settle(again, Outcome.placed(1)).status is Settled.SETTLED


@pytest.mark.parametrize("kind", FINAL | UNKNOWN)
def test_settling_twice_is_already_and_changes_nothing(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = abandoned(gate, redis_client)
    first = gate.settle(permit, OUTCOMES[kind])
    held = at.contents(redis_client)
    second = gate.settle(permit, OUTCOMES[kind])
    assert (second.status, second.record) == (Settled.ALREADY, first.record)
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("kind", OUTCOMES)
def test_another_token_is_fenced_and_changes_nothing(kind: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = abandoned(gate, redis_client)
    held = at.contents(redis_client)
    other = structs.replace(permit, token=permit.token[::-1])
    assert gate.settle(other, OUTCOMES[kind]).status is Settled.FENCED
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_permit_is_fenced_once_its_intent_is_admitted_again(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    old = abandoned(gate, redis_client)
    new = at.admitted(gate.evaluate(at.entry()))
    for _ in range(2):
        held = at.contents(redis_client)
        assert gate.settle(old, OUTCOMES[kind]).status is Settled.FENCED
        assert at.contents(redis_client) == held
        let_pass(redis_client, DAY_MS)
    assert gate.settle(new, OUTCOMES[kind]).status is Settled.SETTLED


@pytest.mark.parametrize(("at_most", "skip", "field"), [(0, 0, "at_most"), (-1, 0, "at_most"), (1, -1, "skip")])
def test_a_count_of_what_is_in_doubt_that_means_nothing_is_refused(
    at_most: int, skip: int, field: str, open_gate: OpenGate
) -> None:
    with pytest.raises(InvalidField, match=f"^{field}: "):
        open_gate().in_doubt(at_most, skip)


def test_what_is_in_doubt_is_shown_with_its_symbol(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    before = at.admitted(gate.evaluate(at.entry()))
    let_pass(redis_client, 100_000)
    [in_time] = gate.in_doubt().records
    let_pass(redis_client, DAY_MS)
    doubt = gate.in_doubt()
    [record] = doubt.records
    assert doubt.lapsed == ()
    assert (record.intent_id, record.phase, record.token) == ("sig-1", Phase.ADMITTED, before.token)
    assert (record.symbol, record.side, record.reserved) == ("BTCUSDT", "BUY", before.reserved)
    assert record == dataclasses.replace(in_time, admitted_ms=record.admitted_ms), "as it was in time"
    assert doubt.now_ms - (record.deadline_ms or 0) >= DAY_MS
    status = gate.status()
    assert (status.in_doubt, status.doubtful) == (1, ("sig-1",))

    assert gate.settle(before, Outcome.placed(1))
    assert gate.in_doubt().records == ()
    assert gate.status().in_doubt == 0


@pytest.mark.parametrize("later", ["placed", "rejected", "rejected, retryable"])
def test_an_unknown_outcome_may_become_known_long_after(
    later: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, OUTCOMES["unknown"])
    let_pass(redis_client, DAY_MS)
    [record] = gate.in_doubt().records
    assert (record.phase, record.note) == (Phase.UNKNOWN, "UNKNOWN read timed out")
    held = at.contents(redis_client)
    assert gate.settle(permit, OUTCOMES["unknown"]).status is Settled.ALREADY
    assert gate.settle(permit, OUTCOMES["unsent"]).status is Settled.CONFLICT, "it was sent"
    assert at.contents(redis_client) == held
    assert gate.settle(permit, OUTCOMES[later]).status is Settled.SETTLED
    assert gate.in_doubt().records == ()


def test_an_unknown_outcome_stays_in_sight_for_ever(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = abandoned(gate, redis_client)
    assert gate.settle(permit, OUTCOMES["unknown"]).status is Settled.SETTLED
    let_pass(redis_client, DAY_MS)
    assert gate.lookup("sig-1") is None
    [record] = gate.in_doubt().records
    assert record.phase is Phase.UNKNOWN
    assert gate.settle(permit, OUTCOMES["placed"]).status is Settled.SETTLED


def test_a_penalty_still_binds_once(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = abandoned(gate, redis_client)
    penalty = Penalty(count_failure=True, safe_mode=True)
    assert gate.settle(permit, Outcome.unknown(penalty=penalty)).tripped_safe_mode
    let_pass(redis_client, DAY_MS)
    settlement = gate.settle(permit, Outcome.rejected(-2015, penalty=penalty))
    assert (settlement.status, settlement.tripped_safe_mode) == (Settled.SETTLED, False)
    assert redis_client.exists(at.SAFE_MODE, at.FAILURES) == 0


def test_a_gate_that_has_only_seen_the_copy_knows_its_fence(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    abandoned(open_gate(ROOMY), redis_client)
    reader = open_gate(ROOMY)
    reader.in_doubt()
    redis_client.hset(at.STATE, "fence", 0)
    assert at.admitted(reader.evaluate(at.exit_("sig-2"))).fence == 1_000_002


def test_a_record_that_runs_out_by_itself_is_no_different(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.pexpire(at.RECORD, 1)
    while redis_client.exists(at.RECORD):
        time.sleep(0)
    assert gate.settle(permit, OUTCOMES["placed"]).status is Settled.SETTLED
    assert redis_client.exists(at.LOCK) == 0


def test_the_copy_is_the_record(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    assert copy_of(redis_client) == at.text(redis_client.get(at.RECORD))
    gate.settle(permit, Outcome.unknown(penalty=Penalty(count_failure=True)))
    assert copy_of(redis_client) == at.text(redis_client.get(at.RECORD))


@pytest.mark.parametrize("settled_before", [False, True], ids=["first", "later"])
def test_keeping_it_costs_an_admission_no_command(
    settled_before: bool, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY)
    if settled_before:
        gate.settle(at.admitted(gate.evaluate(at.entry("sig-0"))), Outcome.placed(1))
    redis_client.config_resetstat()
    at.admitted(gate.evaluate(at.entry()))
    assert redis_client.info("commandstats")["cmdstat_hset"]["calls"] == 1


DAMAGED_COPIES = ["1", "", "admitted", "admitted {token} 7 - 1", "Störung \n".encode("latin-1")]


@pytest.mark.parametrize("damaged", DAMAGED_COPIES, ids=repr)
def test_a_damaged_copy_counts_as_none(damaged: str | bytes, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = abandoned(gate, redis_client)
    redis_client.hset(at.STATE, COPY, damaged if isinstance(damaged, bytes) else damaged.format(token=permit.token))
    held = at.contents(redis_client)
    settlement = gate.settle(permit, Outcome.rejected(-2019))
    assert (settlement.status, settlement.record) == (Settled.FENCED, None)
    doubt = gate.in_doubt()
    assert (doubt.records, doubt.lapsed) == ((), ("sig-1",))
    assert gate.status().in_doubt == 1
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_damaged_copy_stops_no_settling_while_the_record_is_there(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.hset(at.STATE, COPY, "damaged")
    assert gate.settle(permit, OUTCOMES[kind]).status is Settled.SETTLED


@pytest.mark.parametrize("kind", FINAL | REMOVING)
def test_another_permits_copy_is_left_alone(kind: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    others = (copy_of(redis_client) or "").replace(permit.token, "another-token")
    redis_client.hset(at.STATE, COPY, others)
    assert gate.settle(permit, OUTCOMES[kind]).status is Settled.SETTLED
    assert copy_of(redis_client) == others


def _damage_by_type(client: redis.Redis) -> None:
    client.delete(at.STATE)
    client.set(at.STATE, "1")


def test_an_exit_past_a_state_of_the_wrong_type_is_settled_while_its_record_lasts(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    _damage_by_type(redis_client)
    for kind, outcome in OUTCOMES.items():
        permit = at.admitted(gate.evaluate(at.exit_()))
        assert gate.settle(permit, outcome).status is Settled.SETTLED, kind
        redis_client.delete(at.RECORD, at.LOCK, at.INFLIGHT)
    permit = abandoned(gate, redis_client, exits=True)
    assert gate.settle(permit, Outcome.rejected(-2022)).status is Settled.FENCED
    assert gate.in_doubt().lapsed == ("sig-1",), "known by its id alone"
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED, "an order is remembered all the same"
    assert gate.in_doubt().lapsed == ()
    assert redis_client.get(at.STATE) == b"1"


def test_an_exit_past_a_damaged_fence_stays_in_sight(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    redis_client.hset(at.STATE, mapping={"fence": "many", "since": "1700000000000"})
    permit = at.admitted(gate.evaluate(at.exit_()))
    assert redis_client.hmget(at.STATE, "fence", "since") == [b"many", b"1700000000000"]
    redis_client.delete(at.RECORD)
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED


def test_a_state_that_was_lost_keeps_the_unknown_and_is_not_taken_for_whole(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.STATE)
    gate.settle(permit, OUTCOMES["unknown"])
    later = at.admitted(gate.evaluate(at.exit_("sig-2", "ETHUSDT")))
    assert later.verify
    assert later.fence > permit.fence
    let_pass(redis_client, DAY_MS)
    assert gate.settle(permit, OUTCOMES["placed"]).status is Settled.SETTLED


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
def test_an_intent_that_comes_again_while_its_earlier_permit_is_in_doubt_says_verify(
    exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    at.admitted(gate.evaluate(at.intent(exits)))
    let_pass(redis_client, 2 * DAY_MS)
    other = at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT")))

    again = at.admitted(gate.evaluate(at.intent(exits)))

    assert not other.verify, "the store's memory is whole since long"
    assert again.verify
    assert again.memory_age_ms is not None
    assert DAY_MS < again.memory_age_ms < 2 * DAY_MS, "counted from the earlier permit's deadline"


@pytest.mark.parametrize("copy", ["alive", "damaged"])
def test_absence_proves_nothing_while_an_earlier_permit_may_still_send(
    copy: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Its record was deleted by hand, or its copy can't be read: an order of it may be on its way."""
    gate = open_gate(ROOMY)
    at.admitted(gate.evaluate(at.entry("first", "ETHUSDT")))
    let_pass(redis_client, 2 * DAY_MS)
    at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.RECORD, at.LOCK)
    if copy == "damaged":
        redis_client.hset(at.STATE, COPY, "nonsense")

    again = at.admitted(gate.evaluate(at.entry()))

    assert (again.verify, again.memory_age_ms) == (True, 0)
