"""Nothing traps an exit: no reading that it can go without, and no rule for entries only."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gate import Intent, Policy
from gate.executor.execution import Execution, Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, OpenDesk

EXCHANGE_INFO = "/fapi/v1/exchangeInfo"
ACCOUNT_CONFIG = "/fapi/v1/accountConfig"


async def _open(desk: Desk, quantity: str = "0.01") -> None:
    """A position that another client opened, so the desk's client has read nothing yet."""
    await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity=quantity
    )


async def _close(desk: Desk, **more: Any) -> Execution:
    size = {} if more.keys() & {"notional", "quantity"} else {"quantity": "0.01"}
    return await desk.executor.execute(desk.intent(side="SELL", reduce_only=True, **size, **more))


def _fail(desk: Desk, path: str, kind: FaultKind = FaultKind.INTERNAL_503) -> None:
    desk.paper.inject(Fault(kind=kind, method="GET", path=path, times=100))


@pytest.mark.parametrize("kind", [FaultKind.INTERNAL_503, FaultKind.EMPTY_200, FaultKind.JSON_LIST, FaultKind.DELAY])
@pytest.mark.parametrize("known", [True, False], ids=["filters read before", "none ever"])
async def test_filters_that_can_not_be_read_do_not_stop_an_exit(desk: Desk, kind: FaultKind, known: bool) -> None:
    await _open(desk)
    if known:
        await desk.exchange.filters("BTCUSDT")
        desk.exchange.forget_filters()
    _fail(desk, EXCHANGE_INFO, kind)

    closed = await _close(desk, quantity="0.0105" if known else "0.01")  # off the lot size, if that is known

    assert closed.state is Terminal.FILLED


def _damage(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, the filters of BTCUSDT in exchangeInfo have a bound that is no number."""
    venue = desk.paper._venue
    assert venue is not None
    symbols: Any = venue.exchange.market.symbols
    symbol = symbols["BTCUSDT"]
    published: Any = msgspec.to_builtins(symbol.published)
    for each in published["filters"]:
        if "LOT_SIZE" in each["filterType"]:
            each["maxQty"] = "NaN"
    monkeypatch.setitem(symbols, "BTCUSDT", msgspec.structs.replace(symbol, published=published))


@pytest.mark.parametrize("size", [{"side": "SELL", "quantity": "0.01"}, {"side": "CLOSE"}], ids=["sized", "whole"])
async def test_filters_with_a_figure_that_is_none_stop_entries_and_no_exit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, size: dict[str, Any]
) -> None:
    await _open(desk)
    _damage(desk, monkeypatch)

    entry = await desk.executor.execute(desk.intent())
    timestamp = time.time_ns() // 1_000_000
    closed = await desk.executor.execute(
        Intent(id="exit", symbol="BTCUSDT", timestamp=timestamp, reduce_only=True, **size)
    )

    assert (entry.state, entry.reason) == (Terminal.REJECTED_EXCHANGE, "UNREADABLE")
    assert entry.detail == "filters of BTCUSDT: maxQty is 'NaN'"
    assert (closed.state, closed.filled_quantity) == (Terminal.FILLED, Decimal("0.010"))


async def test_an_exit_goes_by_older_filters_where_a_figure_of_the_present_ones_is_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _open(desk)
    await desk.exchange.filters("BTCUSDT")
    _damage(desk, monkeypatch)
    desk.exchange.forget_filters()

    assert (await _close(desk, quantity="0.0105")).state is Terminal.FILLED  # off the lot size


async def test_a_first_reading_of_filters_is_waited_for_longer_so_that_the_exit_can_be_rounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange would refuse it, and for good."""
    await _open(desk, "0.02")
    monkeypatch.setattr("gate.executor.readings._LONGEST_WAIT_OF_AN_EXIT_S", 0.05)
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=EXCHANGE_INFO, delay_ms=300))

    closed = await _close(desk, quantity="0.0155555")

    assert (closed.state, closed.filled_quantity) == (Terminal.FILLED, Decimal("0.015"))


