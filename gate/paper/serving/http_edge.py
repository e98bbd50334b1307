"""The HTTP server: reads requests, sends the venue's replies, and plays the faults of the wire."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from gate.paper.rest.answers import Answer
from gate.paper.serving.broken_answers import broken_answer
from gate.paper.serving.control import ControlError, Release, control, read
from gate.paper.serving.faults import Fault, FaultKind
from gate.paper.serving.hanging_up import hang_up
from gate.paper.serving.holding import Holds
from gate.paper.serving.loopback import is_loopback_host
from gate.paper.serving.socket_edge import SocketEdge, is_socket
from gate.paper.serving.venue import Arrival, Reply, Request, Venue

_JSON = "application/json"
_TURNS_OF_AN_ACCEPT = 3  # from a connection's arrival until the handler knows of it, and can close it
_TICK_S = 0.2  # how often due events happen when no request comes


class HttpEdge:
    """Serves a venue. All of it runs on one event loop."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self.holds = Holds()
        self._sockets = SocketEdge(venue, self.holds)
        self._stopping = False
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
        self._stopping = True
        if self._server is not None:
            # A server that is closed while it accepts a connection leaves that one open, and its transport unclosed.
            for each in self._server.sockets:
                asyncio.get_running_loop().remove_reader(each.fileno())
            for _ in range(_TURNS_OF_AN_ACCEPT):
                await asyncio.sleep(0)
            self._server.close()
        await self._sockets.stop()
        self.holds.let_go()
        await asyncio.sleep(0)
        self._handler.pre_shutdown()  # closes idle connections; shutdown would wait its full time for them
        await asyncio.sleep(0)
        await self._handler.shutdown(timeout=1)
        self._venue.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._venue.tick()
            self._sockets.tick()

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        if is_socket(http):
            return await self._sockets.serve(http)
        body = await http.read()
        path, _, query = http.raw_path.partition("?")
        if path.startswith("/paper/"):
            if strange := _strange(http):
                return web.Response(body=msgspec.json.encode({"error": strange}), status=403, content_type=_JSON)
            return await self._control(http.method, path, query.encode() if http.method == "GET" else body)
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
            return self._answered(arrival)
        return await self._suffer(fault, arrival, http)

    def _answered(self, arrival: Arrival, skew_ms: int = 0, *, self_trade: bool = False) -> web.Response:
        """The answer of now. aiohttp writes it before the loop turns; then its events are made."""
        reply = self._venue.answer_first(arrival, skew_ms, self_trade=self_trade)
        asyncio.get_running_loop().call_soon(self._venue.hub.tell)
        return _response(reply)

    async def _control(self, method: str, path: str, body: bytes) -> web.Response:
        if (method, path) == ("POST", "/paper/release"):
            status, answer = await self._release(body)
        else:
            self._venue.tick()
            status, answer = control(self._venue, method, path, body)
            if path == "/paper/faults":
                answer["held"], answer["late"] = len(self.holds), self._venue.late
        return web.Response(body=msgspec.json.encode(answer), status=status, content_type=_JSON)

    async def _release(self, body: bytes) -> tuple[int, Answer]:
        try:
            wanted = read(body, Release)
            await self.holds.wait_for(wanted.at_least)
        except ControlError as problem:
            return 400, {"error": str(problem)}
        except TimeoutError:
            return 400, {"error": f"at_least: {len(self.holds)} requests are held"}
        return 200, {"released": await self.holds.release()}

    async def _suffer(self, fault: Fault, arrival: Arrival, http: web.BaseRequest) -> web.StreamResponse:
        """Play a fault: the request takes effect if the fault accepts it; then the client gets the fault's answer."""
        if fault.kind is FaultKind.CLOCK_SKEW:
            return self._answered(arrival, fault.skew_ms)
        if fault.kind is FaultKind.EXPIRED_IN_MATCH:
            return self._answered(arrival, self_trade=True)
        if fault.kind is FaultKind.DELAY:
            return await self._after_delay(fault, arrival, http)
        reply = None
        if fault.late_ms is not None:
            self._venue.answer_late(arrival, fault.late_ms)
        elif fault.accepts:
            reply = self._venue.answer(arrival)
        if fault.kind is FaultKind.LATE_ANSWER and reply is not None:
            async with self.holds.hold(fault.delay_ms):
                return _response(reply)
        if fault.kind is FaultKind.SLOW_BODY and reply is not None:
            return await self._slow_body(fault, reply, http)
        if fault.kind in (FaultKind.ACCEPT_THEN_DROP, FaultKind.DROP_BEFORE_ACCEPT, FaultKind.RESET):
            hang_up(http.transport, reset=fault.kind is FaultKind.RESET)
            return web.Response()
        return _broken_response(fault, arrival)

    async def _after_delay(self, fault: Fault, arrival: Arrival, http: web.BaseRequest) -> web.Response:
        async with self.holds.hold(fault.delay_ms):
            if self._stopping:  # a request that was held when the server stopped never takes effect
                hang_up(http.transport, reset=False)
                return web.Response()
            return self._answered(arrival)

    async def _slow_body(self, fault: Fault, reply: Reply, http: web.BaseRequest) -> web.StreamResponse:
        """Sends half of the body at once, and the other half after the delay or the release."""
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_type = _JSON
        response.content_length = len(reply.body)
        await response.prepare(http)
        half = len(reply.body) // 2
        await response.write(reply.body[:half])
        async with self.holds.hold(fault.delay_ms):
            await response.write(reply.body[half:])
            await response.write_eof()
        return response


def _strange(http: web.BaseRequest) -> str:
    """Why a control request comes from a page in a browser; empty where it doesn't. Whoever can ask without one may."""
    if "Origin" in http.headers:
        return "the request has an Origin: pages in a browser don't control the paper exchange"
    hosts = http.headers.getall("Host", [])
    if len(hosts) != 1 or not is_loopback_host(hosts[0]):
        return "the Host isn't loopback: ask 127.0.0.1, ::1 or localhost"
    return ""


def _response(reply: Reply) -> web.Response:
    return web.Response(body=reply.body, status=reply.status, headers=reply.headers, content_type=_JSON)


def _broken_response(fault: Fault, arrival: Arrival) -> web.Response:
    broken = broken_answer(fault, arrival)
    return web.Response(
        body=broken.body, status=broken.status, headers=broken.headers, content_type=broken.content_type
    )
