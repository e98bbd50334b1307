"""The holder of a permit settles its outcome once, and that gives its claims back."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from msgspec import structs

from gate import InvalidField, Outcome, Permit, Phase, Policy, Reason, Settled
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.session import declare_whole
from tests.servers.wire import Wire

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)

OUTCOMES = {
    "placed": Outcome.placed("8389765"),
    "rejected": Outcome.rejected(-4164, "Order's notional must be no smaller than 5"),
    "unsent": Outcome.unsent("NO_MARGIN", "needs 50, has 3", retryable=False),
    "unknown": Outcome.unknown("read timed out"),
}


def another_holder(permit: Permit) -> Permit:
    return structs.replace(permit, token=permit.token[::-1])


def test_what_is_no_permit_is_refused_by_name(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """A verdict is taken for its permit easily."""
    gate = open_gate()
    nothing: Any = None
    verdict: Any = gate.evaluate(at.entry())
    for given in (verdict, nothing):
        with pytest.raises(InvalidField, match=r"permit: .*is no Permit; give the permit of a verdict that admits"):
            gate.settle(given, OUTCOMES["placed"])


@pytest.mark.parametrize("kind", OUTCOMES)
def test_settling_twice_is_already_and_changes_nothing(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    first = gate.settle(permit, OUTCOMES[kind])
    assert first.status is Settled.SETTLED
    assert first.record is not None
    held = at.contents(redis_client)
    second = gate.settle(permit, OUTCOMES[kind])
    assert second.status is Settled.ALREADY
    assert second
    assert second.record == first.record
    assert at.contents(redis_client) == held


def test_a_placed_record_keeps_as_much_of_token_and_fingerprint_as_is_asked_for(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Twelve characters less put its line into a smaller class of the server's allocator."""
    gate = open_gate()
    intent = at.entry("NEARUSDT_2025-12-24T04:32:14.000001", "NEARUSDT")
    permit = at.admitted(gate.evaluate(intent))
    redis_client.hset(at.STATE, "fence", 123_456)
    record = gate.settle(permit, Outcome.placed("83897651234")).record
    assert record is not None
    assert (record.token, record.fingerprint) == (permit.token[:8], intent.fingerprint[:8])
    assert len(record.line) <= 76

    assert gate.settle(permit, Outcome.placed("83897651234")).status is Settled.ALREADY
    assert gate.settle(permit, Outcome.placed("83897651235")).status is Settled.CONFLICT
    assert gate.settle(another_holder(permit), Outcome.placed("83897651234")).status is Settled.FENCED
    assert gate.evaluate(intent).reason is Reason.DUPLICATE
    assert gate.evaluate(at.entry(intent.id, "NEARUSDT", "SELL")).reason is Reason.CONFLICT


