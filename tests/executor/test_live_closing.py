"""Closes by what the exchange's streams tell is open: no less is closed than by a reading. Events are late here; late
enough to be lost for the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from gate import LastLook
from gate.exchange.binance import BinanceFutures
from gate.exchange.port import Position
from gate.executor import Executor
from gate.executor.execution import Execution, Terminal
from gate.executor.still_open import StillOpen
from gate.paper import Fault, FaultKind, PaperExchange
from tests.executor.conftest import ROOMY, Desk, OpenDesk, keep_snapshots_back, until, waits_before_sending
from tests.executor.test_requests import ORDER, POSITIONS


def told(desk: Desk) -> tuple[Position, ...]:
    """What the streams tell is open."""
    live = desk.exchange.live("BTCUSDT")
    return () if live is None else live.positions


async def _opened(desk: Desk, side: str = "BUY", **more: Any) -> None:
    assert (await desk.executor.execute(desk.intent(side=side, **more))).state is Terminal.FILLED


async def _close(desk: Desk) -> Execution:
    return await desk.executor.execute(desk.intent(side="CLOSE", id="close", close_position=True, notional=None))


def _lose_events(desk: Desk, times: int = 100) -> None:
    for event in ("ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"):
        desk.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event=event, times=times))


@pytest.fixture
async def two(open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> tuple[Desk, Desk]:
    """Two workers of one account. The first has bought 0.01, and the streams of both tell so, but nothing later."""
    monkeypatch.setattr("gate.executor.preflight._EVENTS_TAKE_MS", 0)
    first, second = await asyncio.gather(*(open_desk(ROOMY, None, "BTCUSDT") for _ in range(2)))
    for desk in (first, second):
        desk.executor = Executor(desk.gate, desk.exchange, fill_prices=False)
    await _opened(first, quantity="0.01", id="one")
    await until(lambda: told(first) and told(second))
    keep_snapshots_back(first, second)
    return first, second


@pytest.fixture
async def person(paper: PaperExchange) -> AsyncIterator[Any]:
    """Somebody else who trades on the account: python-binance's own client."""
    async with BinanceFutures(paper.key, paper.secret, base_url=paper.url, streams=False) as other:
        yield other._rest.client


async def test_a_close_closes_what_another_worker_has_just_opened(two: tuple[Desk, Desk], asked: list[str]) -> None:
    """The store knows of its order, this worker's streams don't."""
    first, second = two
    _lose_events(first)
    await _opened(first, quantity="0.03", id="two")
    asked.clear()

    close = await _close(second)

    assert close.state is Terminal.FILLED
    assert await second.exchange.positions("BTCUSDT") == ()
    assert asked[:2] == [POSITIONS, ORDER]


async def test_where_no_reading_comes_a_close_closes_what_the_streams_tell(
    two: tuple[Desk, Desk], asked: list[str]
) -> None:
    first, second = two
    _lose_events(first)
    await _opened(first, quantity="0.03", id="two")
    second.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITIONS.split()[1]))

    close = await _close(second)

    assert (close.state, str(close.filled_quantity)) == (Terminal.FILLED, "0.010")
    assert close.still_open, "and says what it leaves"


async def test_what_the_streams_told_last_closes_too_where_they_are_in_doubt_and_no_reading_comes(
    two: tuple[Desk, Desk],
) -> None:
    _, second = two
    second.exchange.doubt_live("a test")
    assert second.exchange.live("BTCUSDT") is None
    second.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITIONS.split()[1], times=100))

    close = await _close(second)

    assert (close.state, str(close.filled_quantity)) == (Terminal.FILLED, "0.010")
    assert "by what was last known to be open" in close.notes[-1]


async def test_what_the_streams_told_after_a_reading_counts_too(two: tuple[Desk, Desk]) -> None:
    first, second = two
    await second.exchange.positions("BTCUSDT")
    await _opened(first, quantity="0.03", id="two")
    await until(lambda: [str(each.size) for each in second.exchange.last_positions("BTCUSDT") or ()] == ["0.040"])
    second.exchange.doubt_live("a test")
    second.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITIONS.split()[1], times=100))

    assert str((await _close(second)).filled_quantity) == "0.040"


async def test_what_comes_while_nothing_counts_makes_no_older_memory_newer(two: tuple[Desk, Desk]) -> None:
    first, second = two
    second.exchange.doubt_live("a test")
    await _opened(first, quantity="0.03", id="two")
    await second.exchange.positions("BTCUSDT")
    streams = second.exchange._streams
    assert streams is not None
    heard = tuple(streams._heard)
    await _opened(first, symbol="ETHUSDT", quantity="0.1", id="three")  # an event of another symbol
    await until(lambda: any("ACCOUNT_UPDATE" in each for each in set(streams._heard) - set(heard)))
    second.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITIONS.split()[1], times=100))

    assert str((await _close(second)).filled_quantity) == "0.040"


async def test_of_what_the_streams_and_a_reading_told_the_later_counts(two: tuple[Desk, Desk]) -> None:
    first, second = two
    second.exchange.doubt_live("a test")
    _lose_events(first)
    await _opened(first, quantity="0.03", id="two")
    assert [str(each.size) for each in await second.exchange.positions("BTCUSDT")] == ["0.040"]
    second.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITIONS.split()[1], times=100))

    assert str((await _close(second)).filled_quantity) == "0.040"


