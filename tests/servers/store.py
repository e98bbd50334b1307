"""A server as a test sees it: its address, a client and, for a private server, ways to harm it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

READY_WITHIN_S = 20.0
POLL_INTERVAL_S = 0.01


class Store(Protocol):
    """A server that the tests share. It may be emptied, never stopped."""

    @property
    def url(self) -> str: ...

    def client(self, **options: Any) -> redis.Redis: ...


class PrivateStore(Store, Protocol):
    """A server of one test's own, which the test may harm."""

    def start(self) -> None:
        """Bring it up, at the same URL with empty memory, and wait until it answers."""

    def stop(self) -> None:
        """Kill it: connections break, new ones are refused, its memory is gone."""

    def pause(self) -> None:
        """Freeze it: the kernel still accepts connections, nothing is answered."""

    def resume(self) -> None:
        """Undo `pause`; what was sent in the meantime is executed now."""

    def close(self) -> None:
        """Stop it for good and remove what it left on disk."""


class StoreUnavailableError(Exception):
    """No server could be had. The message is one line, for the person who started the tests."""


def connect(url: str, **options: Any) -> redis.Redis:
    """A client that neither retries nor waits for ever, so that a test sees each failure once and soon."""
    bounded: dict[str, Any] = {
        "decode_responses": False,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": 5,
        "socket_timeout": 5,
    }
    return redis.Redis.from_url(url, **(bounded | options))


def describe(url: str) -> str:
    """Product and version, as in `redis 7.0.15`."""
    with connect(url) as client:
        info = client.info("server")
    product = str(info.get("server_name", "redis"))
    return f"{product} {info.get(f'{product}_version', info['redis_version'])}"


def wait_until_ready(url: str, *, alive: Callable[[], bool] = lambda: True) -> None:
    """Returns when the server at `url` answers PING; raises its last error if it dies, or doesn't answer in time."""
    deadline = time.monotonic() + READY_WITHIN_S
    with connect(url, socket_connect_timeout=1, socket_timeout=1) as client:
        while True:
            try:
                client.ping()
            except redis.RedisError:
                if not alive() or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_INTERVAL_S)
            else:
                return
