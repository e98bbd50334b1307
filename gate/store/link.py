"""Connections that redis-py has made, and that the wire speaks to directly: one for one blocking caller at a time, or
one that many asyncio callers share.

Commands go out as they come, and the server answers in the same order: so each call has a place in a queue, and needs
no connection of its own, no lock and no task. A call that is cancelled, or waits for too long, keeps its place; the
reply is dropped there.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis.exceptions import InvalidResponse, RedisError

from gate.store.failures import UNREADABLE, ReplyLate, ReplyLost, one_line, unreadable
from gate.store.wire import Reply
from gate.values.errors import StoreFailure, StoreUnavailable

_MORE: Final = object()
"""What the parser gives while a reply isn't whole."""
_READ_AT_ONCE: Final = 65_536
_MOST_UNSENT: Final = 16 * 1024 * 1024
"""The most bytes that wait for a server which doesn't read. Further calls fail at once."""
_SENT_AT_ONCE: Final = 16
"""The most calls that share a system call. More would leave a server with a processor of its own idle, while the
callers of one turn of the loop prepare theirs: with 64 of them a third of the time. Fewer wake it too often: with 8, a
call takes the two of them 4 % more time. A server that has nothing to do gets the first call alone, then two, four and
eight: a call takes it about twice as long as it takes a caller to prepare the next."""
_READS_OF_A_REPLY: Final = 20
"""A blocking caller waits for a reply that comes piece by piece as long as for so many single reads. A large one may
need that on a slow line; a server that sends a byte now and then would hold its caller for ever."""
_EARLY_S: Final = 0.001
"""An event loop's timer may go off that much early."""
_CLOSED: Final = "the server closed the connection"


def _parser(connection: Any) -> hiredis.Reader:
    """What reads replies. An error's reply becomes redis-py's exception, not raised."""
    return hiredis.Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_MORE)


class BlockingLink:
    """A connection that redis-py has made, for one caller at a time. Its socket is spoken to directly: through redis-py
    an evaluation takes two or three of seventy microseconds more, and each reply to a pipeline ten times as long."""

    def __init__(self, connection: Any, server: str) -> None:
        """Takes a connection over after its handshake. `server`: its server's word."""
        self.connection: Final = connection
        self.server: Final = server
        self._socket: Final = connection._sock
        self._parser: Final = _parser(connection)
        self._read: Final = bytearray(_READ_AT_ONCE)
        self._longest_s: Final = _READS_OF_A_REPLY * (connection.socket_timeout or math.inf)

    def send(self, packed: bytes) -> None:
        """Raises OSError."""
        self._socket.sendall(packed)

    def receive(self) -> Reply:
        """The next reply. Raises RedisError for one that is an error, OSError, and UNREADABLE."""
        give_up_s = 0.0
        while (reply := self._parser.gets(False)) is _MORE:
            if not give_up_s:
                give_up_s = time.monotonic() + self._longest_s
            elif time.monotonic() > give_up_s:
                raise TimeoutError(f"the reply isn't whole after {self._longest_s:g} s")
            count = self._socket.recv_into(self._read)
            if not count:
                raise ConnectionError(_CLOSED)
            self._parser.feed(self._read, 0, count)  # type: ignore[arg-type]  # its stub has texts and bytes only
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def close(self) -> None:
        self.connection.disconnect()


class Call:
    """One message under way: its place in the queue of replies."""

    __slots__ = ("_awaits", "_replies", "answer", "later_s", "until_s")

    def __init__(self, answer: asyncio.Future[Any], until_s: float, awaits: int = 0, later_s: float = 0) -> None:
        """`until_s`: the loop's time at which the caller gives up. `awaits`: of a pipeline, how many replies there will
        be, which come as a list; `later_s`: how long it waits for the others once the first is there."""
        self.answer: Final = answer
        """Its result is the reply, or the error that stands for it. It never raises: nobody may be left to hear."""
        self.until_s = until_s
        self.later_s: Final = later_s
        self._awaits: Final = awaits
        self._replies: Final[list[Reply]] = []

    def hears(self, reply: Reply, clock: Callable[[], float]) -> bool:
        """Takes the next reply. Whether it was the last one."""
        if not self._awaits:
            if not self.answer.done():
                self.answer.set_result(reply)
            return True
        self._replies.append(reply)
        if len(self._replies) == 1:
            self.until_s = clock() + self.later_s
        if len(self._replies) < self._awaits:
            return False
        if not self.answer.done():
            self.answer.set_result(self._replies)
        return True

    def fails(self, failure: StoreFailure) -> None:
        """No further reply comes. A pipeline keeps what has come."""
        if not self.answer.done():
            missing = self._awaits - len(self._replies)
            self.answer.set_result([*self._replies, *[failure] * missing] if self._replies else failure)


