"""An address that stays the same while the server behind it changes: what a failover is to a worker."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class Switchboard:
    """Listens on a loopback port and passes everything on to `target`. Open lines end when the target changes."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self._hang_up()
        for task in self._tasks:
            task.cancel()

    @property
    def url(self) -> str:
        """The address for gates."""
        if self._server is None:
            raise RuntimeError("not listening")
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def switch(self, target: int) -> None:
        """From now on another server answers."""
        self._target = target
        self._hang_up()

    def _hang_up(self) -> None:
        for line in self._lines:
            line.close()
        self._lines.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._lines |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(_pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(65_536):
            sink.write(chunk)
            await sink.drain()
    sink.close()
