"""CLOSE without side or size: the executor reads the position and closes what there is, with one order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import redis

from gate import Intent, Reason
from gate.executor.execution import Execution, Terminal
from gate.executor.order_plan import PlanRefusal, plan_order, unfiltered
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, forget

POSITION_RISK = "/fapi/v3/positionRisk"


async def _order(desk: Desk, side: str, quantity: str, **more: str) -> None:
    await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side=side, type="MARKET", quantity=quantity, **more
    )


async def _hedge(desk: Desk, *sides: str) -> None:
    """Positions of both sides, or of one, in hedge mode: LONG 0.01, SHORT 0.02."""
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    if "LONG" in sides:
        await _order(desk, "BUY", "0.01", positionSide="LONG")
    if "SHORT" in sides:
        await _order(desk, "SELL", "0.02", positionSide="SHORT")


async def _positions(desk: Desk) -> dict[str, Decimal]:
    return {each.position_side: each.amount for each in await desk.exchange.positions("BTCUSDT")}


def _close(intent_id: str = "close-1", **more: Any) -> dict[str, object]:
    """As a stream carries it."""
    return {
        "id": intent_id,
        "symbol": "BTCUSDT",
        "action": "CLOSE",
        "timestamp": time.time_ns() // 1_000_000,
        "leverage": 7.5,
        **more,
    }


def _sent(desk: Desk, intent_id: str = "close-1") -> list[Mapping[str, Any]]:
    client_order_id = desk.gate.client_order_id(intent_id)
    return [row for row in desk.orders() if row["clientOrderId"] == client_order_id]


@pytest.mark.parametrize(("opened", "closed"), [("BUY", "SELL"), ("SELL", "BUY")])
@pytest.mark.parametrize("fields", [{}, {"action": "", "closePosition": True}, {"side": "close"}], ids=str)
async def test_all_that_is_open_is_closed_whichever_side_it_is(
    desk: Desk, opened: str, closed: str, fields: dict[str, Any]
) -> None:
    await _order(desk, opened, "0.015")

    execution = await desk.executor.execute(_close(**fields))

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.015"))
    assert execution.side == closed
    (order,) = _sent(desk)
    assert (order["side"], order["reduceOnly"], order["positionSide"]) == (closed, True, "BOTH")
    assert await _positions(desk) == {}


@pytest.mark.parametrize("held", ["LONG", "SHORT"])
async def test_in_hedge_mode_the_only_position_needs_no_name(desk: Desk, held: str) -> None:
    await _hedge(desk, held)

    execution = await desk.executor.execute(_close())

    assert execution.state is Terminal.FILLED
    assert [order["positionSide"] for order in _sent(desk)] == [held]
    assert await _positions(desk) == {}


@pytest.mark.parametrize(
    ("named", "left"),
    [
        ({"position_side": "LONG"}, {"SHORT": Decimal("-0.02")}),
        ({"positionSide": "short"}, {"LONG": Decimal("0.01")}),
        ({"side": "SELL"}, {"SHORT": Decimal("-0.02")}),
        ({"side": "SHORT"}, {"LONG": Decimal("0.01")}),
    ],
    ids=str,
)
async def test_in_hedge_mode_the_position_that_is_named_is_closed(
    desk: Desk, named: dict[str, str], left: dict[str, Decimal]
) -> None:
    await _hedge(desk, "LONG", "SHORT")

    assert (await desk.executor.execute(_close(**named))).state is Terminal.FILLED
    assert await _positions(desk) == left


@pytest.mark.parametrize(("held", "left"), [("LONG", "SHORT"), ("SHORT", "LONG")])
async def test_an_intent_of_ones_own_names_the_position_too(desk: Desk, held: str, left: str) -> None:
    await _hedge(desk, "LONG", "SHORT")

    assert (await desk.executor.execute(desk.intent(side="CLOSE", position_side=held, quantity=9))).state is (
        Terminal.FILLED
    )
    assert list(await _positions(desk)) == [left]


async def test_two_positions_take_a_name_since_an_intent_gets_one_order(desk: Desk) -> None:
    await _hedge(desk, "LONG", "SHORT")
    before = len(desk.orders())

    refused = await desk.executor.execute(_close())

    assert (refused.state, refused.reason, refused.retryable) == (Terminal.REJECTED_EXCHANGE, "TWO_POSITIONS", True)
    assert refused.detail == ("BTCUSDT has LONG 0.01 and SHORT 0.02, and an intent gets one order: name position_side")
    assert len(desk.orders()) == before
    assert (await desk.executor.execute(_close(position_side="LONG"))).state is Terminal.FILLED, "under the same id"


async def test_nothing_to_close_is_an_end_without_an_order_and_without_a_rest(
    desk: Desk, redis_client: redis.Redis
) -> None:
    execution = await desk.executor.execute(_close())

    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, "NOTHING_TO_CLOSE")
    assert (execution.detail, execution.retryable) == ("BTCUSDT has no open position", False)
    assert desk.orders() == []
    assert redis_client.keys("quantum:safety:*") == []
    assert redis_client.exists("quantum:exec:failures") == 0
    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED, "no failure, no cooldown"


async def test_a_reading_that_is_behind_a_fill_does_not_end_a_close(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.SLOW_BODY, method="GET", path=POSITION_RISK, times=1))
    close = asyncio.create_task(desk.executor.execute(_close()))
    await asyncio.to_thread(desk.paper.wait_held)
    await _order(desk, "BUY", "0.01")  # the answer that is held is of before
    desk.paper.release_held()

    assert (await close).state is Terminal.FILLED
    assert await _positions(desk) == {}


async def test_a_close_that_leaves_something_open_says_so(desk: Desk) -> None:
    await _order(desk, "BUY", "0.01")
    desk.paper.inject(Fault(kind=FaultKind.SLOW_BODY, method="GET", path=POSITION_RISK, times=1))
    close = asyncio.create_task(desk.executor.execute(_close()))
    await asyncio.to_thread(desk.paper.wait_held)
    await _order(desk, "BUY", "0.02")  # the answer that is held is of before
    desk.paper.release_held()

    closed = await close
    assert (closed.state, closed.still_open) == (Terminal.FILLED, {"BOTH": Decimal("0.02")})


async def test_what_was_opened_since_is_not_closed_by_a_late_delivery(desk: Desk) -> None:
    intent = _close()
    await desk.executor.execute(intent)
    await _order(desk, "BUY", "0.01")

    again = await desk.executor.execute(intent)

    assert (again.state, again.reason) == (Terminal.DENIED, Reason.DUPLICATE)
    assert await _positions(desk) == {"BOTH": Decimal("0.01")}


@pytest.mark.parametrize("named", [{"position_side": "SHORT"}, {"side": "BUY"}], ids=str)
async def test_a_close_of_the_other_side_closes_nothing(desk: Desk, named: dict[str, str]) -> None:
    await _order(desk, "BUY", "0.01")

    execution = await desk.executor.execute(_close(**named))

    assert execution.reason == "NOTHING_TO_CLOSE"
    assert "it has LONG 0.01" in execution.detail
    assert await _positions(desk) == {"BOTH": Decimal("0.01")}


@pytest.mark.parametrize(
    ("size", "left"), [({"quantity": "0.004"}, "0.006"), ({"qty": "9"}, None), ({"notional": 400}, "0.006")], ids=str
)
async def test_a_size_without_a_side_closes_no_more_than_that(
    desk: Desk, size: dict[str, Any], left: str | None
) -> None:
    await _order(desk, "BUY", "0.01")

    assert (await desk.executor.execute(_close(**size))).state is Terminal.FILLED
    assert await _positions(desk) == ({} if left is None else {"BOTH": Decimal(left)})


async def test_a_position_too_large_for_one_order_is_closed_as_far_as_one_goes(desk: Desk) -> None:
    """Refusing it would trap the position; a second order would be one too many for an intent."""
    await _order(desk, "BUY", "0.015")
    await desk.exchange.filters("BTCUSDT")
    for each in desk.exchange._symbols._rows["BTCUSDT"]["filters"]:
        if each["filterType"] == "MARKET_LOT_SIZE":
            each["maxQty"] = "0.01"
    desk.exchange._symbols._filters.clear()

    execution = await desk.executor.execute(_close())

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.01"))
    assert execution.notes == ("closes 0.01 of 0.015, the largest order; 0.005 stays open: send a new intent",)
    assert (await desk.executor.execute(_close("close-2"))).notes == ()
    assert await _positions(desk) == {}


async def test_the_same_close_twice_is_one_order(desk: Desk) -> None:
    await _order(desk, "BUY", "0.01")
    intent = _close()
    first = await desk.executor.execute(intent)
    await _order(desk, "SELL", "0.03")

    again = await desk.executor.execute(intent)

    assert (again.reason, again.order_id) == (Reason.DUPLICATE, first.order_id)
    assert len(_sent(desk)) == 1


async def test_after_a_loss_of_memory_the_close_that_was_sent_is_found(desk: Desk, redis_client: redis.Redis) -> None:
    await _order(desk, "BUY", "0.01")
    intent = _close()
    first = await desk.executor.execute(intent)
    forget(redis_client)
    await _order(desk, "BUY", "0.02")

    again = await desk.executor.execute(intent)

    assert (again.state, again.order_id) == (Terminal.FILLED, first.order_id)
    assert await _positions(desk) == {"BOTH": Decimal("0.02")}


@pytest.mark.parametrize("kind", [FaultKind.INTERNAL_503, FaultKind.EMPTY_200])
async def test_a_position_that_can_not_be_read_is_closed_later(desk: Desk, kind: FaultKind) -> None:
    await _order(desk, "BUY", "0.01")
    intent = _close()
    desk.paper.inject(Fault(kind=kind, method="GET", path=POSITION_RISK, times=2))

    failed = await desk.executor.execute(intent)

    assert (failed.state, failed.retryable, _sent(desk)) == (Terminal.REJECTED_EXCHANGE, True, [])
    assert (await desk.executor.execute(intent)).state is Terminal.FILLED


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit's wait for a reading that doesn't come is over at once."""
    monkeypatch.setattr("gate.executor.readings._LONGEST_WAIT_OF_AN_EXIT_S", 0.1)
    monkeypatch.setattr("gate.executor.still_open._LONGEST_S", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["hangs", "fails"])
