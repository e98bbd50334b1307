"""The wire to one server, or to the master that a sentinel names.

redis-py makes the connections: TCP, TLS, unix sockets, sentinel, authentication. Its own retries are off: they can't
tell a command that never arrived from one whose reply was lost. The wire keeps the connections itself, since
redis-py's pool spends more time on a command than the server does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis
import redis.asyncio
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import (
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from gate.protocol.scripts import Command, Message, Pipeline
from gate.store.failures import (
    UNREADABLE,
    Forbidden,
    ReplyLost,
    ScriptMissing,
    failure_of,
    one_line,
    refusal_of,
    unreadable,
)
from gate.store.identity import addressed, ask_identity, named
from gate.store.replies import keeps_connection, read_first, read_others, read_replies
from gate.store.wire import Reply
from gate.values.errors import StoreError, StoreFailure, StoreUnavailable

# Settings that only redis-py's own pool needs, or that would turn its retries and push messages on again.
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


def _driver() -> dict[str, Any]:
    """How a connection introduces itself; redis-py would else read its own package metadata for each: 3 ms."""
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # before 7.2: read once, at import
        return {}
    return {"driver_info": DriverInfo(lib_version=redis.__version__)}


_DRIVER: Final = _driver()


def connection_settings(settings: dict[str, Any], socket_timeout: float | None) -> dict[str, Any]:
    """A pool's connection settings, changed for the wire: RESP2, bytes, a time-out, no retries."""
    kept = {name: value for name, value in settings.items() if name not in _POOL_ONLY}
    return {
        **_DRIVER,
        **kept,
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_timeout,
        "health_check_interval": 0,
        "retry": None,
    }


def pack(command: Command) -> bytes:
    """A command's bytes on the wire."""
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # its stub has one-element tuples only
    return packed


def pack_message(message: Message, server: str) -> bytes:
    """The bytes of a command, or of all commands of a pipeline. `server`: the word of the server that gets them."""
    if isinstance(message, Pipeline):
        return b"".join(pack(addressed(command, server)) for command in message.commands)
    return pack(addressed(message, server))


_MASTER_ASKED_EVERY_S: Final = 0.5
"""How often sentinels are asked, while connections serve, whether the master is still the same. After a failover the
old one may go on as a master for ten seconds, and would admit what the new one admits too."""


class _Master:
    """The master that connections go to, where sentinels name it."""

    def __init__(self, pool: Any) -> None:
        self.named: Final = hasattr(pool, "get_master_address")
        self._address: tuple[Any, Any] | None = None
        self._asked_s = 0.0

    def due(self) -> bool:
        """Whether it is time to ask the sentinels. Then one caller asks; the others go on meanwhile."""
        if not self.named or time.monotonic() - self._asked_s < _MASTER_ASKED_EVERY_S:
            return False
        self._asked_s = time.monotonic()
        return True

    def is_now(self, address: tuple[Any, Any]) -> None:
        """Keeps the address that a sentinel names."""
        self._address = address

    def serves(self, connection: Any) -> bool:
        """Whether a connection goes to the master that was named last."""
        return self._address is None or (connection.host, connection.port) == self._address


def no_retries() -> Retry:
    """The redis-py setting that turns its own retries off."""
    return Retry(NoBackoff(), 0)


