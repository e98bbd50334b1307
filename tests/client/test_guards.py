"""Every guard of the table (docs/design.md) denies alone and passes alone, and inspect says what evaluate decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from gate import GuardReport, Inspection, Intent, Outcome, Phase, Policy, Reason, Verdict
from gate.values.guards import GUARDS
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.client.rows import ROWS, Row
from tests.model.passing_time import let_pass
from tests.servers.users import IN_ROLES

NAMES = [guard.name for guard in GUARDS]


def wanted(client: redis.Redis, exits: bool, changes: dict[str, Any]) -> Intent:
    age_ms = changes.get("age_ms", 0)
    return at.intent(exits, timestamp=at.server_ms(client) - age_ms)


def report_of(inspection: Inspection, guard: str) -> GuardReport:
    return next(report for report in inspection.guards if report.guard == guard)


def assert_waits(wait: Callable[[int], int] | None, wait_ms: int | None, before: int, after: int) -> None:
    """Asserts that the wait is exact at some moment between the two."""
    if wait is None:
        assert wait_ms is None
    else:
        assert wait_ms is not None
        least, most = sorted((wait(after), wait(before)))
        assert least <= wait_ms <= most


def test_the_rows_are_all_guards_in_their_order(open_sync_gate: OpenGate) -> None:
    assert [row.guard for row in ROWS] == NAMES
    assert [report.guard for report in open_sync_gate().inspect(at.entry()).guards] == NAMES


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_guard_denies_alone_and_inspect_says_the_same(
    row: Row, exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    row.arrange(redis_client, gate, exits)
    intent = wanted(redis_client, exits, row.changes)
    before = at.server_ms(redis_client)
    held = at.contents(redis_client)

    inspection = gate.inspect(intent)
    report = report_of(inspection, row.guard)
    assert at.contents(redis_client) == held, "inspect has written"
    assert before <= inspection.now_ms <= at.server_ms(redis_client)
    assert report.key == row.key

    verdict = gate.evaluate(intent)
    after = at.server_ms(redis_client)
    if exits and not row.binds_exits:
        assert inspection.admitted
        assert inspection.denial is None
        assert report.passed
        at.admitted(verdict)
        return

    assert not inspection.admitted
    assert [each.guard for each in inspection.guards if not each.passed] == [row.guard]
    assert inspection.reason is row.reason
    assert (report.reason, report.passed) == (row.reason, False)
    # The clock of Redis 7.0 runs on within a script: it may read a key's remaining time a moment after the time.
    assert_waits(row.wait, report.wait_ms, inspection.now_ms, after)
    assert_waits(row.retry or row.wait, report.retry_after_ms, inspection.now_ms, after)

    assert not verdict.admitted
    assert not verdict
    assert verdict.permit is None
    assert verdict.reason is row.reason
    assert verdict.retryable is not row.never_again
    assert_waits(row.retry or row.wait, verdict.retry_after_ms, before, after)
    if row.guard not in ("stale", "lock"):  # their details have times, which pass
        assert verdict.detail == report.detail


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_guard_at_its_edge_passes(row: Row, exits: bool, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    row.spare(redis_client, gate, exits)
    intent = wanted(redis_client, exits, row.spare_changes)
    inspection = gate.inspect(intent)
    assert inspection.admitted
    assert [report.guard for report in inspection.guards if not report.passed] == []
    at.admitted(gate.evaluate(intent))


@pytest.mark.parametrize(
    ("row", "exits"),
    [(row, exits) for row in ROWS for exits in (False, True) if row.binds_exits or not exits],
    ids=lambda value: str(value) if isinstance(value, Row) else ("exit" if value else "entry"),
)
def test_a_denial_leaves_no_trace_but_the_two_trips(
    row: Row, exits: bool, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    row.arrange(redis_client, gate, exits)
    held = at.contents(redis_client)
    assert not gate.evaluate(wanted(redis_client, exits, row.changes))
    now = at.contents(redis_client)
    changed = {key for key in held.keys() | now.keys() if held.get(key) != now.get(key)}
    noted_in = {at.AUDIT: at.JOURNAL} if IN_ROLES else {}
    assert changed == {noted_in.get(key, key) for key in row.writes}


def all_at_once(client: redis.Redis, gate: AnyGate) -> None:
    by_name = {row.guard: row for row in ROWS}
    for name in NAMES:
        if name not in ("stale", "conflict", "policy"):
            by_name[name].arrange(client, gate, False)
    client.hset(at.STATE, "policy", "enforce-of-somebody-else")
    client.hdel(at.STATE, "in_flight")  # the arranged permits haven't been counted


def test_the_first_guard_in_order_is_the_reason_and_inspect_shows_all(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    all_at_once(redis_client, gate)
    intent = wanted(redis_client, False, {"age_ms": 700_000})
    cures: dict[str, Callable[[], object]] = {
        "duplicate": lambda: redis_client.delete(at.RECORD),
        "stale": lambda: None,
        "policy": lambda: redis_client.hdel(at.STATE, "policy"),
        "memory": lambda: redis_client.hdel(at.STATE, "lost"),
        "halt": lambda: gate.resume(by="ops", reason="over"),
        "safe_mode": lambda: redis_client.delete(at.SAFE_MODE),
        "failures": lambda: redis_client.delete(at.FAILURES),
        "cooldown_global": lambda: redis_client.delete(at.COOLDOWN_GLOBAL),
        "cooldown_symbol": lambda: redis_client.delete(at.COOLDOWN_SYMBOL),
        "lock": lambda: redis_client.delete(at.LOCK),
        "in_flight": lambda: redis_client.delete(at.INFLIGHT),  # before it denies, it counts
        "rate_symbol": lambda: redis_client.delete(at.RATE_SYMBOL),
        "rate_global": lambda: redis_client.ltrim(at.RATE_GLOBAL, 0, 0),
    }
    standing = [name for name in NAMES if name != "conflict"]
    while standing:
        inspection = gate.inspect(intent)
        assert [report.guard for report in inspection.guards if not report.passed] == standing
        if standing[0] not in ("failures", "rate_global"):  # asking those would trip what the test has arranged
            verdict = gate.evaluate(intent)
            assert verdict.reason is inspection.reason
        first = standing.pop(0)
        cures[first]()
        if first == "stale":
            intent = wanted(redis_client, False, {})
    at.admitted(gate.evaluate(intent))


def test_a_conflict_shows_the_record_that_stands(open_gate: OpenGate) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.entry(notional="300")))
    gate.settle(permit, Outcome.placed("8389765"))
    verdict = gate.evaluate(at.entry(notional="200"))
    assert verdict.reason is Reason.CONFLICT
    assert verdict.prior is not None
    assert (verdict.prior.order_id, verdict.prior.token) == ("8389765", permit.token[:8])


def test_a_second_exit_under_one_trace_id_is_told_what_to_do(open_gate: OpenGate) -> None:
    gate = open_gate()
    rung: dict[str, object] = {"trace_id": "ladder-7", "symbol": "BTCUSDT", "side": "SELL", "reduce_only": True}
    rung["timestamp"] = at.entry().timestamp_ms
    at.admitted(gate.evaluate(Intent.from_mapping({**rung, "quantity": "0.01"})))

    verdict = gate.evaluate(Intent.from_mapping({**rung, "quantity": "0.02"}))

    assert verdict.reason is Reason.CONFLICT
    assert verdict.detail.endswith(". That is another order: give each an `id` or `intent_id` of its own")
    at.admitted(gate.evaluate(Intent.from_mapping({**rung, "quantity": "0.02", "id": "ladder-7-2"})))


def prior_after(gate: AnyGate, outcome: Outcome | None) -> Verdict:
    permit = at.admitted(gate.evaluate(at.entry()))
    if outcome is not None:
        assert gate.settle(permit, outcome)
    return gate.evaluate(at.entry(timestamp=at.entry().timestamp_ms - 1000))


@pytest.mark.parametrize(
    ("outcome", "phase", "code"),
    [
        (None, Phase.ADMITTED, None),
        (Outcome.placed("8389765"), Phase.PLACED, None),
        (Outcome.rejected(-2019, "Margin is insufficient."), Phase.REJECTED, "-2019"),
        (Outcome.unsent("NO_MARGIN", retryable=False), Phase.REJECTED, "NO_MARGIN"),
        (Outcome.unknown("time-out"), Phase.UNKNOWN, "UNKNOWN"),
    ],
    ids=["unsettled", "placed", "rejected", "unsent", "unknown"],
)
def test_a_duplicate_gets_the_record_of_the_first(
    outcome: Outcome | None, phase: Phase, code: str | None, open_gate: OpenGate
) -> None:
    verdict = prior_after(open_gate(), outcome)
    assert verdict.reason is Reason.DUPLICATE
    assert not verdict.retryable
    assert verdict.prior is not None
    assert verdict.prior.phase is phase
    assert verdict.prior.code == code
    if phase is Phase.PLACED:
        assert verdict.prior.order_id == "8389765"
        assert "8389765" in verdict.detail


def test_the_same_intent_in_another_notation_is_a_duplicate(open_gate: OpenGate) -> None:
    gate = open_gate()
    at.admitted(gate.evaluate(at.entry(notional="200")))
    assert gate.evaluate(at.entry(notional=200.0)).reason is Reason.DUPLICATE
    assert gate.evaluate(at.entry(notional="2E2")).reason is Reason.DUPLICATE


def test_an_entry_from_the_future_waits_exactly_until_it_is_due(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    asked = wanted(redis_client, False, {"age_ms": -60_000})
    before = at.server_ms(redis_client)
    verdict = gate.evaluate(asked)
    after = at.server_ms(redis_client)
    assert (verdict.reason, verdict.retryable) == (Reason.STALE, True)
    assert verdict.retry_after_ms is not None
    assert before <= asked.timestamp_ms - 5_000 - verdict.retry_after_ms <= after
    at.admitted(gate.evaluate(wanted(redis_client, False, {"age_ms": -4_000})))
    assert not gate.evaluate(wanted(redis_client, False, {"age_ms": 700_000})).retryable


def test_a_strategys_clock_that_is_ahead_does_not_stop_an_exit(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy())
    gate.apply_policy(by="ops", reason="as built")
    asked = wanted(redis_client, True, {"age_ms": -7_200_000})
    assert gate.inspect(asked).admitted
    at.admitted(gate.evaluate(asked))
    # It stays fresh for two hours more than others, and so does its record, by as much.
    remembered_for = 7_200_000 + Policy().dedup_ttl_ms
    assert remembered_for - 60_000 < redis_client.pttl(at.RECORD) <= remembered_for + 1
    old = at.exit_("old", timestamp=at.server_ms(redis_client) - 700_000)
    assert gate.evaluate(old).reason is Reason.STALE


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
def test_a_halt_of_everything_stops_exits_too(exits: bool, open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.halt(by="ops", reason="exchange under maintenance", scope="all")
    verdict = gate.evaluate(at.intent(exits))
    assert verdict.reason is Reason.HALTED
    assert "ops" in verdict.detail
    assert "exchange under maintenance" in verdict.detail
    assert gate.inspect(at.intent(exits)).reason is Reason.HALTED


def test_a_halt_made_by_hand_without_a_scope_stops_entries(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.hset(at.HALT, "note", "by hand")
    assert gate.evaluate(at.entry()).reason is Reason.HALTED
    at.admitted(gate.evaluate(at.exit_()))


def test_exits_neither_need_nor_take_the_lock(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """A hung stop must not hold up the next one: two exits can't close more than there is."""
    gate = open_gate()
    held = at.admitted(gate.evaluate(at.entry()))
    first = at.admitted(gate.evaluate(at.exit_("out-1")))
    second = at.admitted(gate.evaluate(at.exit_("out-2")))
    assert redis_client.get(at.LOCK) == held.token.encode()
    assert gate.settle(first, Outcome.placed(1))
    assert gate.settle(second, Outcome.placed(2))
    assert redis_client.get(at.LOCK) == held.token.encode(), "settling an exit releases no other's lock"
    assert gate.settle(held, Outcome.placed(3))
    at.admitted(gate.evaluate(at.exit_("out-3")))
    assert redis_client.get(at.LOCK) is None