async def test_a_close_goes_by_what_was_last_known_where_no_reading_comes(
    how: str, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await _order(desk, "SELL", "0.01")
    assert await _positions(desk) == {"BOTH": Decimal("-0.01")}
    kind = FaultKind.DELAY if how == "hangs" else FaultKind.INTERNAL_503
    desk.paper.inject(Fault(kind=kind, method="GET", path=POSITION_RISK, times=100))

    execution = await desk.executor.execute(_close())

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.01"))
    assert "by what was last known to be open, SHORT 0.01" in execution.notes[-1]
    assert "CLOSE BY MEMORY id=close-1 symbol=BTCUSDT side=BUY" in caplog.text


@pytest.mark.usefixtures("impatient")
async def test_of_a_position_that_has_turned_since_it_was_known_a_close_finds_out(desk: Desk) -> None:
    """The exchange refuses the order: it would open something. The reading after that comes."""
    await _order(desk, "SELL", "0.01")
    await _positions(desk)
    await _order(desk, "BUY", "0.03")
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=POSITION_RISK, times=2))

    execution = await desk.executor.execute(_close())

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.02"))
    assert await _positions(desk) == {}


@pytest.mark.usefixtures("impatient")
async def test_where_that_is_refused_and_no_reading_comes_either_a_close_may_come_again(desk: Desk) -> None:
    await _order(desk, "SELL", "0.01")
    await _positions(desk)
    await _order(desk, "BUY", "0.03")
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITION_RISK, times=3))
    intent = _close()

    refused = await desk.executor.execute(intent)

    assert (refused.reason, refused.retryable) == ("-2022", True)
    assert (await desk.executor.execute(intent)).filled_quantity == Decimal("0.02")


