"""The WebSocket server: connections, what they subscribe to, and their end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from gate.paper.rest.answers import error_body
from gate.paper.rest.socket_methods import PATH
from gate.paper.serving.holding import Holds
from gate.paper.serving.socket_api import SocketApi
from gate.paper.serving.socket_line import SocketLine
from gate.paper.serving.stream_talk import StreamTalk
from gate.paper.serving.venue import Venue
from gate.paper.streams.paths import is_stream_path, wanted_by

_LIFETIME_MS = 24 * 60 * 60_000
_PING_EVERY_MS = 3 * 60_000
_PATIENCE_S = 10 * 60  # for the answer to a ping, in real time
_CLOSING_S = 1  # how long the client may take to say goodbye
_LONGEST_MESSAGE = 1024 * 1024


def is_socket(http: web.BaseRequest) -> bool:
    return http.headers.get("Upgrade", "").lower() == "websocket" and (http.path == PATH or is_stream_path(http.path))


class SocketEdge:
    """Every WebSocket of a server. All of it runs on the server's loop."""

    def __init__(self, venue: Venue, holds: Holds) -> None:
        self._venue = venue
        self._holds = holds
        self._open: set[_Connection] = set()

    async def serve(self, http: web.BaseRequest) -> web.StreamResponse:
        refusal = self._venue.shake_hands(http.remote or "") if http.path == PATH else None
        if refusal is not None:
            return web.json_response(error_body(refusal), status=refusal.status)
        socket = web.WebSocketResponse(
            timeout=_CLOSING_S, autoping=False, max_msg_size=_LONGEST_MESSAGE, compress=False
        )
        await socket.prepare(http)
        connection = _Connection(self._venue, self._holds, socket, http)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
        return socket

    def tick(self) -> None:
        """Ping when it is time, and end what has lived too long or doesn't answer."""
        for connection in tuple(self._open):
            connection.tick()

    async def stop(self) -> None:
        await asyncio.gather(*(connection.close() for connection in tuple(self._open)))


class _Connection:
    def __init__(self, venue: Venue, holds: Holds, socket: web.WebSocketResponse, http: web.BaseRequest) -> None:
        self._venue = venue
        self._socket = socket
        line = SocketLine(socket, http.transport, venue.faults, holds, self._expire_key)
        self._line = line
        if http.path == PATH:
            self._inside: SocketApi | StreamTalk = SocketApi(venue, line, holds, http.remote or "")
        else:
            self._inside = StreamTalk(venue.hub, line, wanted_by(http.path, http.query_string))
        self._opened_ms = self._pinged_ms = venue.clock.now_ms()
        self._unanswered_since_s: int | None = None
        self._closing: asyncio.Task[bool] | None = None

    async def run(self) -> None:
        line = asyncio.create_task(self._line.run())
        try:
            async for message in self._socket:
                if message.type is WSMsgType.PING:
                    self._line.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    self._unanswered_since_s = None
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._inside.hear(message.data.encode() if isinstance(message.data, str) else message.data)
        finally:
            self._inside.end()
            line.cancel()
            with suppress(asyncio.CancelledError):
                await line
            if self._closing is not None:  # the connection may only end after its goodbye
                await self._closing

    def tick(self) -> None:
        now_ms, now_s = self._venue.clock.now_ms(), int(asyncio.get_running_loop().time())
        old = now_ms - self._opened_ms >= _LIFETIME_MS
        dead = self._unanswered_since_s is not None and now_s - self._unanswered_since_s > _PATIENCE_S
        if old or dead:
            self._begin_closing()
        elif now_ms - self._pinged_ms >= _PING_EVERY_MS:
            self._pinged_ms = now_ms
            self._unanswered_since_s = self._unanswered_since_s or now_s
            self._line.ping()

    async def close(self) -> None:
        await self._begin_closing()

    def _begin_closing(self) -> asyncio.Task[bool]:
        if self._closing is None:
            self._closing = asyncio.create_task(self._socket.close(code=WSCloseCode.GOING_AWAY))
        return self._closing

    def _expire_key(self, stream: str) -> None:
        account = self._venue.hub.account_of(stream)
        if account is not None:
            account.expire_listen_key(self._venue.clock.now_ms(), at_once=True)