class Link(asyncio.BufferedProtocol):
    """A connection that redis-py has made, and its queue of calls."""

    def __init__(self, connection: Any, server: str, timeout_s: float) -> None:
        """Takes a connection over after its handshake. `server`: its server's word. Raises ReplyLost if it is lost."""
        self.connection: Final = connection
        self.server: Final = server
        self.takes_calls = True
        """False once the connection is lost, or left. Calls under way may still get their replies."""
        # The stream writer closes its transport when it is collected, so it is kept.
        self._writer: Final = connection._writer
        self._transport: Final = self._writer.transport
        if self._transport.is_closing() or connection._reader.at_eof():
            raise ReplyLost(_CLOSED)
        connection._writer = connection._reader = None
        self._loop: Final = asyncio.get_running_loop()
        self._parser: Final = _parser(connection)
        self._read: Final = memoryview(bytearray(_READ_AT_ONCE))  # asyncio's TLS writes to slices of it
        self._calls: Final[deque[Call]] = deque()
        self._unsent: Final[list[bytes]] = []
        self._together = _SENT_AT_ONCE
        """How many calls share the next system call."""
        self._full = False
        self._late: Final = f"no answer in {timeout_s * 1000:.0f} ms"
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._transport.set_protocol(self)

    def send(self, packed: bytes, call: Call) -> None:
        """Sends a message. Raises ReplyLost for a connection that is lost or left, StoreUnavailable where too much is
        unsent already; then nothing was sent."""
        calls, unsent = self._calls, self._unsent
        if not self.takes_calls:
            raise ReplyLost(_CLOSED)
        if self._full and sum(map(len, unsent)) > _MOST_UNSENT:
            raise StoreUnavailable("the store reads nothing, and too many calls wait for it already")
        calls.append(call)
        if unsent:
            unsent.append(packed)
            if len(unsent) >= self._together:
                self._together = min(2 * self._together, _SENT_AT_ONCE)
                self._send_all()
        elif len(calls) == 1 and not self._full:
            self._transport.write(packed)
            self._together = 2
        else:
            # What others send in this turn of the loop goes along.
            unsent.append(packed)
            self._loop.call_soon(self._send_all)
        if self._timer is None or call.until_s < self._timer_s:
            self._wake_at(call.until_s)

    def _send_all(self) -> None:
        if self._unsent and not self._full:
            packed = b"".join(self._unsent)
            self._unsent.clear()
            self._transport.write(packed)

    def leave(self) -> None:
        """Takes no further calls, and closes the connection once none waits for it."""
        self.takes_calls = False
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if all(call.answer.done() for call in self._calls):
            self._close()

    def _close(self) -> None:
        self.takes_calls = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport.is_closing():
            return
        if self._unsent or self._transport.get_write_buffer_size():
            self._transport.abort()  # who doesn't read would hold it open
        else:
            self._transport.close()

    def _lost(self, why: str) -> None:
        """Nothing further can be read. The store may have run all that was sent."""
        self._close()
        while self._calls:
            self._calls.popleft().fails(ReplyLost(why))

    # The timer is for the call that gives up first, so that a call in time costs none.

    def _wake_at(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_s = self._loop.call_at(at_s, self._give_up), at_s

    def _give_up(self) -> None:
        """Ends the calls whose time is over. The replies to the others may still come, but the server is slow, or the
        connection is dead: nobody else shall wait for it."""
        self._timer = None
        now_s = self._loop.time() + _EARLY_S
        late = [call for call in self._calls if call.until_s <= now_s]
        for call in late:
            call.fails(ReplyLate(self._late))
            self.takes_calls = False
        if late:
            self._close_if_idle()
        waiting = [call.until_s for call in self._calls if call.until_s > now_s]
        if waiting and not self._transport.is_closing():
            self._wake_at(min(waiting))

    # What the event loop calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._parser.feed(self._read, 0, nbytes)  # type: ignore[arg-type]  # its stub has texts and bytes only
            while (reply := self._parser.gets(False)) is not _MORE:
                if not self._calls:
                    return self._lost("the server answers what nobody has asked")
                if self._calls[0].hears(reply, self._loop.time):
                    self._calls.popleft()
        except UNREADABLE as error:
            if self._calls:
                self._calls.popleft().fails(unreadable(error))
            return self._lost(one_line(error))
        if not self.takes_calls:
            self._close_if_idle()
        return None

    def eof_received(self) -> None:
        """Nothing to keep open: the loop closes the transport."""

    def connection_lost(self, error: Exception | None) -> None:
        self._lost((error and one_line(error)) or _CLOSED)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send_all()
