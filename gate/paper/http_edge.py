"""Sockets: requests in, replies out, and the faults that happen on the wire. Thin over the venue."""

from __future__ import annotations

import asyncio
import socket
import struct

import msgspec
from aiohttp import web

from gate.paper.control import control
from gate.paper.errors import MESSAGES, Code
from gate.paper.faults import Fault, FaultKind
from gate.paper.limits import banned, too_many_requests
from gate.paper.venue import Arrival, Reply, Request, Venue

_JSON = "application/json"
_TICK_S = 0.2  # how often time passes without a request
_SLOW_BODY_MS = 30_000  # how long a slow body takes unless told otherwise

# The live exchange's 503s carry a path and no code.
_TEXTS_503 = {
    FaultKind.UNKNOWN_503: "Unknown error, please check your request or try again later.",
    FaultKind.UNAVAILABLE_503: "Service Unavailable.",
    FaultKind.INTERNAL_503: "Internal error; unable to process your request. Please try again.",
}


class HttpEdge:
    """Serves a venue. All of it runs on one event loop."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._released = asyncio.Event()
        self._held = 0
        self._stopping = False
        self._none_held = asyncio.Event()
        self._none_held.set()
        self._server: asyncio.Server | None = None
        self._handler = web.Server(self._serve, access_log=None)
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port. OSError if it's taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._handler, host, port, backlog=1024)
        self._ticker = loop.create_task(self._tick())
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def stop(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        self._stopping = True
        self._released.set()
        self._handler.pre_shutdown()  # ends idle kept-alive connections, for which shutdown would wait its whole time
        await asyncio.sleep(0)
        await self._handler.shutdown(timeout=1)
        self._venue.close()

    async def release_held(self) -> int:
        """Let every held request go on, and wait until each has taken effect. Returns how many were held."""
        count = self._held
        self._released.set()
        self._released = asyncio.Event()
        await self._none_held.wait()
        return count

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._venue.tick()

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        body = await http.read()
        path, _, query = http.raw_path.partition("?")
        if path.startswith("/paper/"):
            return await self._control(http.method, path, body)
        arrival = self._venue.arrive(
            Request(
                method=http.method,
                path=path,
                query=query,
                body=body.decode(errors="replace"),
                api_key=http.headers.get("X-MBX-APIKEY"),
                address=http.remote or "",
            )
        )
        fault = self._venue.fault_for(arrival)
        if fault is None:
            return _response(self._venue.answer(arrival))
        return await self._suffer(fault, arrival, http)

    async def _control(self, method: str, path: str, body: bytes) -> web.Response:
        if (method, path) == ("POST", "/paper/release"):
            status, answer = 200, dict[str, object](released=await self.release_held())
        else:
            self._venue.tick()
            status, answer = control(self._venue, method, path, body)
            if path == "/paper/faults":
                answer["held"] = self._held
        return web.Response(body=msgspec.json.encode(answer), status=status, content_type=_JSON)

    async def _suffer(self, fault: Fault, arrival: Arrival, http: web.BaseRequest) -> web.StreamResponse:
        """Let a fault happen: the request takes effect or not as its kind says, then the answer goes its way."""
        if fault.kind is FaultKind.CLOCK_SKEW:
            return _response(self._venue.answer(arrival, fault.skew_ms))
        if fault.kind is FaultKind.DELAY:
            return await self._after_delay(fault, arrival, http)
        reply = self._venue.answer(arrival) if fault.accepts else None
        if fault.kind is FaultKind.SLOW_BODY and reply is not None:
            return await self._slow_body(fault, reply, http)
        if fault.kind in (FaultKind.ACCEPT_THEN_DROP, FaultKind.DROP_BEFORE_ACCEPT, FaultKind.RESET):
            _hang_up(http.transport, reset=fault.kind is FaultKind.RESET)
            return web.Response()
        return _broken_response(fault, arrival)

    async def _after_delay(self, fault: Fault, arrival: Arrival, http: web.BaseRequest) -> web.Response:
        await self._wait(fault.delay_ms)
        try:
            if self._stopping:  # what was held when the server stopped never takes effect
                _hang_up(http.transport, reset=False)
                return web.Response()
            return _response(self._venue.answer(arrival))
        finally:
            self._let_go()

    async def _slow_body(self, fault: Fault, reply: Reply, http: web.BaseRequest) -> web.StreamResponse:
        """Half of the body at once, the other half after the delay."""
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_type = _JSON
        response.content_length = len(reply.body)
        await response.prepare(http)
        half = len(reply.body) // 2
        await response.write(reply.body[:half])
        await self._wait(_SLOW_BODY_MS if fault.delay_ms is None else fault.delay_ms)
        self._let_go()
        await response.write(reply.body[half:])
        await response.write_eof()
        return response

    async def _wait(self, delay_ms: int | None) -> None:
        """Hold a request for a time, or until all are released."""
        self._held += 1
        self._none_held.clear()
        try:
            await asyncio.wait_for(self._released.wait(), None if delay_ms is None else delay_ms / 1_000)
        except TimeoutError:
            return

    def _let_go(self) -> None:
        self._held -= 1
        if not self._held:
            self._none_held.set()


def _response(reply: Reply) -> web.Response:
    return web.Response(body=reply.body, status=reply.status, headers=reply.headers, content_type=_JSON)


def _hang_up(transport: asyncio.Transport | None, *, reset: bool) -> None:
    """Close the connection without an answer; with a reset the client sees RST instead of an orderly end."""
    if transport is None:
        return
    if reset:
        raw: socket.socket = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()


def _broken_response(fault: Fault, arrival: Arrival) -> web.Response:
    """The answer of a fault that answers at all."""
    kind = fault.kind
    if kind in _TEXTS_503:
        body = {"timestamp": arrival.received_ms, "path": arrival.request.path, "msg": _TEXTS_503[kind]}
        return web.Response(body=msgspec.json.encode(body), status=503, content_type=_JSON)
    if kind is FaultKind.TIMEOUT_1007:
        body = {"code": int(Code.TIMEOUT), "msg": MESSAGES[Code.TIMEOUT]}
        return web.Response(body=msgspec.json.encode(body), status=408, content_type=_JSON)
    if kind is FaultKind.ERROR:
        body = {"code": fault.code, "msg": fault.msg}
        return web.Response(body=msgspec.json.encode(body), status=fault.status, content_type=_JSON)
    if kind is FaultKind.HTML_502:
        page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
        return web.Response(text=page, status=502, content_type="text/html")
    if kind is FaultKind.EMPTY_200:
        return web.Response(body=b"", status=200, content_type=_JSON)
    if kind is FaultKind.JSON_LIST:
        return web.Response(body=b"[]", status=500, content_type=_JSON)
    if kind is FaultKind.REDIRECT_302:
        return web.Response(status=302, headers={"Location": "/fapi/v1/ping"})
    if kind is FaultKind.RATE_LIMITED_429:
        refusal = too_many_requests(2_400, arrival.request.address, fault.retry_after_s)
    else:
        refusal = banned(arrival.received_ms + fault.retry_after_s * 1_000, fault.retry_after_s)
    return web.Response(
        body=msgspec.json.encode({"code": refusal.code, "msg": refusal.message}),
        status=refusal.status,
        headers={"Retry-After": str(fault.retry_after_s)},
        content_type=_JSON,
    )