class ServerWire:
    """A wire to one server, or to the master that a sentinel names. Safe for many threads, and across a fork."""

    def __init__(self, client: redis.Redis, timeout_ms: int, identify: Command) -> None:
        """`identify`: the command that asks a server who it is, sent first on each connection."""
        pool = client.connection_pool
        self._client: Final = client  # keeps its pool alive, which sentinel connections ask
        self._make: Final[Callable[..., Any]] = pool.connection_class
        self._timeout: Final = timeout_ms / 1000
        self._settings: Final = connection_settings(pool.connection_kwargs, self._timeout)
        self._identify: Final = identify
        self._idle: deque[tuple[Any, str]] = deque()  # connections, each with its server's word
        self._pid = os.getpid()
        self._pool: Final[Any] = pool
        self._master: Final = _Master(pool)

    def round_trip(self, message: Message) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError. gate.store.wire.Wire tells of a pipeline's."""
        if self._pid != os.getpid():
            self._idle, self._pid = deque(), os.getpid()  # two processes on one socket would mix up replies
        link = self._idle_link() or self._connect()
        connection, server = link
        try:
            connection.send_packed_command((pack_message(message, server),), check_health=False)
            if isinstance(message, Pipeline):
                reply = read_replies(connection, message, self._timeout)
            else:
                reply = connection.read_response(disable_decoding=True)
        except ResponseError as error:
            failure = failure_of(error)
            if isinstance(failure, ScriptMissing | StoreError) and not isinstance(failure, Forbidden):
                self._idle.append(link)
            else:
                connection.disconnect()  # the next call asks the sentinel for the master, and the server for the rights
            raise named(failure, server or "") from None
        except redis.AuthenticationError as error:
            connection.disconnect()
            raise refusal_of(error) from None
        except UNREADABLE as error:
            connection.disconnect()
            raise unreadable(error) from None
        except (RedisError, OSError) as error:
            connection.disconnect()
            self.close()  # the server has dropped the idle connections too; the replay needs a fresh one
            raise ReplyLost(one_line(error)) from None
        except BaseException:
            connection.disconnect()
            raise
        if isinstance(message, Pipeline):
            return self._after(link, reply)
        self._idle.append(link)
        return reply

    def _after(self, link: tuple[Any, str], replies: list[Reply]) -> list[Reply]:
        """Keeps or closes a pipeline's connection. Raises a failure of the first command that concerns them all."""
        if keeps_connection(replies):
            self._idle.append(link)
        else:
            link[0].disconnect()
        if isinstance(replies[0], StoreUnavailable):
            raise replies[0]
        return replies

    def _idle_link(self) -> tuple[Any, str] | None:
        """An idle connection to the master; None if there is none."""
        if self._idle and self._master.due():
            with suppress(RedisError, OSError):  # while no sentinel answers, the master goes on
                self._master.is_now(self._pool.get_master_address())
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return None
            if self._master.serves(link[0]):
                return link
            link[0].disconnect()

    def _connect(self) -> tuple[Any, str]:
        connection = self._make(**self._settings)
        connected = False
        try:
            connection.connect()
            connected = True
            return connection, _ask(connection, self._identify)
        except StoreFailure:
            connection.disconnect()
            raise
        except ResponseError as error:
            connection.disconnect()
            raise failure_of(error) from None
        except redis.AuthenticationError as error:
            connection.disconnect()
            raise refusal_of(error) from None
        except UNREADABLE as error:
            connection.disconnect()
            raise unreadable(error) from None
        except (RedisError, OSError) as error:
            connection.disconnect()
            # A server that is there, but loses its first reply, is worth another try.
            raise (ReplyLost if connected else StoreUnavailable)(one_line(error)) from None
        except BaseException:
            connection.disconnect()
            raise

    def close(self) -> None:
        """Closes every idle connection. A connection in use stays open until its call ends."""
        while True:
            try:
                connection, _ = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()


def _ask(connection: Any, identify: Command) -> str:
    """The word of a new connection's server. Raises StoreUnavailable, RedisError, OSError."""
    asking = ask_identity(identify)
    try:
        command = next(asking)
        while True:
            connection.send_packed_command((pack(command),), check_health=False)
            try:
                reply = connection.read_response(disable_decoding=True)
            except ResponseError as error:
                command = asking.throw(failure_of(error))
            else:
                command = asking.send(reply)
    except StopIteration as done:
        word: str = done.value
        return word


