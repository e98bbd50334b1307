"""A server's clock that goes ahead and back lets records lapse whose intents are fresh. The store notices."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from gate import Outcome, Policy, Reason
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.model.passing_time import let_pass
from tests.servers.process import ProcessStore

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)
HALF_SPARE_MS = (ROOMY.dedup_ttl_ms - ROOMY.max_age_ms) // 2
GONE_BACK = "the server's clock has gone back"
LAPSED = "the list of admissions is gone before its time"


@pytest.fixture
def own_store() -> Iterator[ProcessStore]:
    with closing(ProcessStore(["--enable-debug-command", "yes"])) as store:
        yield store


def placed(gate: AnyGate, id: str = "sig-1") -> None:
    assert gate.settle(at.admitted(gate.evaluate(at.entry(id))), Outcome.placed(1))


def clock_goes_back(client: redis.Redis) -> None:
    """By a second more than may cost a record. There was an admission while the clock was ahead."""
    let_pass(client, -HALF_SPARE_MS - 1_000)


def clock_was_ahead(client: redis.Redis) -> None:
    """All that was to lapse has lapsed. Nothing was admitted meanwhile."""
    client.delete(at.RECORD, at.RATE_SYMBOL, at.RATE_GLOBAL)


STEPS: dict[str, tuple[Callable[[redis.Redis], None], str]] = {
    "back": (clock_goes_back, GONE_BACK),
    "ahead and back": (clock_was_ahead, LAPSED),
}
steps = pytest.mark.parametrize(("step", "cause"), STEPS.values(), ids=STEPS)


@steps
def test_entries_wait_and_permits_say_verify(
    step: Callable[[redis.Redis], None], cause: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    placed(open_gate(ROOMY))
    step(redis_client)
    gate = open_gate(ROOMY)
    again = at.entry("sig-2")
    inspection = gate.inspect(again)
    assert gate.status().standing[0].name == "memory", "the next verdict begins the wait"
    verdict = gate.evaluate(again)
    assert verdict.reason is inspection.reason is Reason.MEMORY_YOUNG
    assert verdict.retry_after_ms == 60_000
    held = at.contents(redis_client)
    assert open_gate(ROOMY).evaluate(again).reason is Reason.MEMORY_YOUNG
    assert at.contents(redis_client) == held, "noted once"
    (entry,) = at.audit(redis_client)
    assert entry["what"] == "memory lost"
    assert entry["reason"].startswith(cause)

    at.wait_out(redis_client)
    for id in ("sig-2", "sig-3"):
        permit = at.admitted(gate.evaluate(at.entry(id)))
        assert permit.verify
        assert gate.settle(permit, Outcome.placed(1))


@steps
def test_an_exit_passes_at_once_and_says_verify(
    step: Callable[[redis.Redis], None], cause: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    placed(gate)
    step(redis_client)
    for id in ("sig-2", "sig-3"):
        assert at.admitted(gate.evaluate(at.exit_(id))).verify
    assert [entry["reason"].startswith(cause) for entry in at.audit(redis_client)] == [True]
    assert gate.evaluate(at.entry("sig-4")).reason is Reason.MEMORY_YOUNG


@steps
def test_a_person_may_say_that_it_has_cost_nothing(
    step: Callable[[redis.Redis], None], cause: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    placed(gate)
    step(redis_client)
    gate.init(by="ops", reason="looked at the exchange")
    assert not at.admitted(gate.evaluate(at.entry("sig-2"))).verify, cause


@pytest.mark.parametrize("then", [Reason.LOCKED, Reason.RATE_SYMBOL])
def test_a_lock_or_a_full_window_hides_no_step(then: Reason, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """The loss is noticed though the intent is denied in any case: a policy may halt after one."""
    gate = open_gate(Policy(rate_symbol_limit=1, rate_global_limit=100))
    permit = at.admitted(gate.evaluate(at.entry()))
    if then is Reason.RATE_SYMBOL:
        assert gate.settle(permit, Outcome.placed(1))
    redis_client.delete(at.RECORD, at.RATE_GLOBAL)
    again = at.entry("sig-2")
    assert [row.reason for row in gate.inspect(again).guards if not row.passed][:2] == [Reason.MEMORY_YOUNG, then]
    assert gate.evaluate(again).reason is Reason.MEMORY_YOUNG
    assert [act["what"] for act in at.audit(redis_client)] == ["memory lost"]


def move(client: redis.Redis, here: str, there: str) -> None:
    """Renames the keys: the steps are those of the account's own."""
    for key in [key for key in at.keys(client) if key.startswith(here)]:
        client.rename(key, key.replace(here, there, 1))


