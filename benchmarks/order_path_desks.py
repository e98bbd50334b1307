"""What is measured on an order's way: bare orders, the sequence that the executor replaces, and the executor.

Each has an account, a door of the proxy and a store prefix of its own, so that none warms up or counts for another.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import redis
from binance import AsyncClient

from benchmarks.server import Server
from gate import AsyncGate, Intent, Policy
from gate.exchange.binance import BinanceFutures
from gate.executor import Execution, Executor, Terminal
from gate.executor.recent_symbols import watch_recent_symbols

ROOMY: Final = Policy(rate_symbol_limit=10_000, rate_global_limit=10_000, max_in_flight=1_000)
AT_ONCE: Final = 20
SYMBOLS: Final = tuple(f"P{number:02}USDT" for number in range(AT_ONCE))
"""Of the exchange's market: all alike."""
STREAMS: Final = "streams" in inspect.signature(BinanceFutures).parameters
"""Whether the executor's exchange has streams to switch on and off."""
SECRET: Final = "s"  # noqa: S105  # of paper accounts
_SIZE: Final = "1"
"""Base asset of each order."""
_NOTIONAL: Final = "100"
_HELD: Final = "1000"
_CLOSE_HEARD_S: Final = 0.6
"""Until the streams show the position, and for longer than a close waits for what its own process did before it."""
_LIVE_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a measurement takes place."""

    store: Server
    exchange_url: str
    """Without a delay, for what is prepared."""
    door_url: str
    """Through the proxy."""
    key: str
    """Of its account; and the prefix of its gate."""

    def client(self, url: str | None = None) -> Any:
        """python-binance, through the proxy unless said otherwise."""
        client: Any = AsyncClient(self.key, SECRET)
        client.FUTURES_URL = f"{url or self.door_url}/fapi"
        return client


class Way(Protocol):
    """One way to an order. It is opened once, and gone as often as it is measured."""

    async def open(self, place: Place) -> None:
        """Makes what is warm."""

    async def prepare(self) -> None:
        """What each go needs, and what isn't measured."""

    async def go(self) -> None:
        """Sends one order, or one of each symbol, and waits for the answers."""

    async def finish(self) -> None:
        """Ends what a go has opened for itself. It isn't measured either."""

    async def close(self) -> None:
        """Ends what is open."""


async def _buy(client: Any, symbol: str, quantity: str = _SIZE) -> None:
    answer = await client.futures_create_order(
        symbol=symbol, side="BUY", type="MARKET", quantity=quantity, newOrderRespType="RESULT"
    )
    if answer["status"] != "FILLED":
        raise RuntimeError(answer)


@dataclass(slots=True)
class Bare:
    """python-binance's futures_create_order; after a reading of the account if `account_first`."""

    account_first: bool = False
    cold: bool = False
    """Whether each go has a client of its own, with a connection of its own."""
    symbols: tuple[str, ...] = SYMBOLS[:1]
    _place: Place | None = field(default=None, init=False)
    _client: Any = field(default=None, init=False)

    async def open(self, place: Place) -> None:
        self._place, self._client = place, None if self.cold else place.client()

    async def prepare(self) -> None:
        """Warms its connections: the library gives one up that is idle for 15 s."""
        if self._client is not None:
            await asyncio.gather(*(self._client.futures_ping() for _ in self.symbols))

    async def go(self) -> None:
        if self._client is None and self._place is not None:
            self._client = self._place.client()
        await asyncio.gather(*(self._one(symbol) for symbol in self.symbols))

    async def _one(self, symbol: str) -> None:
        if self.account_first:
            account = await self._client.futures_account()
            if float(account["availableBalance"]) < float(_NOTIONAL):
                raise RuntimeError(account)
        await _buy(self._client, symbol)

    async def finish(self) -> None:
        if self.cold:
            await self.close()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close_connection()
        self._client = None


