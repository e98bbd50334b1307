"""Entries on what the exchange's streams tell: fast where they say yes, and never on margin that is gone."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from decimal import Decimal
from typing import Any

import pytest
import redis

from gate import LastLook, Outcome, Permit
from gate.executor import Executor, unseen
from gate.executor.execution import Execution, Terminal
from gate.paper import Fault, FaultKind
from gate.paper.books.statement import free_margin
from gate.paper.serving.venue import Arrival, Venue
from tests.client.account import PLACED
from tests.executor.conftest import ROOMY, Desk, OpenDesk, keep_snapshots_back, until, waits_before_sending
from tests.executor.test_margin import NEED
from tests.executor.test_requests import ORDER, READINGS
from tests.paper.arrivals import hear_arrivals

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


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


async def _enters_with_nothing_ahead(desk: Desk, asked: list[str]) -> None:
    asked.clear()

    execution = await _enter(desk, "ETHUSDT")

    assert execution.margin is not None
    assert execution.margin.reserved_ahead == 0
    assert asked == [ORDER]


async def test_an_order_counts_once_its_event_has_come(two: tuple[Desk, Desk], asked: list[str]) -> None:
    first, second = two
    keep_snapshots_back(first, second)
    placed = await _enter(first)
    assert placed.client_order_id is not None
    await until(lambda: second.exchange.has_seen(str(placed.client_order_id)))
    await _enters_with_nothing_ahead(second, asked)


async def test_an_order_from_before_the_snapshot_is_in_it(
    two: tuple[Desk, Desk], asked: list[str], redis_client: redis.Redis
) -> None:
    first, second = two
    await _enter(second, "SOLUSDT")  # it has looked before, and knows how the store's clock goes
    _lose_events(first)
    keep_snapshots_back(first, second)
    await _enter(first)
    held = redis_client.lindex(PLACED, 0)
    assert isinstance(held, bytes)
    fence, settled_ms, rest = held.decode().split(" ", 2)
    redis_client.lset(PLACED, 0, f"{fence} {int(settled_ms) - 1_000} {rest}")  # as if a second had passed
    second.exchange.doubt_live("test")
    _take_snapshots(second)
    await _watched(second, "ETHUSDT")
    keep_snapshots_back(second)
    await _enters_with_nothing_ahead(second, asked)


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
    for number in range(24):
        intent = first.intent(f"A{number}USDT", id=f"{number:0128}", notional="1", leverage=1)
        permit = (await first.gate.evaluate(intent)).permit
        assert permit is not None
        await first.gate.settle(permit, Outcome.placed(81))
    asked.clear()

    execution = await _enter(second, "ETHUSDT", side="SELL")

    assert execution.state is Terminal.FILLED
    assert sorted(asked) == sorted([*READINGS, ORDER])
    assert second.exchange.live("ETHUSDT") is None


async def test_a_setting_that_changes_before_the_order_goes_leaves_it_to_a_reading(
    two: tuple[Desk, Desk], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another leverage the order would need other margin than was reckoned."""
    first, second = two
    look = first.gate.last_look

    async def changed_meanwhile(permit: Permit, **more: Any) -> LastLook:
        if second.exchange.live("BTCUSDT") is not None:
            await second.exchange.set_leverage("BTCUSDT", 50)
            second.exchange.doubt_live("test")
            await until(lambda: _leverage(first) == 50)
            asked.clear()
        return await look(permit, **more)

    monkeypatch.setattr(first.gate, "last_look", changed_meanwhile)
    waits_before_sending(first, monkeypatch)
    keep_snapshots_back(first, second)

    execution = await _enter(first)

    assert execution.state is Terminal.FILLED
    assert sorted(asked) == sorted([*READINGS, ORDER])


def _leverage(desk: Desk) -> int:
    live = desk.exchange.live("BTCUSDT")
    return 0 if live is None else live.config.leverage