@pytest.mark.parametrize("key", [at.SAFE_MODE, at.COOLDOWN_GLOBAL, at.COOLDOWN_SYMBOL, at.LOCK])
def test_a_switch_without_a_ttl_counts_as_on(key: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.set(key, "by hand")
    verdict = gate.evaluate(at.entry())
    assert not verdict.admitted
    assert verdict.retryable
    assert verdict.retry_after_ms is None
    redis_client.delete(key)
    at.admitted(gate.evaluate(at.entry()))


def test_a_leftover_of_the_replaced_system_denies_and_is_shown(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.set(at.RECORD, "1", ex=300)
    verdict = gate.evaluate(at.entry())
    assert verdict.reason is Reason.DUPLICATE
    assert verdict.prior is not None
    assert verdict.prior.phase is Phase.FOREIGN


def test_a_denied_intent_is_not_used_up(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate, intent = open_gate(), at.entry()
    redis_client.set(at.SAFE_MODE, "1", ex=60)
    assert gate.evaluate(intent).reason is Reason.SAFE_MODE
    redis_client.delete(at.SAFE_MODE)
    at.admitted(gate.evaluate(intent))


def test_an_exit_counts_in_the_global_window_and_not_in_its_symbols(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    gate.settle(at.admitted(gate.evaluate(at.exit_())), Outcome.placed(1))
    assert redis_client.llen(at.RATE_GLOBAL) == 1
    assert redis_client.exists(at.RATE_SYMBOL) == 0
    at.admitted(gate.evaluate(at.entry("sig-2")))
    assert redis_client.llen(at.RATE_GLOBAL) == 2
    assert redis_client.llen(at.RATE_SYMBOL) == 1


def test_an_order_counts_for_the_whole_of_a_window_that_is_longer_than_an_intent_is_fresh(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Each admission is in a list that lives as long as the window, whenever the first one was."""
    gate = open_gate(Policy(rate_global_limit=2, rate_global_window_ms=3_600_000, max_age_ms=60_000))
    at.admitted(gate.evaluate(at.entry("first")))
    let_pass(redis_client, 3_000_000)
    at.admitted(gate.evaluate(at.entry("second", "ETHUSDT")))
    let_pass(redis_client, 700_000)
    at.admitted(gate.evaluate(at.entry("third", "SOLUSDT")))
    assert gate.evaluate(at.entry("fourth", "XRPUSDT")).reason is Reason.RATE_GLOBAL
