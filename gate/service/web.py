"""/healthz and /metrics over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aiohttp import web

from gate.service.metrics import CONTENT_TYPE, Metrics
from gate.service.pulse import Pulse
from gate.service.settings import Listen


def listening(at: Listen | None, pulse: Pulse, metrics: Metrics) -> AbstractAsyncContextManager[str]:
    """Serves while the block runs. Gives the address, empty for none. Raises OSError for a port that is taken."""

    async def healthz(_: web.Request) -> web.Response:
        told = pulse.told()
        return web.Response(
            status=200 if told["ok"] else 503, text=json.dumps(told) + "\n", content_type="application/json"
        )

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @asynccontextmanager
    async def served() -> AsyncIterator[str]:
        if at is None:
            yield ""
            return
        app = web.Application()
        app.add_routes([web.get("/healthz", healthz), web.get("/metrics", figures)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, at.host, at.port, shutdown_timeout=1.0)
            await site.start()
            address: Any = runner.addresses[0]
            yield f"{address[0]}:{address[1]}"
        finally:
            await runner.cleanup()

    return served()
