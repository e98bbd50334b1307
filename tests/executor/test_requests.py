"""What an order costs at the exchange: which requests, and which of them wait for which. Counts, not times."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from gate.exchange.port import Position
from gate.executor import Executor
from gate.executor.execution import Execution, Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk, forget, keep_snapshots_back, until
from tests.paper.conftest import futures_client

ACCOUNT = "GET /fapi/v3/account"
CONFIG = "GET /fapi/v1/symbolConfig"
FEE = "GET /fapi/v1/commissionRate"
MARK_PRICE = "GET /fapi/v1/premiumIndex"
MODE = "GET /fapi/v1/accountConfig"
SYMBOLS = "GET /fapi/v1/exchangeInfo"
LOOK_UP = "GET /fapi/v1/order"
POSITIONS = "GET /fapi/v3/positionRisk"
ORDER = "POST /fapi/v1/order"
PING = "GET /fapi/v1/ping"
READINGS = [ACCOUNT, CONFIG, MARK_PRICE]


@pytest.fixture
def plain(desk: Desk) -> Desk:
    """A desk whose executor doesn't look for the prices of fills."""
    desk.executor = Executor(desk.gate, desk.exchange, fill_prices=False)
    return desk


async def _warm(desk: Desk, asked: list[str]) -> None:
    """Opens a position, so that the executor has traded the symbol before and an exit has something to close."""
    assert await desk.executor.execute(desk.intent(notional="3000"))
    asked.clear()


def _held_together(desk: Desk, *readings: str) -> None:
    """Holds the answers to these until all of them have been asked for."""
    for reading in readings:
        method, path = reading.split()
        desk.paper.inject(Fault(kind=FaultKind.DELAY, method=method, path=path))


async def _executed(desk: Desk, **asked_for: object) -> Execution:
    return await desk.executor.execute(desk.intent(**asked_for))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [{"notional": "1000"}, {"quantity": "0.01"}], ids=["by notional", "by quantity"])
async def test_a_warm_entry_by_readings_asks_for_all_of_them_at_once(
    plain: Desk, asked: list[str], size: dict[str, str]
) -> None:
    await _warm(plain, asked)
    _held_together(plain, *READINGS)

    entry = asyncio.create_task(_executed(plain, **size))
    await asyncio.to_thread(plain.paper.wait_held, len(READINGS))
    assert sorted(asked) == sorted(READINGS)
    plain.paper.release_held()

    assert (await entry).state is Terminal.FILLED
    assert asked[3:] == [ORDER]


@pytest.mark.parametrize("size", [{"notional": "1000", "leverage": 20}, {"notional": "1000"}])
async def test_the_first_entry_by_notional_waits_for_one_round_of_readings(
    plain: Desk, asked: list[str], size: dict[str, str]
) -> None:
    readings = sorted([*READINGS, FEE, MODE, SYMBOLS])
    _held_together(plain, *readings)

    entry = asyncio.create_task(_executed(plain, **size))
    await asyncio.to_thread(plain.paper.wait_held, len(readings))
    assert sorted(asked) == readings
    plain.paper.release_held()

    assert (await entry).state is Terminal.FILLED
    assert asked[len(readings) :] == [ORDER]


async def test_the_first_entry_by_quantity_is_admitted_once_and_reads_nothing_twice(
    plain: Desk, asked: list[str]
) -> None:
    execution = await _executed(plain, quantity="0.01")

    permit = execution.verdict.permit
    assert execution.state is Terminal.FILLED
    assert permit is not None
    assert permit.fence == 1, "the first admission of the account, and no other before it"
    assert permit.reserved > 0
    assert sorted(asked[:-1]) == sorted([*READINGS, FEE, MODE, SYMBOLS])
    assert asked[-1] == ORDER


