"""What leaves over one WebSocket: in order, and with the faults of the stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web
from msgspec import Struct

from gate.paper.serving.faults import EventView, FaultKind, FaultPlan
from gate.paper.serving.hanging_up import hang_up
from gate.paper.serving.holding import Holds
from gate.paper.streams.event import Event

_MOST_WAITING = 10_000  # a client that reads nothing for this many messages loses its connection


class Text(Struct, frozen=True):
    text: bytes


class Pong(Struct, frozen=True):
    payload: bytes


class Ping(Struct, frozen=True):
    pass


class Lag(Struct, frozen=True):
    """Everything after this waits, until a moment of real time, or with None until the release."""

    until_ms: int | None


class Drop(Struct, frozen=True):
    """The connection breaks here."""


class Silence(Struct, frozen=True):
    """The connection stays open, and nothing leaves any more."""


Parcel = Text | Pong | Ping | Lag | Drop | Silence


class SocketLine:
    """The way out of one connection. Faults strike when something happens, and are played when its turn comes."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        faults: FaultPlan,
        holds: Holds,
        expire_key: Callable[[str], None],
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._faults = faults
        self._holds = holds
        self._expire_key = expire_key
        self._waiting: asyncio.Queue[Parcel] = asyncio.Queue()
        self._overrun = False

    def say(self, text: bytes) -> None:
        """An answer to the client's own words. No fault of the stream strikes it."""
        self.put(Text(text))

    def ping(self) -> None:
        self.put(Ping())

    def pong(self, payload: bytes) -> None:
        self.put(*self._struck(EventView("pong"), Pong(payload), ""))

    def deliver(self, stream: str, event: Event, text: bytes) -> None:
        view = EventView(event.name, event.symbol, event.client_order_id)
        self.put(*self._struck(view, Text(text), stream))

    def put(self, *parcels: Parcel) -> None:
        if self._overrun:
            return
        for parcel in parcels:
            self._waiting.put_nowait(parcel)
        if self._waiting.qsize() > _MOST_WAITING:
            self._overrun = True
            hang_up(self._transport, reset=True)

    def _struck(self, view: EventView, parcel: Parcel, stream: str) -> tuple[Parcel, ...]:
        fault = self._faults.strike(view)
        if fault is None:
            return (parcel,)
        match fault.kind:
            case FaultKind.SILENT_STREAM:
                return (Silence(),)
            case FaultKind.DROP_STREAM:
                return (Drop(),)
            case FaultKind.LAG_STREAM:
                return (Lag(None if fault.delay_ms is None else _now_ms() + fault.delay_ms), parcel)
            case FaultKind.DOUBLE_EVENT:
                return (parcel, parcel)
            case FaultKind.EXPIRE_KEY:
                self._expire_key(stream)
        return ()

    async def run(self) -> None:
        """Send what comes, until the connection ends or is dropped."""
        with suppress(ConnectionError):
            while True:
                match await self._waiting.get():
                    case Text(text):
                        await self._socket.send_str(text.decode())
                    case Pong(payload):
                        await self._socket.pong(payload)
                    case Ping():
                        await self._socket.ping()
                    case Lag(until_ms):
                        async with self._holds.hold(None if until_ms is None else max(0, until_ms - _now_ms())):
                            pass
                    case Drop():
                        hang_up(self._transport, reset=False)
                        return
                    case Silence():
                        await self._nothing_more()

    async def _nothing_more(self) -> None:
        while True:
            await self._waiting.get()


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
