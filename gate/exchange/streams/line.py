"""One WebSocket to the exchange: it hands on every text, and knows when it last proved that it lives.

aiohttp's own client, not python-binance's BinanceSocketManager: see docs/decisions/streams-by-own-connections.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

PING_EVERY_S: Final = 0.7
"""Two may be lost within the two seconds in which a connection must prove that it lives. The exchange allows ten
messages a second."""
SILENT_S: Final = 3.0
"""A connection that has answered nothing for so long is given up."""
_OPENING_S: Final = 5.0
_GOODBYE_S: Final = 0.2
_LARGEST: Final = 1024 * 1024
"""Bytes of a message."""


class LineEnded(Exception):
    """The connection couldn't be made, or has ended."""


class Line:
    """A connection that is made once. `run` it; `heard` gets the texts."""

    def __init__(self, session: ClientSession, address: str, heard: Callable[[str], None]) -> None:
        self._session: Final = session
        self._address: Final = address
        self._heard: Final = heard
        self._socket: ClientWebSocketResponse | None = None
        self._asked: dict[bytes, int] = {}
        self._number = 0
        self._opened_ns = 0
        self._end: asyncio.Event = asyncio.Event()
        self._why = ""
        self.proof_ns: int | None = None
        """When the last ping was sent that has been answered: the connection was alive after that."""

    @property
    def is_open(self) -> bool:
        """Whether it has been made, and isn't known to be over."""
        return self._socket is not None and not self._socket.closed

    async def run(self, opened: Callable[[], None]) -> None:
        """Until the connection ends. Raises LineEnded, and whatever `heard` raises."""
        from aiohttp import ClientError

        try:
            async with asyncio.timeout(_OPENING_S):
                # Without autoping, so that the answers to our own pings show.
                socket = await self._session.ws_connect(self._address, autoping=False, max_msg_size=_LARGEST)
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            # Without its text: the address in it holds the listen key.
            status = getattr(error, "status", None)
            raise LineEnded(type(error).__name__ + ("" if status is None else f" {status}")) from None
        self._socket, self._opened_ns = socket, time.monotonic_ns()
        tasks = [asyncio.create_task(self._read(socket)), asyncio.create_task(self._ping(socket))]
        tasks.append(asyncio.create_task(self._wait_for_end()))
        try:
            opened()
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # looked at, so that asyncio doesn't log it
            # A server that is silent says no goodbye either.
            with suppress(Exception):
                async with asyncio.timeout(_GOODBYE_S):
                    await socket.close()

    def end(self, why: str) -> None:
        """Ends the connection soon: `run` raises LineEnded with this text."""
        self._why = self._why or why
        self._end.set()

    async def _wait_for_end(self) -> None:
        await self._end.wait()
        raise LineEnded(self._why)

    async def say(self, text: str) -> None:
        """Sends a text; on a connection that is over, nothing."""
        if self._socket is not None and not self._socket.closed:
            with suppress(ConnectionError):
                await self._socket.send_str(text)

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        from aiohttp import WSMsgType

        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._heard(message.data)
            elif message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._answered(bytes(message.data))
            else:
                raise LineEnded(f"a message of another kind: {message.type.name}")
        raise LineEnded(f"closed with {socket.close_code}")

    def _answered(self, payload: bytes) -> None:
        """A peer may answer the latest of several pings alone, and so all of them."""
        sent_ns = self._asked.get(payload)
        if sent_ns is not None:
            self.proof_ns = max(sent_ns, self.proof_ns or 0)
            self._asked = {number: at_ns for number, at_ns in self._asked.items() if at_ns > sent_ns}

    async def _ping(self, socket: ClientWebSocketResponse) -> None:
        while True:
            now_ns = time.monotonic_ns()
            if now_ns - (self.proof_ns or self._opened_ns) > SILENT_S * 1e9:
                raise LineEnded("silent")
            self._number += 1
            payload = self._number.to_bytes(8, "big")
            self._asked[payload] = now_ns
            # A full buffer must not stop the watch over the silence; the end of the connection shows where it is read.
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(PING_EVERY_S):
                    await socket.ping(payload)
            await asyncio.sleep(PING_EVERY_S)
