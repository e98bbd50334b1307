"""A pipeline goes out in one send, and has one reply for each command, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from gate import StoreError, StoreUnavailable
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Message, Pipeline
from gate.store.connect import connect, connect_async
from gate.store.failures import ReplyLate, ReplyLost, ScriptMissing
from tests.servers.store import PrivateStore, Store
from tests.servers.wire import Wire

BRIEF_MS = 800
Send = Callable[[Message], Any]
NewSend = Callable[[str], Send]
THREE = Pipeline((("SET", "k", "1"), ("LPUSH", "k", "1"), ("GET", "k")))


@pytest.fixture(params=["Wire", "AsyncWire"])
def new_send(request: pytest.FixtureRequest, redis_client: redis.Redis) -> Iterator[NewSend]:
    """Makes what carries messages to a URL, over a wire of either kind."""
    with asyncio.Runner() as runner, ExitStack() as ends:

        def new(url: str) -> Send:
            if request.param == "Wire":
                blocking = connect(url, Keyspace("quantum"), BRIEF_MS)[0]
                ends.callback(blocking.close)
                return blocking.round_trip
            wire = connect_async(url, Keyspace("quantum"), BRIEF_MS)[0]
            ends.callback(lambda: runner.run(wire.close()))
            return lambda message: runner.run(wire.round_trip(message))

        yield new


def test_each_command_has_its_reply_or_its_error(store: Store, new_send: NewSend) -> None:
    send = new_send(store.url)
    done, refused, held = send(THREE)
    assert (done, held) == (b"OK", b"1")
    assert isinstance(refused, StoreError)
    assert "WRONGTYPE" in str(refused)
    first, second = send(Pipeline((("LPUSH", "k", "1"), ("GET", "k"))))
    assert isinstance(first, StoreError), "an error is one command's, also the first's"
    assert second == b"1"


def test_a_script_that_the_server_lacks_is_raised_and_the_connection_goes_on(
    private_store: PrivateStore, new_send: NewSend
) -> None:
    send = new_send(private_store.url)
    send(("ECHO", "warm"))
    with private_store.client() as client:
        seen = client.info("stats")["total_connections_received"]
        with pytest.raises(ScriptMissing):
            send(Pipeline((("EVALSHA", "0" * 40, 0), ("ECHO", "behind"))))
        assert send(("ECHO", "next")) == b"next"
        assert client.info("stats")["total_connections_received"] == seen


def test_a_pipeline_of_which_no_reply_comes_is_lost(wire: Wire, new_send: NewSend) -> None:
    send = new_send(wire.url)
    wire.lose_next_reply("SET")
    with pytest.raises(ReplyLost):
        send(THREE)
    assert send(("ECHO", "next")) == b"next"


@pytest.mark.parametrize("lose", ["lose_next_reply", "withhold_next_reply"])
def test_a_later_reply_that_is_lost_leaves_the_earlier_ones(lose: str, wire: Wire, new_send: NewSend) -> None:
    send = new_send(wire.url)
    send(("ECHO", "warm"))
    getattr(wire, lose)("LPUSH")
    done, *others = send(THREE)
    assert done == b"OK"
    late = ReplyLate if lose == "withhold_next_reply" else ReplyLost
    assert [type(each) for each in others] == [late, late]
    assert send(("ECHO", "next")) == b"next"


def test_a_command_behind_the_first_may_block_for_longer_than_the_time_out(store: Store, new_send: NewSend) -> None:
    send = new_send(store.url)
    blocking = ("BLPOP", "nothing", "0.6")
    assert send(Pipeline((("ECHO", "a"), blocking, ("ECHO", "b")), allow_ms=5_000)) == [b"a", None, b"b"]
    assert send(("ECHO", "next")) == b"next"


def test_a_server_that_may_not_write_is_raised_and_its_connection_is_left(
    private_store: PrivateStore, new_send: NewSend
) -> None:
    send = new_send(private_store.url)
    with private_store.client() as client:
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnavailable, match="read only replica"):
            send(THREE)
        seen = client.info("stats")["total_connections_received"]
        send(("ECHO", "next"))
        assert client.info("stats")["total_connections_received"] == seen + 1, (
            "sentinels are asked for the master again"
        )


async def test_a_cancelled_pipeline_leaves_no_reply_for_the_next_caller(store: Store, wire: Wire) -> None:
    carries = connect_async(wire.url, Keyspace("quantum"), BRIEF_MS)[0]
    await carries.round_trip(("ECHO", "warm"))
    lost = wire.withhold_next_reply("LPUSH")
    cancelled = asyncio.create_task(carries.round_trip(Pipeline(THREE.commands, allow_ms=60_000)))
    await asyncio.to_thread(lost.wait)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await carries.round_trip(("ECHO", "next")) == b"next"
    await carries.close()