@pytest.mark.usefixtures("impatient")
async def test_one_reading_that_hangs_is_asked_for_once_more_before_memory_counts(desk: Desk) -> None:
    """More is open by now: a close by memory would leave it."""
    await _order(desk, "BUY", "0.01")
    await _positions(desk)
    await _order(desk, "BUY", "0.04")
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=POSITION_RISK))

    assert (await desk.executor.execute(_close())).filled_quantity == Decimal("0.05")


@pytest.mark.usefixtures("impatient")
async def test_a_size_that_was_asked_for_is_not_cut_by_memory(desk: Desk) -> None:
    await _order(desk, "BUY", "0.01")
    await _positions(desk)
    await _order(desk, "BUY", "0.04")
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITION_RISK, times=100))

    assert (await desk.executor.execute(_close(quantity="0.03"))).filled_quantity == Decimal("0.03")


@pytest.mark.usefixtures("impatient")
async def test_a_notional_that_was_asked_for_stays_one_by_memory(desk: Desk) -> None:
    await _order(desk, "BUY", "0.05")
    await _positions(desk)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITION_RISK, times=100))

    assert (await desk.executor.execute(_close(notional="500"))).filled_quantity == Decimal("0.005")


async def _known(desk: Desk, what: str) -> None:
    if what == "one side of two":
        await _hedge(desk, "LONG")
    elif what == "both sides":
        await _hedge(desk, "LONG", "SHORT")
    else:
        await _order(desk, "BUY", "0.02")
    if what != "nothing":
        await _positions(desk)
    if what == "before an order of its own":
        sold = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))
        assert sold.state is Terminal.FILLED


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", ["nothing", "both sides", "one side of two", "before an order of its own"])
async def test_where_memory_names_no_one_position_a_close_waits_for_the_reading(what: str, desk: Desk) -> None:
    """In hedge mode the other side may be open by now."""
    await _known(desk, what)
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=POSITION_RISK, times=2, delay_ms=400))

    execution = await desk.executor.execute(_close())

    assert execution.reason == ("TWO_POSITIONS" if what == "both sides" else "FILLED")
    assert not any("last known" in note for note in execution.notes)