async def test_filters_that_an_answer_has_shown_to_be_old_are_read_anew_for_exits_too(desk: Desk) -> None:
    await _open(desk)
    await desk.exchange.filters("BTCUSDT")
    desk.paper.inject(Fault(kind=FaultKind.ERROR, times=1, code=-1111, msg="Precision is over the maximum"))
    read_at = desk.exchange._symbols._read_at_s

    assert (await _close(desk)).state is Terminal.FILLED
    assert desk.exchange._symbols._read_at_s != read_at


async def test_an_exit_that_went_by_no_filters_is_sent_again_by_those_that_are_read_then(desk: Desk) -> None:
    """A cold start, and a list of symbols that comes too late: the exchange refuses what is off the lot size."""
    await _open(desk, "0.02")
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=EXCHANGE_INFO, times=1))

    closed = await _close(desk, quantity="0.0155555")

    assert (closed.state, closed.filled_quantity) == (Terminal.FILLED, Decimal("0.015"))


async def test_an_exit_by_notional_without_any_filters_may_come_again(desk: Desk) -> None:
    """Without a lot size, a notional gives no quantity that the exchange is sure to accept, so nothing is sent."""
    await _open(desk)
    _fail(desk, EXCHANGE_INFO)

    closed = await _close(desk, notional="1000")

    assert (closed.state, closed.retryable) == (Terminal.REJECTED_EXCHANGE, True)


async def test_an_exchange_info_without_symbols_is_none(desk: Desk) -> None:
    await desk.exchange.filters("BTCUSDT")
    desk.exchange.forget_filters()
    read = desk.exchange._rest.read

    async def without_symbols(method: str, **parameters: object) -> object:
        return {"symbols": []} if method == "futures_exchange_info" else await read(method, **parameters)

    desk.exchange._rest.read = without_symbols  # type: ignore[method-assign]

    assert await desk.exchange.filters("BTCUSDT") is not None


@pytest.mark.parametrize("status", ["PENDING_TRADING", "BREAK"])
async def test_a_symbol_that_takes_no_new_positions_still_closes_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    await _open(desk)
    venue = desk.paper._venue
    assert venue is not None
    symbols: Any = venue.exchange.market.symbols
    symbol = symbols["BTCUSDT"]
    published = {**symbol.published, "status": status}
    monkeypatch.setitem(symbols, "BTCUSDT", msgspec.structs.replace(symbol, status=status, published=published))

    entry = await desk.executor.execute(desk.intent())
    closed = await _close(desk)

    assert (entry.state, entry.reason) == (Terminal.REJECTED_ORDER, "SYMBOL_OFF")
    assert closed.state is Terminal.FILLED


async def test_filters_that_were_read_long_ago_refuse_no_entry_for_good(desk: Desk) -> None:
    await desk.exchange.filters("BTCUSDT")
    symbols: Any = desk.exchange._symbols._rows
    off = {**symbols["BTCUSDT"], "status": "BREAK"}
    desk.exchange._symbols._rows = {"ETHUSDT": symbols["ETHUSDT"], "BTCUSDT": off}
    assert desk.exchange._symbols._read_at_s is not None
    desk.exchange._symbols._read_at_s -= 61  # read a minute ago, when one was off and another not listed yet

    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED
    desk.exchange._symbols._read_at_s -= 61
    desk.exchange._symbols._rows = {"ETHUSDT": symbols["ETHUSDT"]}
    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED


async def _has_read(desk: Desk, seconds_ago: float, **rows: object) -> None:
    """The executor's list of symbols: read so long ago, when it was as told."""
    await desk.exchange.filters("BTCUSDT")
    symbols: Any = desk.exchange._symbols
    listed = {**symbols._rows, **rows}
    symbols._rows = {symbol: row for symbol, row in listed.items() if row is not None}
    symbols._filters = {}
    symbols._read_at_s -= seconds_ago


