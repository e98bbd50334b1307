"""The stream of mark prices: which symbols it tells of, and how it is kept open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from gate.exchange.failures import ExchangeFailure
from gate.exchange.streams.events import decode_mark_price
from gate.exchange.streams.line import Line, LineEnded
from gate.exchange.streams.pauses import Pause
from gate.exchange.streams.prices import MarkPrices

if TYPE_CHECKING:
    from aiohttp import ClientSession

MOST_WATCHED: Final = 200
"""Streams of one connection, by the exchange's rules."""
_PRICELESS_S: Final = 10.0


class MarketStream:
    """Keeps the latest price of each symbol that is watched."""

    def __init__(
        self,
        prices: MarkPrices,
        address: str,
        *,
        needed: Callable[[], Set[str]],
        up: Callable[[str], None],
        down: Callable[[str, str], None],
    ) -> None:
        """`needed`: the symbols that can't be left out. `up` and `down` hear how the stream is, by its name."""
        self._prices: Final = prices
        self._address: Final = address
        self._needed: Final = needed
        self._up: Final = up
        self._down: Final = down
        self._watched: Final[dict[str, None]] = {}
        self._unsubscribed: Final[set[str]] = set()
        self._dropped: Final[set[str]] = set()
        self._subscribed_ns: Final[dict[str, int]] = {}
        self._line: Line | None = None
        self._priced_ns = 0
        self._wake: Final = asyncio.Event()

    def watch(self, symbol: str) -> None:
        """Has its price at hand from soon on. The one that wasn't watched anew for the longest makes room."""
        if symbol in self._watched:
            del self._watched[symbol]
            self._watched[symbol] = None  # the last now
            return
        if len(self._watched) >= MOST_WATCHED:
            needed = self._needed()
            oldest = next((each for each in self._watched if each not in needed), None)
            if oldest is None:
                return
            del self._watched[oldest]
            self._subscribed_ns.pop(oldest, None)
            self._unsubscribed.discard(oldest)
            self._dropped.add(oldest)
        self._watched[symbol] = None
        self._dropped.discard(symbol)
        self._unsubscribed.add(symbol)
        self._wake.set()

    async def keep(self, session: ClientSession) -> None:
        """Until it is cancelled."""
        pause = Pause()
        while True:
            if not self._watched:
                self._wake.clear()
                await self._wake.wait()
            began_ns = time.monotonic_ns()
            line = self._line = Line(session, f"{self._address}/market/ws", self._hear)
            self._dropped.clear()
            self._subscribed_ns.clear()
            self._unsubscribed.update(self._watched)
            following = asyncio.create_task(self._follow(line))
            try:
                await line.run(self._opened)
            except LineEnded as ended:
                self._down("market", str(ended))
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                self._line = None
                self._prices.forget()
            await pause.after(began_ns)

    def _opened(self) -> None:
        self._priced_ns = time.monotonic_ns()
        self._wake.set()

    async def _follow(self, line: Line) -> None:
        """Subscribes to what is new, and ends a connection that brings no prices."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            self._wake.clear()
            if not line.is_open:
                continue
            now_ns = time.monotonic_ns()
            # One whose prices end while others come was lost, or refused.
            since_ns = now_ns - int(_PRICELESS_S * 1e9)
            asked = [name for name, at_ns in self._subscribed_ns.items() if at_ns < since_ns]
            self._unsubscribed.update(name for name in asked if self._prices.of(name, since_ns) is None)
            if self._dropped:
                await self._subscribe(line, "UNSUBSCRIBE", self._dropped)
            if self._unsubscribed:
                self._subscribed_ns.update(dict.fromkeys(self._unsubscribed, now_ns))
                await self._subscribe(line, "SUBSCRIBE", self._unsubscribed)
            if now_ns - self._priced_ns > _PRICELESS_S * 1e9:
                line.end("without prices")

    async def _subscribe(self, line: Line, method: str, names: set[str]) -> None:
        params = [f"{name.lower()}@markPrice@1s" for name in sorted(names)]
        names.clear()
        await line.say(msgspec.json.encode({"method": method, "params": params, "id": 1}).decode())
        await asyncio.sleep(0.2)  # the exchange takes ten messages a second

    def _hear(self, text: str) -> None:
        try:
            event = msgspec.json.decode(text)
            marked = decode_mark_price(event) if isinstance(event, dict) else None
        except (msgspec.DecodeError, RecursionError, ExchangeFailure):
            raise LineEnded("a message that can't be read") from None
        if marked is not None:
            self._prices.heard(*marked)
            self._priced_ns = time.monotonic_ns()
            self._up("market")
