"""lua/answer.lua: one result for each intent, written in the step that acknowledges its entry."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from gate.protocol.scripts import Call, script
from gate.service.results import Asked
from gate.service.told import ToldOrder
from tests.servers.store import Store
from tests.service.desk import GROUP, RESULTS, STREAM

MARK = "quantum:stream:answered:sig-1:print"
ORDER = "quantum:stream:order:g-1"
OPEN = "quantum:stream:order:open"


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


FIXED = {"entries": STREAM, "answers": RESULTS, "order": ORDER, "open_orders": OPEN, "group": GROUP}
OF_ORDER: dict[str, str | int] = {
    "told": "",
    "told_ms": 60_000,
    "client_order_id": "g-1",
    "open": 1,
    "now_ms": 7,
}


def answer(client: redis.Redis, entry: str, *, no_order: bool = False, **of_order: str | int) -> int:
    call = Call("EVALSHA", script("answer"), {**FIXED, "most": 100_000})
    given = {**OF_ORDER, "retryable": 0, **of_order}
    told = call(answered=MARK, entry=entry, no_order=int(no_order), **{"keep_ms": 60_000, **given})
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


def test_an_entry_that_another_worker_has_denied_long_ago_is_not_denied_again(
    redis_client: redis.Redis, entry: str
) -> None:
    assert answer(redis_client, entry, no_order=True) == 1
    redis_client.delete(MARK)  # it has lapsed
    assert answer(redis_client, entry, no_order=True) == 0


def test_an_order_is_told_though_its_consumer_was_deleted_meanwhile(redis_client: redis.Redis, entry: str) -> None:
    redis_client.xgroup_delconsumer(STREAM, GROUP, "me")
    assert [answer(redis_client, entry), answer(redis_client, entry)] == [1, 0]
    assert results(redis_client) == ["FILLED"]


def test_a_denial_is_told_once(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry, no_order=True) == 1
    assert [answer(redis_client, each, no_order=True) for each in (entry, read(redis_client))] == [0, 0]
    assert (results(redis_client), pending(redis_client)) == (["DENIED"], 0)


def test_a_denial_for_now_is_followed_by_one_for_good_and_by_no_more(redis_client: redis.Redis, entry: str) -> None:
    written = [
        answer(redis_client, read(redis_client), no_order=True, retryable=retryable) for retryable in (1, 1, 0, 0, 1)
    ]
    assert written == [1, 0, 1, 0, 0]
    assert answer(redis_client, read(redis_client)) == 1, "an order that comes after all is told"
    assert answer(redis_client, entry, no_order=True) == 0
    assert pending(redis_client) == 0


def test_a_denial_for_good_is_known_as_long_as_the_one_before_it(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry, no_order=True, retryable=1, keep_ms=3_600_000) == 1
    assert answer(redis_client, read(redis_client), no_order=True, keep_ms=60_000) == 1
    assert 3_500_000 < redis_client.pttl(MARK) <= 3_600_000
    assert answer(redis_client, read(redis_client), keep_ms=7_200_000) == 1
    assert redis_client.pttl(MARK) > 3_600_000


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
    call = Call(
        "EVALSHA", script("answer"), {**FIXED, **OF_ORDER, "most": 10, "keep_ms": 60_000, "no_order": 0, "retryable": 0}
    )
    for number in range(500):
        redis_client.execute_command(*call(answered=f"{MARK}{number}", entry=read(redis_client)), "state", "FILLED")
    assert redis_client.xlen(RESULTS) <= 200  # nodes of a hundred are dropped whole


# What a result tells of an order, and what its updates add (lua/order_update.lua).


def update(client: redis.Redis, before: str, told: str, **of_order: str | int) -> int:
    client.script_load(script("order_update").source)
    call = Call("EVALSHA", script("order_update"), {**FIXED, "most": 100_000})
    said: Any = client.execute_command(*call(before=before, **{**OF_ORDER, "told": told, **of_order}), "state", told)
    return int(said)


def open_orders(client: redis.Redis) -> list[str]:
    rows: Any = client.zrange(OPEN, 0, -1)
    return [row.decode() for row in rows]


def test_a_result_says_in_the_same_step_what_it_tells_of_its_order(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry, told="new") == 1
    assert (redis_client.get(ORDER), open_orders(redis_client)) == (b"new", ["g-1"])
    assert 0 < redis_client.pttl(ORDER) <= 60_000
    assert 0 < redis_client.pttl(OPEN) <= 60_000
    assert answer(redis_client, read(redis_client), told="again") == 0
    assert redis_client.get(ORDER) == b"new", "what isn't written tells nothing"


def test_a_result_without_an_order_says_nothing_of_one(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry, no_order=True) == 1
    assert not redis_client.exists(ORDER, OPEN)


def test_an_update_is_written_by_the_first_who_knows_what_was_told(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry, told="new") == 1
    assert [update(redis_client, "new", "part"), update(redis_client, "new", "part")] == [1, 0]
    assert update(redis_client, "part", "filled", open=0) == 1
    assert results(redis_client) == ["FILLED", "part", "filled"]
    assert (redis_client.get(ORDER), open_orders(redis_client)) == (b"filled", [])


def test_an_update_never_comes_before_its_result(redis_client: redis.Redis) -> None:
    assert update(redis_client, "new", "filled") == 0
    assert not redis_client.exists(ORDER, RESULTS, OPEN)


def test_an_order_of_nobody_is_told_by_the_first(redis_client: redis.Redis) -> None:
    assert [update(redis_client, "", "gone", open=0), update(redis_client, "", "gone", open=0)] == [1, 0]
    assert results(redis_client) == ["gone"]


def test_an_update_that_cant_be_written_is_told_later(redis_client: redis.Redis, entry: str) -> None:
    assert answer(redis_client, entry, told="new") == 1
    redis_client.set(RESULTS, "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        update(redis_client, "new", "filled")
    assert redis_client.get(ORDER) == b"new"


def test_so_many_open_orders_are_known_the_newest_of_them(redis_client: redis.Redis, entry: str) -> None:
    redis_client.zadd(OPEN, {f"g-{number}": number for number in range(100, 2_100)})
    assert answer(redis_client, entry, told="new", now_ms=10_000) == 1
    known = open_orders(redis_client)
    assert (len(known), known[0], known[-1]) == (2_000, "g-101", "g-1")


@pytest.mark.parametrize("harm", ["no right", "not a set"])
def test_where_the_open_orders_cant_be_noted_the_result_is_written(
    redis_client: redis.Redis, store: Store, entry: str, harm: str
) -> None:
    """The rights of a worker of an earlier version are enough for that."""
    client = redis_client
    if harm == "not a set":
        redis_client.set(OPEN, "x")
    else:
        redis_client.acl_setuser("earlier", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-zadd", "-zrem"])
        client = redis.Redis.from_url(store.url.replace("//", "//earlier:any@"))
    try:
        assert answer(client, entry, told="new") == 1
        assert redis_client.get(ORDER) == b"new"
        assert pending(redis_client) == 0
        assert update(client, "new", "filled", open=0) == 1
    finally:
        if client is not redis_client:
            client.close()
            redis_client.acl_deluser("earlier")


def test_what_was_told_of_an_order_and_cant_be_read_keeps_no_result_back(redis_client: redis.Redis, entry: str) -> None:
    redis_client.rpush(ORDER, "not a text")
    assert answer(redis_client, entry, told="new") == 1
    assert (redis_client.get(ORDER), results(redis_client), pending(redis_client)) == (b"new", ["FILLED"], 0)


def told(state: str, order_id: str, updates: int = 0) -> bytes:
    asked = Asked("sig-1", "BTCUSDT", "BUY", 1, None, None)
    return ToldOrder(asked, state=state, order_id=order_id, updates=updates).packed()


@pytest.mark.parametrize(
    ("before", "by_result", "stays"),
    [
        (told("PARTIALLY_FILLED", "82", 1), told("NEW", "82"), True),
        (told("CANCELLED", "82", 2), told("NEW", "82"), True),
        (told("PARTIALLY_FILLED", "82", 1), told("FILLED", "82"), False),
        (told("CANCELLED", "81", 1), told("NEW", "82"), False),
        (told("NEW", "82"), told("PARTIALLY_FILLED", "82"), False),
    ],
    ids=str,
)
def test_a_result_puts_nothing_back_that_updates_have_told_of_its_order(
    redis_client: redis.Redis, entry: str, before: bytes, by_result: bytes, stays: bool
) -> None:
    redis_client.set(ORDER, before)
    is_open = ToldOrder.read(by_result).open
    assert answer(redis_client, entry, told=by_result.decode(), open=int(is_open)) == 1
    assert redis_client.get(ORDER) == (before if stays else by_result)
