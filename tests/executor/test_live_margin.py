"""Entries on what the exchange's streams tell: fast where they say yes, and never on margin that is gone."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from gate import Outcome
from gate.executor import Executor, unseen
from gate.executor.execution import Execution, Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk, keep_snapshots_back, until
from tests.executor.test_margin import NEED
from tests.executor.test_requests import ORDER, READINGS

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
async def two(open_desk: OpenDesk) -> tuple[Desk, Desk]:
    """Two workers of one account, each with streams of its own, that don't look for the prices of fills."""
    first, second = await asyncio.gather(*(open_desk(ROOMY, None, *SYMBOLS) for _ in range(2)))
    for desk in (first, second):
        desk.executor = Executor(desk.gate, desk.exchange, fill_prices=False)
    return first, second


async def _watched(desk: Desk, symbol: str) -> None:
    await until(lambda: desk.exchange.live(symbol) is not None)


def _take_snapshots(*desks: Desk) -> None:
    for desk in desks:
        assert desk.exchange._streams is not None
        del desk.exchange._streams._until_snapshot_s
        desk.exchange._streams._wake.set()


def _lose_events(desk: Desk) -> None:
    """Pings are answered, and prices come."""
    for event in ("ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"):
        desk.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event=event, times=100))


async def _balance(amount: str | Decimal, *desks: Desk) -> None:
    """Sets the wallet, and waits until the streams tell of it."""
    desks[0].balance(amount)
    for desk in desks:
        await until(lambda desk=desk: _free(desk) == Decimal(amount))  # type: ignore[misc]


def _free(desk: Desk) -> object:
    live = desk.exchange.live("BTCUSDT")
    return None if live is None else live.account.available["USDT"]


async def _enter(desk: Desk, symbol: str = "BTCUSDT", side: str = "BUY") -> Execution:
    return await desk.executor.execute(desk.intent(symbol, side, id=f"{symbol}-{side}-{len(desk.orders())}"))


async def test_what_the_streams_say_is_free_sends_the_order_and_nothing_else(
    two: tuple[Desk, Desk], asked: list[str]
) -> None:
    await _balance(NEED, *two)
    keep_snapshots_back(*two)
    asked.clear()

    execution = await _enter(two[0])

    assert execution.state is Terminal.FILLED
    assert execution.margin is not None
    assert execution.margin.available == NEED
    assert asked == [ORDER]


async def test_where_the_streams_say_no_a_reading_decides(two: tuple[Desk, Desk], asked: list[str]) -> None:
    """They tell a lower bound. And whoever is denied is told by the exchange's own figure."""
    await _balance(NEED - 1, *two)
    two[0].paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ACCOUNT_UPDATE", times=2))
    keep_snapshots_back(*two)
    asked.clear()
    denied = await _enter(two[0])
    asked_for_the_denied = asked.copy()
    await two[0].gate.reset("all", by="test", reason="go on")
    two[0].balance(NEED)
    asked.clear()

    allowed = await _enter(two[0])

    assert denied.reason == "INSUFFICIENT_MARGIN"
    assert sorted(asked_for_the_denied) == sorted(READINGS)
    assert allowed.state is Terminal.FILLED
    assert sorted(asked) == sorted([*READINGS, ORDER])


async def test_streams_in_doubt_leave_it_to_a_reading(two: tuple[Desk, Desk], asked: list[str]) -> None:
    keep_snapshots_back(*two)
    two[0].exchange.doubt_live("test")
    assert two[0].exchange.live("BTCUSDT") is None
    asked.clear()

    assert (await _enter(two[0])).state is Terminal.FILLED
    assert sorted(asked) == sorted([*READINGS, ORDER])


async def test_an_order_that_the_streams_have_not_told_of_counts_as_reserved(
    two: tuple[Desk, Desk], asked: list[str]
) -> None:
    """Two workers, room for one order: the second one's streams still show the margin that the first has taken."""
    first, second = two
    await _balance(NEED + 1, first, second)
    keep_snapshots_back(first, second)
    _lose_events(first)
    assert (await _enter(first)).state is Terminal.FILLED
    assert _free(second) == NEED + 1
    asked.clear()

    execution = await _enter(second, "ETHUSDT")

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert execution.verdict.permit is not None
    assert execution.verdict.permit.reserved_ahead == 0, "it is settled, so nothing is reserved for it any more"
    assert sorted(asked) == sorted(READINGS)


async def test_an_order_that_is_reserved_leaves_the_rest_to_others(two: tuple[Desk, Desk], asked: list[str]) -> None:
    first, second = two
    await _balance(NEED * 3, first, second)
    keep_snapshots_back(first, second)
    _lose_events(first)
    assert (await _enter(first)).state is Terminal.FILLED
    asked.clear()

    execution = await _enter(second, "ETHUSDT")

    assert execution.state is Terminal.FILLED
    assert execution.margin is not None
    assert execution.margin.available == NEED * 3
    assert execution.margin.reserved_ahead >= NEED - Decimal("0.01")
    assert asked == [ORDER]


async def test_an_order_counts_once_its_event_has_come(two: tuple[Desk, Desk], asked: list[str]) -> None:
    first, second = two
    keep_snapshots_back(first, second)
    placed = await _enter(first)
    assert placed.client_order_id is not None
    await until(lambda: second.exchange.has_seen(str(placed.client_order_id)))
    asked.clear()

    execution = await _enter(second, "ETHUSDT")

    assert execution.margin is not None
    assert execution.margin.reserved_ahead == 0
    assert asked == [ORDER]


async def test_an_order_from_before_the_snapshot_is_in_it(two: tuple[Desk, Desk], asked: list[str]) -> None:
    first, second = two
    _lose_events(first)
    keep_snapshots_back(first, second)
    await _enter(first)
    second.exchange.doubt_live("test")
    _take_snapshots(second)
    await _watched(second, "ETHUSDT")
    keep_snapshots_back(second)
    asked.clear()

    execution = await _enter(second, "ETHUSDT")

    assert execution.margin is not None
    assert execution.margin.reserved_ahead == 0
    assert asked == [ORDER]


async def test_streams_that_do_not_tell_of_an_order_in_time_do_not_count_until_a_new_snapshot(
    two: tuple[Desk, Desk], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    _lose_events(first)
    keep_snapshots_back(first, second)
    await _enter(first)
    monkeypatch.setattr(unseen, "LAG_MS", -1)
    asked.clear()

    lagging = await _enter(second, "ETHUSDT")

    assert lagging.state is Terminal.FILLED
    assert sorted(asked) == sorted([*READINGS, ORDER])
    assert second.exchange.live("ETHUSDT") is None
    _take_snapshots(second)
    await _watched(second, "ETHUSDT")


async def test_more_orders_than_the_store_tells_of_take_a_new_snapshot(
    two: tuple[Desk, Desk], asked: list[str]
) -> None:
    first, second = two
    keep_snapshots_back(first, second)
    await _enter(second, "ETHUSDT")
    for number in range(20):
        intent = first.intent(f"A{number}USDT", id=f"{number:0128}", notional="1", leverage=1)
        permit = (await first.gate.evaluate(intent)).permit
        assert permit is not None
        await first.gate.settle(permit, Outcome.placed(81))
    asked.clear()

    execution = await _enter(second, "ETHUSDT", side="SELL")

    assert execution.state is Terminal.FILLED
    assert sorted(asked) == sorted([*READINGS, ORDER])
    assert second.exchange.live("ETHUSDT") is None
