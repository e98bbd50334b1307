"""Streams that send what no exchange would: no figure comes of it, nothing breaks, no listen key gets into a log."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web

from gate.exchange.address import exchange_address, socket_address
from gate.exchange.binance import BinanceFutures
from gate.paper import Account, PaperExchange
from tests.exchange.streams.conftest import SYMBOL, figures, until

MB = 1024 * 1024
KEY = "x" * 64
ORDER = (
    '{"e":"ORDER_TRADE_UPDATE","E":%s,"T":%s,"o":{"s":"BTCUSDT","c":"%s","S":"BUY","X":"NEW","x":"NEW","q":"%s",'
    '"p":"1","z":"0","l":"0","i":1,"ps":"BOTH","R":false,"cp":false}}'
)
TEXTS = {
    "no JSON": "<html>",
    "a list": "[]",
    "a number": "1e999",
    "depth": "[" * 100_000,
    "no shape": '{"e":"ORDER_TRADE_UPDATE","o":7}',
    "no moment": ORDER % ("0", "0", "mine", "1"),
    "a moment of text": ORDER % ('"x"', '"x"', "mine", "1"),
    "infinity": ORDER % ("1", "1", "mine", "Infinity"),
    "an exponent": ORDER % ("1", "1", "mine", "1e999999999"),
    "an account of nothing": '{"e":"ACCOUNT_UPDATE","T":1,"a":{"B":[{"a":"USDT","cw":"NaN"}]}}',
    "a lone surrogate": '{"e":"ACCOUNT_UPDATE","T":1,"a":{"m":"\\ud800","B":7}}',
}


class Between:
    """Passes requests on to a paper exchange, and answers on the streams itself."""

    def __init__(self, paper: PaperExchange) -> None:
        self._paper = paper
        self.url = ""
        self.opened = 0
        self.elsewhere = 0
        self.redirects = False
        self.says: list[str | bytes] = []

    async def rest(self, request: web.Request) -> web.Response:
        if request.path == "/fapi/v1/listenKey":
            return web.json_response({"listenKey": KEY})
        body = await request.read()
        async with (
            ClientSession() as session,
            session.request(
                request.method, self._paper.url + request.raw_path, data=body, headers=_kept(request)
            ) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        if self.redirects:
            raise web.HTTPFound(f"{self.url}/elsewhere")
        self.opened += 1
        socket = web.WebSocketResponse(max_msg_size=MB)
        await socket.prepare(request)
        if request.path.startswith("/private"):
            for text in self.says:
                await (socket.send_str(text) if isinstance(text, str) else socket.send_bytes(text))
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
        return socket

    async def other(self, request: web.Request) -> web.StreamResponse:
        self.elsewhere += 1
        return web.Response()


def _kept(request: web.Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name in ("X-MBX-APIKEY", "Content-Type")}


@pytest.fixture
def paper() -> Iterator[PaperExchange]:
    with PaperExchange(accounts=[Account(balance="10000")], limits=None) as paper:
        yield paper


@pytest.fixture
async def between(paper: PaperExchange) -> AsyncIterator[Between]:
    between = Between(paper)
    app = web.Application()
    app.router.add_get("/private/ws", between.stream)
    app.router.add_get("/market/ws", between.stream)
    app.router.add_get("/elsewhere", between.other)
    app.router.add_route("*", "/{rest:.*}", between.rest)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    between.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield between
    await runner.cleanup()


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, "gate"):
        yield caplog
    assert KEY not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_no_text_breaks_it(text: str, between: Between, paper: PaperExchange) -> None:
    between.says = [text]
    gaps: list[int] = []
    async with BinanceFutures(paper.key, paper.secret, base_url=between.url) as exchange:
        exchange.on_gap(lambda: gaps.append(1))
        await until(lambda: len(gaps) >= 2)  # it has opened, and then something didn't fit
        assert exchange.live(SYMBOL) is None
        assert (await exchange.account()).available["USDT"] == 10_000
        assert between.opened >= 1


@pytest.mark.parametrize("message", [b"{}", "x" * (MB + 1)], ids=["bytes", "too long"])
async def test_other_messages_end_the_connection(message: str | bytes, between: Between, paper: PaperExchange) -> None:
    between.says = [message]
    async with BinanceFutures(paper.key, paper.secret, base_url=between.url) as exchange:
        await until(lambda: between.opened >= 2)
        assert exchange.live(SYMBOL) is None


async def test_a_redirect_is_not_followed(
    between: Between, paper: PaperExchange, log: pytest.LogCaptureFixture
) -> None:
    between.redirects = True
    async with BinanceFutures(paper.key, paper.secret, base_url=between.url):
        await until(lambda: "redirected" in log.text)
    assert between.elsewhere == 0


async def test_a_raising_listener_stops_no_figure(paper: PaperExchange, log: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the listener's own")

    async with BinanceFutures(paper.key, paper.secret, base_url=paper.url) as exchange:
        exchange.on_gap(broken)
        assert await figures(exchange)
    assert "LISTENER FAILED" in log.text
    log.clear()


@pytest.mark.parametrize(
    ("base_url", "socket"),
    [
        ("https://fapi.example", "wss://fapi.example"),
        ("https://fapi.example/fapi", "wss://fapi.example"),
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000"),
    ],
)
def test_streams_are_encrypted_where_requests_are(base_url: str, socket: str) -> None:
    assert socket_address(exchange_address(base_url)) == socket
