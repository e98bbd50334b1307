"""The wire to one server, or to the master that a sentinel names, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Any, Final

import redis
import redis.asyncio
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
from gate.store.link import Call, Link
from gate.store.unreached import unreached
from gate.store.wire import Reply
from gate.values.errors import StoreError, StoreFailure, StoreUnavailable

_CONNECTING_TIMEOUTS: Final = 10
"""Time-outs that connecting takes at most. Each wait in it has one of its own: TCP and TLS, login, database, identity.
A store that is 100 ms away needs more than one for all of them."""


class AsyncServerWire:
    """ServerWire for asyncio, on one event loop at a time. Its callers share one connection."""

    def __init__(
        self, client: redis.asyncio.Redis, timeout_ms: int, identify: Command, *, owns_client: bool = False
    ) -> None:
        """As ServerWire."""
        pool = client.connection_pool
        self._client: Final = client
        self._make: Final[Callable[..., Any]] = pool.connection_class
        self._timeout: Final = timeout_ms / 1000
        self._master: Final = Master(pool)
        self._settings: Final = connection_settings(pool.connection_kwargs, self._timeout)
        self._identify: Final = identify
        self._owns_client: Final = owns_client
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link | StoreFailure] | None = None
        self._pool: Final[Any] = pool
        self._loop: asyncio.AbstractEventLoop | None = None

    async def round_trip(self, message: Message) -> Reply:
        """As ServerWire.round_trip."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._move_to(loop)
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

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """A connection works only on its own event loop. That one closes what it had, if it ever runs again."""
        if self._link is not None and self._loop is not None:
            with suppress(RuntimeError):  # it is closed, and its connections with it
                self._loop.call_soon_threadsafe(self._link.leave)
        self._link, self._connecting, self._loop = None, None, loop

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
                with suppress(RedisError, OSError):
                    async with asyncio.timeout(self._timeout):
                        self._master.is_now(await self._pool.get_master_address())
            if self._master.serves(link.connection):
                return link
            link.leave()
        if self._connecting is None:
            # Not by the loop's factory: one that starts tasks at once may run it to its end before this is set.
            self._connecting = asyncio.Task(self._connect_for_all(), loop=loop)
        connecting = self._connecting
        try:
            return _made(await asyncio.shield(connecting))  # the others go on waiting if one of them is cancelled
        except asyncio.CancelledError:
            if not connecting.cancelled() or _is_cancelled():
                raise
            raise StoreUnavailable("the connection was closed while it was made") from None

    async def _connect_for_all(self) -> Link | StoreFailure:
        try:
            made = await self._connect()
            if isinstance(made, Link):
                if self._loop is asyncio.get_running_loop():
                    self._link = made
                else:
                    made.leave()  # another loop uses the wire by now
            return made
        finally:
            if self._connecting is asyncio.current_task():
                self._connecting = None

    async def _connect(self) -> Link | StoreFailure:
        connection = self._make(**self._settings)
        connected = False
        try:
            async with asyncio.timeout(_CONNECTING_TIMEOUTS * self._timeout):
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
            if isinstance(error, RedisError | OSError):
                late = f"no answer in {self._timeout * 1000:.0f} ms"  # as in ServerWire._connect
                return lost(error, late) if connected else unreached(error, self._settings, late)
            raise

    async def close(self) -> None:
        """Closes the connection once no call waits for it, and those to sentinels."""
        if self._loop is not asyncio.get_running_loop():
            return
        connecting = self._connecting
        try:
            if connecting is not None:
                await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting is not None and not (connecting.cancelled() and not _is_cancelled()):
                connecting.cancel()
                raise
        finally:
            if self._link is not None:
                self._link.leave()
                self._link = None
            if self._owns_client:
                await self._close_sentinels()

    async def _close_sentinels(self) -> None:
        for each in sentinels(self._pool):
            with suppress(RedisError, OSError):  # as in ServerWire.close
                await each.connection_pool.disconnect(inuse_connections=False)


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


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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
