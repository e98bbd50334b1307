"""One command to the store and its reply, in bounded time; or the exact way in which it failed.

redis-py brings the connections: TCP, TLS, unix sockets, sentinel, authentication. Its own retries are off, since they
can't tell a command that never arrived from one whose reply was lost (see redis-lua.md, trap 1). Connections are kept
here rather than in its pool, which spends more time on a command than the server does.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

import redis
import redis.asyncio
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from gate.protocol.codec import Command
from gate.values.errors import StoreError, StoreUnavailable

Reply: TypeAlias = Any  # what RESP can carry; the protocol module gives it its types

DEFAULT_TIMEOUT_MS: Final = 250

# What only matters to redis-py's own pool, or would bring its retries and push messages back.
_POOL_ONLY: Final = frozenset(
    {
        "maint_notifications_config",
        "maint_notifications_pool_handler",
        "oss_cluster_maint_notifications_handler",
        "maintenance_state",
        "maintenance_notification_hash",
        "orig_host_address",
        "orig_socket_timeout",
        "orig_socket_connect_timeout",
        "event_dispatcher",
        "parser_class",
        "retry_on_error",
        "retry_on_timeout",
        "himport_registry",
    }
)
# redis-py would else read its own package metadata for every connection: 3 ms each.
_DRIVER: Final = DriverInfo(lib_version=redis.__version__)
_PASSING: Final = (BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_NO_CLUSTER: Final = (RedisError, RedisClusterException, OSError)  # the second is none of the first
_PASSING_CODES: Final = ("BUSY ", "MASTERDOWN", "NOREPLICAS", "UNKILLABLE", "LOADING", "CLUSTERDOWN", "NOGOODSLAVE")


_UNAUTHENTICATED: Final = "the store wants a password; put it into the URL, in front of the host"


class ReplyLost(StoreUnavailable):
    """The command was sent and may have been carried out; its answer is lost."""


class ScriptMissing(StoreUnavailable):
    """The server doesn't know the script: it was restarted, flushed, or never had it."""


class SlotMoved(StoreUnavailable):
    """Another node of the cluster holds the keys. Nothing was carried out here."""


def connection_settings(settings: dict[str, Any], socket_timeout: float | None) -> dict[str, Any]:
    """A pool's settings for connections, as the wire wants them: RESP2, bytes, bounded, no retries."""
    kept = {name: value for name, value in settings.items() if name not in _POOL_ONLY}
    return {
        "driver_info": _DRIVER,
        **kept,
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_timeout,
        "health_check_interval": 0,
        "retry": None,
    }


def pack(command: Command) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # its stub has one-element tuples only
    return packed


def no_retries() -> Retry:
    """redis-py's own retries, switched off."""
    return Retry(NoBackoff(), 0)


def failure_of(error: ResponseError) -> StoreUnavailable | StoreError:
    """The kind of an error reply."""
    text = str(error)
    if isinstance(error, NoScriptError):
        return ScriptMissing(text)
    if isinstance(error, MovedError) or text.startswith("MOVED "):
        return SlotMoved(text)
    if isinstance(error, AskError):
        return StoreUnavailable("the cluster is moving the slot of this account to another node")
    if isinstance(error, _PASSING) or text.startswith(_PASSING_CODES):
        return StoreUnavailable(text)
    if "unauthenticated" in text:  # how a long command is refused that comes without one
        return StoreError(_UNAUTHENTICATED)
    return StoreError(text)


def refusal_of(error: redis.AuthenticationError) -> StoreError:
    """What is wrong with the password, or that there is none."""
    text = _one_line(error)
    return StoreError(_UNAUTHENTICATED if text.startswith(("NOAUTH", "Authentication required")) else text)


class Wire(Protocol):
    """Carries commands."""

    def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""

    def close(self) -> None:
        """Closes every connection."""


class AsyncWire(Protocol):
    """Carries commands, for asyncio."""

    async def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""

    async def close(self) -> None:
        """Closes every connection."""