async def test_figures_that_can_not_be_had_soon_do_not_keep_the_verdict(
    plain: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order will need them, and says so; a denial doesn't."""
    monkeypatch.setattr("gate.executor.preflight._LONGEST_FIRST_READING_S", 0.01)
    await plain.gate.halt(by="test", reason="nothing goes")
    _held_together(plain, MARK_PRICE)

    execution = await _executed(plain, quantity="0.01")
    plain.paper.release_held()

    assert execution.reason == "HALTED"


async def test_in_the_verify_hour_the_look_up_goes_beside_the_readings(
    plain: Desk, asked: list[str], redis_client: redis.Redis
) -> None:
    await _warm(plain, asked)
    forget(redis_client)
    together = sorted([*READINGS, LOOK_UP])
    _held_together(plain, *together)

    entry = asyncio.create_task(_executed(plain, notional="1000"))
    await asyncio.to_thread(plain.paper.wait_held, len(together))
    assert sorted(asked) == together
    plain.paper.release_held()

    assert (await entry).state is Terminal.FILLED
    assert asked[len(together) :] == [ORDER]


async def test_what_was_read_beside_a_long_look_up_is_read_anew(
    plain: Desk, asked: list[str], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _warm(plain, asked)
    forget(redis_client)
    monkeypatch.setattr("gate.executor.placing._BEGUN_AT_MOST_MS", 0)

    assert await _executed(plain, notional="1000")

    assert sorted(asked) == sorted([LOOK_UP, *READINGS, *READINGS, ORDER])


async def test_an_exit_goes_by_what_was_read_beside_its_look_up(
    plain: Desk, asked: list[str], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings that hang would hold it up once more. It only reduces."""
    await _warm(plain, asked)
    forget(redis_client)
    monkeypatch.setattr("gate.executor.placing._BEGUN_AT_MOST_MS", 0)

    assert await _executed(plain, side="SELL", reduce_only=True, notional="1000")

    assert sorted(asked) == sorted([LOOK_UP, MARK_PRICE, ORDER])


async def test_a_leverage_that_is_set_has_the_account_read_after_it(plain: Desk, asked: list[str]) -> None:
    """It changes the margin of what is held, and so what is free."""
    await _warm(plain, asked)

    assert await _executed(plain, notional="1000", leverage=7)

    assert asked[-3:] == ["POST /fapi/v1/leverage", ACCOUNT, ORDER]


@pytest.mark.parametrize(
    ("size", "readings"),
    [
        ({"side": "SELL", "reduce_only": True, "quantity": "0.01"}, []),
        ({"side": "SELL", "reduce_only": True, "notional": "1000"}, [MARK_PRICE]),
        ({"side": "CLOSE", "quantity": "0.01"}, [POSITIONS]),
    ],
    ids=["by quantity", "by notional", "of what is open"],
)
async def test_a_warm_exit_asks_for_no_more_than_its_size_takes(
    plain: Desk, asked: list[str], size: dict[str, str], readings: list[str]
) -> None:
    await _warm(plain, asked)

    assert await _executed(plain, **size)

    assert asked == [*readings, ORDER]


async def test_the_first_exit_waits_for_one_round_of_readings(
    plain: Desk, open_desk: OpenDesk, asked: list[str]
) -> None:
    await _warm(plain, asked)
    another = await open_desk(ROOMY)
    another.executor = Executor(another.gate, another.exchange, fill_prices=False)
    readings = sorted([SYMBOLS, MODE, POSITIONS])
    _held_together(another, *readings)

    close = asyncio.create_task(another.executor.execute(another.intent(side="CLOSE", id="close", quantity="0.01")))
    await asyncio.to_thread(another.paper.wait_held, len(readings))
    another.paper.release_held()

    assert (await close).state is Terminal.FILLED
    assert sorted(asked[:3]) == readings
    assert asked[3:] == [ORDER]


@pytest.fixture
async def streaming(open_desk: OpenDesk, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose streams tell of a position that it has opened, and which takes no snapshots meanwhile."""
    desk = await open_desk(ROOMY, None, "BTCUSDT")
    desk.executor = Executor(desk.gate, desk.exchange, fill_prices=False)
    await _warm(desk, asked)
    await until(lambda: _positions_told(desk))
    keep_snapshots_back(desk)
    monkeypatch.setattr("gate.executor.preflight._EVENTS_TAKE_MS", 0)
    asked.clear()
    return desk


def _positions_told(desk: Desk) -> tuple[Position, ...]:
    live = desk.exchange.live("BTCUSDT")
    return () if live is None else live.positions


ONE_REQUEST = {
    "entry by notional": {"notional": "1000"},
    "entry by quantity": {"quantity": "0.01"},
    "entry that names the leverage": {"notional": "1000", "leverage": 20},
    "limit order": {"quantity": "0.01", "order_type": "LIMIT", "price": "90000", "time_in_force": "GTC"},
    "exit by quantity": {"side": "SELL", "reduce_only": True, "quantity": "0.01"},
    "exit by notional": {"side": "SELL", "reduce_only": True, "notional": "1000"},
    "close of a part": {"side": "CLOSE", "quantity": "0.01"},
    "close of all": {"side": "CLOSE", "close_position": True, "notional": None},
}


@pytest.mark.parametrize("order", ONE_REQUEST.values(), ids=ONE_REQUEST)
async def test_with_streams_a_warm_order_is_one_request(
    streaming: Desk, asked: list[str], order: dict[str, Any]
) -> None:
    assert await _executed(streaming, **order)

    assert asked == [ORDER]


async def test_after_a_restart_the_first_entry_of_a_recent_symbol_is_one_request(
    open_desk: OpenDesk, asked: list[str]
) -> None:
    before = await open_desk()
    assert (await _executed(before)).state is Terminal.FILLED
    desk = await open_desk(ROOMY, None, "ETHUSDT")
    streams = desk.exchange._streams
    assert streams is not None
    async with desk.executor:
        await until(lambda: "BTCUSDT" in streams._wanted._wanted)
        await until(lambda: desk.exchange.live("BTCUSDT") is not None)
        asked.clear()

        assert (await _executed(desk, id="first")).state is Terminal.FILLED

        assert [each for each in asked if each != PING] == [ORDER]


@pytest.mark.parametrize(
    "order", [{"notional": "1000"}, {"side": "SELL", "reduce_only": True, "quantity": "0.01"}], ids=["entry", "exit"]
)
async def test_with_streams_the_verify_hour_costs_the_look_up_alone(
    streaming: Desk, asked: list[str], redis_client: redis.Redis, order: dict[str, Any]
) -> None:
    forget(redis_client)

    assert await _executed(streaming, **order)

    assert asked == [LOOK_UP, ORDER]


async def test_with_streams_another_leverage_costs_a_look_at_what_it_allows(
    open_desk: OpenDesk, asked: list[str]
) -> None:
    """Nothing is held in the symbol, so its leverage changes nothing that is free."""
    desk = await open_desk(ROOMY, None, "BTCUSDT")
    desk.executor = Executor(desk.gate, desk.exchange, fill_prices=False)
    await desk.exchange.filters("BTCUSDT")
    keep_snapshots_back(desk)
    asked.clear()

    assert await _executed(desk, notional="1000", leverage=7)

    assert sorted(asked[:2]) == ["GET /fapi/v1/leverageBracket", "GET /fapi/v1/symbolConfig"]
    assert asked[2:] == ["POST /fapi/v1/leverage", ORDER]


async def test_a_close_right_after_an_order_of_this_process_reads_the_position(
    streaming: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The streams may not have told of its fill yet: less would be closed than is open."""
    monkeypatch.setattr("gate.executor.preflight._EVENTS_TAKE_MS", 60_000)
    assert await _executed(streaming, notional="1000")
    asked.clear()

    close = await _executed(streaming, side="CLOSE", close_position=True, notional=None)

    assert close.state is Terminal.FILLED
    assert asked[:2] == [POSITIONS, ORDER]


async def test_where_the_streams_tell_of_nothing_to_close_a_reading_decides(streaming: Desk, asked: list[str]) -> None:
    """This end is final, so it takes more than an event that hasn't come."""
    for event in ("ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"):
        streaming.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event=event, times=100))
    another = futures_client(streaming.paper)
    another.futures_create_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.1")
    await until(lambda: streaming.exchange.live("ETHUSDT"))
    asked.clear()

    close = await _executed(streaming, symbol="ETHUSDT", side="CLOSE", close_position=True, notional=None)

    assert close.state is Terminal.FILLED
    assert asked[:2] == [POSITIONS, ORDER]


async def test_nothing_to_close_takes_two_readings_whatever_the_streams_tell(streaming: Desk, asked: list[str]) -> None:
    await until(lambda: streaming.exchange.live("ETHUSDT"))
    asked.clear()

    close = await _executed(streaming, symbol="ETHUSDT", side="CLOSE", close_position=True, notional=None)

    assert close.reason == "NOTHING_TO_CLOSE"
    assert asked == [POSITIONS, POSITIONS, POSITIONS], "the last one tells what is still open"


async def test_what_the_gate_denies_asks_the_exchange_once(plain: Desk, asked: list[str]) -> None:
    """A backlog by quantity, all at once and again: each delivery would read the symbol before its verdict."""
    await plain.gate.halt(by="test", reason="nothing goes")

    denied = await asyncio.gather(*(_executed(plain, quantity="0.01") for _ in range(5)))
    again = await _executed(plain, quantity="0.01")

    assert {each.reason for each in (*denied, again)} == {"HALTED"}
    assert sorted(asked) == sorted([CONFIG, FEE, MARK_PRICE])


async def test_a_symbol_that_there_is_not_is_asked_for_once(plain: Desk, asked: list[str]) -> None:
    await plain.gate.halt(by="test", reason="nothing goes")

    for _ in range(3):
        assert (await _executed(plain, symbol="BTCUSD", quantity="0.01")).reason == "HALTED"

    assert asked.count(MARK_PRICE) == 1


async def test_no_verdict_asks_the_exchange_during_a_ban(plain: Desk, asked: list[str]) -> None:
    """The account rests, as the exchange has said. Who goes on asking is banned for longer."""
    plain.paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path=ACCOUNT.split()[1]))
    assert (await _executed(plain, notional="1000")).reason == "MARGIN_UNREADABLE"
    asked.clear()

    assert (await _executed(plain, symbol="ETHUSDT", quantity="0.1")).reason == "SAFE_MODE"
    assert asked == []