@pytest.mark.usefixtures("impatient")
async def test_in_hedge_mode_a_close_that_names_its_position_goes_by_memory_too(desk: Desk) -> None:
    await _hedge(desk, "LONG")
    await _positions(desk)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITION_RISK, times=100))

    execution = await desk.executor.execute(_close(positionSide="LONG"))

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.01"))


@pytest.mark.usefixtures("impatient")
async def test_a_stop_is_not_placed_by_memory(desk: Desk) -> None:
    """It may rest for long, on the side that closed what was open once."""
    await _order(desk, "BUY", "0.01")
    await _positions(desk)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=POSITION_RISK, times=100))

    execution = await desk.executor.execute(_close(order_type="STOP_MARKET", trigger_price="90000"))

    assert (execution.state, execution.retryable) == (Terminal.REJECTED_EXCHANGE, True)


async def test_a_close_needs_neither_filters_nor_a_price_nor_the_position_mode(desk: Desk) -> None:
    await _hedge(desk, "SHORT")
    for path in ("exchangeInfo", "premiumIndex", "accountConfig"):
        desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=f"/fapi/v1/{path}", times=100))

    assert (await desk.executor.execute(_close())).state is Terminal.FILLED
    assert await _positions(desk) == {}


async def test_a_stop_that_closes_all_needs_no_filters(desk: Desk) -> None:
    await _order(desk, "BUY", "0.01")
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/exchangeInfo", times=100))

    stop = _close(type="stop-market", stopPrice="90000", side="SELL")

    assert (await desk.executor.execute(stop)).state is Terminal.PLACED


async def test_a_close_whose_answer_is_lost_is_found_and_not_sent_again(desk: Desk) -> None:
    await _order(desk, "BUY", "0.01")
    desk.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP, method="POST", path="/fapi/v1/order", times=1))

    execution = await desk.executor.execute(_close())

    assert execution.state is Terminal.FILLED
    assert len(_sent(desk)) == 1


def test_an_order_is_never_planned_for_a_position_that_was_not_read() -> None:
    sizes: list[dict[str, Any]] = [{}, {"quantity": 1}]
    for asked in sizes:
        intent = Intent.from_mapping(_close(**asked))
        refusal = plan_order(intent, unfiltered("BTCUSDT"), Decimal(0), hedge_mode=False)
        assert isinstance(refusal, PlanRefusal)
        assert refusal.code == "POSITION_UNREAD"


