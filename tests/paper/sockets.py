"""A plain WebSocket on a paper exchange, as a test reads it: event by event, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import requests

from gate.paper import PaperExchange

PATIENCE_S = 10

Json = dict[str, Any]


def listen_key(paper: PaperExchange, method: str = "POST", number: int = 0) -> requests.Response:
    headers = {"X-MBX-APIKEY": paper.accounts[number].key}
    return requests.request(method, f"{paper.futures_url}/v1/listenKey", headers=headers, timeout=5)


def new_key(paper: PaperExchange, number: int = 0) -> str:
    return str(listen_key(paper, number=number).json()["listenKey"])


class Line:
    """One connection. `next` skips nothing: a test names every event that it expects."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> Json:
        text = await asyncio.wait_for(self.socket.receive_str(), PATIENCE_S)
        return msgspec.json.decode(text, type=Json)

    async def until(self, name: str) -> Json:
        """The next event of this name."""
        while True:
            event = await self.next()
            if event.get("e") == name:
                return event

    async def names(self, count: int) -> list[str]:
        return [_name(await self.next()) for _ in range(count)]

    async def ask(self, method: str, *params: object, number: int = 1) -> Json:
        await self.socket.send_json({"method": method, "params": list(params), "id": number})
        return await self.next()

    async def ended(self) -> int | None:
        """Wait for the connection's end, and return its code."""
        message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
        return int(message.data) if message.type is aiohttp.WSMsgType.CLOSE else self.socket.close_code

    async def alive(self, payload: bytes = b"?") -> bool:
        """Whether a ping is answered. Every event before the answer is lost to the test."""
        await self.socket.ping(payload)
        while True:
            message = await self.socket.receive(timeout=PATIENCE_S)
            if message.type is aiohttp.WSMsgType.PONG:
                return bool(message.data == payload)
            if message.type is not aiohttp.WSMsgType.TEXT:
                return False


def _name(event: Json) -> str:
    return str(event.get("e") or event.get("stream") or event)


@asynccontextmanager
async def connected(paper: PaperExchange, path: str) -> AsyncIterator[Line]:
    address = paper.socket_url + path
    async with aiohttp.ClientSession() as session, session.ws_connect(address, autoping=False) as socket:
        yield Line(socket)


@asynccontextmanager
async def user_stream(paper: PaperExchange, number: int = 0) -> AsyncIterator[Line]:
    async with connected(paper, f"/private/ws?listenKey={new_key(paper, number)}") as line:
        yield line
