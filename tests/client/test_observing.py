"""A caller that observes hurts nobody: it has keys of its own, and only a person's halt denies."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest
import redis

from gate import Gate, Mode, Outcome, Penalty, Policy, Reason, Settled
from gate.client.caller import Caller
from gate.client.settling import give_back
from gate.client.verdicts import evaluate
from gate.protocol.scripts import Encoded, script
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.client.rows import ROWS, Row
from tests.model.passing_time import let_pass
from tests.servers.session import declare_whole
from tests.servers.store import Store

NEEDED_MS = 6_500
OBSERVE = Policy(mode="observe")
ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)
ROOMY_OBSERVE = replace(ROOMY, mode="observe")
CALLERS = "quantum:observe:callers"
BINDING = Reason.HALTED


def own(key: str) -> str:
    """Where an observing caller keeps what an enforcing one keeps under a key."""
    return key if key == at.HALT else key.replace("quantum:", "quantum:observe:", 1)


def give_to_observers(client: redis.Redis) -> None:
    """Makes the state of the account that of its observing callers; a halt stays."""
    for key in at.keys(client) - {own(at.STATE)}:
        client.rename(key, own(key))


@pytest.fixture(autouse=True)
def whole(redis_client: redis.Redis) -> None:
    declare_whole(redis_client, "quantum:observe")


def counted(client: redis.Redis) -> dict[str, tuple[object, int]]:
    """Every key with what it holds, but for the times that only a halt waits for."""
    held = at.contents(client)
    state, expiry = held.pop(own(at.STATE), ({}, -1))
    assert isinstance(state, dict)
    if left := {name: value for name, value in state.items() if not name.endswith(b"s_until")}:
        held[own(at.STATE)] = left, expiry
    return held


@pytest.mark.parametrize("row", [row for row in ROWS if row.guard not in ("memory", "halt")], ids=str)
def test_what_would_deny_is_named_and_the_intent_is_admitted(
    row: Row, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    row.arrange(redis_client, open_sync_gate(), False)
    give_to_observers(redis_client)
    gate = open_sync_gate(OBSERVE)
    intent = at.entry(timestamp=at.server_ms(redis_client) - row.changes.get("age_ms", 0))
    inspection = gate.inspect(intent)
    held = counted(redis_client)

    verdict = gate.evaluate(intent)

    permit = at.admitted(verdict)
    assert (verdict.reason, verdict.mode, permit.observed) == (row.reason, Mode.OBSERVE, True)
    assert (inspection.admitted, inspection.reason, inspection.mode) == (True, row.reason, Mode.OBSERVE)
    assert permit.live
    now = counted(redis_client)
    changed = {key for key in held.keys() | now.keys() if held.get(key) != now.get(key)} - {CALLERS}
    claimed = row.guard not in ("conflict", "duplicate")
    assert changed == {own(key) for key in row.writes} | ({own(at.RECORD)} if claimed else set()), "only the id"
    assert gate.last_look(permit, needed_ms=NEEDED_MS)
    settlement = gate.settle(permit, Outcome.placed(1))
    assert settlement.status is (Settled.SETTLED if claimed else Settled.OBSERVED)
    then = counted(redis_client)
    assert {key for key in now.keys() | then.keys() if now.get(key) != then.get(key)} <= {own(at.RECORD)}


def test_nothing_of_the_accounts_is_touched_through_a_whole_life(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.flushall()
    gate = open_gate(replace(OBSERVE, after_memory_loss="halt"))
    penalty = Penalty(count_failure=True, cooldown_symbol_ms=300_000, cooldown_global_ms=300_000, safe_mode=True)
    for number, symbol in enumerate(at.SYMBOLS):
        permit = at.admitted(gate.evaluate(at.entry(f"sig-{number}", symbol)))
        gate.settle(permit, Outcome.rejected(-2019, penalty=penalty) if number == 6 else Outcome.placed(number))
    gate.apply_policy(by="ops", reason="test")
    gate.init(by="ops", reason="test")
    gate.reset("all", by="ops", reason="test")
    assert {key for key in at.keys(redis_client) if not key.startswith("quantum:observe:")} == set()


def test_beside_old_guards_their_own_keys_stay_theirs(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """The first version's record made the old SETNX fail: no order at all."""
    gate = open_gate(OBSERVE)
    at.admitted(gate.evaluate(at.entry()))
    assert redis_client.setnx(at.RECORD, "1")
    assert redis_client.setnx(at.LOCK, "1")
    assert redis_client.incr(at.RATE_GLOBAL) == 1
    assert gate.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.ADMITTED, "nor do theirs damage ours"


