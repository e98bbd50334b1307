"""The stores do what the tests that rely on them take for granted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.servers.ports import free_port
from tests.servers.session import holds_only_a_whole_memory
from tests.servers.store import PrivateStore, Store

ROOT = Path(__file__).resolve().parents[2]


def test_the_shared_store_holds_no_more_than_a_whole_memory_when_a_test_begins(
    store: Store, redis_client: redis.Redis
) -> None:
    assert holds_only_a_whole_memory(redis_client)
    redis_client.set("left-over", "1")


def test_what_a_test_left_is_gone_in_the_next(redis_client: redis.Redis) -> None:
    assert redis_client.exists("left-over") == 0


def test_scripts_are_forgotten_between_tests(store: Store, request: pytest.FixtureRequest) -> None:
    with store.client() as client:
        sha = client.script_load("return 41")
    emptied: redis.Redis = request.getfixturevalue("redis_client")
    assert emptied.script_exists(sha) == [False]


def test_the_shared_store_never_evicts(redis_client: redis.Redis) -> None:
    assert redis_client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_private_store_is_not_the_shared_one(store: Store, private_store: PrivateStore) -> None:
    assert private_store.url != store.url


def test_two_private_stores_share_nothing(new_private_store: Callable[..., PrivateStore]) -> None:
    one, other = new_private_store(), new_private_store()
    with one.client() as client:
        client.set("key", "value")
    with other.client() as client:
        assert client.get("key") is None


def test_a_stopped_store_refuses(private_store: PrivateStore) -> None:
    with private_store.client() as client:
        client.ping()
        private_store.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        with pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_store_started_again_has_its_address_and_has_forgotten_everything(private_store: PrivateStore) -> None:
    url = private_store.url
    with private_store.client() as client:
        client.set("key", "value")
    private_store.stop()
    private_store.start()
    assert private_store.url == url
    with private_store.client() as client:
        assert client.dbsize() == 0


def test_a_paused_store_accepts_but_does_not_answer_until_resumed(private_store: PrivateStore) -> None:
    with private_store.client() as before:
        before.set("key", "value")
    private_store.pause()
    with private_store.client(socket_timeout=0.2) as client, pytest.raises(redis.TimeoutError):
        client.get("key")
    private_store.resume()
    with private_store.client() as after:
        assert after.get("key") == b"value"


def test_a_paused_store_can_be_stopped(private_store: PrivateStore) -> None:
    private_store.pause()
    private_store.stop()
    with private_store.client() as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_a_private_store_takes_arguments_for_its_server(new_private_store: Callable[..., PrivateStore]) -> None:
    small = new_private_store("--maxmemory", "3mb")
    with small.client() as client:
        assert client.config_get("maxmemory") == {"maxmemory": "3145728"}
        small.stop()
        small.start()
        assert client.config_get("maxmemory") == {"maxmemory": "3145728"}


def test_a_port_is_given_once_while_its_server_may_be_on_the_way() -> None:
    given = [free_port() for _ in range(400)]
    assert len(set(given)) == len(given)


def test_no_other_process_is_given_a_port_of_this_one() -> None:
    own = {free_port() for _ in range(100)}
    asks = "from tests.servers.ports import free_port; print(*(free_port() for _ in range(400)))"

    for _ in range(3):
        asked = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, check=True)
        assert own.isdisjoint(map(int, asked.stdout.split()))