@dataclass(slots=True)
class Gated:
    """The executor."""

    terms: Mapping[str, Any]
    """Of the intents."""
    streams: bool = False
    cold: bool = False
    """Whether each go has a gate, an exchange and an executor of its own, as a process that has just begun."""
    waits_s: float = 0.0
    """How long such a process waits for its first intent."""
    verify: bool = False
    """Whether the store's memory is new, so that each intent may have been placed before."""
    symbols: tuple[str, ...] = SYMBOLS[:1]
    _place: Place | None = field(default=None, init=False)
    _executor: Executor | None = field(default=None, init=False)
    _exchange: BinanceFutures | None = field(default=None, init=False)
    _watching: asyncio.Task[None] | None = field(default=None, init=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack, init=False)
    _numbers: itertools.count[int] = field(default_factory=itertools.count, init=False)

    async def open(self, place: Place) -> None:
        self._place = place
        with place.store.client() as store:
            if not store.exists(f"{place.key}:exec:state"):
                _declare(store, place.key, young=self.verify)
        if self._exits and not self._closes:
            await self._hold(_HELD)
        if not self.cold:
            self._executor = await self._open_one()
        if self.streams and not self.cold:
            await self._until_live()

    async def _until_live(self) -> None:
        await self.prepare()
        await self.go()  # what it reads, the streams go on from
        with suppress(TimeoutError):
            async with asyncio.timeout(_LIVE_WITHIN_S):
                while not all(map(self._lives, self.symbols)):  # noqa: ASYNC110  # they open by themselves
                    await asyncio.sleep(0.02)

    def _lives(self, symbol: str) -> bool:
        return self._exchange is not None and self._exchange.live(symbol) is not None

    @property
    def _exits(self) -> bool:
        return self._closes or bool(self.terms.get("reduce_only"))

    @property
    def _closes(self) -> bool:
        return bool(self.terms.get("close_position"))

    async def _open_one(self) -> Executor:
        place = self._place
        if place is None:
            raise RuntimeError("not opened")
        gate = AsyncGate.from_url(place.store.url(), prefix=place.key, policy=ROOMY, timeout_ms=2_000)
        with_streams = {"streams": self.streams} if STREAMS else {}
        exchange = BinanceFutures(place.key, SECRET, base_url=place.door_url, **with_streams)
        await self._stack.enter_async_context(gate)
        await self._stack.enter_async_context(exchange)
        # As in the executor's block, whose other work isn't measured.
        exchange.keep_warm()
        self._watching = asyncio.create_task(watch_recent_symbols(gate, exchange))
        self._exchange = exchange
        return Executor(gate, exchange)

    async def _hold(self, quantity: str) -> None:
        if self._place is None:
            raise RuntimeError("not opened")
        client = self._place.client(self._place.exchange_url)
        try:
            await asyncio.gather(*(_buy(client, symbol, quantity) for symbol in self.symbols))
        finally:
            await client.close_connection()

    async def prepare(self) -> None:
        if self._closes:
            await self._hold(_SIZE)
            await asyncio.sleep(_CLOSE_HEARD_S)
        if self.waits_s:
            self._executor = await self._open_one()
            await asyncio.sleep(self.waits_s)

    async def go(self) -> None:
        executor = self._executor or await self._open_one()
        await asyncio.gather(*(self._one(executor, symbol) for symbol in self.symbols))

    async def _one(self, executor: Executor, symbol: str) -> None:
        now_ms = time.time_ns() // 1_000_000
        intent = Intent(id=f"{symbol}-{next(self._numbers)}", symbol=symbol, timestamp=now_ms, **self.terms)
        execution: Execution = await executor.execute(intent)
        if execution.state is not Terminal.FILLED:
            raise RuntimeError(execution)

    async def finish(self) -> None:
        if self.cold:
            await self.close()

    async def close(self) -> None:
        if self._watching is not None:
            await self._watching
        self._executor, stack, self._stack = None, self._stack, AsyncExitStack()
        await stack.aclose()


def _declare(store: redis.Redis, prefix: str, *, young: bool) -> None:
    """Makes an account's memory whole since long ago, or lost and found a minute ago."""
    about: Any = store.info("server")
    since_ms = time.time_ns() // 1_000_000 - 60_000 if young else 1
    state = f"{prefix}:exec:state"
    store.hset(state, mapping={"fence": 1_000, "since": since_ms, "run_id": about["run_id"]})
    if young:
        store.hset(state, "lost", str(since_ms))


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the report."""

    name: str
    what: str
    make: Callable[[], Way]
    against: str = "bare"
    at_most: float | None = None
    """The ratio to reach of the answer, at 20 ms of round trip."""


_ENTRY: Final = {"side": "BUY", "notional": _NOTIONAL}
_QUANTITY: Final = {"side": "BUY", "quantity": _SIZE}
_EXIT: Final = {"side": "SELL", "quantity": _SIZE, "reduce_only": True}
_CLOSE: Final = {"side": "CLOSE", "close_position": True}


def ways(streams: bool) -> tuple[Measured, ...]:
    """All that is measured; with the streams too if `streams`."""
    rows = [
        Measured("bare", "a bare order, warm", Bare),
        Measured("bare_cold", "a bare order, first of its client", partial(Bare, cold=True)),
        Measured("replaced", "account, then order, warm", partial(Bare, account_first=True)),
        Measured("bare_20", f"{AT_ONCE} bare orders at once", partial(Bare, symbols=SYMBOLS), "bare_20"),
        Measured(
            "replaced_20",
            f"{AT_ONCE} times account, then order",
            partial(Bare, account_first=True, symbols=SYMBOLS),
            "bare_20",
        ),
    ]
    for on in (False, True) if streams else (False,):
        rows += [
            _gated("entry", "entry by notional, warm", _ENTRY, on, 1.1),
            _gated("entry_quantity", "entry by quantity, warm", _QUANTITY, on, 1.1),
            _gated("exit", "exit by quantity, warm", _EXIT, on, 1.05),
            _gated("close", "exit that closes all, warm", _CLOSE, on, 1.05),
            _gated("entry_verify", "entry in the verify hour, warm", _ENTRY, on, verify=True),
            _gated("exit_verify", "exit in the verify hour, warm", _EXIT, on, verify=True),
            _gated("entry_first", "first entry, a second after the start", _ENTRY, on, 2.2, cold=True, waits_s=1.0),
            _gated("exit_first", "first exit, a second after the start", _EXIT, on, cold=True, waits_s=1.0),
            _gated("entry_cold", "first entry, at the start", _ENTRY, on, 2.2, against="bare_cold", cold=True),
            _gated("exit_cold", "first exit, at the start", _EXIT, on, against="bare_cold", cold=True),
            _gated("entry_20", f"{AT_ONCE} entries at once", _ENTRY, on, 1.3, against="bare_20", symbols=SYMBOLS),
        ]
    return tuple(rows)


def _gated(
    name: str,
    what: str,
    terms: Mapping[str, Any],
    streams: bool,
    at_most: float | None = None,
    against: str = "bare",
    **more: Any,
) -> Measured:
    """A row of the executor. What is to be reached is to be reached with the streams."""
    if streams:
        name, what = f"{name}_streams", f"{what}, streams"
    return Measured(name, what, partial(Gated, terms, streams=streams, **more), against, at_most if streams else None)