async def _ask_async(connection: Any, identify: Command) -> str:
    """_ask for asyncio."""
    asking = ask_identity(identify)
    try:
        command = next(asking)
        while True:
            await connection.send_packed_command((pack(command),), check_health=False)
            try:
                reply = await connection.read_response(disable_decoding=True)
            except ResponseError as error:
                command = asking.throw(failure_of(error))
            else:
                command = asking.send(reply)
    except StopIteration as done:
        word: str = done.value
        return word


class AsyncServerWire:
    """ServerWire for asyncio, on one event loop at a time."""

    def __init__(self, client: redis.asyncio.Redis, timeout_ms: int, identify: Command) -> None:
        """As ServerWire."""
        pool = client.connection_pool
        self._client: Final = client
        self._make: Final[Callable[..., Any]] = pool.connection_class
        self._timeout: Final = timeout_ms / 1000
        self._master: Final = _Master(pool)
        # One time-out bounds the whole call, and costs a third of a time-out per read. But while sentinels are asked,
        # redis-py may take its cancellation for a sentinel's time-out, and go on.
        self._settings: Final = connection_settings(
            pool.connection_kwargs, self._timeout if self._master.named else None
        )
        self._identify: Final = identify
        self._idle: deque[tuple[Any, str]] = deque()
        self._pool: Final[Any] = pool
        self._loop: asyncio.AbstractEventLoop | None = None

    async def round_trip(self, message: Message) -> Reply:
        """As ServerWire.round_trip."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._idle, self._loop = deque(), loop  # a connection works only on its own event loop
        connection, server = await self._idle_link() or (self._make(**self._settings), None)
        connected = server is not None
        until_s = loop.time() + self._timeout
        try:
            if server is None:
                async with asyncio.timeout_at(until_s):
                    await connection.connect()
                connected = True
                connection.socket_timeout = None
            async with asyncio.timeout_at(until_s):
                if server is None:
                    server = await _ask_async(connection, self._identify)
                await connection.send_packed_command((pack_message(message, server),), check_health=False)
                if isinstance(message, Pipeline):
                    reply = await read_first(connection)
                else:
                    reply = await connection.read_response(disable_decoding=True)
            if isinstance(message, Pipeline):
                reply = await read_others(connection, reply, message, self._timeout)
        except ResponseError as error:
            failure = failure_of(error)
            kept = isinstance(failure, ScriptMissing | StoreError) and not isinstance(failure, Forbidden)
            if kept and server is not None:
                self._idle.append((connection, server))
            else:
                await connection.disconnect(nowait=True)
            raise named(failure, server or "") from None
        except redis.AuthenticationError as error:
            await connection.disconnect(nowait=True)
            raise refusal_of(error) from None
        except UNREADABLE as error:
            await connection.disconnect(nowait=True)
            raise unreadable(error) from None
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            await self.close()
            kind = ReplyLost if connected else StoreUnavailable  # as in ServerWire._connect
            raise kind(one_line(error) or f"no answer in {self._timeout * 1000:.0f} ms") from None
        except BaseException:
            # After a cancellation the reply may still arrive; the next caller must not read it.
            await connection.disconnect(nowait=True)
            raise
        if isinstance(message, Pipeline):
            return await self._after((connection, server), reply)
        self._idle.append((connection, server))
        return reply

    async def _idle_link(self) -> tuple[Any, str] | None:
        """As ServerWire._idle_link."""
        if self._idle and self._master.due():
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(self._timeout):
                    self._master.is_now(await self._pool.get_master_address())
        while self._idle:
            link = self._idle.pop()
            if self._master.serves(link[0]):
                return link
            await link[0].disconnect(nowait=True)
        return None

    async def _after(self, link: tuple[Any, str], replies: list[Reply]) -> list[Reply]:
        """As ServerWire._after."""
        if keeps_connection(replies):
            self._idle.append(link)
        else:
            await link[0].disconnect(nowait=True)
        if isinstance(replies[0], StoreUnavailable):
            raise replies[0]
        return replies

    async def close(self) -> None:
        """Closes every idle connection."""
        while self._idle:
            connection, _ = self._idle.pop()
            await connection.disconnect(nowait=True)
