"""lua/answer.lua: one result for each intent, written in the step that acknowledges its entry."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from gate.protocol.scripts import Call, script
from tests.service.desk import GROUP, RESULTS, STREAM

MARK = "quantum:stream:answered:sig-1:print"


@pytest.fixture
def entry(redis_client: redis.Redis) -> str:
    redis_client.script_load(script("answer").source)
    redis_client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    return read(redis_client)


def read(client: redis.Redis) -> str:
    """A new entry that is pending."""
    client.xadd(STREAM, {"a": "b"})
    rows: Any = client.xreadgroup(GROUP, "me", {STREAM: ">"})
    rows = rows if isinstance(rows, list) else list(rows.items())
    number: bytes = rows[0][1][-1][0]
    return number.decode()


def answer(client: redis.Redis, entry: str, *, no_order: bool = False) -> int:
    call = Call("EVALSHA", script("answer"), {"entries": STREAM, "answers": RESULTS, "group": GROUP, "most": 100_000})
    told = call(answered=MARK, entry=entry, keep_ms=60_000, no_order=int(no_order))
    said: Any = client.execute_command(*told, "state", "DENIED" if no_order else "FILLED")
    return int(said)


def results(client: redis.Redis) -> list[str]:
    rows: Any = client.xrange(RESULTS)
    return [fields[b"state"].decode() for _, fields in rows]


def pending(client: redis.Redis) -> int:
    told: Any = client.xpending(STREAM, GROUP)
    return int(told["pending"])


def test_it_writes_acknowledges_and_remembers(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry) == 1
    rows: Any = redis_client.xrange(RESULTS)
    [(number, fields)] = rows
    assert fields == {b"state": b"FILLED"}
    assert redis_client.get(MARK) == number
    assert 0 < redis_client.pttl(MARK) <= 60_000
    assert pending(redis_client) == 0


def test_sent_twice_it_writes_once(redis_client: redis.Redis, entry: str) -> None:
    assert [answer(redis_client, entry), answer(redis_client, entry)] == [1, 0]
    assert redis_client.xlen(RESULTS) == 1


def test_a_second_entry_of_the_intent_is_acknowledged_without_a_result(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry) == 1
    assert answer(redis_client, read(redis_client)) == 0
    assert (redis_client.xlen(RESULTS), pending(redis_client)) == (1, 0)


def test_an_entry_that_another_worker_has_answered_long_ago_is_not_answered(
    redis_client: redis.Redis, entry: str
) -> None:
    assert answer(redis_client, entry) == 1
    redis_client.delete(MARK)  # it has lapsed
    assert answer(redis_client, entry) == 0


def test_a_denial_is_told_once(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry, no_order=True) == 1
    assert [answer(redis_client, each, no_order=True) for each in (entry, read(redis_client))] == [0, 0]
    assert (results(redis_client), pending(redis_client)) == (["DENIED"], 0)


def test_an_order_that_comes_of_another_delivery_after_a_denial_is_told_once(
    redis_client: redis.Redis, entry: str
) -> None:
    assert answer(redis_client, entry, no_order=True) == 1
    second = read(redis_client)
    assert [answer(redis_client, second), answer(redis_client, second)] == [1, 0]
    assert [answer(redis_client, read(redis_client)), answer(redis_client, read(redis_client), no_order=True)] == [0, 0]
    assert (results(redis_client), pending(redis_client)) == (["DENIED", "FILLED"], 0)


def test_an_order_is_told_though_another_worker_has_denied_its_very_entry(
    redis_client: redis.Redis, entry: str
) -> None:
    """That one had taken it over, from a worker that stood still and went on."""
    assert [answer(redis_client, entry, no_order=True), answer(redis_client, entry)] == [1, 1]
    assert results(redis_client) == ["DENIED", "FILLED"]


def test_an_entry_that_the_store_has_lost_is_answered(redis_client: redis.Redis, entry: str) -> None:
    redis_client.delete(STREAM)
    redis_client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    assert answer(redis_client, entry) == 1


@pytest.mark.parametrize("harm", ["results", "group"])
def test_what_it_cant_write_it_doesnt_acknowledge(redis_client: redis.Redis, entry: str, harm: str) -> None:
    if harm == "results":
        redis_client.set(RESULTS, "not a stream")
    else:
        redis_client.xgroup_destroy(STREAM, GROUP)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE" if harm == "results" else "NOGROUP"):
        answer(redis_client, entry)
    assert not redis_client.exists(MARK)
    assert harm == "group" or pending(redis_client) == 1


def test_the_results_are_kept_about_as_many_as_asked(redis_client: redis.Redis, entry: str) -> None:
    call = Call("EVALSHA", script("answer"), {"entries": STREAM, "answers": RESULTS, "group": GROUP, "most": 10})
    for number in range(500):
        redis_client.execute_command(
            *call(answered=f"{MARK}{number}", entry=read(redis_client), keep_ms=60_000, no_order=0), "state", "FILLED"
        )
    assert redis_client.xlen(RESULTS) <= 200  # nodes of a hundred are dropped whole
