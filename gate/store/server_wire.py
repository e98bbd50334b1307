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
from copy import copy
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

from gate.protocol.scripts import Command, Encoded, Message, Pipeline, packed_for
from gate.store.failures import (
    UNREADABLE,
    Forbidden,
    ScriptMissing,
    failure_of,
    lost,
    one_line,
    refusal_of,
    unreadable,
)
from gate.store.identity import addressed, ask_identity, named
from gate.store.link import BlockingLink, Call, Link
from gate.store.replies import keeps_connection, read_replies
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
    if isinstance(message, Encoded):
        return packed_for(message, server)
    if isinstance(message, Pipeline):
        return b"".join(pack_message(command, server) for command in message.commands)
    return pack(addressed(message, server))


_LONGEST_CONNECTING: Final = 10
"""Time-outs that connecting takes at most. Each wait in it has one of its own: TCP and TLS, login, database, identity.
A store that is 100 ms away needs more than one for all of them."""
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
        self._idle: deque[BlockingLink] = deque()
        self._pid = os.getpid()
        self._pool: Final[Any] = pool
        self._master: Final = _Master(pool)

    def round_trip(self, message: Message) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError. gate.store.wire.Wire tells of a pipeline's."""
        if self._pid != os.getpid():
            self._idle, self._pid = deque(), os.getpid()  # two processes on one socket would mix up replies
        link = self._idle_link() or self._connect()
        try:
            link.send(pack_message(message, link.server))
            reply = read_replies(link, message, self._timeout) if isinstance(message, Pipeline) else link.receive()
        except ResponseError as error:
            failure = failure_of(error)
            if isinstance(failure, ScriptMissing | StoreError) and not isinstance(failure, Forbidden):
                self._idle.append(link)
            else:
                link.close()  # the next call asks the sentinel for the master, and the server for the rights
            raise named(failure, link.server) from None
        except redis.AuthenticationError as error:
            link.close()
            raise refusal_of(error) from None
        except UNREADABLE as error:
            link.close()
            raise unreadable(error) from None
        except (RedisError, OSError) as error:
            link.close()
            self.close()  # the server has dropped the idle connections too; the replay needs a fresh one
            raise lost(error) from None
        except BaseException:
            link.close()
            raise
        if isinstance(message, Pipeline):
            return self._after(link, reply)
        self._idle.append(link)
        return reply

    def _after(self, link: BlockingLink, replies: list[Reply]) -> list[Reply]:
        """Keeps or closes a pipeline's connection. Raises a failure of the first command that concerns them all."""
        if keeps_connection(replies):
            self._idle.append(link)
        else:
            link.close()
        if isinstance(replies[0], StoreUnavailable):
            raise replies[0]
        return replies

    def _idle_link(self) -> BlockingLink | None:
        """An idle connection to the master; None if there is none."""
        if self._idle and self._master.due():
            with suppress(RedisError, OSError):  # while no sentinel answers, the master goes on
                self._master.is_now(self._pool.get_master_address())
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return None
            if self._master.serves(link.connection):
                return link
            link.close()

    def _connect(self) -> BlockingLink:
        connection = self._make(**self._settings)
        connected = False
        try:
            connection.connect()
            connected = True
            return BlockingLink(connection, _ask(connection, self._identify))
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
            raise (lost(error) if connected else StoreUnavailable(one_line(error))) from None
        except BaseException:
            connection.disconnect()
            raise

    def close(self) -> None:
        """Closes every idle connection. A connection in use stays open until its call ends."""
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return
            link.close()


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
    """ServerWire for asyncio, on one event loop at a time. Its callers share one connection."""

    def __init__(self, client: redis.asyncio.Redis, timeout_ms: int, identify: Command) -> None:
        """As ServerWire."""
        pool = client.connection_pool
        self._client: Final = client
        self._make: Final[Callable[..., Any]] = pool.connection_class
        self._timeout: Final = timeout_ms / 1000
        self._master: Final = _Master(pool)
        self._settings: Final = connection_settings(pool.connection_kwargs, self._timeout)
        self._identify: Final = identify
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link | StoreFailure] | None = None
        self._pool: Final[Any] = pool
        self._loop: asyncio.AbstractEventLoop | None = None

    async def round_trip(self, message: Message) -> Reply:
        """As ServerWire.round_trip."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._link, self._connecting, self._loop = None, None, loop  # a connection works only on its own event loop
        if isinstance(message, Pipeline):
            return await self._carry_pipeline(message, loop)
        link = self._link
        if link is None or not link.takes_calls or self._master.named:
            link = await self._shared_link(loop)
        call = Call(loop.create_future(), loop.time() + self._timeout)
        link.send(pack_message(message, link.server), call)
        reply = await call.answer
        if isinstance(reply, BaseException):
            raise named(_failure(reply, link), link.server)
        return reply

    async def _carry_pipeline(self, pipeline: Pipeline, loop: asyncio.AbstractEventLoop) -> list[Reply]:
        # A command that blocks, blocks its connection. It gets one of its own.
        blocks = pipeline.allow_ms > 0
        link = _made(await self._connect()) if blocks else await self._shared_link(loop)
        later_s = self._timeout + pipeline.allow_ms / 1000
        until_s = loop.time() + self._timeout
        call = Call(loop.create_future(), until_s, len(pipeline.commands), later_s)
        try:
            link.send(pack_message(pipeline, link.server), call)
            replies = await call.answer
        finally:
            if blocks:
                link.leave()
        if isinstance(replies, BaseException):
            raise _failure(replies, link)
        replies = [_failure(each, link) if isinstance(each, BaseException) else each for each in replies]
        if isinstance(replies[0], StoreUnavailable):
            raise replies[0]
        return replies

    async def _shared_link(self, loop: asyncio.AbstractEventLoop) -> Link:
        """The connection of all callers, made by the first that needs it."""
        link = self._link
        if link is not None and link.takes_calls:
            if self._master.due():
                with suppress(RedisError, OSError, TimeoutError):
                    async with asyncio.timeout(self._timeout):
                        self._master.is_now(await self._pool.get_master_address())
            if self._master.serves(link.connection):
                return link
            link.leave()
        if self._connecting is None:
            self._connecting = loop.create_task(self._connect_for_all())
        return _made(await asyncio.shield(self._connecting))  # the others go on waiting if one of them is cancelled

    async def _connect_for_all(self) -> Link | StoreFailure:
        try:
            made = await self._connect()
            if isinstance(made, Link):
                self._link = made
            return made
        finally:
            self._connecting = None

    async def _connect(self) -> Link | StoreFailure:
        connection = self._make(**self._settings)
        connected = False
        try:
            async with asyncio.timeout(_LONGEST_CONNECTING * self._timeout):
                await connection.connect()
                connected = True
                server = await _ask_async(connection, self._identify)
            connection.socket_timeout = None
            return Link(connection, server, self._timeout)
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, StoreFailure):
                return error
            if isinstance(error, ResponseError):
                return failure_of(error)
            if isinstance(error, redis.AuthenticationError):
                return refusal_of(error)
            if isinstance(error, UNREADABLE):
                return unreadable(error)
            if isinstance(error, RedisError | OSError | TimeoutError):
                late = f"no answer in {self._timeout * 1000:.0f} ms"  # as in ServerWire._connect
                return lost(error, late) if connected else StoreUnavailable(one_line(error) or late)
            raise

    async def close(self) -> None:
        """Closes the connection once no call waits for it."""
        if self._loop is not asyncio.get_running_loop():
            return
        if self._connecting is not None:
            await asyncio.shield(self._connecting)
        if self._link is not None:
            self._link.leave()
            self._link = None


def _made(link: Link | StoreFailure) -> Link:
    """The link. Raises the failure anew: each of its callers notes on it what it knows."""
    if isinstance(link, StoreFailure):
        raise copy(link)
    return link


def _failure(error: BaseException, link: Link) -> StoreFailure:
    """What an answer that is an error means. After most of them nobody else shall use the connection: a new one asks
    the sentinel for the master, and the server for the rights."""
    if isinstance(error, StoreFailure):
        return error
    if isinstance(error, ResponseError):
        failure = failure_of(error)
        if isinstance(failure, Forbidden) or not isinstance(failure, ScriptMissing | StoreError):
            link.leave()
        return failure
    link.leave()
    return refusal_of(error) if isinstance(error, redis.AuthenticationError) else lost(error)
