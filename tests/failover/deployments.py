"""Stores of several servers, real ones, and what befalls them: sentinels with a primary and replicas, and a cluster."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Final

import redis

from tests.servers.ports import free_port
from tests.servers.process import ProcessStore

DOWN_AFTER_MS: Final = 1_000
"""After which sentinels and cluster nodes take a silent primary for dead."""
SERVICE: Final = "gate"
_PATIENCE_S: Final = 40
_NOBODY: Final = ("CONFIG", "SET", "masteruser", "nobody", "masterauth", "-")
_NO_USER: Final = ("CONFIG", "SET", "masteruser", "", "masterauth", "")


def port_of(server: ProcessStore) -> int:
    """The port on which a server listens."""
    return int(server.url.rpartition(":")[2].partition("/")[0])


def ask(server: ProcessStore, *command: str | int) -> Any:
    """A server's raw reply to a command."""
    with server.client(protocol=2, socket_timeout=2, socket_connect_timeout=2) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


def said(server: ProcessStore, *command: str | int) -> str:
    """A server's reply as text."""
    reply = ask(server, *command)
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Blocks until it is true."""
    deadline = time.monotonic() + _PATIENCE_S
    while not _safely(true):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


async def until(true: Callable[[], bool], what: str) -> None:
    """wait_until, while the load goes on."""
    await asyncio.to_thread(wait_until, true, what)


def _safely(true: Callable[[], bool]) -> bool:
    try:
        return true()
    except (redis.RedisError, OSError):
        return False


class _Sentinel(ProcessStore):
    def __init__(self, primary: ProcessStore, quorum: int, *, on_redis: bool) -> None:
        self._primary_port, self._quorum = port_of(primary), quorum
        super().__init__(on_redis=on_redis)

    def _command(self) -> list[str]:
        settings = self._directory / "sentinel.conf"
        settings.write_text(
            f"port {self._port}\nbind 127.0.0.1\ndir {self._directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary_port} {self._quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 6000\n"
        )
        return [super()._command()[0], str(settings), "--sentinel"]


class Deployment:
    """Servers of which one, the primary, holds the account."""

    url: str
    servers: list[ProcessStore]

    def __init__(self, on_redis: bool) -> None:
        self._stack, self._on_redis = ExitStack(), on_redis

    def close(self) -> None:
        """Stops every server."""
        self._stack.close()

    def _start(self, *arguments: str) -> ProcessStore:
        server = ProcessStore(arguments, on_redis=self._on_redis)
        self._stack.callback(server.close)
        return server

    def primary(self) -> ProcessStore:
        """The server that holds the account's keys and may write."""
        raise NotImplementedError

    async def new_primary(self, old: ProcessStore) -> float:
        """Waits until another server is the primary. Returns when that was seen, on the clock `time.time`."""
        await until(lambda: self._takes_over(old), "another primary")
        return time.time()

    def _takes_over(self, old: ProcessStore) -> bool:
        raise NotImplementedError

    def replicas_of(self, primary: ProcessStore) -> list[ProcessStore]:
        """The servers that follow a primary."""
        port = str(port_of(primary)).encode()
        found = []
        for each in self.servers:
            if each is primary:
                continue
            role = ask(each, "ROLE")
            if role[0] == b"slave" and str(role[2]).encode() == port:
                found.append(each)
        return found

    def cut_replicas_off(self) -> list[ProcessStore]:
        """The replicas hear no more of the primary, and can be promoted all the same."""
        primary = self.primary()
        replicas = self.replicas_of(primary)
        for each in replicas:
            ask(each, *_NOBODY)
        ask(primary, "CLIENT", "KILL", "TYPE", "replica")
        wait_until(lambda: b"slave0" not in ask(primary, "INFO", "replication"), "replicas cut off")
        return replicas

    def let_replicas_follow(self, replicas: Iterable[ProcessStore]) -> None:
        """Undoes it."""
        for each in replicas:
            ask(each, *_NO_USER)


def _is_primary(server: ProcessStore) -> bool:
    try:
        return bool(ask(server, "ROLE")[0] == b"master")
    except (redis.RedisError, OSError, RuntimeError):
        return False


