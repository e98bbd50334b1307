"""Exits are never denied for their number. What they leave starves no entry, grows no verdict, and doesn't stay."""

from __future__ import annotations

import dataclasses

import redis

from gate import Outcome, Policy, Reason
from gate.values.reports import EXITS_KEPT
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.model.passing_time import let_pass

NARROW = Policy(rate_symbol_limit=3, rate_global_limit=1_000, max_in_flight=2)
MANY = 20_000


def left_by(client: redis.Redis, count: int, deadline_ms: int, what: str = "crowd") -> None:
    """What the exits of a producer leave that nobody settles, but for the records."""
    ids = [f"{what}-{number}" for number in range(count)]
    copy = f"admitted t0ken 1 print {deadline_ms - NARROW.lock_ttl_ms} BTCUSDT SELL {NARROW.lock_ttl_ms} 0 x 0"
    with client.pipeline(transaction=False) as pipeline:
        for start in range(0, count, 1_000):
            some = ids[start : start + 1_000]
            pipeline.zadd(at.EXITS, dict.fromkeys((f"0:{id}" for id in some), deadline_ms))
            pipeline.hset(at.STATE, mapping=dict.fromkeys((f"permit:{id}" for id in some), copy))
            pipeline.lpush(at.RATE_GLOBAL, *[deadline_ms - NARROW.lock_ttl_ms - 60_000] * len(some))
        pipeline.execute()


def asked_of_the_server(client: redis.Redis, gate: AnyGate, id: str, symbol: str) -> tuple[dict[str, int], int]:
    """The commands of one admission, and the bytes that the server has read and written for it."""
    client.config_resetstat()
    at.admitted(gate.evaluate(at.entry(id, symbol)))
    told = client.info("all")
    names = {name.removeprefix("cmdstat_"): row["calls"] for name, row in told.items() if name.startswith("cmdstat_")}
    commands = {name: calls for name, calls in names.items() if name not in ("info", "config|resetstat")}
    return commands, told["total_net_input_bytes"] + told["total_net_output_bytes"]


