"""A person's acts, halt, resume and reset, take effect at once, are audited with author and reason, and are shown."""

from __future__ import annotations

import pytest
import redis

from gate import InvalidField, Outcome, Policy, Reason
from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.wire import Wire


def last_act(client: redis.Redis) -> dict[str, str]:
    return at.audit(client)[-1]


def test_a_halt_has_an_author_a_reason_and_no_end(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    before = at.server_ms(redis_client)
    act = gate.halt(by="ops", reason="CPI print")
    assert (act.audited, act.changed) == (True, ("entries",))
    halted = redis_client.hgetall(at.HALT)
    assert (halted[b"scope"], halted[b"by"], halted[b"reason"]) == (b"entries", b"ops", b"CPI print")
    assert before <= int(halted[b"at"]) <= at.server_ms(redis_client)
    assert redis_client.ttl(at.HALT) == -1
    assert (last_act(redis_client)["what"], last_act(redis_client)["by"]) == ("halt entries", "ops")
    assert last_act(redis_client)["reason"] == "CPI print"
    halt = gate.status().halt
    assert halt is not None
    assert (halt.scope, halt.by, halt.reason, halt.at_ms) == ("entries", "ops", "CPI print", int(halted[b"at"]))


def test_a_halt_needs_no_answer_to_the_look_at_its_server(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    lost = wire.lose_next_reply("INFO")
    act = open_gate(url=wire.url, timeout_ms=300).halt(by="ops", reason="CPI print")
    assert lost.happened
    assert (act.audited, act.changed) == (True, ("entries",))
    assert act.copies is not None
    assert act.copies.doubt
    assert open_gate().evaluate(at.entry()).reason is Reason.HALTED


def test_a_halt_takes_away_a_ttl_and_a_wrong_type(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.hset(at.HALT, "scope", "entries")
    redis_client.expire(at.HALT, 5)
    gate.halt(by="ops", reason="again")
    assert redis_client.ttl(at.HALT) == -1
    redis_client.delete(at.HALT)
    redis_client.set(at.HALT, "1", ex=5)
    gate.halt(by="ops", reason="again")
    assert redis_client.ttl(at.HALT) == -1
    assert gate.evaluate(at.entry()).reason is Reason.HALTED


def test_a_halt_of_everything_is_not_narrowed_by_one_of_entries(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.halt(by="ops", reason="maintenance", scope="all")
    assert gate.halt(by="desk", reason="CPI print", scope="entries").changed == ("all",)
    assert gate.evaluate(at.exit_()).reason is Reason.HALTED


def test_a_halt_of_entries_is_widened_by_one_of_everything(open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.halt(by="ops", reason="CPI print")
    assert gate.halt(by="ops", reason="maintenance", scope="all").changed == ("all",)
    assert gate.evaluate(at.exit_()).reason is Reason.HALTED


def test_resume_ends_a_halt_and_says_which(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.halt(by="ops", reason="maintenance", scope="all")
    act = gate.resume(by="ops", reason="done")
    assert (act.before, act.audited) == ("all", True)
    assert redis_client.exists(at.HALT) == 0
    at.admitted(gate.evaluate(at.entry()))
    assert gate.resume(by="ops", reason="to be sure").before is None
    assert [each["what"] for each in at.audit(redis_client)] == ["halt all", "resume", "resume"]


def test_nothing_automatic_ends_or_shortens_a_halt(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(failure_limit=1))
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.halt(by="ops", reason="CPI print")
    held = redis_client.dump(at.HALT)
    redis_client.rpush(at.FAILURES, at.server_ms(redis_client))
    gate.settle(permit, Outcome.placed(1))
    gate.evaluate(at.entry("sig-2"))
    gate.reset("all", by="ops", reason="start over")
    assert redis_client.dump(at.HALT) == held
    assert redis_client.ttl(at.HALT) == -1


RESETS = {
    "safe_mode": {at.SAFE_MODE},
    "failures": {at.FAILURES},
    "cooldowns": {at.COOLDOWN_GLOBAL, at.COOLDOWN_SYMBOL, "quantum:safety:cooldown_symbol:1000PEPEUSDT"},
}
RESETS["all"] = set().union(*RESETS.values())


@pytest.mark.parametrize("what", RESETS)
def test_reset_switches_off_what_it_is_told_and_nothing_else(
    what: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    for key in RESETS["all"] - {at.FAILURES}:
        redis_client.set(key, "1", ex=60)
    redis_client.rpush(at.FAILURES, 1)
    redis_client.set("other:safety:cooldown_symbol:BTCUSDT", "1")
    redis_client.set(at.LOCK, "held", ex=60)
    held = at.contents(redis_client)
    act = gate.reset(what, by="ops", reason="looked into")
    now = at.contents(redis_client)
    assert set(act.changed) == RESETS[what]
    assert held.keys() - now.keys() == RESETS[what]
    assert now.keys() - held.keys() == {at.AUDIT}
    assert (last_act(redis_client)["what"], last_act(redis_client)["by"]) == (f"reset {what}", "ops")
    assert gate.reset(what, by="ops", reason="again").changed == ()


def test_reset_clears_a_switch_of_the_wrong_type(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.rpush(at.SAFE_MODE, "1")
    assert gate.evaluate(at.entry()).reason is Reason.STORE_ERROR
    gate.reset("all", by="ops", reason="damage")
    at.admitted(gate.evaluate(at.entry()))


def test_thousands_of_symbol_cooldowns_are_reset_and_told_in_one_act(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    cooldowns = {f"quantum:safety:cooldown_symbol:S{number}USDT" for number in range(9_000)}
    with redis_client.pipeline(transaction=False) as pipeline:
        for key in cooldowns:
            pipeline.set(key, "1")
        pipeline.execute()
    assert set(gate.reset("cooldowns", by="ops", reason="start over").changed) == cooldowns
    assert at.keys(redis_client) == {at.AUDIT, at.STATE}


def test_an_act_with_a_damaged_audit_is_done_and_says_so(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.set(at.AUDIT, "not a stream")
    assert gate.halt(by="ops", reason="CPI print").audited is False
    assert gate.evaluate(at.entry()).reason is Reason.HALTED


@pytest.mark.parametrize("by", ["", "  ", "two\nlines", "x" * 201])
def test_an_act_needs_an_author_and_a_reason(by: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    with pytest.raises(InvalidField, match=r"^by: "):
        gate.halt(by=by, reason="CPI print")
    with pytest.raises(InvalidField, match=r"^reason: "):
        gate.reset("all", by="ops", reason=by)
    assert at.keys(redis_client) == {at.STATE}


def test_an_act_needs_a_scope_that_exists(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    with pytest.raises(InvalidField, match=r"^scope: 'exits'"):
        gate.halt(by="ops", reason="CPI print", scope="exits")
    with pytest.raises(InvalidField, match=r"^what: 'everything'"):
        gate.reset("everything", by="ops", reason="start over")
    assert at.keys(redis_client) == {at.STATE}


def test_keys_by_hand_are_obeyed_at_the_next_verdict(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(rate_symbol_limit=9, rate_global_limit=9))
    for key, reason in (
        (at.SAFE_MODE, Reason.SAFE_MODE),
        (at.COOLDOWN_GLOBAL, Reason.COOLDOWN_GLOBAL),
        (at.COOLDOWN_SYMBOL, Reason.COOLDOWN_SYMBOL),
    ):
        redis_client.set(key, "1", ex=60)
        assert gate.evaluate(at.entry()).reason is reason
        redis_client.delete(key)
    at.admitted(gate.evaluate(at.entry()))


def test_a_resume_that_was_on_its_way_for_long_ends_no_later_halt(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate, other = open_sync_gate(), open_sync_gate()
    gate.halt(by="ops", reason="first")
    known = gate.halt_in_force()
    assert known is not None
    redis_client.hset(at.HALT, "at", (known.at_ms or 0) + 1)  # another halt, a moment later
    late = Protocol(Keyspace("quantum"), Policy()).control("resume", "ops", "late", "t0ken", str(known.at_ms))
    with pytest.raises(redis.ResponseError, match="another halt has come since"):
        redis_client.execute_command(*late)
    assert other.evaluate(at.entry()).reason is Reason.HALTED
    assert other.resume(by="ops", reason="that one").before == "entries"
    assert other.evaluate(at.entry()).admitted