async def test_a_close_closes_a_position_that_another_worker_has_turned(two: tuple[Desk, Desk]) -> None:
    """Long when the streams told of it, short now: an order by that is refused. It turns after the last look."""
    first, second = two
    _lose_events(first)
    second.paper.inject(Fault(kind=FaultKind.DELAY, path="/fapi/v1/order"))
    closing = asyncio.create_task(_close(second))
    await asyncio.to_thread(second.paper.wait_held)
    await _opened(first, "SELL", quantity="0.03", id="two")
    second.paper.release_held()

    close = await closing

    assert close.state is Terminal.FILLED
    assert close.notes == ("turned from SELL to BUY: SHORT 0.02 is open by now",)
    assert await second.exchange.positions("BTCUSDT") == ()


async def test_a_close_reads_the_position_while_that_after_a_fill_has_not_been_told(
    two: tuple[Desk, Desk], person: Any
) -> None:
    """A fill by hand: the streams know that they don't know."""
    desk, _ = two
    desk.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ACCOUNT_UPDATE", times=2))
    await person.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.03")
    await until(lambda: (live := desk.exchange.live("BTCUSDT")) is not None and live.awaits_position)

    assert (await _close(desk)).state is Terminal.FILLED
    assert await desk.exchange.positions("BTCUSDT") == ()


async def test_nothing_is_told_as_flat_while_the_position_after_a_fill_has_not_been_told(
    two: tuple[Desk, Desk], person: Any
) -> None:
    desk, _ = two
    intent = desk.intent(side="CLOSE", id="close", close_position=True, notional=None)
    closed = await desk.executor.execute(intent)
    await until(lambda: not told(desk))
    desk.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ACCOUNT_UPDATE", times=2))
    await person.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.03")
    await until(lambda: (live := desk.exchange.live("BTCUSDT")) is not None and live.awaits_position)
    assert told(desk) == ()

    assert (await StillOpen(desk.exchange).after(intent, closed)).still_open == {"BOTH": Decimal("0.03")}


async def test_a_close_reads_the_position_after_an_order_with_an_unclear_answer(
    two: tuple[Desk, Desk], asked: list[str]
) -> None:
    """An exit that was found by a look-up. The store tells of entries, but not of exits."""
    desk, _ = two
    _lose_events(desk)
    desk.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))
    await _opened(desk, "SELL", quantity="0.004", reduce_only=True, id="two")
    asked.clear()

    close = await _close(desk)

    assert (close.state, close.filled_quantity) == (Terminal.FILLED, Decimal("0.006"))
    assert asked[:2] == [POSITIONS, ORDER]


async def test_a_close_closes_what_is_told_while_it_asks_the_store(
    two: tuple[Desk, Desk], person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, _ = two
    looks = desk.gate.last_look

    def sizes() -> list[Decimal]:
        return [each.size for each in told(desk)]

    async def looks_later(*arguments: Any, **more: Any) -> LastLook:
        if sizes() == [Decimal("0.01")]:
            await person.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.03")
            await until(lambda: sizes() == [Decimal("0.04")])
        return await looks(*arguments, **more)

    monkeypatch.setattr(desk.gate, "last_look", looks_later)
    waits_before_sending(desk, monkeypatch)

    assert (await _close(desk)).filled_quantity == Decimal("0.04")


async def test_a_close_reads_the_position_while_an_order_is_on_its_way(
    two: tuple[Desk, Desk], asked: list[str]
) -> None:
    desk, _ = two
    desk.paper.inject(Fault(kind=FaultKind.DELAY, path="/fapi/v1/order"))
    entry = asyncio.create_task(_opened(desk, quantity="0.03", id="two"))
    await asyncio.to_thread(desk.paper.wait_held)
    asked.clear()

    close = await _close(desk)
    desk.paper.release_held()
    await entry

    assert close.state is Terminal.FILLED
    assert asked[:2] == [POSITIONS, ORDER]


async def test_a_snapshot_from_before_an_order_arrives_does_not_show_it(
    two: tuple[Desk, Desk], asked: list[str]
) -> None:
    """The exchange may take it for a while yet, and a close by the streams would leave it open."""
    desk, _ = two
    desk.exchange.recv_window_ms = 60_000
    desk.paper.inject(Fault(kind=FaultKind.DELAY, path="/fapi/v1/order"))
    entry = asyncio.create_task(_opened(desk, quantity="0.03", id="two"))
    await asyncio.to_thread(desk.paper.wait_held)
    assert desk.exchange._streams is not None
    del desk.exchange._streams._until_snapshot_s  # it takes snapshots again
    desk.exchange.doubt_live("a test")
    await until(lambda: desk.exchange.live("BTCUSDT"))
    asked.clear()

    close = await _close(desk)
    desk.paper.release_held()
    await entry

    assert close.state is Terminal.FILLED
    assert POSITIONS in asked[: asked.index(ORDER)]


async def test_a_refused_order_leaves_a_close_one_request(two: tuple[Desk, Desk], asked: list[str]) -> None:
    desk, _ = two
    desk.paper.inject(Fault(kind=FaultKind.ERROR, status=400, code=-2020, path="/fapi/v1/order"))
    assert (await desk.executor.execute(desk.intent(quantity="0.03", id="two"))).reason == "-2020"
    asked.clear()

    assert (await _close(desk)).state is Terminal.FILLED
    assert asked == [ORDER]
