"""The wire to one server, or to the master that a sentinel names.

redis-py makes the connections: TCP, TLS, unix sockets, sentinel, authentication. Its own retries are off: they can't
tell a command that never arrived from one whose reply was lost. The wire keeps the connections itself, since
redis-py's pool spends more time on a command than the server does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis
from redis.exceptions import RedisError, ResponseError

from gate.protocol.scripts import Command, Message, Pipeline
from gate.store.connection import Master, connection_settings, pack, pack_message, sentinels
from gate.store.failures import (
    UNREADABLE,
    Forbidden,
    ScriptMissing,
    failure_of,
    lost,
    refusal_of,
    unreadable,
)
from gate.store.identity import ask_identity, named
from gate.store.link import BlockingLink
from gate.store.replies import keeps_connection, read_replies
from gate.store.unreached import unreached
from gate.store.wire import Reply
from gate.values.errors import StoreError, StoreFailure, StoreUnavailable


class ServerWire:
    """A wire to one server, or to the master that a sentinel names. Safe for many threads, and across a fork."""

    def __init__(self, client: redis.Redis, timeout_ms: int, identify: Command, *, owns_client: bool = False) -> None:
        """`identify`: the command that asks a server who it is, sent first on each connection. `owns_client`: whether
        the client is made for the wire, which closes its connections to sentinels then."""
        pool = client.connection_pool
        self._client: Final = client  # keeps its pool alive, which sentinel connections ask
        self._make: Final[Callable[..., Any]] = pool.connection_class
        self._timeout: Final = timeout_ms / 1000
        self._settings: Final = connection_settings(pool.connection_kwargs, self._timeout)
        self._identify: Final = identify
        self._owns_client: Final = owns_client
        self._idle: deque[BlockingLink] = deque()
        self._pid = os.getpid()
        self._pool: Final[Any] = pool
        self._master: Final = Master(pool)

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
            self._close_idle()  # the server has dropped the idle connections too; the replay needs a fresh one
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
            raise (lost(error) if connected else unreached(error, self._settings)) from None
        except BaseException:
            connection.disconnect()
            raise

    def close(self) -> None:
        """Closes every idle connection, and those to sentinels. A connection in use stays open until its call ends."""
        self._close_idle()
        if self._owns_client:
            for each in sentinels(self._pool):
                with suppress(RedisError, OSError):  # a connection that breaks while it is closed is closed
                    each.connection_pool.disconnect(inuse_connections=False)

    def _close_idle(self) -> None:
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