async def test_no_verdict_asks_the_exchange_near_its_limits(plain: Desk, asked: list[str]) -> None:
    await plain.gate.halt(by="test", reason="nothing goes")
    plain.exchange._rest.near_limit_ms = lambda *_: 10  # type: ignore[method-assign]

    assert (await _executed(plain, quantity="0.01")).reason == "HALTED"
    assert asked == []


async def test_with_streams_a_price_that_has_moved_costs_no_second_admission(streaming: Desk) -> None:
    """What is reserved is reckoned by the price of this second, not by that of the symbol's last order."""
    first = await _executed(streaming, quantity="0.01")
    before = streaming.exchange.live("BTCUSDT")
    assert before is not None
    streaming.paper.set_price("BTCUSDT", before.mark_price * 3 // 2)
    await until(lambda: (at := streaming.exchange.live("BTCUSDT")) is not None and at.mark_price > before.mark_price)

    second = await _executed(streaming, quantity="0.01")

    assert second.state is Terminal.FILLED
    assert first.verdict.permit is not None
    assert second.verdict.permit is not None
    assert second.verdict.permit.fence == first.verdict.permit.fence + 1


async def test_an_hour_later_the_symbols_are_read_beside_the_order(streaming: Desk, asked: list[str]) -> None:
    """A megabyte, in life. The exchange checks the order by the filters of today anyway."""
    exchange = streaming.exchange
    assert exchange._symbols._read_at_s is not None
    exchange._symbols._read_at_s -= 3_700
    read_at = exchange._symbols._read_at_s
    _held_together(streaming, SYMBOLS)

    for _ in range(2):
        assert (await _executed(streaming, notional="1000")).state is Terminal.FILLED
    await asyncio.to_thread(streaming.paper.wait_held)
    assert asked.count(SYMBOLS) == 1
    streaming.paper.release_held()

    await until(lambda: exchange._symbols._read_at_s != read_at)


async def test_a_day_later_an_order_waits_for_the_symbols(streaming: Desk) -> None:
    exchange = streaming.exchange
    assert exchange._symbols._read_at_s is not None
    exchange._symbols._read_at_s -= 90_000
    read_at = exchange._symbols._read_at_s

    await exchange.filters("BTCUSDT")

    assert exchange._symbols._read_at_s > read_at + 80_000


async def test_an_end_ends_what_is_read_beside(streaming: Desk) -> None:
    _held_together(streaming, SYMBOLS)
    streaming.exchange._symbols._renew()
    await asyncio.to_thread(streaming.paper.wait_held)

    await streaming.exchange.close()

    assert streaming.exchange._symbols._renewal is not None
    assert streaming.exchange._symbols._renewal.cancelled()
