"""After a halt: what may still reach the exchange, and until when that is waited for."""

from __future__ import annotations

import pytest
import redis

from gate import InvalidField, Outcome, OutPermit, Policy, StillOut
from gate.client import clearing
from gate.client.clearing import Clearing, Look
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate

QUICK = Policy(lock_ttl_ms=1_500, rate_symbol_limit=100, rate_global_limit=100)
NOON_MS = 1_800_000_000_000


def at_work(open_gate: OpenGate, policy: Policy = QUICK) -> AnyGate:
    gate = open_gate(policy)
    gate.init(by="tests", reason="a new account")
    return gate


def test_an_entry_is_out_until_it_is_settled(open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.halt(by="ops", reason="CPI print")

    out = gate.still_out()

    assert (out.clear, out.count, out.halted) == (False, 1, "entries")
    assert out.permits == (OutPermit(permit.intent_id, permit.symbol, permit.side, permit.deadline_ms),)
    assert 0 < out.wait_ms <= QUICK.lock_ttl_ms
    gate.settle(permit, Outcome.placed("81"))
    out = gate.still_out()
    assert (out.clear, bool(out), out.wait_ms) == (True, False, 0)


def test_an_unclear_outcome_leaves_its_entry_out_until_its_deadline(open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, Outcome.unknown("no answer"))
    gate.halt(by="ops", reason="CPI print")

    assert gate.still_out().count == 1
    assert gate.until_clear().clear
    assert permit.remaining_ms <= 0


def test_the_wait_ends_when_the_last_permit_has_run_out(open_gate: OpenGate) -> None:
    gate, looks = at_work(open_gate), list[StillOut]()
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.halt(by="ops", reason="CPI print")

    out = gate.until_clear(told=looks.append)

    assert out.clear
    assert permit.remaining_ms <= 0
    assert looks[0].count == 1
    assert looks[-1] == out


def test_exits_are_waited_for_only_where_the_halt_stops_them(open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    at.admitted(gate.evaluate(at.exit_()))
    gate.halt(by="ops", reason="CPI print")
    assert gate.still_out().clear
    gate.halt(by="ops", reason="maintenance", scope="all")
    assert gate.still_out("all").count == 1


def test_an_entry_of_an_observing_caller_is_out_too(open_gate: OpenGate) -> None:
    gate, observer = at_work(open_gate), open_gate(Policy(lock_ttl_ms=1_500, mode="observe"))
    permit = at.admitted(observer.evaluate(at.entry()))
    gate.halt(by="ops", reason="CPI print")
    for asked in gate, observer:
        assert [each.intent_id for each in asked.still_out().permits] == [permit.intent_id]
    assert observer.until_clear().clear
    assert permit.remaining_ms <= 0


def test_an_entry_that_only_an_observing_caller_may_send_is_out_too(open_gate: OpenGate) -> None:
    """Others would be denied. It has no lock and no place among the permits in flight."""
    gate, observer = at_work(open_gate), open_gate(Policy(lock_ttl_ms=1_500, mode="observe"))
    at.admitted(observer.evaluate(at.entry()))
    for again in at.entry("sig-2"), at.entry():
        permit = at.admitted(observer.evaluate(again))
        assert permit.observed
    gate.halt(by="ops", reason="CPI print")

    out = gate.still_out()

    assert "observed" in [each.intent_id for each in out.permits]
    assert out.wait_ms >= permit.remaining_ms
    assert gate.until_clear().clear
    assert permit.remaining_ms <= 0


def test_the_longest_of_them_counts_whoever_came_last(open_gate: OpenGate) -> None:
    gate, longer = at_work(open_gate), open_gate(Policy(lock_ttl_ms=20_000, mode="observe"))
    stale = at.entry(timestamp=at.entry().timestamp_ms - 700_000)
    permit = at.admitted(longer.evaluate(stale))
    at.admitted(open_gate(Policy(lock_ttl_ms=1_500, mode="observe")).evaluate(stale))
    gate.halt(by="ops", reason="CPI print")
    assert gate.still_out().wait_ms >= permit.remaining_ms


def test_an_exit_that_only_an_observing_caller_may_send_is_out_for_a_halt_of_exits(open_gate: OpenGate) -> None:
    gate, observer = at_work(open_gate), open_gate(Policy(lock_ttl_ms=1_500, mode="observe"))
    old = at.exit_(timestamp=at.exit_().timestamp_ms - 700_000)
    assert at.admitted(observer.evaluate(old)).observed
    gate.halt(by="ops", reason="exchange is down", scope="all")
    assert gate.still_out("entries").clear
    assert gate.still_out("all").count == 1


def test_without_a_halt_in_force_nothing_is_clear(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    assert (gate.still_out().clear, gate.still_out().halted) == (False, None)
    gate.halt(by="ops", reason="CPI print")
    assert gate.still_out().clear
    assert gate.still_out("all").halted is None, "exits pass"
    gate.resume(by="ops", reason="over")
    assert not gate.until_clear().clear


def test_what_the_store_has_forgotten_is_out_for_a_permits_life(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.flushall()
    gate.halt(by="ops", reason="CPI print")

    out = gate.still_out()

    assert (out.clear, out.count) == (False, 0)
    assert out.forgotten_ms > permit.remaining_ms
    assert gate.until_clear().clear
    assert permit.remaining_ms <= 0


def test_a_noticed_loss_is_over_after_a_permits_life(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    redis_client.flushall()
    gate.evaluate(at.entry())  # notices that nothing is known
    gate.halt(by="ops", reason="CPI print")
    assert 0 < gate.still_out().forgotten_ms <= QUICK.lock_ttl_ms
    redis_client.hincrby(at.STATE, "lost", -QUICK.lock_ttl_ms)
    assert gate.still_out().clear


def test_another_server_than_before_may_have_forgotten(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    gate.halt(by="ops", reason="CPI print")
    redis_client.hset(at.STATE, "run_id", "0" * 40)
    assert gate.still_out().forgotten_ms > 0


@pytest.mark.parametrize("key", [at.INFLIGHT, at.STATE])
def test_a_key_that_cannot_be_read_counts_as_forgotten(
    key: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = at_work(open_gate)
    gate.halt(by="ops", reason="CPI print")
    redis_client.delete(key)
    redis_client.set(key, "1")
    assert gate.still_out().forgotten_ms > 0


def test_a_permit_without_a_copy_counts_as_an_entry(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    permit = at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT")))
    gate.halt(by="ops", reason="CPI print")
    redis_client.hdel(at.STATE, f"permit:{permit.intent_id}")
    assert [each.symbol for each in gate.still_out().permits] == ["?"]


def test_more_permits_than_are_read_are_counted(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = at_work(open_gate)
    soon = at.server_ms(redis_client) + 60_000
    redis_client.zadd(at.INFLIGHT, {f"0:crowd-{number}": soon for number in range(1_007)})
    gate.halt(by="ops", reason="CPI print")
    out = gate.still_out()
    assert (len(out.permits), out.unread, out.count) == (1_000, 7, 1_007)


def test_a_scope_that_does_not_exist_is_refused(open_gate: OpenGate) -> None:
    with pytest.raises(InvalidField, match="scope"):
        open_gate().still_out("some")


class Moved:
    """This process's clock, in the hands of a test."""

    def __init__(self) -> None:
        self.ns = 10**15

    def monotonic_ns(self) -> int:
        return self.ns


def test_a_step_of_the_stores_clock_lets_no_permit_go(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Moved()
    monkeypatch.setattr(clearing, "time", clock)
    looks, permit = Clearing("entries", 30_000), OutPermit("sig-81", "BTCUSDT", "BUY", NOON_MS + 30_000)
    assert looks.see(Look(NOON_MS, "entries", 30_000, 0, 0, (permit,))).wait_ms == 30_000
    assert looks.since_ms == NOON_MS

    clock.ns += 29_999 * 1_000_000
    assert not looks.see(Look(NOON_MS + 700_000, "entries", 30_000, 0, 0, (permit,))).clear
    clock.ns += 1_000_000
    assert looks.see(Look(NOON_MS - 700_000, "entries", 30_000, 0, 0, (permit,))).clear


def test_a_loss_that_is_noticed_during_the_wait_does_not_prolong_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Moved()
    monkeypatch.setattr(clearing, "time", clock)
    looks = Clearing("entries", 30_000)
    assert looks.see(Look(NOON_MS, "entries", 0, -1, 0, ())).wait_ms == 30_000
    clock.ns += 30_000 * 1_000_000
    assert looks.see(Look(NOON_MS + 30_000, "entries", 0, NOON_MS + 20_000, 0, ())).clear