def test_an_observer_loosens_nobody_elses_verdict(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """In the first version its policy came into force, and an intent that came twice was filled twice."""
    observing, enforcing = open_gate(OBSERVE), open_gate(Policy())
    observing.apply_policy(by="ops", reason="watch first")
    at.admitted(observing.evaluate(at.entry()))
    at.admitted(enforcing.evaluate(at.entry()))
    again = enforcing.evaluate(at.entry())
    assert (again.admitted, again.reason, again.mode) == (False, Reason.DUPLICATE, Mode.ENFORCE)
    assert not enforcing.inspect(at.entry())
    assert redis_client.llen(at.RATE_GLOBAL) == 1, "what is observed takes no slot"


def test_an_observer_may_bring_another_policy(open_gate: OpenGate) -> None:
    enforcing, observing = open_gate(Policy()), open_gate(replace(OBSERVE, rate_symbol_limit=2))
    at.admitted(enforcing.evaluate(at.entry()))
    for number in (1, 2):
        verdict = observing.evaluate(at.entry(f"o-{number}"))
        assert (verdict.reason, at.admitted(verdict).observed) == (Reason.ADMITTED, False)
        assert observing.settle(at.admitted(verdict), Outcome.placed(number))
    third = open_gate(OBSERVE).evaluate(at.entry("o-3"))
    assert (third.admitted, third.reason) == (True, Reason.POLICY_MISMATCH), "to those that observe it is one account"


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
@pytest.mark.parametrize("before", ["nothing", "duplicate", "stale"])
def test_a_persons_halt_denies_an_observer_whatever_comes_before_it(
    exits: bool, before: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(OBSERVE)
    if before == "duplicate":
        at.admitted(gate.evaluate(at.intent(exits)))
    age_ms = 700_000 if before == "stale" else 0
    intent = at.intent(exits, timestamp=at.server_ms(redis_client) - age_ms)
    open_gate().halt(by="ops", reason="CPI print")
    halted = gate.evaluate(intent)
    assert (halted.admitted, halted.reason is BINDING) == (exits, not exits), "exits pass a halt of entries"
    open_gate().halt(by="ops", reason="CPI print", scope="all")
    verdict, inspection = gate.evaluate(intent), gate.inspect(intent)
    assert (verdict.admitted, verdict.reason, verdict.mode) == (False, Reason.HALTED, Mode.OBSERVE)
    assert (inspection.admitted, inspection.reason) == (False, Reason.HALTED)
    assert "all halted by ops: CPI print" in verdict.detail


def test_an_observers_halt_is_the_accounts(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    observing, enforcing = open_gate(OBSERVE), open_gate()
    assert observing.halt(by="ops", reason="CPI print").audited
    assert enforcing.evaluate(at.entry()).reason is Reason.HALTED
    assert observing.resume(by="ops", reason="over").before == "entries"
    assert [each["what"] for each in at.audit(redis_client)] == ["halt entries", "resume"]


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
@pytest.mark.parametrize("permit_of", ["admitted", "denied", "duplicate"])
def test_a_halt_binds_an_observers_permits_at_the_last_look(
    permit_of: str, exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(OBSERVE)
    if permit_of == "duplicate":
        at.admitted(gate.evaluate(at.intent(exits)))
    age_ms = 700_000 if permit_of == "denied" else 0
    permit = at.admitted(gate.evaluate(at.intent(exits, timestamp=at.server_ms(redis_client) - age_ms)))
    redis_client.set(own(at.SAFE_MODE), "1")
    redis_client.delete(own(at.LOCK))
    assert gate.last_look(permit, needed_ms=NEEDED_MS), "what its guards say doesn't bind it"
    gate.halt(by="ops", reason="CPI print")
    assert gate.last_look(permit, needed_ms=NEEDED_MS).holds is exits
    gate.halt(by="ops", reason="CPI print", scope="all")
    look = gate.last_look(permit, needed_ms=NEEDED_MS)
    assert (look.holds, look.reason) == (False, "HALTED")


@pytest.mark.parametrize("permit_of", ["admitted", "denied"])
def test_an_observers_permit_binds_by_its_record(
    permit_of: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(OBSERVE)
    age_ms = 700_000 if permit_of == "denied" else 0
    permit = at.admitted(gate.evaluate(at.entry(timestamp=at.server_ms(redis_client) - age_ms)))
    redis_client.delete(own(at.RECORD))
    assert gate.last_look(permit, needed_ms=NEEDED_MS).reason == "PERMIT_LOST"


def test_of_two_observers_one_gets_the_intent_that_would_be_denied(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """In the first version a denial claimed nothing: both would have sent it."""
    redis_client.set(own(at.SAFE_MODE), "1")
    first, second = open_gate(OBSERVE), open_gate(OBSERVE)
    permit = at.admitted(first.evaluate(at.entry()))
    other = second.evaluate(at.entry())
    assert (other.admitted, other.reason) == (True, Reason.DUPLICATE)
    assert other.prior is not None
    assert other.prior.token == permit.token
    assert second.settle(at.admitted(other), Outcome.unknown("timeout")).status is Settled.OBSERVED
    assert first.settle(permit, Outcome.unsent("FILTERS")), "and gives it back"
    assert second.evaluate(at.entry()).reason is Reason.SAFE_MODE


def test_an_intent_that_is_dated_ahead_is_claimed_until_it_is_stale(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """It has been sent too early. Forgotten before, it would be sent once more when it is due."""
    gate = open_gate(OBSERVE)
    early_ms = OBSERVE.dedup_ttl_ms + 60_000
    early = gate.evaluate(at.entry(timestamp=at.server_ms(redis_client) + early_ms))
    assert (at.admitted(early).observed, early.reason) == (True, Reason.STALE)
    let_pass(redis_client, early_ms)
    assert gate.evaluate(at.entry()).reason is Reason.DUPLICATE


def test_what_would_be_denied_moves_no_counter_when_it_is_settled(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY_OBSERVE)
    at.admitted(gate.evaluate(at.entry("sig-0", "ETHUSDT")))
    redis_client.set(own(at.SAFE_MODE), "1", px=60_000)
    held = counted(redis_client)
    penalty = Penalty(count_failure=True, cooldown_symbol_ms=300_000, cooldown_global_ms=300_000)
    for outcome in (Outcome.rejected(-2019, retryable=True, penalty=penalty), Outcome.unsent("FILTERS")):
        assert gate.settle(at.admitted(gate.evaluate(at.entry())), outcome)
        assert counted(redis_client) == held


def test_what_would_be_denied_gives_no_slot_back(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """It has taken none. An admission of the same millisecond keeps its own."""
    redis_client.set(own(at.SAFE_MODE), "1", px=60_000)
    gate = open_gate(ROOMY_OBSERVE)
    permit = at.admitted(gate.evaluate(at.entry()))
    slots = (own(at.RATE_GLOBAL), own(at.RATE_SYMBOL))
    for key in slots:
        redis_client.lpush(key, permit.admission.split(" ")[4])
    assert gate.settle(permit, Outcome.unsent("FILTERS"))
    assert redis_client.exists(*slots) == len(slots)


def test_a_caller_cancelled_while_it_leaves_its_name_gives_the_permit_back() -> None:
    caller = Caller("quantum", OBSERVE)
    dialogue = evaluate(caller, at.entry())
    asked = next(dialogue)
    assert isinstance(asked, Encoded)
    token = asked.packed.partition(b"sig-1\0")[2].partition(b"\0")[0].decode()
    dialogue.send(f"admitted {token} 1 fp {time.time_ns() // 1_000_000} BTCUSDT BUY 30000 0 - 0".encode())
    with pytest.raises(asyncio.CancelledError):
        dialogue.throw(asyncio.CancelledError())
    giving_back = next(give_back(caller))
    assert str(token) in str(giving_back)


def test_what_would_be_denied_and_ends_unknown_is_in_doubt(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(OBSERVE)
    permit = at.admitted(gate.evaluate(at.entry(timestamp=at.server_ms(redis_client) - 700_000)))
    assert gate.settle(permit, Outcome.unknown("timeout"))
    [member] = redis_client.zrange(own(at.INFLIGHT), 0, -1)
    redis_client.zadd(own(at.INFLIGHT), {at.text(member): 1})
    [doubtful] = gate.in_doubt().permits
    assert doubtful.permit.observed
    assert gate.settle(doubtful.permit, Outcome.placed(7))
    assert gate.in_doubt().permits == ()
    assert not redis_client.hexists(own(at.STATE), "permit:sig-1")


def test_a_repeated_call_gets_the_same_observed_permit(redis_client: redis.Redis) -> None:
    """Its first answer was lost on the way."""
    redis_client.set(own(at.SAFE_MODE), "why not", px=60_000)
    protocol = Caller("quantum", OBSERVE).protocol
    redis_client.script_load(script("evaluate").source)
    words = protocol.evaluate(at.entry(), "t0ken", 0, Decimal(40)).words(redis_client.info("server")["run_id"])
    first, again = (redis_client.execute_command(*words) for _ in range(2))
    assert first == again
    verdict = protocol.replies.decode_verdict(again, at.entry(), Decimal(40), time.monotonic_ns())
    assert (verdict.admitted, verdict.reason, verdict.detail) == (True, Reason.SAFE_MODE, "why not")
    assert at.admitted(verdict).token == "t0ken"  # noqa: S105  # of a permit


def test_an_observers_lost_memory_halts_nobody(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(replace(ROOMY_OBSERVE, after_memory_loss="halt"))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(own(at.STATE), own(at.RECORD))
    assert gate.settle(permit, Outcome.placed(1)).memory_lost
    assert at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT"))).verify
    assert gate.halt_in_force() is None
    assert not redis_client.exists(at.AUDIT)


def test_status_names_who_has_observed_in_the_last_day_and_no_more_than_a_hundred(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    enforcing, observing = open_gate(), open_gate(OBSERVE)
    assert enforcing.status().observers == ()
    observing.evaluate(at.entry())
    observing.evaluate(at.entry("sig-2", "ETHUSDT"))
    [observer] = enforcing.status().observers
    assert observer.name.endswith(f" {OBSERVE.fingerprint}")
    assert abs(observer.seen_ms - at.server_ms(redis_client)) < 600_000
    assert (enforcing.status().observing, observing.status().observing) == (False, True)
    assert observing.status().observers == observing.observers() == enforcing.observers() == (observer,)

    day_ms = 24 * 3_600_000
    redis_client.zadd(CALLERS, {"yesterday": observer.seen_ms - day_ms - 60_000})
    assert enforcing.status().observers == (observer,)
    redis_client.zadd(CALLERS, {f"worker-{number}": number for number in range(200)})
    open_gate(OBSERVE).evaluate(at.entry("sig-3", "SOLUSDT"))
    assert redis_client.zcard(CALLERS) == 100
    assert 0 < redis_client.pttl(CALLERS) <= day_ms


def test_a_note_that_can_not_be_left_costs_no_verdict(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(CALLERS, "1")
    gate = open_gate(OBSERVE)
    assert at.admitted(gate.evaluate(at.entry()))
    assert gate.status().observers == ()


def test_from_observe_to_enforce_is_one_word(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """No policy has to be applied; the windows begin anew, as on a new account."""
    at.admitted(open_gate(OBSERVE).evaluate(at.entry()))
    enforcing = open_gate(replace(OBSERVE, mode="enforce"))
    at.admitted(enforcing.evaluate(at.entry()))
    assert enforcing.evaluate(at.entry()).reason is Reason.DUPLICATE
    assert redis_client.hget(at.STATE, "policy") == OBSERVE.fingerprint.encode()


def test_an_exception_in_an_observed_block_is_settled_as_ever(store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(own(at.SAFE_MODE), "1")
    with Gate.from_url(store.url, policy=OBSERVE) as gate:
        with suppress(RuntimeError), gate.guard(at.entry()) as permit:
            assert permit.permit.observed
            raise RuntimeError("while sending")
        assert gate.in_doubt().permits == (), "its permit has not run out"
        record = gate.lookup("sig-1")
    assert record is not None
    assert (record.phase, record.observed) == ("unknown", True)