async def test_nothing_that_stops_entries_stops_a_close(desk: Desk, redis_client: redis.Redis) -> None:
    await _order(desk, "BUY", "0.01")
    await desk.gate.halt(by="ops", reason="a test")
    redis_client.set("quantum:safety:safe_mode", "1")
    redis_client.set("quantum:safety:cooldown_symbol:BTCUSDT", "1")
    redis_client.set("quantum:exec:lock:BTCUSDT:SELL", "another")

    assert (await desk.executor.execute(_close())).state is Terminal.FILLED
    assert redis_client.get("quantum:exec:lock:BTCUSDT:SELL") == b"another"
    assert redis_client.keys("quantum:exec:lock:*:CLOSE") == []


async def test_the_record_keeps_the_intent_as_it_was_asked_for(desk: Desk) -> None:
    await _order(desk, "SELL", "0.01")
    await desk.executor.execute(_close())

    record = await desk.gate.lookup("close-1")

    assert record is not None
    assert (record.side, record.is_exit) == ("CLOSE", True)
    assert record.fingerprint == Intent.from_mapping(_close()).fingerprint[:8], "a placed record keeps the beginning"


@pytest.mark.parametrize("fields", [{"side": "SELL"}, {}, {"position_side": "LONG"}], ids=str)
async def test_a_stop_without_a_size_closes_what_is_open_when_it_fires(desk: Desk, fields: dict[str, str]) -> None:
    await _order(desk, "BUY", "0.01")

    execution = await desk.executor.execute(_close(type="stop-market", stopPrice="90000", **fields))

    assert execution.state is Terminal.PLACED
    (order,) = await desk.exchange._rest.client.futures_get_open_algo_orders(symbol="BTCUSDT")
    assert (order["side"], order["closePosition"], order["clientAlgoId"]) == (
        "SELL",
        True,
        desk.gate.client_order_id("close-1"),
    )
    await _order(desk, "BUY", "0.02")
    desk.paper.set_price("BTCUSDT", "89000")
    assert await _positions(desk) == {}


async def test_a_limit_order_closes_all_too(desk: Desk) -> None:
    await _order(desk, "BUY", "0.01")

    execution = await desk.executor.execute(_close(type="limit", price="60000", tif="ioc"))

    assert (execution.state, execution.filled_quantity) == (Terminal.FILLED, Decimal("0.01"))


async def test_what_reading_has_decided_is_in_the_result_and_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gate.executor")
    entry = {**_close("entry-1"), "action": "BUY", "notional": 1000, "leverage": "7.5"}

    placed: Execution = await desk.executor.execute(entry)
    again: Execution = await desk.executor.execute(entry)

    note = "leverage 7.5 is rounded down to 7"
    assert placed.notes == again.notes == (note,)
    assert (placed.state, again.state) == (Terminal.FILLED, Terminal.DENIED)
    assert f'READ id=entry-1 symbol=BTCUSDT side=BUY note="{note}"' in caplog.text


async def test_what_reading_has_decided_of_a_close_is_in_its_result(desk: Desk) -> None:
    await _order(desk, "BUY", "0.01")

    execution = await desk.executor.execute(_close(workingType="MARK_PRICE"))

    assert execution.state is Terminal.FILLED
    assert execution.notes == ("workingType MARK_PRICE changes nothing in a MARKET order",)


@pytest.mark.parametrize("close", [True, False], ids=["a close", "a reduce-only order"])
async def test_an_exit_that_ends_before_it_is_filled_says_what_is_open(close: bool, desk: Desk) -> None:
    await _order(desk, "BUY", "0.1")
    desk.paper.set_price("BTCUSDT", 60_000, depth="0.004")
    await desk.gate.halt(by="ops", reason="test", scope="all")
    denied = await desk.executor.execute(desk.intent(side="SELL", quantity="0.1", reduce_only=True))
    assert denied.still_open == {"BOTH": Decimal("0.1")}, "a reading of a moment ago, which is so no more"
    await desk.gate.resume(by="ops", reason="test")
    sell = desk.intent(side="SELL", quantity="0.1", reduce_only=True)
    ended = await desk.executor.execute(_close() if close else sell)
    assert (ended.state, ended.reason, ended.filled_quantity) == (Terminal.PLACED, "EXPIRED", Decimal("0.004"))
    assert ended.still_open == {"BOTH": Decimal("0.096")}
