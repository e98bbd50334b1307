"""A distance to an exchange: a TCP proxy that delays what goes each way, and counts requests and connections.

It runs in a process of its own, so that its work isn't counted as anybody's who is measured. Each of its doors is a
port for one client: what goes through it is counted by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

_REQUEST: Final = re.compile(rb"(GET|POST|PUT|DELETE) ([^ ?]+)[^ ]* HTTP/1\.1\r\n")
_CHUNK: Final = 1 << 16


@dataclass(slots=True)
class _Door:
    """What has gone through one port since it was asked last."""

    port: int
    connections: int = 0
    requests: list[tuple[str, int]] = field(default_factory=list)
    """`POST /fapi/v1/order` and the like; and when the exchange got it, on the monotonic clock of all processes."""


class _Proxy:
    def __init__(self, host: str, port: int) -> None:
        self._exchange: Final = host, port
        self._delay_s = 0.0
        self._doors: Final[dict[int, _Door]] = {}
        self._carrying: Final[set[asyncio.Future[Any]]] = set()

    async def answer(self, words: list[str]) -> object:
        """To a line of the parent: `open`, `take PORT` or `delay MILLISECONDS`."""
        match words:
            case ["open"]:
                server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
                port: int = server.sockets[0].getsockname()[1]
                self._doors[port] = _Door(port)
                return port
            case ["take", number]:
                door = self._doors[int(number)]
                taken = {"connections": door.connections, "requests": door.requests}
                door.connections, door.requests = 0, []
                return taken
            case ["delay", delay_ms]:
                self._delay_s = float(delay_ms) / 1000
                return None
        raise ValueError(words)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door = self._doors[writer.get_extra_info("sockname")[1]]
        door.connections += 1
        # A connection costs a round trip before the first byte, as by its handshake.
        await asyncio.sleep(2 * self._delay_s)
        try:
            away_reader, away_writer = await asyncio.open_connection(*self._exchange)
        except OSError:
            writer.close()
            return
        for line in (writer, away_writer):
            line.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def note(chunk: bytes) -> None:
            found = _REQUEST.match(chunk)
            if found is not None:
                door.requests.append((f"{found[1].decode()} {found[2].decode()}", time.monotonic_ns()))

        both = asyncio.gather(self._carry(reader, away_writer, note), self._carry(away_reader, writer, None))
        self._carrying.add(both)  # the loop itself holds no task for good
        both.add_done_callback(self._carrying.discard)
        await both

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None] | None
    ) -> None:
        """Carries what comes, each chunk as much later as the way is long, in its order, without waiting in between."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                at_s, chunk = await due.get()
                left_s = at_s - time.monotonic()
                if left_s > 0:
                    await asyncio.sleep(left_s)
                if not chunk:
                    break
                if note is not None:
                    note(chunk)
                writer.write(chunk)
            writer.close()

        delivering = asyncio.create_task(deliver())
        with contextlib.suppress(OSError):
            while True:
                chunk = await reader.read(_CHUNK)
                due.put_nowait((time.monotonic() + self._delay_s, chunk))
                if not chunk:
                    break
        with contextlib.suppress(OSError):
            await delivering
        delivering.cancel()


async def _serve(host: str, port: int) -> None:
    proxy = _Proxy(host, port)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(await proxy.answer(line.decode().split())), flush=True)


@dataclass(frozen=True, slots=True)
class Passed:
    """What has gone through a door."""

    connections: int
    requests: tuple[tuple[str, int], ...]

    def had_order_ns(self) -> tuple[int, ...]:
        """When the exchange got each order, on the monotonic clock."""
        return tuple(at_ns for what, at_ns in self.requests if what in _ORDERS)


_ORDERS: Final = ("POST /fapi/v1/order", "POST /fapi/v1/algoOrder")


class Distance:
    """The proxy's process, from outside. Use it in a `with` block."""

    def __init__(self, host: str, port: int) -> None:
        self._process: Final = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.order_path_proxy", host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def door(self) -> int:
        """A new port that leads to the exchange."""
        return int(self._ask("open"))

    def take(self, door: int) -> Passed:
        """What has gone through a door since it was taken last."""
        taken = self._ask(f"take {door}")
        return Passed(taken["connections"], tuple((what, at_ns) for what, at_ns in taken["requests"]))

    def delay(self, each_way_ms: float) -> None:
        """For all doors, from now on."""
        self._ask(f"delay {each_way_ms}")

    def _ask(self, line: str) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a process without pipes")
        print(line, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Distance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    # epoll waits for whole milliseconds, and rounds up anew whenever anything else comes: an answer with events behind
    # it would be late by up to a millisecond more. select waits for microseconds.
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner,
    ):
        runner.run(_serve(sys.argv[1], int(sys.argv[2])))
