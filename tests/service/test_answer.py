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


def answer(client: redis.Redis, entry: str, mark: str = MARK, **changes: Any) -> int:
    call = Call("EVALSHA", script("answer"), {"entries": STREAM, "answers": RESULTS, "group": GROUP, "most": 100_000})
    said: Any = client.execute_command(*call(answered=mark, entry=entry, keep_ms=60_000, **changes), "state", "FILLED")
    return int(said)


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
            *call(answered=f"{MARK}{number}", entry=read(redis_client), keep_ms=60_000), "state", "FILLED"
        )
    assert redis_client.xlen(RESULTS) <= 200  # nodes of a hundred are dropped whole