def test_a_placed_record_of_an_earlier_version_is_its_permits_too(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """It has the whole token, and the whole fingerprint."""
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    words = permit.admission.split(" ")
    redis_client.set(at.RECORD, " ".join(["placed", *words[1:7], "1", "0", "-", "81"]))
    assert gate.settle(permit, Outcome.placed("81")).status is Settled.ALREADY
    assert gate.settle(another_holder(permit), Outcome.placed("81")).status is Settled.FENCED
    assert gate.evaluate(at.entry()).reason is Reason.DUPLICATE
    assert gate.evaluate(at.entry(notional="77")).reason is Reason.CONFLICT


@pytest.mark.parametrize("kind", OUTCOMES)
def test_settling_with_anothers_token_is_fenced_and_changes_nothing(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    held = at.contents(redis_client)
    settlement = gate.settle(another_holder(permit), OUTCOMES[kind])
    assert settlement.status is Settled.FENCED
    assert not settlement
    assert settlement.record is not None
    assert settlement.record.token == permit.token
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_report_that_removes_no_record_is_fenced_also_when_its_first_reply_was_lost(
    kind: str, redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    """As ALREADY, which is true, the caller would take it for recorded."""
    gate = open_gate(url=wire.url, timeout_ms=300)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(another_holder(permit), OUTCOMES[kind])  # the server has the script by now
    held = at.contents(redis_client)
    lost = wire.lose_next_reply("EVALSHA")
    settlement = gate.settle(another_holder(permit), OUTCOMES[kind])
    assert lost.happened
    assert settlement.status is Settled.FENCED
    assert not settlement
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("kind", ["rejected", "unsent"])
def test_settling_what_nobody_remembers_and_brought_no_order_writes_nothing(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.flushall()
    settlement = gate.settle(permit, OUTCOMES[kind])
    assert settlement.status is Settled.FENCED
    assert settlement.record is None
    assert redis_client.keys("*") == []


@pytest.mark.parametrize("kind", ["placed", "unknown"])
def test_an_order_that_the_store_has_forgotten_is_remembered_and_the_memory_is_new(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Thrown away, it would be sent a second time by the next delivery."""
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    before = gate.lookup("sig-1")
    redis_client.flushall()
    # As if this memory had been whole for hours: nothing else tells that it wasn't.
    declare_whole(redis_client)
    redis_client.hset(at.STATE, "fence", permit.fence)
    assert not at.admitted(gate.evaluate(at.entry("sig-3", "BNBUSDT"))).verify

    settlement = gate.settle(permit, OUTCOMES[kind])
    assert settlement.status is Settled.SETTLED
    assert settlement.memory_lost
    record = gate.lookup("sig-1")
    assert record is not None
    assert before is not None
    assert (record.phase, record.token) == (Phase(kind), at.kept_of(permit.token, kind))
    assert (record.fingerprint, record.admitted_ms) == (at.kept_of(before.fingerprint, kind), before.admitted_ms)
    assert 0 < redis_client.pttl(at.RECORD) <= ROOMY.dedup_ttl_ms
    verdict = gate.evaluate(at.entry())
    assert verdict.reason is Reason.DUPLICATE
    assert gate.evaluate(at.entry("sig-5", "ADAUSDT")).reason is Reason.MEMORY_YOUNG
    again = at.admitted(gate.evaluate(at.exit_("sig-4", "XRPUSDT")))
    assert again.verify, "other records may be lost too"
    assert again.fence > permit.fence
    [act] = [fields for fields in at.audit(redis_client) if fields["what"] == "memory lost"]
    assert "sig-1" in act["reason"]
    in_doubt = {"sig-1"} if kind == "unknown" else set()
    assert at.in_flight(redis_client) == in_doubt | {"sig-3", "sig-4"}
    # Settled once more, it is the same outcome: the loss is found once.
    repeated = gate.settle(permit, OUTCOMES[kind])
    assert (repeated.status, repeated.memory_lost) == (Settled.ALREADY, False)


def aged(permit: Permit, by_ms: int) -> Permit:
    words = permit.admission.split(" ")
    words[4] = str(int(words[4]) - by_ms)
    return structs.replace(permit, admission=" ".join(words))


def test_a_record_that_has_lived_its_time_is_no_loss(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = aged(at.admitted(gate.evaluate(at.entry())), ROOMY.dedup_ttl_ms + 1)
    redis_client.delete(at.RECORD)
    redis_client.hdel(at.STATE, "permit:sig-1")
    since = redis_client.hget(at.STATE, "since")
    for outcome in (Outcome.unknown("late"), Outcome.not_placed("late"), Outcome.rejected(-2019)):
        assert gate.settle(permit, outcome).status is Settled.FENCED
    settlement = gate.settle(permit, Outcome.placed(1))
    assert (settlement.status, settlement.memory_lost) == (Settled.SETTLED, False)
    assert redis_client.hget(at.STATE, "since") == since
    assert at.audit(redis_client) == []


def test_an_absence_is_remembered_too_where_the_store_has_lost_the_record(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.flushall()
    settlement = gate.settle(permit, Outcome.not_placed("looked up"))
    assert (settlement.status, settlement.memory_lost) == (Settled.SETTLED, True)
    assert gate.evaluate(at.entry()).reason is Reason.DUPLICATE


def test_doubt_is_remembered_too_where_the_store_has_lost_a_record_in_doubt(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    known = gate.settle(permit, Outcome.unknown("timed out")).record
    assert known is not None
    redis_client.flushall()
    in_doubt = structs.replace(permit, admission=known.line)
    assert gate.settle(in_doubt, Outcome.unknown("timed out")).status is Settled.SETTLED
    assert gate.evaluate(at.entry()).reason is Reason.DUPLICATE


@pytest.mark.parametrize("phase", ["placed", "rejected", "nonsense", ""])
def test_nothing_is_written_from_what_is_no_admission(
    phase: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.flushall()
    forged = structs.replace(permit, admission=permit.admission.replace("admitted", phase, 1))
    for outcome in OUTCOMES.values():
        assert gate.settle(forged, outcome).status is Settled.FENCED
    assert redis_client.keys("*") == []


def test_a_forgotten_order_does_not_put_the_fence_back(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.RECORD)
    redis_client.hdel(at.STATE, "permit:sig-1")
    redis_client.hset(at.STATE, "fence", 70)
    assert gate.settle(permit, Outcome.placed(1)).memory_lost
    assert redis_client.hget(at.STATE, "fence") == b"70"


def test_a_forgotten_order_brings_its_fence_back(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """Callers that have seen none would get lower ones than were given already."""
    redis_client.hset(at.STATE, "fence", 70)
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.flushall()
    assert gate.settle(permit, Outcome.placed(1)).memory_lost
    assert at.admitted(open_gate(ROOMY).evaluate(at.exit_("sig-2"))).fence > permit.fence


def test_an_order_is_not_written_over_an_intent_that_was_admitted_again(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    first = at.admitted(gate.evaluate(at.entry()))
    redis_client.flushall()
    assert not gate.evaluate(at.entry())
    at.wait_out(redis_client)
    second = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(first, Outcome.placed(1)).status is Settled.FENCED
    record = gate.lookup("sig-1")
    assert record is not None
    assert record.token == second.token


OTHERS = {
    **OUTCOMES,
    "placed with another order id": Outcome.placed("1"),
    "rejected with another code": Outcome.rejected(-2019),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [(first, second) for first in ("placed", "rejected", "unsent") for second in OTHERS if first != second],
)
def test_a_final_outcome_stands(first: str, second: str, redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, OUTCOMES[first])
    held = at.contents(redis_client)
    settlement = gate.settle(permit, OTHERS[second])
    assert settlement.status is Settled.CONFLICT
    assert not settlement
    assert settlement.record is not None
    assert at.contents(redis_client) == held


def test_an_order_that_shows_up_after_its_absence_was_settled_is_recorded(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, Outcome.not_placed("looked up"))
    assert gate.settle(permit, Outcome.not_placed("looked up")).status is Settled.ALREADY
    assert gate.evaluate(at.entry()).reason is Reason.DUPLICATE, "it may have been sent"

    settlement = gate.settle(permit, Outcome.placed("8389765"))
    assert (settlement.status, settlement.late) == (Settled.SETTLED, True)
    record = gate.lookup("sig-1")
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, "8389765")
    [act] = [fields for fields in at.audit(redis_client) if fields["what"] == "late order"]
    assert act["reason"] == "order 8389765 of sig-1, settled as absent"
    assert gate.settle(permit, Outcome.not_placed("looked up")).status is Settled.CONFLICT
    assert gate.settle(permit, Outcome.placed("1")).status is Settled.CONFLICT


@pytest.mark.parametrize("later", ["placed", "rejected"])
def test_an_unknown_outcome_may_become_known(later: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, OUTCOMES["unknown"])
    assert redis_client.zcard(at.INFLIGHT) == 1, "in doubt, it must stay in sight"
    settlement = gate.settle(permit, OUTCOMES[later])
    assert settlement.status is Settled.SETTLED
    assert settlement.record is not None
    assert settlement.record.phase is Phase(later)
    assert redis_client.zcard(at.INFLIGHT) == 0
    assert redis_client.exists(at.LOCK) == 0
    assert gate.settle(permit, OUTCOMES["unknown"]).status is Settled.CONFLICT


def test_an_unknown_outcome_can_not_become_unsent(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, OUTCOMES["unknown"])
    held = at.contents(redis_client)
    assert gate.settle(permit, OUTCOMES["unsent"]).status is Settled.CONFLICT
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("kind", ["placed", "rejected", "unsent"])
def test_a_settled_permit_frees_symbol_and_side_and_its_margin(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.evaluate(at.entry("sig-2")).reason is Reason.LOCKED
    gate.settle(permit, OUTCOMES[kind])
    assert redis_client.zcard(at.INFLIGHT) == 0
    after = at.admitted(gate.evaluate(at.entry("sig-2")))
    assert after.reserved_ahead == 0


def test_an_unknown_outcome_keeps_lock_slots_and_margin(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    held = at.contents(redis_client)
    gate.settle(permit, OUTCOMES["unknown"])
    now = at.contents(redis_client)
    assert {key for key in held if held[key] != now[key]} == {at.RECORD, at.STATE}, "the record, and its copy"
    assert gate.evaluate(at.entry("sig-2")).reason is Reason.LOCKED
    assert at.admitted(gate.evaluate(at.entry("sig-3", "ETHUSDT"))).reserved_ahead == permit.reserved


@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_stale_holder_releases_nothing(kind: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    stale = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.LOCK)  # as if its time had run out
    now_held = at.admitted(gate.evaluate(at.entry("sig-2")))
    gate.settle(stale, OUTCOMES[kind])
    assert redis_client.get(at.LOCK) == now_held.token.encode()
    assert gate.evaluate(at.entry("sig-3")).reason is Reason.LOCKED


@pytest.mark.parametrize(
    "outcome", [Outcome.rejected(-1001, retryable=True), Outcome.unsent("SHUTDOWN")], ids=["rejected", "unsent"]
)
def test_a_retryable_outcome_lets_the_intent_be_admitted_again(
    outcome: Outcome, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    first = at.admitted(gate.evaluate(at.entry()))
    settlement = gate.settle(first, outcome)
    assert settlement.status is Settled.SETTLED
    assert settlement.record is None
    assert gate.lookup("sig-1") is None
    second = at.admitted(gate.evaluate(at.entry()))
    assert second.fence > first.fence
    assert second.token != first.token
    assert second.client_order_id == first.client_order_id
    held = at.contents(redis_client)
    assert gate.settle(first, Outcome.placed(1)).status is Settled.FENCED
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("kind", OUTCOMES)
def test_only_unsent_gives_the_slots_back(kind: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    gate.settle(at.admitted(gate.evaluate(at.entry("sig-0", side="SELL"))), Outcome.placed(1))
    slots = redis_client.lrange(at.RATE_SYMBOL, 0, -1), redis_client.lrange(at.RATE_GLOBAL, 0, -1)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, OUTCOMES[kind])
    now = redis_client.lrange(at.RATE_SYMBOL, 0, -1), redis_client.lrange(at.RATE_GLOBAL, 0, -1)
    assert (now == slots) is (kind == "unsent")


def test_an_unsent_exit_gives_back_the_global_slot_only(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.exit_()))
    redis_client.rpush(at.RATE_SYMBOL, permit.deadline_ms - 30_000)  # an entry of the same millisecond
    gate.settle(permit, OUTCOMES["unsent"])
    assert redis_client.llen(at.RATE_SYMBOL) == 1
    assert redis_client.lrange(at.RATE_GLOBAL, 0, -1) == [b"0"], "an entry that never counts keeps the list"


def test_a_slot_given_back_opens_no_window_that_exits_have_filled(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(rate_global_limit=3, cooldown_global_ms=600_000))
    entries = [at.admitted(gate.evaluate(at.entry(f"entry-{n}", at.SYMBOLS[n]))) for n in range(3)]
    for n in (3, 4):
        at.admitted(gate.evaluate(at.exit_(f"exit-{n}", at.SYMBOLS[n])))
    # Five in the window. Each that is given back leaves one less, and three are still too many.
    for left, permit in zip((4, 3, 2), reversed(entries), strict=True):
        assert gate.settle(permit, OUTCOMES["unsent"])
        verdict = gate.evaluate(at.entry("next", "XRPUSDT", side="SELL"))
        assert verdict.reason is (Reason.RATE_GLOBAL if left >= 3 else Reason.ADMITTED), left
        redis_client.delete(at.COOLDOWN_GLOBAL)


def test_exits_past_a_full_window_keep_it_exact_and_bounded(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(rate_global_limit=2))
    now = at.server_ms(redis_client)
    redis_client.rpush(at.RATE_GLOBAL, *[now - 60_000 - age for age in range(40)])
    for n in range(20):
        gate.settle(at.admitted(gate.evaluate(at.exit_(f"exit-{n}"))), Outcome.placed(n))
    times = [int(entry) for entry in redis_client.lrange(at.RATE_GLOBAL, 0, -1)]
    assert [time_ms >= now for time_ms in times[:20]] == [True] * 20, "one that counts was pushed out"
    assert len(times) <= 21, "what is out of the window stays for ever"
    assert gate.evaluate(at.entry()).reason is Reason.RATE_GLOBAL


def test_exits_however_many_push_out_none_that_still_counts(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(rate_global_limit=3))
    exits = [at.admitted(gate.evaluate(at.exit_(f"exit-{n}"))) for n in range(25)]
    for permit in exits[3:]:
        assert gate.settle(permit, OUTCOMES["unsent"])
    assert gate.evaluate(at.entry()).reason is Reason.RATE_GLOBAL, "three were sent"


def test_the_record_tells_what_was_settled(open_gate: OpenGate) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    record = gate.lookup("sig-1")
    assert record is not None
    assert (record.phase, record.token, record.fence) == (Phase.ADMITTED, permit.token, permit.fence)
    assert (record.symbol, record.side, record.deadline_ms) == ("BTCUSDT", "BUY", permit.deadline_ms)
    gate.settle(permit, OUTCOMES["rejected"])
    record = gate.lookup("sig-1")
    assert record is not None
    assert (record.phase, record.code, record.deadline_ms) == (Phase.REJECTED, "-4164", None)
    assert "notional" in record.note
    assert gate.lookup("sig-2") is None


def test_a_settled_record_is_remembered_as_long_as_its_intent_can_be_fresh(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry()))
    expires = redis_client.pexpiretime(at.RECORD)
    assert expires > at.server_ms(redis_client) + 600_000 + 30_000
    gate.settle(permit, OUTCOMES["placed"])
    assert redis_client.pexpiretime(at.RECORD) >= expires


def test_an_intent_dated_ahead_is_remembered_until_it_is_stale(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    policy = Policy(max_age_ms=1_000, lock_ttl_ms=1_000, dedup_ttl_ms=2_000, skew_ms=100_000)
    gate = open_gate(policy)
    ahead = at.entry(timestamp=at.server_ms(redis_client) + 50_000)
    gate.settle(at.admitted(gate.evaluate(ahead)), OUTCOMES["placed"])
    assert redis_client.pexpiretime(at.RECORD) > ahead.timestamp_ms + policy.max_age_ms


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_exit_that_went_without_the_store_is_recorded_and_no_loss(
    kind: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT")))
    permit = gate.permit_without_store(at.exit_(side="SELL"))
    redis_client.lpush(at.RATE_GLOBAL, permit.admission.split(" ")[4])  # another's, of the same millisecond
    before = redis_client.hmget(at.STATE, "since", "fence"), redis_client.lrange(at.RATE_GLOBAL, 0, -1)

    settlement = gate.settle(permit, OUTCOMES[kind])

    assert (settlement.status, settlement.memory_lost) == (Settled.SETTLED, False)
    assert (redis_client.hmget(at.STATE, "since", "fence"), redis_client.lrange(at.RATE_GLOBAL, 0, -1)) == before
    assert gate.settle(permit, OUTCOMES[kind]).status is Settled.ALREADY
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.DUPLICATE
    assert not at.admitted(gate.evaluate(at.entry("sig-3", "SOLUSDT"))).verify
    members = at.in_flight(redis_client)
    assert ("sig-1" in members) is (kind == "unknown")


def test_an_exit_that_was_not_sent_without_the_store_needs_no_record(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    assert gate.settle(gate.permit_without_store(at.exit_(side="SELL")), Outcome.unsent("STORE_LOST"))
    assert gate.lookup("sig-1") is None
    assert gate.evaluate(at.exit_(side="SELL"))


def test_an_exit_without_the_store_does_not_overwrite_the_record_of_another(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = gate.permit_without_store(at.exit_(side="SELL"))
    held = at.admitted(gate.evaluate(at.exit_(side="SELL")))
    settlement = gate.settle(permit, Outcome.placed(1))
    assert settlement.status is Settled.FENCED
    assert settlement.record is not None
    assert settlement.record.token == held.token
