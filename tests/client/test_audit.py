"""The audit tells what people and trips did, whoever has written it, and says what it can't read."""

from __future__ import annotations

import pytest
import redis

from gate import InvalidField, Policy, StoreError, StoreUnavailable
from gate.client.audit import audit
from gate.store.failures import ReplyLost
from tests.client import account as at
from tests.client.gates import OpenGate

OBSERVED = "quantum:observe:safety:audit"
STREAMS = (at.AUDIT, at.JOURNAL, OBSERVED, "quantum:observe:exec:audit")


def note(client: redis.Redis, key: str, entry: str, **fields: str) -> None:
    client.execute_command("XADD", key, entry, *(part for pair in fields.items() for part in pair))


def test_acts_and_trips_stand_in_their_order_with_who_and_why(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.halt(by="ops", reason="CPI print")
    gate.resume(by="anna", reason="the print is out")
    redis_client.lpush(at.FAILURES, *[at.server_ms(redis_client)] * Policy().failure_limit)
    gate.evaluate(at.entry())  # trips safe mode
    found = gate.audit()
    said = [(each.what, each.by, each.reason) for each in found.entries]
    assert said[:2] == [("halt entries", "ops", "CPI print"), ("resume", "anna", "the print is out")]
    assert said[2][:2] == ("trip safe_mode", "gate")
    assert len(said) == 3
    assert all(0 <= found.now_ms - each.at_ms < 60_000 for each in found.entries)
    assert found
    assert not found.more


def test_an_act_has_the_user_that_the_server_knows(open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.halt(by="ops", reason="CPI print")
    [entry] = gate.audit().entries
    assert entry.user in ("default", "gate-operator-quantum")


def test_what_stands_where_workers_write_says_so(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    note(redis_client, at.AUDIT, "1-0", what="resume", by="ops", reason="over")
    note(redis_client, at.JOURNAL, "2-0", what="resume", by="ops", reason="forged")
    note(redis_client, OBSERVED, "3-0", what="trip safe_mode", by="gate", reason="5 failures")
    entries = open_gate().audit().entries
    assert [(each.key, each.by_worker, each.observing) for each in entries] == [
        (at.AUDIT, False, False),
        (at.JOURNAL, True, False),
        (OBSERVED, False, True),
    ]


def test_the_latest_count_and_it_says_when_there_are_more(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    for number in range(1, 4):
        note(redis_client, at.AUDIT, f"{2 * number}-0", what=f"audit {number}", by="a", reason="b")
        note(redis_client, at.JOURNAL, f"{2 * number + 1}-0", what=f"journal {number}", by="a", reason="b")
    found = gate.audit(3)
    assert [each.what for each in found.entries] == ["journal 2", "audit 3", "journal 3"]
    assert found.more
    assert not gate.audit(6).more
    assert [each.at_ms for each in gate.audit(6).entries] == [2, 3, 4, 5, 6, 7]


def test_within_a_millisecond_their_numbers_tell_the_order(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    for number in (9, 10):
        note(redis_client, at.AUDIT, f"5-{number}", what=str(number), by="a", reason="b")
    assert [each.what for each in open_gate().audit().entries] == ["9", "10"]


def test_a_time_leaves_out_what_is_older(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    now_ms = at.server_ms(redis_client)
    for age_ms in (7_200_000, 1_000):
        note(redis_client, at.AUDIT, f"{now_ms - age_ms}-0", what=f"{age_ms} ago", by="a", reason="b")
    gate = open_gate()
    found = gate.audit(within_ms=3_600_000)
    assert [each.what for each in found.entries] == ["1000 ago"]
    assert not found.more
    assert len(gate.audit(within_ms=10**15).entries) == 2


def test_an_entry_of_another_hand_is_shown_as_far_as_it_goes(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    note(redis_client, at.AUDIT, "1-0", who="a hand")
    note(redis_client, at.AUDIT, "2-0", what="x" * 9_000, by="\x1b[2J", reason="é")
    first, second = open_gate().audit().entries
    assert (first.what, first.by, first.reason, first.user) == ("?", "?", "?", "")
    assert len(second.what) < 500


@pytest.mark.parametrize("key", STREAMS)
def test_a_damaged_stream_is_named_and_hides_no_other(key: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    for number, stream in enumerate(STREAMS, 1):
        note(redis_client, stream, f"{number}-0", what="resume", by="a", reason="b")
    redis_client.delete(key)
    redis_client.set(key, "1")
    found = open_gate().audit()
    assert [each.key for each in found.unread] == [key]
    assert "WRONGTYPE" in found.unread[0].problem
    assert [each.key for each in found.entries] == [each for each in STREAMS if each != key]
    assert not found


def test_an_entry_of_the_latest_possible_time_hides_no_other(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    note(redis_client, at.AUDIT, "1-0", what="resume", by="a", reason="b")
    note(redis_client, at.JOURNAL, f"{2**64 - 1}-1", what="x", by="y", reason="z")
    found = open_gate().audit()
    assert [each.what for each in found.entries] == ["resume", "x"]
    assert found


def test_a_stream_without_an_answer_is_named_and_hides_no_other() -> None:
    dialogue = audit("quantum", 5, None)
    next(dialogue)
    dialogue.send([b"10", b"0"])
    entry = [b"1-0", [b"what", b"resume", b"by", b"a", b"reason", b"b"]]
    with pytest.raises(StopIteration) as ended:
        dialogue.send([[entry], ReplyLost("lost"), [], []])
    found = ended.value.value
    assert [each.what for each in found.entries] == ["resume"]
    assert [(each.key, each.problem) for each in found.unread] == [(at.JOURNAL, "lost")]


def test_where_nothing_can_be_read_it_raises(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    for key in STREAMS:
        redis_client.set(key, "1")
    with pytest.raises(StoreError, match=at.AUDIT):
        open_gate().audit()


def test_without_a_store_it_raises(open_gate: OpenGate) -> None:
    with pytest.raises(StoreUnavailable):
        open_gate(url="redis://127.0.0.1:1/0").audit()


def test_a_count_or_a_time_that_means_nothing_is_refused(open_gate: OpenGate) -> None:
    gate = open_gate()
    for count in (0, 10_001):
        with pytest.raises(InvalidField, match="at_most"):
            gate.audit(count)
    with pytest.raises(InvalidField, match="within_ms"):
        gate.audit(within_ms=0)


def test_it_takes_two_trips_and_writes_nothing(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate()
    gate.audit()
    held = at.contents(redis_client)
    before = redis_client.info("commandstats")
    gate.audit()
    after = redis_client.info("commandstats")
    assert after["cmdstat_xrevrange"]["calls"] - before["cmdstat_xrevrange"]["calls"] == 4
    assert after["cmdstat_time"]["calls"] - before["cmdstat_time"]["calls"] == 1
    assert at.contents(redis_client) == held