@pytest.mark.parametrize("kind", [None, FaultKind.DELAY, FaultKind.INTERNAL_503])
async def test_an_exit_of_a_symbol_that_was_listed_this_moment_goes(
    open_desk: OpenDesk, kind: FaultKind | None
) -> None:
    """A list that hangs for long isn't waited for: this permit would run out meanwhile."""
    desk = await open_desk(Policy(lock_ttl_ms=2_500))
    await _open(desk)
    await _has_read(desk, 0 if kind is None else 2, BTCUSDT=None)
    if kind is not None:
        _fail(desk, EXCHANGE_INFO, kind)

    assert (await _close(desk)).state is Terminal.FILLED


async def test_an_exit_by_notional_of_a_symbol_that_was_listed_a_moment_ago_goes(desk: Desk) -> None:
    await _open(desk)
    await _has_read(desk, 2, BTCUSDT=None)

    assert (await _close(desk, notional="1000")).state is Terminal.FILLED


async def test_an_exit_that_filters_of_a_moment_ago_refuse_goes_by_those_of_now(desk: Desk) -> None:
    await _open(desk)
    await desk.exchange.filters("BTCUSDT")
    row: Any = desk.exchange._symbols._rows["BTCUSDT"]
    coarse = [
        {**each, "minQty": "1", "stepSize": "1"} if "LOT_SIZE" in each["filterType"] else each
        for each in row["filters"]
    ]
    await _has_read(desk, 2, BTCUSDT={**row, "filters": coarse})

    assert (await _close(desk)).state is Terminal.FILLED


async def test_an_exit_of_a_symbol_that_the_exchange_does_not_have_is_refused_by_the_exchange(desk: Desk) -> None:
    execution = await desk.executor.execute(desk.intent("NOSUCHUSDT", "SELL", quantity="0.01", reduce_only=True))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "-1121")
    assert not execution.retryable


async def test_an_exit_tries_the_other_position_mode_where_it_can_not_be_read(desk: Desk) -> None:
    await desk.exchange.hedge_mode()
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01", positionSide="LONG"
    )
    _fail(desk, ACCOUNT_CONFIG)

    assert (await _close(desk)).state is Terminal.FILLED


async def test_reduce_only_where_it_is_not_wanted_is_told_like_a_wrong_position_mode(desk: Desk) -> None:
    await _open(desk)
    desk.paper.inject(Fault(kind=FaultKind.ERROR, times=1, code=-1106, msg="Parameter 'reduceonly' sent"))

    assert (await _close(desk)).state is Terminal.FILLED


async def test_a_position_mode_that_hangs_does_not_use_up_an_exits_permit(open_desk: OpenDesk) -> None:
    desk = await open_desk(Policy(rate_symbol_limit=100, rate_global_limit=1000, lock_ttl_ms=5000))
    await _open(desk)
    _fail(desk, ACCOUNT_CONFIG, FaultKind.DELAY)

    closed = await _close(desk)

    desk.paper.release_held()
    assert closed.state is Terminal.FILLED


@pytest.mark.parametrize("price_known", [True, False])
async def test_a_limit_exit_by_notional_closes_no_more_than_that_where_the_price_is_known(
    desk: Desk, price_known: bool
) -> None:
    """Below the market it is filled at the market: 1,000 USDT at 60,000 would be 1,600 at 100,000."""
    await _open(desk, "0.1")
    if not price_known:
        _fail(desk, "/fapi/v1/premiumIndex")

    closed = await _close(desk, notional="1000", order_type="LIMIT", price="60000", time_in_force="IOC")

    assert closed.filled_quantity == (Decimal("0.010") if price_known else Decimal("0.016"))


async def test_an_exit_goes_whatever_the_percent_price_and_the_margin_say(desk: Desk) -> None:
    await _open(desk)
    for path in ("/fapi/v1/premiumIndex", "/fapi/v3/account", "/fapi/v1/symbolConfig", "/fapi/v1/commissionRate"):
        _fail(desk, path, FaultKind.DROP_BEFORE_ACCEPT)

    assert (await _close(desk)).state is Terminal.FILLED
