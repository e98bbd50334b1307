"""The store that all tests of a run share, and the private ones beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis

from tests.servers.choice import Supply, choose, without_password
from tests.servers.store import PrivateStore, Store, connect, describe


class GivenStore:
    """The server at GATE_TEST_URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, **options: Any) -> redis.Redis:
        return connect(self.url, **options)


class Servers:
    """The stores of one run of pytest, from `open` to `close`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._supply: Supply | None = None
        self._shared: Store | None = None
        self._undo: list[Callable[[], None]] = []

    def open(self) -> None:
        """Raises StoreUnavailableError."""
        self._supply = choose(self._environment)
        if self._supply.given_url is not None:
            given = GivenStore(self._supply.given_url)
            # Left empty, because a server that holds keys is refused on the next run.
            self._undo.append(lambda: empty(given))
            self._shared = given
        else:
            started = self._supply.start(())
            self._undo.append(started.close)
            self._shared = started

    @property
    def supply(self) -> Supply:
        if self._supply is None:
            raise RuntimeError("the servers are not open")
        return self._supply

    @property
    def shared(self) -> Store:
        if self._shared is None:
            raise RuntimeError("the servers are not open")
        return self._shared

    def private(self, *arguments: str) -> PrivateStore:
        return self.supply.start(arguments)

    def header(self) -> list[str]:
        lines = [f"store: {describe(self.shared.url)} at {without_password(self.shared.url)} ({self.supply.source})"]
        if self.supply.notice is not None:
            lines.append(f"store: {self.supply.notice}")
        return lines

    def close(self) -> None:
        while self._undo:
            self._undo.pop()()


def empty(store: Store) -> None:
    with store.client() as client:
        client.flushall()
        client.script_flush()


def declare_whole(client: redis.Redis, prefix: str = "quantum") -> None:
    """Makes an account's memory whole since long ago, as `gate init` does."""
    run_id = client.info("server")["run_id"]
    client.hset(f"{prefix}:exec:state", mapping={"fence": 0, "since": 1_000_000_000_000, "run_id": run_id})


def holds_only_a_whole_memory(client: redis.Redis, prefix: str = "quantum") -> bool:
    """Whether nothing was written since declare_whole: no other key, and no claim in the state."""
    state = f"{prefix}:exec:state"
    run_id = client.info("server")["run_id"].encode()
    declared = {b"fence": b"0", b"since": b"1000000000000", b"run_id": run_id}
    return client.keys("*") == [state.encode()] and client.hgetall(state) == declared
