"""The wire loses each chosen command or reply once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.servers.process import ProcessStore
from tests.servers.store import PrivateStore, Store, connect
from tests.servers.wire import Wire


@pytest.fixture
def client(redis_client: redis.Redis, wire: Wire) -> Iterator[redis.Redis]:
    """A client that reaches the emptied shared store through the wire."""
    with connect(wire.url, socket_timeout=0.3) as client:
        client.ping()
        wire.forget_requests()
        yield client


def test_a_command_that_is_not_to_be_lost_arrives(client: redis.Redis, wire: Wire) -> None:
    value = b"\r\n*3\r\n$5\r\n\x00" * 40_000
    client.set("key", value)
    assert client.get("key") == value
    assert client.get("none") is None
    assert client.lrange("none", 0, -1) == []
    with pytest.raises(redis.ResponseError):
        client.lpush("key", "1")
    assert client.info("server")["redis_version"]
    assert wire.requests == {"SET": 1, "GET": 2, "LRANGE": 1, "LPUSH": 1, "INFO": 1}


@pytest.mark.parametrize("protocol", [2, 3])
def test_nested_replies_pass_in_both_protocols(
    store: Store, redis_client: redis.Redis, wire: Wire, protocol: int
) -> None:
    redis_client.xadd("stream", {"field": "value"}, id="1-1")
    redis_client.hset("hash", mapping={"a": "1", "b": "2"})
    with connect(wire.url, protocol=protocol) as through, store.client(protocol=protocol) as straight:
        for command in (
            ["XRANGE", "stream", "-", "+"],
            ["HGETALL", "hash"],
            ["COMMAND", "INFO", "GET"],
            ["CONFIG", "GET", "*"],
        ):
            assert through.execute_command(*command) == straight.execute_command(*command)
        assert through.eval("return {1, {2, 'three', false}, {}}", 0) == [1, [2, b"three", None], []]


def test_a_lost_reply_leaves_the_command_executed(client: redis.Redis, wire: Wire, redis_client: redis.Redis) -> None:
    fault = wire.lose_next_reply("INCRBY")
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert fault.happened
    assert redis_client.get("counter") == b"1"
    assert client.incr("counter") == 2


def test_a_withheld_reply_leaves_the_command_executed_and_the_client_waiting(
    client: redis.Redis, wire: Wire, redis_client: redis.Redis
) -> None:
    fault = wire.withhold_next_reply("INCRBY")
    with pytest.raises(redis.TimeoutError):
        client.incr("counter")
    assert fault.happened
    assert redis_client.get("counter") == b"1"
    assert client.incr("counter") == 2


@pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")
def test_nothing_arrives_after_a_withheld_reply(wire: Wire, redis_client: redis.Redis) -> None:
    with connect(wire.url, socket_timeout=0.2) as client:
        connection = client.connection_pool.get_connection("a name that redis-py before 5.3 asks for")
        fault = wire.withhold_next_reply("GET")
        connection.send_command("GET", "key")
        connection.send_command("PING")
        fault.wait()
        assert not connection.can_read(timeout=0.2)
        assert wire.requests["PING"] == 1
        connection.disconnect()


def test_a_lost_request_is_never_executed(client: redis.Redis, wire: Wire, redis_client: redis.Redis) -> None:
    fault = wire.lose_next_request("INCRBY")
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert fault.happened
    assert redis_client.get("counter") is None
    assert client.incr("counter") == 1


def test_a_fault_waits_for_its_command(client: redis.Redis, wire: Wire) -> None:
    fault = wire.lose_next_reply("evalsha")
    client.set("key", "1")
    sha = client.script_load("return redis.call('INCR', KEYS[1])")
    assert not fault.happened
    with pytest.raises(redis.ConnectionError):
        client.evalsha(sha, 1, "counter")
    assert fault.happened
    assert client.get("counter") == b"1"


def test_a_fault_without_a_name_spares_the_handshake(wire: Wire, redis_client: redis.Redis) -> None:
    fault = wire.lose_next_reply()
    with connect(wire.url, client_name="shakes-hands") as client, pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert fault.happened
    assert redis_client.get("counter") == b"1"
    assert wire.requests == {"INCRBY": 1}
    assert wire.handshakes["CLIENT"] > 0


def test_two_orders_lose_two_commands(client: redis.Redis, wire: Wire) -> None:
    first, second = wire.lose_next_reply("INCRBY"), wire.lose_next_request("INCRBY")
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.incr("counter")
    assert first.happened
    assert second.happened
    assert client.incr("counter") == 2


def test_in_a_pipeline_the_named_command_and_what_follows_are_lost(
    client: redis.Redis, wire: Wire, redis_client: redis.Redis
) -> None:
    wire.lose_next_request("APPEND")
    pipeline = client.pipeline(transaction=False)
    pipeline.set("a", "1")
    pipeline.append("a", "2")
    pipeline.set("b", "1")
    with pytest.raises(redis.ConnectionError):
        pipeline.execute()
    assert redis_client.get("a") != b"12"
    assert redis_client.get("b") is None


def test_refused_connections_are_accepted_again(client: redis.Redis, wire: Wire) -> None:
    wire.refuse()
    assert client.ping(), "an open connection stays"
    with connect(wire.url) as newcomer, pytest.raises(redis.ConnectionError, match="refused"):
        newcomer.ping()
    wire.accept()
    with connect(wire.url) as newcomer:
        assert newcomer.ping()


@pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")
def test_severed_connections_break(client: redis.Redis, wire: Wire) -> None:
    connection = client.connection_pool.get_connection("a name that redis-py before 5.3 asks for")
    wire.sever()
    with pytest.raises(redis.ConnectionError):
        connection.read_response()
    client.connection_pool.release(connection)
    assert client.ping()


def test_a_server_that_is_gone_looks_gone_through_the_wire(private_store: PrivateStore) -> None:
    with Wire(private_store.url) as wire, connect(wire.url) as client:
        client.ping()
        private_store.stop()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        private_store.start()
        assert client.ping()


def test_the_server_may_be_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = ProcessStore(["--unixsocket", str(path)])
    try:
        with Wire(f"unix://{path}?db=3") as wire, connect(wire.url) as client:
            fault = wire.lose_next_reply("INCRBY")
            with pytest.raises(redis.ConnectionError):
                client.incr("counter")
            assert fault.happened
            assert client.incr("counter") == 2
            assert client.client_info()["db"] == 3
    finally:
        server.close()


async def test_asyncio_clients_meet_the_same_losses(wire: Wire, redis_client: redis.Redis) -> None:
    fault = wire.lose_next_reply("INCRBY")
    async with redis.asyncio.Redis.from_url(wire.url, retry=Retry(NoBackoff(), 0)) as client:
        with pytest.raises(redis.ConnectionError):
            await client.incr("counter")
        assert fault.happened
        assert await client.incr("counter") == 2