def test_exits_in_flight_leave_the_limit_to_entries(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(NARROW)
    for number in range(5):
        at.admitted(gate.evaluate(at.exit_(f"exit-{number}")))
    first = at.admitted(gate.evaluate(at.entry("sig-1", "ETHUSDT")))
    at.admitted(gate.evaluate(at.entry("sig-2", "SOLUSDT")))
    assert gate.evaluate(at.entry("sig-3", "XRPUSDT")).reason is Reason.IN_FLIGHT_LIMIT
    at.admitted(gate.evaluate(at.exit_("exit-5")))
    assert gate.settle(first, Outcome.placed(1))
    at.admitted(gate.evaluate(at.entry("sig-3", "XRPUSDT")))
    status = gate.status()
    assert (status.in_flight, status.exits) == (8, 6)


def test_a_verdict_costs_the_same_beside_twenty_thousand_exits(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(dataclasses.replace(NARROW, max_in_flight=64))
    at.admitted(gate.evaluate(at.entry("sig-1", "ETHUSDT")))
    redis_client.rpush(at.RATE_GLOBAL, *[1] * 999)  # beside a window without an entry at its limit one more is asked
    commands, size = asked_of_the_server(redis_client, gate, "sig-2", "SOLUSDT")
    left_by(redis_client, MANY, at.server_ms(redis_client) + 20_000)
    beside_many = asked_of_the_server(redis_client, gate, "sig-3", "XRPUSDT")
    assert beside_many[0] == commands | {"ltrim": 1}, "the account's list is cut once"
    assert beside_many[1] - size < 64
    let_pass(redis_client, 25_000)  # all of them are past their deadlines now, and the entries aren't
    assert asked_of_the_server(redis_client, gate, "sig-4", "ADAUSDT")[0] == commands
    let_pass(redis_client, 10_000)  # the entries are, too
    walked, size_of_walk = asked_of_the_server(redis_client, gate, "sig-5", "BNBUSDT")
    assert walked == commands | {"zcard": 1, "zrangebyscore": 2}
    assert size_of_walk - size < 64


def test_of_more_than_a_thousand_exits_the_oldest_go_once_their_records_have_lapsed(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(NARROW)
    gate.settle(at.admitted(gate.evaluate(at.entry("sig-1", "ETHUSDT"))), Outcome.placed(1))
    now = at.server_ms(redis_client)
    left_by(redis_client, 100, now - NARROW.dedup_ttl_ms - 1, "lapsed")
    left_by(redis_client, EXITS_KEPT, now - 60_000)
    for number in range(64):
        at.admitted(gate.evaluate(at.exit_(f"exit-{number}")))
    assert redis_client.zcard(at.EXITS) == EXITS_KEPT + 64
    fields = map(at.text, redis_client.hkeys(at.STATE))
    assert {field for field in fields if field.startswith("permit:")} == {
        f"permit:{id}" for id in at.in_flight(redis_client)
    }
    assert "lapsed-0" not in at.in_flight(redis_client)


def test_a_thousand_exits_in_doubt_stay_in_sight_for_good(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(NARROW)
    gate.settle(at.admitted(gate.evaluate(at.entry("sig-1", "ETHUSDT"))), Outcome.placed(1))
    left_by(redis_client, EXITS_KEPT - 40, at.server_ms(redis_client) - 10 * NARROW.dedup_ttl_ms)
    for number in range(40):
        at.admitted(gate.evaluate(at.exit_(f"exit-{number}")))
    assert redis_client.zcard(at.EXITS) == EXITS_KEPT
    assert len(gate.in_doubt(at_most=5).permits) == 5


def test_an_exit_is_settled_and_found_in_doubt_as_an_entry_is(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(NARROW)
    permits = [
        at.admitted(gate.evaluate(intent))
        for intent in (at.exit_("exit-1"), at.entry("sig-1", "ETHUSDT"), at.exit_("exit-2"))
    ]
    let_pass(redis_client, NARROW.lock_ttl_ms)
    in_doubt = [each.record.intent_id for each in gate.in_doubt().permits]
    assert sorted(in_doubt) == ["exit-1", "exit-2", "sig-1"]
    pages = [gate.in_doubt(at_most=1, skip=skip).permits[0].record.intent_id for skip in range(3)]
    assert pages == in_doubt
    for permit in permits:
        assert gate.settle(permit, Outcome.placed(1))
    assert not at.in_flight(redis_client)
    assert not gate.in_doubt().permits


def test_entries_and_exits_in_doubt_come_in_one_order_the_oldest_first(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(NARROW)
    for intent in (at.exit_("exit-1"), at.entry("sig-1", "ETHUSDT"), at.exit_("exit-2")):
        at.admitted(gate.evaluate(intent))
        let_pass(redis_client, NARROW.lock_ttl_ms)
    assert [each.record.intent_id for each in gate.in_doubt().permits] == ["exit-1", "sig-1", "exit-2"]
    pages = [gate.in_doubt(at_most=1, skip=skip).permits[0].record.intent_id for skip in range(3)]
    assert pages == ["exit-1", "sig-1", "exit-2"]


def test_an_exit_that_an_earlier_version_has_put_among_the_entries_is_settled_there(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(NARROW)
    entry = at.admitted(gate.evaluate(at.entry("sig-1", "ETHUSDT")))
    permit = at.admitted(gate.evaluate(at.exit_("exit-1")))
    redis_client.zunionstore(at.INFLIGHT, (at.INFLIGHT, at.EXITS))
    redis_client.delete(at.EXITS)
    redis_client.hdel(at.STATE, "in_flight")
    assert gate.settle(permit, Outcome.placed(1))
    assert at.in_flight(redis_client) == {"sig-1"}
    assert gate.settle(entry, Outcome.placed(2))