@steps
def test_a_caller_that_observes_is_admitted_and_says_verify(
    step: Callable[[redis.Redis], None], cause: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(mode="observe"))
    placed(gate)
    move(redis_client, "quantum:observe:", "quantum:")
    step(redis_client)
    move(redis_client, "quantum:", "quantum:observe:")
    permit = at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT")))
    assert (permit.observed, permit.verify) == (False, True), cause
    own_list = "quantum:observe:exec:rate:global"
    assert redis_client.lindex(own_list, 0) == permit.admission.split(" ")[4].encode(), "it has its place"


def test_a_step_back_that_can_cost_no_record_changes_nothing(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    placed(gate)
    let_pass(redis_client, -HALF_SPARE_MS + 60_000)
    assert not at.admitted(gate.evaluate(at.exit_("sig-2"))).verify


def test_a_list_that_lapses_in_its_time_changes_nothing(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    placed(gate)
    let_pass(redis_client, HALF_SPARE_MS - 60_000)
    assert redis_client.exists(at.RATE_GLOBAL), "it outlives its window"
    let_pass(redis_client, 60_000)
    assert not redis_client.exists(at.RATE_GLOBAL)
    assert not at.admitted(gate.evaluate(at.entry("sig-2"))).verify


def test_a_list_that_lapses_soon_is_kept_for_as_long_as_the_next_intent_is_fresh(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Gone in its time, it would tell nothing of a step that costs the second intent its record."""
    gate = open_gate(ROOMY)
    placed(gate, "before")
    let_pass(redis_client, HALF_SPARE_MS - 100_000)
    placed(gate)
    let_pass(redis_client, 200_000)
    clock_was_ahead(redis_client)
    assert gate.evaluate(at.entry()).reason is Reason.MEMORY_YOUNG


def test_a_slot_given_back_leaves_the_list_there(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    assert gate.settle(at.admitted(gate.evaluate(at.entry())), Outcome.unsent("NO", retryable=True))
    assert 0 < redis_client.pttl(at.RATE_GLOBAL) <= HALF_SPARE_MS
    assert not at.admitted(gate.evaluate(at.entry())).verify


def test_the_question_that_lets_a_record_lapse_lets_the_list_of_admissions_lapse_too(
    own_store: ProcessStore, open_gate: OpenGate
) -> None:
    """A server throws away what has lapsed in no order: here it is slow, and has done nothing of it yet."""
    gate = open_gate(ROOMY, url=own_store.url)
    with own_store.client() as client:
        gate.init(by="tests", reason="a new account")
        placed(gate)
        client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        client.pexpire(at.RATE_GLOBAL, 1)
        client.pexpire(at.RECORD, 1)
        until = at.server_ms(client) + 5
        while at.server_ms(client) < until:
            pass
        held = client.dbsize()  # it counts what has lapsed and isn't thrown away

        stale = gate.evaluate(at.entry(timestamp=at.server_ms(client) - ROOMY.max_age_ms - 1_000))

        assert stale.reason is Reason.STALE
        assert held - client.dbsize() == 2, "the record and the list"


def test_a_settlement_while_the_clock_is_ahead_does_not_hide_the_step(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    clock_was_ahead(redis_client)
    assert gate.settle(permit, Outcome.unsent("NO"))
    assert gate.evaluate(at.entry("sig-2")).reason is Reason.MEMORY_YOUNG


@pytest.mark.parametrize(
    "kept",
    ["", struct.pack(">5d", 1, 0, 0, 0, 0), struct.pack(">7d", 0, 0, 0, 0, 0, math.nan, math.nan)],
    ids=["none", "of before", "not a number"],
)
def test_a_state_that_does_not_know_its_last_admission_denies_nobody(
    kept: str | bytes, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    placed(gate)
    redis_client.hset(at.STATE, "in_flight", kept)
    redis_client.delete(at.RATE_GLOBAL)
    assert not gate.status().stopped
    assert not at.admitted(gate.evaluate(at.entry("sig-2"))).verify


@pytest.mark.parametrize("kept", ["x" * 56, struct.pack(">7d", 0, 0, 0, 0, 0, math.inf, math.inf)], ids=["text", "inf"])
def test_a_last_admission_beyond_all_times_is_one_loss(
    kept: str | bytes, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    placed(gate)
    redis_client.hset(at.STATE, "in_flight", kept)
    assert gate.status().stopped
    assert gate.evaluate(at.entry("sig-2")).reason is Reason.MEMORY_YOUNG
    at.wait_out(redis_client)
    placed(gate, "sig-2")