class ServerWire:
    """To one server, or to whichever a sentinel names. May be used from many threads, and across a fork."""

    def __init__(self, client: redis.Redis, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> None:
        pool = client.connection_pool
        self._client: Final = client  # sentinel connections ask its pool, which would else be collected
        self._make: Final[Callable[..., Any]] = pool.connection_class
        self._settings: Final = connection_settings(pool.connection_kwargs, timeout_ms / 1000)
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()

    def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        if self._pid != os.getpid():
            self._idle, self._pid = deque(), os.getpid()  # a socket shared with the parent would mix up replies
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.send_packed_command((pack(command),), check_health=False)
            reply = connection.read_response(disable_decoding=True)
        except ResponseError as error:
            failure = failure_of(error)
            if isinstance(failure, ScriptMissing | StoreError):
                self._idle.append(connection)
            else:
                connection.disconnect()  # so that the next call asks again who the master is
            raise failure from None
        except redis.AuthenticationError as error:
            connection.disconnect()
            raise refusal_of(error) from None
        except (RedisError, OSError) as error:
            connection.disconnect()
            self.close()  # a server that dropped one has dropped the idle ones too; the replay needs a fresh one
            raise ReplyLost(_one_line(error)) from None
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)
        return reply

    def _connect(self) -> Any:
        connection = self._make(**self._settings)
        try:
            connection.connect()
        except ResponseError as error:
            connection.disconnect()
            raise failure_of(error) from None
        except redis.AuthenticationError as error:
            connection.disconnect()
            raise refusal_of(error) from None
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise StoreUnavailable(_one_line(error)) from None
        return connection

    def close(self) -> None:
        """Closes every idle connection; one in use stays until its call has ended."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()


class AsyncServerWire:
    """The same for asyncio. One event loop at a time."""

    def __init__(self, client: redis.asyncio.Redis, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> None:
        pool = client.connection_pool
        self._client: Final = client
        self._make: Final[Callable[..., Any]] = pool.connection_class
        # One time-out around the whole call serves better than one per read, and costs a third of it.
        self._settings: Final = connection_settings(pool.connection_kwargs, None)
        self._timeout: Final = timeout_ms / 1000
        self._idle: deque[Any] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        sent = False
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._idle, self._loop = deque(), loop  # connections of another event loop can't be used in this one
        connection = self._idle.pop() if self._idle else self._make(**self._settings)
        try:
            async with asyncio.timeout(self._timeout):
                if not connection.is_connected:
                    await connection.connect()
                sent = True
                await connection.send_packed_command((pack(command),), check_health=False)
                reply = await connection.read_response(disable_decoding=True)
        except ResponseError as error:
            failure = failure_of(error)
            if isinstance(failure, ScriptMissing | StoreError) and sent:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
            raise failure from None
        except redis.AuthenticationError as error:
            await connection.disconnect(nowait=True)
            raise refusal_of(error) from None
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            await self.close()
            kind = ReplyLost if sent else StoreUnavailable
            raise kind(_one_line(error) or f"no answer in {self._timeout * 1000:.0f} ms") from None
        except BaseException:
            # Cancelled: a reply that is still to come must not be read by the next caller.
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return reply

    async def close(self) -> None:
        """Closes every idle connection."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text.partition(" : <")[0]  # redis-py appends the settings of every sentinel's client


class ClusterWire:
    """To the cluster node that holds the account's slot; follows it when it moves."""

    def __init__(self, make_client: Callable[[], Any], slot_key: str, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> None:
        self._make_client: Final = make_client
        self._slot_key: Final = slot_key
        self._timeout_ms: Final = timeout_ms
        self._lock: Final = threading.Lock()
        self._client: Any = None
        self._wire: ServerWire | None = None

    def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        try:
            return self._node().round_trip(command)
        except SlotMoved:
            self._forget()
            return self._node().round_trip(command)
        except ScriptMissing:
            raise
        except StoreUnavailable:
            self._forget()
            raise

    def _node(self) -> ServerWire:
        with self._lock:
            if self._wire is None:
                try:
                    if self._client is None:
                        self._client = self._make_client()
                    node = self._client.get_node_from_key(self._slot_key)
                    if node is None:
                        raise StoreUnavailable(f"no cluster node holds the slot of {self._slot_key}")
                    self._wire = ServerWire(self._client.get_redis_connection(node), self._timeout_ms)
                except _NO_CLUSTER as error:
                    raise StoreUnavailable(_one_line(error)) from None
            return self._wire

    def _forget(self) -> None:
        """Learns the cluster's layout anew before the next command."""
        with self._lock:
            self._wire = None
            if self._client is None:
                return
            with suppress(*_NO_CLUSTER):  # the next command will tell
                self._client.nodes_manager.initialize()

    def close(self) -> None:
        """Closes every connection."""
        if self._wire is not None:
            self._wire.close()


class AsyncClusterWire:
    """The same for asyncio."""

    def __init__(self, make_client: Callable[[], Any], slot_key: str, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> None:
        self._make_client: Final = make_client
        self._slot_key: Final = slot_key
        self._timeout_ms: Final = timeout_ms
        self._client: Any = None
        self._wire: AsyncServerWire | None = None

    async def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        try:
            return await (await self._node()).round_trip(command)
        except SlotMoved:
            await self._forget()
            return await (await self._node()).round_trip(command)
        except ScriptMissing:
            raise
        except StoreUnavailable:
            await self._forget()
            raise

    async def _node(self) -> AsyncServerWire:
        if self._wire is None:
            try:
                if self._client is None:
                    self._client = self._make_client()
                await self._client.initialize()
                node = self._client.get_node_from_key(self._slot_key)
                if node is None:
                    raise StoreUnavailable(f"no cluster node holds the slot of {self._slot_key}")
                self._wire = AsyncServerWire(_NodeClient(node), self._timeout_ms)  # type: ignore[arg-type]
            except _NO_CLUSTER as error:
                raise StoreUnavailable(_one_line(error)) from None
        return self._wire

    async def _forget(self) -> None:
        self._wire = None
        if self._client is None:
            return
        with suppress(*_NO_CLUSTER):
            await self._client.nodes_manager.initialize()

    async def close(self) -> None:
        """Closes every connection."""
        if self._wire is not None:
            await self._wire.close()


class _NodeClient:
    """redis-py's asyncio cluster nodes are pools themselves, with other names for the same two things."""

    def __init__(self, node: Any) -> None:
        self.connection_pool = self
        self.connection_class = node.connection_class
        self.connection_kwargs = node.connection_kwargs
