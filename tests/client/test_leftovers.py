"""What the replaced system has left under the gate's names is found, named and cleared; nothing else is touched."""

from __future__ import annotations

from typing import Any

import redis

from gate import Outcome, Policy, Reason, Remedy
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import script
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.session import declare_whole

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)
FOREIGN = ("quantum:rate:BTCUSDT", "quantum:execution:x", "other:exec:lock:BTCUSDT:BUY", "quantum:stream:trade.intent")

# What each leftover is, the remedy, and whether it is there after clearing.
LEFT: dict[str, tuple[Any, int | None, Remedy, bool]] = {
    "quantum:exec:processed:BTCUSDT_2025-12-24T04:32:14": ("1", None, Remedy.LAPSE, True),
    "quantum:exec:processed:ETHUSDT_2025-12-24T04:32:14": ("1", 3_000_000, Remedy.WAIT, True),
    "quantum:exec:processed:hash": ({"a": 1}, None, Remedy.LAPSE, True),
    "quantum:exec:lock:BTCUSDT:BUY": ("1", None, Remedy.DELETE, False),
    "quantum:exec:lock:ETHUSDT:BUY": ("1", 25_000, Remedy.WAIT, True),
    "quantum:exec:lock:SOLUSDT:BUY": ({"a": 1}, 25_000, Remedy.DELETE, False),
    "quantum:exec:rate:symbol:BTCUSDT": ("1", 25_000, Remedy.DELETE, False),
    "quantum:exec:rate:global": ("5", None, Remedy.DELETE, False),
    "quantum:exec:failures": ("3", None, Remedy.DELETE, False),
    "quantum:safety:safe_mode": ("1", None, Remedy.COMMAND, True),
    "quantum:safety:cooldown_symbol:BTCUSDT": ({"a": 1}, None, Remedy.DELETE, False),
    "quantum:safety:halt": ("1", None, Remedy.COMMAND, True),
    "quantum:exec:margin_fail:BTCUSDT": ("2", None, Remedy.OTHER, True),
    "quantum:safety:kill_switch": ("1", None, Remedy.OTHER, True),
}


def leave(client: redis.Redis, keys: tuple[str, ...] = (*LEFT,)) -> None:
    for key in keys:
        value, ttl_ms, _, _ = LEFT[key]
        if isinstance(value, dict):
            client.hset(key, mapping=value)
        else:
            client.set(key, value)
        if ttl_ms:
            client.pexpire(key, ttl_ms)