class Sentinels(Deployment):
    """Three sentinels, a primary and two replicas."""

    def __init__(self, min_replicas: int = 0, *, on_redis: bool = False) -> None:
        super().__init__(on_redis)
        try:
            self._set_up(min_replicas)
        except BaseException:
            self.close()
            raise

    def _set_up(self, min_replicas: int) -> None:
        settings = ["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "8mb"]
        if min_replicas:
            settings += ["--min-replicas-to-write", str(min_replicas), "--min-replicas-max-lag", "1"]
        first = self._start(*settings)
        follow = [*settings, "--replicaof", f"127.0.0.1 {port_of(first)}"]
        self.servers = [first, self._start(*follow), self._start(*follow)]
        wait_until(lambda: said(first, "INFO", "replication").count("state=online") == 2, "replicas online")
        self.sentinels = []
        for _ in range(3):
            self.sentinels.append(_Sentinel(first, 2, on_redis=self._on_redis))
            self._stack.callback(self.sentinels[-1].close)
        wait_until(lambda: all(map(self._knows_all, self.sentinels)), "sentinels know each other")
        hosts = ",".join(f"127.0.0.1:{port_of(each)}" for each in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/{SERVICE}"

    def _knows_all(self, sentinel: ProcessStore) -> bool:
        row = ask(sentinel, "SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(row[::2], row[1::2], strict=True))
        return bool(facts[b"num-slaves"] == b"2" and facts[b"num-other-sentinels"] == b"2")

    def primary(self) -> ProcessStore:
        """As the first sentinel says."""
        _, port = ask(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(each for each in self.servers if port_of(each) == int(port))

    def _takes_over(self, old: ProcessStore) -> bool:
        """Whether a sentinel names another: no client can know it earlier."""
        named = [ask(each, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE) for each in self.sentinels]
        return any(int(port) != port_of(old) for _, port in named)

    def fail_over(self) -> None:
        """By hand."""
        ask(self.sentinels[0], "SENTINEL", "FAILOVER", SERVICE)


class Cluster(Deployment):
    """Three primaries, and a replica of each if wanted. The account's slot is at the first."""

    def __init__(self, key: str, *, primaries: int = 3, replicas: bool = True, on_redis: bool = False) -> None:
        super().__init__(on_redis)
        try:
            self._set_up(key, primaries, replicas)
        except BaseException:
            self.close()
            raise

    def _set_up(self, key: str, primaries: int, replicas: bool) -> None:
        settings = ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]
        settings += ["--cluster-node-timeout", str(DOWN_AFTER_MS), "--repl-diskless-sync-delay", "0"]
        # By default the bus has a port that outgoing connections may have, too.
        buses = [free_port() for _ in range(primaries * (2 if replicas else 1))]
        self.servers = [self._start(*settings, "--cluster-port", str(bus)) for bus in buses]
        self.names = {each: said(each, "CLUSTER", "MYID") for each in self.servers}
        first, *others = self.servers
        self.slot = int(ask(first, "CLUSTER", "KEYSLOT", key))
        bounds = [round(part * 16384 / primaries) for part in range(primaries + 1)]
        heads = self.servers[:primaries]
        ranges = sorted(itertools.pairwise(bounds), key=lambda each: not each[0] <= self.slot < each[1])
        for number, (head, (start, end)) in enumerate(zip(heads, ranges, strict=True), 1):
            ask(head, "CLUSTER", "ADDSLOTSRANGE", start, end - 1)
            ask(head, "CLUSTER", "SET-CONFIG-EPOCH", number)
        for each, bus in zip(others, buses[1:], strict=True):
            ask(first, "CLUSTER", "MEET", "127.0.0.1", port_of(each), bus)
        wait_until(lambda: all(map(self._is_up, self.servers)), "the cluster is up")
        for head, follower in zip(heads, self.servers[primaries:], strict=False):
            wait_until(lambda f=follower, h=head: self.names[h] in said(f, "CLUSTER", "NODES"), "nodes known")  # type: ignore[misc]
            ask(follower, "CLUSTER", "REPLICATE", self.names[head])
        if replicas:
            for head in heads:
                wait_until(lambda h=head: said(h, "INFO", "replication").count("state=online") == 1, "online")  # type: ignore[misc]
            wait_until(lambda: all(map(self._knows_replicas, self.servers)), "replicas known")
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port_of(each)}" for each in self.servers)

    def _is_up(self, server: ProcessStore) -> bool:
        return "cluster_state:ok" in said(server, "CLUSTER", "INFO") and all(
            name in said(server, "CLUSTER", "NODES") for name in self.names.values()
        )

    def _knows_replicas(self, server: ProcessStore) -> bool:
        rows = [row.split() for row in said(server, "CLUSTER", "NODES").splitlines()]
        return sum("slave" in row[2] for row in rows) == len(rows) // 2

    def primary(self) -> ProcessStore:
        """The node that holds the slot by its own word."""
        for each in self.servers:
            try:
                if _is_primary(each) and self._holds_account(each):
                    return each
            except (redis.RedisError, OSError, RuntimeError):
                continue
        raise AssertionError("nobody holds the slot")

    def _holds_account(self, server: ProcessStore) -> bool:
        try:
            rows = said(server, "CLUSTER", "NODES").splitlines()
        except (redis.RedisError, OSError):
            return False
        mine = next(row for row in rows if "myself" in row).split()[8:]
        ranges = [each.split("-") for each in mine if not each.startswith("[")]
        return any(int(each[0]) <= self.slot <= int(each[-1]) for each in ranges)

    def _takes_over(self, old: ProcessStore) -> bool:
        return any(_is_primary(each) and self._holds_account(each) for each in self.servers if each is not old)

    def elsewhere(self) -> ProcessStore:
        """A primary that doesn't hold the slot."""
        return next(each for each in self.servers if _is_primary(each) and not self._holds_account(each))

    def fail_over(self) -> None:
        """By hand: the replica takes over, in agreement with its primary."""
        ask(self.replicas_of(self.primary())[0], "CLUSTER", "FAILOVER")

    def move_slot(self, there: ProcessStore, at_once: int = 20, pause_s: float = 0.0) -> int:
        """Key by key, as `redis-cli --cluster reshard` does. Returns how many keys."""
        here = self.primary()
        ask(there, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.names[here])
        ask(here, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.names[there])
        moved = 0
        while keys := ask(here, "CLUSTER", "GETKEYSINSLOT", self.slot, at_once):
            ask(here, "MIGRATE", "127.0.0.1", port_of(there), "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
            time.sleep(pause_s)
        heads = [there, here, *(each for each in self.servers if each not in (there, here) and _is_primary(each))]
        for each in heads:
            ask(each, "CLUSTER", "SETSLOT", self.slot, "NODE", self.names[there])
        return moved

    def move_slot_at_once(self, there: ProcessStore) -> None:
        """Valkey 9 moves a slot as a replica is made, and hands it over in one step."""
        here = self.primary()
        ask(here, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", self.slot, self.slot, "NODE", self.names[there])
        wait_until(lambda: self._holds_account(there), "the slot has moved")
