"""A paper exchange, and an account on its streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, TypeVar

import pytest
import requests
from binance import Client
from msgspec.structs import replace

from gate.exchange.binance import BinanceFutures
from gate.exchange.port import LiveFigures
from gate.exchange.streams.free_margin import FreeMargin
from gate.exchange.streams.live import LiveStreams
from gate.exchange.streams.symbol_figures import SymbolFigures
from gate.paper import Account, PaperExchange
from gate.paper.serving.venue import Arrival, Venue
from tests.paper.arrivals import hear_arrivals

T = TypeVar("T")

PATIENCE_S = 15
SYMBOL = "BTCUSDT"
EVER = Decimal(1)

OpenExchange = Callable[[], Awaitable[BinanceFutures]]


@pytest.fixture
def paper() -> Iterator[PaperExchange]:
    with PaperExchange(accounts=[Account(balance="10000")], limits=None) as paper:
        yield paper


@pytest.fixture
def client(paper: PaperExchange) -> Iterator[Client]:
    """Somebody else who trades on the account."""
    client = Client(paper.key, paper.secret, ping=False)
    client.FUTURES_URL = paper.futures_url
    yield client
    client.close_connection()


@pytest.fixture
async def open_exchange(paper: PaperExchange) -> AsyncIterator[OpenExchange]:
    """Opens streams of the account."""
    async with AsyncExitStack() as stack:

        async def open_one() -> BinanceFutures:
            exchange = BinanceFutures(paper.key, paper.secret, base_url=paper.url)
            return await stack.enter_async_context(exchange)

        yield open_one


@pytest.fixture
async def exchange(open_exchange: OpenExchange) -> BinanceFutures:
    """The account's streams, once they have figures."""
    exchange = await open_exchange()
    await figures(exchange)
    return exchange


@pytest.fixture(autouse=True)
def nothing_kept_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whenever figures are asked for: what was kept of the last answer is what would be reckoned anew. Only the moment
    that they stand for may be an earlier one."""
    reckon, tell, differ = FreeMargin.of, SymbolFigures.of, list[str]()

    def kept_or_anew(free_margin: FreeMargin, asset: str, since_ns: int) -> Any:
        kept = reckon(free_margin, asset, since_ns)
        free_margin._last = None
        anew = reckon(free_margin, asset, since_ns)
        if kept != anew:
            differ.append(f"{kept}, not {anew}")
        free_margin._last = kept
        return kept

    def told_or_anew(figures: SymbolFigures, symbol: str, *known: Any) -> LiveFigures | None:
        told = tell(figures, symbol, *known)
        figures._told.pop(symbol, None)
        anew = tell(figures, symbol, *known)
        if told is None or anew is None:
            same = told is anew
        else:
            stood_ns = told.account.asked_ns
            same = replace(anew, account=replace(anew.account, asked_ns=stood_ns)) == told
            same = same and since_ns(known) <= stood_ns <= anew.account.asked_ns
        if not same:
            differ.append(f"{told}, not {anew}")
        if told is not None:
            figures._told[symbol] = told
        return told

    def since_ns(known: tuple[Any, ...]) -> int:
        return int(known[-1])

    monkeypatch.setattr(FreeMargin, "of", kept_or_anew)
    monkeypatch.setattr(SymbolFigures, "of", told_or_anew)
    yield
    assert differ == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The last word of the path of each request that has reached the exchange, and its symbol."""
    asked: list[str] = []

    def heard(_: Venue, arrival: Arrival) -> None:
        asked.append(f"{arrival.request.path.rsplit('/')[-1]} {arrival.params.text('symbol') or ''}".strip())

    hear_arrivals(monkeypatch, heard)
    return asked


def inside(exchange: BinanceFutures) -> LiveStreams:
    """Its streams themselves."""
    assert exchange._streams is not None
    return exchange._streams


async def until(what: Callable[[], T | None]) -> T:
    """Waits until it is true, and returns it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        await asyncio.sleep(0.002)
        found = what()
        if found:
            return found
    raise AssertionError("didn't happen")


async def figures(exchange: BinanceFutures, symbol: str = SYMBOL) -> LiveFigures:
    """What the streams know, once they do."""
    return await until(lambda: exchange.live(symbol))


async def figures_when(exchange: BinanceFutures, what: Callable[[LiveFigures], bool]) -> LiveFigures:
    """What the streams know, once that holds for it."""

    def found() -> LiveFigures | None:
        now = exchange.live(SYMBOL)
        return now if now is not None and what(now) else None

    return await until(found)


async def without_figures(exchange: BinanceFutures) -> None:
    """Waits until there are none."""
    await until(lambda: exchange.live(SYMBOL) is None)


def free(figures: LiveFigures | None) -> float | None:
    """The margin that is free, by the streams."""
    if figures is None:
        return None
    said = figures.account.available["USDT"]
    assert not isinstance(said, str)
    return float(said)


def really_free(client: Client) -> float:
    """The margin that is free, by the books."""
    return float(client.futures_account(version=3)["availableBalance"])


def place(client: Client, quantity: str = "0.01", side: str = "BUY", **more: str) -> str:
    """An order at market, or as it says. Returns its client order id."""
    name = f"other-{time.monotonic_ns()}"
    client.futures_create_order(
        symbol=SYMBOL, side=side, quantity=quantity, newClientOrderId=name, **{"type": "MARKET", **more}
    )
    return name


def hits(paper: PaperExchange) -> int:
    """How often a fault has struck."""
    rows = requests.get(f"{paper.url}/paper/faults", timeout=5).json()["faults"]
    return sum(int(row["hits"]) for row in rows)


def key(paper: PaperExchange, method: str) -> int:
    """What becomes of the account's listen key by this request: the exchange's code, 0 if there is none."""
    headers = {"X-MBX-APIKEY": paper.key}
    answer = requests.request(method, f"{paper.futures_url}/v1/listenKey", headers=headers, timeout=5)
    return int(answer.json().get("code", 0))
