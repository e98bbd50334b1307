"""The service's port tells how it is, and takes nothing from it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from gate.service import web
from gate.service.metrics import Metrics
from gate.service.pulse import Pulse
from gate.service.settings import Listen

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """A port that is served, and the connections to it."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self._open: list[asyncio.StreamWriter] = []

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open.append(writer)
        return reader, writer

    def close(self) -> None:
        for each in self._open:
            each.close()

    async def ask(self, path: str = "/healthz", *, host: str = "localhost", method: str = "GET") -> tuple[int, str]:
        return await asked(await self.connect(), path, host=host, method=method)


async def asked(
    streams: Streams, path: str = "/healthz", *, host: str = "localhost", method: str = "GET"
) -> tuple[int, str]:
    reader, writer = streams
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    [length] = [int(line.split()[1]) for line in head.splitlines() if line.lower().startswith("content-length")]
    return int(head.split()[1]), (await reader.readexactly(length)).decode()


async def ended(streams: Streams) -> bool:
    """Whether the other side closes the connection, without a word."""
    async with asyncio.timeout(10):
        try:
            return await streams[0].read(1) == b""
        except ConnectionError:
            return True


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def served(stack: AsyncExitStack, host: str = "127.0.0.1") -> Port:
    pulse = Pulse("worker-1", "quantum", "quantum:stream:trade.intent", "group")
    address = await stack.enter_async_context(web.listening(Listen(host, 0), pulse, Metrics(pulse)))
    port = Port(address)
    stack.callback(port.close)
    return port


async def test_it_tells_how_the_service_is_and_its_figures(stack: AsyncExitStack) -> None:
    port = await served(stack)
    code, told = await port.ask()
    assert (code, json.loads(told)["prefix"]) == (503, "quantum")  # it has read nothing yet
    code, figures = await port.ask("/metrics")
    assert (code, "gate_in_hand" in figures) == (200, True)
    assert await port.ask("/elsewhere") == (404, "There are /healthz and /metrics.\n")
    assert await port.ask(method="POST") == (405, "Only GET.\n")


async def test_connections_that_are_too_many_are_closed_and_those_before_them_are_not(stack: AsyncExitStack) -> None:
    port = await served(stack)
    few = [await port.connect() for _ in range(web.MOST_CONNECTIONS)]
    assert (await asked(few[0], "/metrics"))[0] == 200
    assert await ended(await port.connect())
    assert (await asked(few[-1], "/metrics"))[0] == 200
    assert (await asked(few[1], "/metrics"))[0] == 200
    few[1][1].close()
    while True:  # until its end is heard there
        try:
            assert (await port.ask("/metrics"))[0] == 200
            break
        except (asyncio.IncompleteReadError, ConnectionError):
            await asyncio.sleep(0)


async def test_a_connection_that_asks_nothing_is_closed(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_FIRST_REQUEST_S", 0.0)
    assert await ended(await (await served(stack)).connect())


async def test_a_connection_that_has_asked_may_ask_again(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_FIRST_REQUEST_S", 0.2)
    port = await served(stack)
    streams = await port.connect()
    assert (await asked(streams, "/metrics"))[0] == 200
    assert await ended(await port.connect())  # made later, and closed for its silence
    assert (await asked(streams, "/metrics"))[0] == 200


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"], ids=["between two", "within one"])
async def test_a_connection_is_not_kept_for_long(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    port = await served(stack)  # it keeps a connection for longer between two requests
    monkeypatch.setattr(web, "_LONGEST_S", 0.3)
    streams = await port.connect()
    assert (await asked(streams, "/metrics"))[0] == 200
    streams[1].write(begun)
    assert await ended(streams)


async def test_a_peer_that_reads_nothing_is_not_kept_for_long_either(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_LONGEST_S", 0.5)
    reader, writer = await (await served(stack)).connect()
    reader._transport.pause_reading()  # type: ignore[attr-defined]  # the stub hides it
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000)
    with pytest.raises(ConnectionError):  # noqa: PT012  # which of them
        async with asyncio.timeout(10):
            while True:
                writer.write(b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)


async def test_what_a_connection_took_is_given_back_at_its_end_and_a_refusal_is_no_error(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems, timers = list[object](), list[asyncio.TimerHandle]()
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    server: list[web._FewConnections] = []
    made = web._FewConnections.__init__

    def noted(self: web._FewConnections, answer: object) -> None:
        server.append(self)
        made(self, answer)

    monkeypatch.setattr(web._FewConnections, "__init__", noted)
    port = await served(stack)
    for _ in range(3):
        many = [await port.connect() for _ in range(web.MOST_CONNECTIONS + 5)]
        assert (await asked(many[0], "/metrics"))[0] == 200
        timers += [timer for ends in server[0]._ends.values() for timer in ends]
        assert await asyncio.gather(*map(ended, many[web.MOST_CONNECTIONS :])) == [True] * 5
        for _, writer in many:
            writer.close()
        while server[0].connections:  # noqa: ASYNC110  # nothing tells of their ends
            await asyncio.sleep(0)
    gc.collect()
    assert (server[0]._ends, server[0]._have_asked, problems) == ({}, set(), [])
    assert len(timers) == 3 * 2 * web.MOST_CONNECTIONS
    assert all(each.cancelled() for each in timers)


async def test_the_last_answer_of_a_connection_says_so_and_no_request_is_lost(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await served(stack)
    streams = await port.connect()
    assert (await asked(streams, "/metrics"))[0] == 200
    monkeypatch.setattr(web, "_LONG_S", 0.0)
    streams[1].write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = (await streams[0].readuntil(b"\r\n\r\n")).lower()
    assert b"connection: close" in head
    await streams[0].read()  # to its end


async def test_a_probe_without_a_host_is_no_page(stack: AsyncExitStack) -> None:
    reader, writer = await (await served(stack)).connect()
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"200"


@pytest.mark.parametrize("host", ["evil.example", "[::1%evil.example]", "", "127.0.0.1.evil.example", "192.0.2.1:80"])
async def test_who_asks_by_another_name_learns_nothing(stack: AsyncExitStack, host: str) -> None:
    """A page in a browser can point its name to the port: what is said there would be its own to read."""
    code, told = await (await served(stack)).ask(host=host)
    assert (code, "quantum" in told) == (403, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9109", "[::1]:80", "LOCALHOST", "localhost."])
async def test_who_asks_by_a_name_of_the_machine_is_answered(stack: AsyncExitStack, host: str) -> None:
    assert (await (await served(stack)).ask("/metrics", host=host))[0] == 200


async def test_who_listens_for_other_machines_is_asked_by_any_name(stack: AsyncExitStack) -> None:
    assert (await (await served(stack, "0.0.0.0")).ask("/metrics", host="gate-1.example"))[0] == 200
