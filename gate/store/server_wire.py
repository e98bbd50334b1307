"""The wire to one server, or to whichever a sentinel names.

redis-py brings the connections: TCP, TLS, unix sockets, sentinel, authentication. Its own retries are off, since they
can't tell a command that never arrived from one whose reply was lost. Connections are kept here rather than in its
pool, which spends more time on a command than the server does.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
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

from gate.protocol.scripts import Command
from gate.store.failures import ReplyLost, ScriptMissing, failure_of, one_line, refusal_of
from gate.store.wire import DEFAULT_TIMEOUT_MS, Reply
from gate.values.errors import StoreError, StoreUnavailable

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


def _driver() -> dict[str, Any]:
    """How a connection introduces itself; redis-py would else read its own package metadata for each: 3 ms."""
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # before 7.2: read once, at import
        return {}
    return {"driver_info": DriverInfo(lib_version=redis.__version__)}


_DRIVER: Final = _driver()


def connection_settings(settings: dict[str, Any], socket_timeout: float | None) -> dict[str, Any]:
    """A pool's settings for connections, as the wire wants them: RESP2, bytes, bounded, no retries."""
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
    """A command as it goes over the wire."""
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # its stub has one-element tuples only
    return packed


def no_retries() -> Retry:
    """redis-py's own retries, switched off."""
    return Retry(NoBackoff(), 0)


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
            raise ReplyLost(one_line(error)) from None
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
            raise StoreUnavailable(one_line(error)) from None
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
            raise kind(one_line(error) or f"no answer in {self._timeout * 1000:.0f} ms") from None
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