def test_a_switch_that_is_off_for_good_is_no_leftover(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    for name in "safe_mode", "cooldown_global", "cooldown_symbol:BTCUSDT":
        redis_client.set(f"quantum:safety:{name}", "0")
    gate = open_gate(ROOMY)
    assert (gate.leftovers().found, gate.inspect(at.entry()).admitted) == ((), True)


def test_each_leftover_is_named_with_its_remedy_and_cleared_by_it(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    leave(redis_client)
    gate = open_gate(ROOMY)
    held = at.contents(redis_client)
    found = gate.leftovers()
    assert {each.key: each.remedy for each in found.found} == {key: remedy for key, (_, _, remedy, _) in LEFT.items()}
    assert found.complete
    assert at.contents(redis_client) == held, "looking changes nothing"

    act = gate.clear_leftovers(found, by="ops", reason="the old service has stopped")

    lapsed = {key for key, (_, _, remedy, _) in LEFT.items() if remedy is Remedy.LAPSE}
    deleted = {key for key, (_, _, _, stays) in LEFT.items() if not stays}
    assert set(act.changed) == deleted | lapsed
    now = at.contents(redis_client)
    assert {key for key in LEFT if key in now} == LEFT.keys() - deleted
    assert all(3_500_000 < redis_client.pttl(key) <= 3_600_000 for key in lapsed), "its order was sent: no second one"
    untouched = LEFT.keys() - deleted - lapsed
    assert {key: now[key] for key in untouched} == {key: held[key] for key in untouched}
    assert [(each["by"], each["reason"]) for each in at.audit(redis_client)] == [
        ("ops", "the old service has stopped")
    ] * len(at.audit(redis_client))
    told = " ".join(each["what"] for each in at.audit(redis_client))
    assert all(key in told for key in act.changed)


def test_others_are_cleared_only_where_it_is_asked_for(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    leave(redis_client)
    gate = open_gate(ROOMY)
    act = gate.clear_leftovers(gate.leftovers(), by="ops", reason="gone", others=True)
    assert {"quantum:exec:margin_fail:BTCUSDT", "quantum:safety:kill_switch"} <= set(act.changed)
    assert "quantum:safety:safe_mode" not in act.changed


def test_what_is_the_gates_own_or_of_others_is_no_leftover(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate, observing = open_gate(ROOMY), open_gate(Policy(mode="observe"))
    gate.settle(at.admitted(gate.evaluate(at.entry("sig-0", "ETHUSDT"))), Outcome.placed(1))
    gate.settle(at.admitted(gate.evaluate(at.entry("sig-2", "SOLUSDT"))), Outcome.unknown("timeout"))
    at.admitted(gate.evaluate(at.entry()))
    at.admitted(observing.evaluate(at.entry()))
    gate.halt(by="ops", reason="CPI print")
    redis_client.set(at.SAFE_MODE, "1", ex=60)
    for key in FOREIGN:
        redis_client.set(key, "1")
    held = at.contents(redis_client)
    found = gate.leftovers()
    assert found.found == ()
    assert observing.leftovers() == found, "to one that observes it is the account's too"
    assert not gate.clear_leftovers(found, by="ops", reason="none").changed
    assert at.contents(redis_client) == held


def test_what_has_become_the_gates_own_since_is_not_cleared(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    leave(redis_client, (at.LOCK, at.RATE_GLOBAL, at.RATE_SYMBOL))
    gate = open_gate(ROOMY)
    found = gate.leftovers()
    redis_client.flushall()
    declare_whole(redis_client)
    at.admitted(gate.evaluate(at.entry()))
    held = at.contents(redis_client)
    assert len(found.found) == 3
    assert not gate.clear_leftovers(found, by="ops", reason="late").changed
    assert at.contents(redis_client) == held


def test_a_switch_that_a_person_has_set_since_stays(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.hset(at.SAFE_MODE, "a", "1")
    gate = open_gate(ROOMY)
    found = gate.leftovers()
    redis_client.delete(at.SAFE_MODE)
    redis_client.set(at.SAFE_MODE, "1")
    assert not gate.clear_leftovers(found, by="ops", reason="late").changed
    assert redis_client.get(at.SAFE_MODE) is not None


def test_what_was_sent_is_remembered_as_long_as_the_policy_in_force_says(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """Whoever clears may have another policy: with its shorter memory, a fresh intent would be sent again."""
    in_force = open_gate(Policy(dedup_ttl_ms=86_400_000, max_age_ms=43_200_000, rate_symbol_limit=9))
    at.admitted(in_force.evaluate(at.entry("sig-0")))
    redis_client.set(at.RECORD, "1")
    gate = open_gate(ROOMY)
    assert gate.clear_leftovers(gate.leftovers(), by="ops", reason="gone").changed == (at.RECORD,)
    assert redis_client.pttl(at.RECORD) > 86_000_000


def test_a_record_of_the_gates_without_a_ttl_is_not_taken_for_another(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    at.admitted(gate.evaluate(at.entry()))
    redis_client.persist(at.RECORD)
    assert not gate.leftovers()
    redis_client.script_load(script("leftovers").source)
    words = (3, at.AUDIT, at.STATE, at.RECORD, "ops", "by hand", "record", 1000)
    assert redis_client.evalsha(script("leftovers").sha, *words) == [1]
    assert redis_client.pttl(at.RECORD) == -1


def test_leftovers_that_are_cleared_deny_no_longer(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    leave(redis_client, (at.LOCK, at.RATE_GLOBAL, at.RATE_SYMBOL))
    gate = open_gate(ROOMY)
    assert gate.evaluate(at.entry()).reason in (Reason.LOCKED, Reason.STORE_ERROR)
    gate.clear_leftovers(gate.leftovers(), by="ops", reason="the old service has stopped")
    at.admitted(gate.evaluate(at.entry()))


def test_clearing_that_is_audited_only_from_some_key_on_says_that_it_is_not(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """The audit is damaged itself: a list is cleared first, without a line in it, and then the audit."""
    leave(redis_client, (at.RATE_GLOBAL,))
    redis_client.set(at.AUDIT, "1")
    gate = open_gate(ROOMY)
    act = gate.clear_leftovers(gate.leftovers(), by="ops", reason="gone")
    assert act.changed == (at.RATE_GLOBAL, at.AUDIT)
    assert [each["what"] for each in at.audit(redis_client)] == [f"leftovers 1: {at.AUDIT}"]
    assert act.audited is False


def test_many_keys_are_looked_at_some_at_a_time(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    with redis_client.pipeline(transaction=False) as many:
        for number in range(5_000):
            many.set(f"quantum:exec:processed:old-{number}", "1")
        many.execute()
    told: list[int] = []
    gate = open_gate(ROOMY)
    found = gate.leftovers(told.append)
    assert (len(found.found), found.looked_at) == (5_000, 5_001), "the state, too"
    assert told == sorted(told)
    assert len(told) > 1
    assert len(gate.clear_leftovers(found, by="ops", reason="gone").changed) == 5_000


def test_the_gate_knows_each_of_its_names() -> None:
    """A new key of the gate's must not be taken for one that no script reads."""
    keyspace = Keyspace("quantum")
    names = {*keyspace.of_account().values(), *keyspace.of_intent("sig-1", "BTCUSDT", "BUY").values()}
    assert {name for name in names if not name.startswith(("quantum:exec:", "quantum:safety:"))} == set()