async def test_an_entry_beyond_its_bracket_is_refused_by_a_reading(two: tuple[Desk, Desk], asked: list[str]) -> None:
    desk = two[0]
    await desk.exchange.set_leverage("BTCUSDT", 125)
    await _balance("1000000", desk)
    assert await desk.executor.execute(desk.intent(notional="30000"))
    await until(lambda: _positions_told(desk))
    asked.clear()

    execution = await desk.executor.execute(desk.intent(notional="30000"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, "MAX_NOTIONAL")
    assert ORDER not in asked


def _positions_told(desk: Desk) -> object:
    live = desk.exchange.live("BTCUSDT")
    return live is not None and live.positions


class _Relay:
    """What a worker's streams hear comes when it is let through, while pings are answered all along."""

    def __init__(self, desk: Desk) -> None:
        assert desk.exchange._streams is not None
        self._desk = desk
        self._streams = desk.exchange._streams
        self._waiting: deque[str] = deque()
        self._taken_out: deque[tuple[int, Decimal]] = deque()
        self._hear = self._streams._hear_user
        # Of the connections that come, and of the one that is there.
        setattr(self._streams, "_hear_user", self._waiting.append)  # noqa: B010
        setattr(self._streams._user, "_heard", self._waiting.append)  # noqa: B010

    def let_through(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            event = self._waiting.popleft()
            self._hear(event)
            if self._taken_out and "WITHDRAW" in event:
                self._taken_out.popleft()

    def drop(self) -> None:
        """The connection ends, and what was on its way is lost."""
        self._waiting.clear()
        if self._streams._user is not None:
            self._streams._user.end("dropped by the test")

    def taken_out(self, amount: Decimal) -> None:
        self._taken_out.append((time.monotonic_ns(), amount))

    @property
    def untold(self) -> Decimal:
        """What was taken out, and neither an event nor a snapshot has told of it."""
        live = self._desk.exchange.live(SYMBOLS[0])
        while live is not None and self._taken_out and self._taken_out[0][0] < live.snapshot_ns:
            self._taken_out.popleft()
        return sum((amount for _, amount in self._taken_out), Decimal(0))


class _Course:
    """Two workers of one account, their lags, and money that comes and goes without the gate."""

    def __init__(self, desks: tuple[Desk, Desk], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.draws = random.Random(seed)
        self.desks = desks
        self.relays = [_Relay(desk) for desk in desks]
        self.free: dict[str, Decimal] = {}
        self.sent = 0
        self.names = (f"course-{number}" for number in itertools.count())
        hear_arrivals(monkeypatch, self._arrived)

    def _arrived(self, venue: Venue, arrival: Arrival) -> None:
        name = arrival.params.text("newClientOrderId")
        if arrival.request.method == "POST" and name:
            [books] = venue.exchange.accounts.values()
            self.free[name] = free_margin(books, venue.exchange.market, venue.exchange.quotes, "USDT")

    async def act(self) -> None:
        often = (self.enter, self.enter, self.enter, self.close, self.move_money, self.let_through, self.let_through)
        await self.draws.choice(often if self.draws.random() < 0.95 else (self.drop,))()

    async def enter(self) -> None:
        """One to three entries at once. None may need more than was free when it got there."""
        who = [self.draws.randrange(2) for _ in range(self.draws.randint(1, 3))]
        entries = []
        for each, symbol in zip(who, self.draws.sample(SYMBOLS, len(who)), strict=True):
            size = {"quantity": "0.01"} if symbol == "BTCUSDT" else {"notional": self.draws.choice(("400", "1000"))}
            intent = self.desks[each].intent(symbol, self.draws.choice(("BUY", "SELL")), id=next(self.names), **size)
            entries.append(self.desks[each].executor.execute(intent))
        untold = [self.relays[each].untold for each in who]
        for execution, unknown in zip(await asyncio.gather(*entries), untold, strict=True):
            free = self.free.get(execution.client_order_id or "")
            if free is None:
                continue
            self.sent += 1
            assert execution.margin is not None
            assert execution.margin.need <= free + unknown, str(execution.margin)
            assert execution.state is Terminal.FILLED or unknown, execution.detail
        await self.desks[0].gate.reset("all", by="test", reason="go on")

    async def close(self) -> None:
        desk, symbol = self.draws.choice(self.desks), self.draws.choice(SYMBOLS)
        await desk.executor.execute(
            desk.intent(symbol, "CLOSE", id=next(self.names), close_position=True, notional=None)
        )

    async def move_money(self) -> None:
        by, paper = Decimal(self.draws.choice((-40, -15, 30, 60))), self.desks[0].paper
        paper.set_balance(paper.wallets()["USDT"] + by)
        for relay in self.relays:
            if by < 0:
                relay.taken_out(-by)

    async def let_through(self) -> None:
        await asyncio.sleep(0.01)
        self.draws.choice(self.relays).let_through(self.draws.randint(1, 12))

    async def drop(self) -> None:
        self.draws.choice(self.relays).drop()


@pytest.mark.parametrize("seed", range(3))
async def test_no_entry_needs_more_than_was_free_when_it_got_there(
    open_desk: OpenDesk, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for money that somebody has taken out meanwhile: what the streams haven't told of, nobody can know."""
    first, second = await asyncio.gather(*(open_desk(ROOMY, None, *SYMBOLS) for _ in range(2)))
    for desk in (first, second):
        desk.executor = Executor(desk.gate, desk.exchange, fill_prices=False)
    await _balance("200", first, second)
    course = _Course((first, second), seed, monkeypatch)

    for _ in range(80):
        await course.act()

    assert course.sent > 3


async def test_what_was_placed_while_the_list_was_damaged_is_not_spent_again_after_its_repair(
    two: tuple[Desk, Desk], asked: list[str], redis_client: redis.Redis
) -> None:
    """Its line was never written. Who has looked at the damaged list can't take an empty one for all there was."""
    first, second = two
    redis_client.set(PLACED, "damaged")
    await _balance(NEED - 1, first, second)
    assert (await _enter(second, "ETHUSDT")).reason == "INSUFFICIENT_MARGIN"
    await second.gate.reset("all", by="test", reason="go on")
    await _balance(NEED + 1, first, second)
    await _watched(second, "ETHUSDT")
    keep_snapshots_back(first, second)
    _lose_events(first)
    assert (await _enter(first)).state is Terminal.FILLED
    assert _free(second) == NEED + 1
    redis_client.delete(PLACED)
    asked.clear()

    execution = await _enter(second, "SOLUSDT")

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert sorted(asked) == sorted(READINGS)
