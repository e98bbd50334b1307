"""/healthz and /metrics over HTTP.

Nobody has to say who he is, so nobody gets much of the process: few connections, for a short time. Whoever could open
any number of them would take the service's file descriptors, and with them its way to the store.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from aiohttp import web

from gate.service.metrics import CONTENT_TYPE, Metrics
from gate.service.pulse import Pulse
from gate.service.settings import Listen
from gate.service.this_machine import is_this_machine, names_this_machine

MOST_CONNECTIONS: Final = 32
_FIRST_REQUEST_S: Final = 5.0
_LONG_S: Final = 30.0
"""After this the next answer is the last one of a connection, and says so: nobody loses a request."""
_LONGEST_S: Final = 100.0
"""Then it is closed, whatever it does. No multiple of a usual time between two requests."""


def listening(at: Listen | None, pulse: Pulse, metrics: Metrics) -> AbstractAsyncContextManager[str]:
    """Serves while the block runs. Gives the address, empty for none. Raises OSError for a port that is taken."""

    def healthz() -> web.Response:
        told = pulse.told()
        return web.Response(
            status=200 if told["ok"] else 503, text=json.dumps(told) + "\n", content_type="application/json"
        )

    def figures() -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    pages = {"/healthz": healthz, "/metrics": figures}

    async def answer(request: web.BaseRequest) -> web.Response:
        # A page in a browser can point its own name to this port, and then read what is said to it.
        host = request.headers.get("Host")
        if at is not None and is_this_machine(at.host) and host is not None and not names_this_machine(host):
            return web.Response(status=403, text="Ask by a name of this machine: 127.0.0.1, localhost.\n")
        page = pages.get(request.path)
        if page is None:
            return web.Response(status=404, text=f"There are {' and '.join(pages)}.\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="Only GET.\n", headers={"Allow": "GET, HEAD"})
        return page()

    @asynccontextmanager
    async def served() -> AsyncIterator[str]:
        if at is None:
            yield ""
            return
        runner = web.ServerRunner(_FewConnections(answer), shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, at.host, at.port)
            await site.start()
            address: Any = runner.addresses[0]
            yield f"{address[0]}:{address[1]}"
        finally:
            await runner.cleanup()

    return served()


class _FewConnections(web.Server):
    """Closes those that are too many, that ask nothing, or that stay for long."""

    def __init__(self, answer: Any) -> None:
        self._have_asked: Final[set[Any]] = set()
        self._since_s: Final[dict[Any, float]] = {}
        self._ends: Final[dict[Any, tuple[asyncio.TimerHandle, ...]]] = {}

        async def noted(request: web.BaseRequest) -> web.Response:
            self._have_asked.add(request.protocol)
            response: web.Response = await answer(request)
            if time.monotonic() - self._since_s.get(request.protocol, 0.0) >= _LONG_S:
                response.force_close()
            return response

        super().__init__(noted, access_log=None, keepalive_timeout=_LONGEST_S)

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """As aiohttp's, which calls it for each new connection."""
        super().connection_made(handler, transport)
        loop = asyncio.get_running_loop()
        if len(self.connections) > MOST_CONNECTIONS:
            loop.call_soon(transport.abort)  # once aiohttp has begun: it logs an end before that as an error
            return
        self._since_s[handler] = time.monotonic()
        # Not a polite end: it would wait for a peer that reads nothing.
        self._ends[handler] = (
            loop.call_later(_FIRST_REQUEST_S, self._close_if_idle, handler, transport),
            loop.call_later(_LONGEST_S, transport.abort),
        )

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        """As aiohttp's, which calls it at the end of each."""
        self._have_asked.discard(handler)
        self._since_s.pop(handler, None)
        for end in self._ends.pop(handler, ()):
            end.cancel()
        super().connection_lost(handler, exc)

    def _close_if_idle(self, handler: Any, transport: asyncio.Transport) -> None:
        if handler not in self._have_asked:
            transport.abort()
