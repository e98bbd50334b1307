"""From an admitted intent to an order, and back into the record."""

from __future__ import annotations

import logging
import time
from decimal import Decimal
from typing import Any

import pytest
import redis

from gate import Outcome, Phase, Policy
from gate.executor.execution import Terminal
from tests.executor.conftest import ROOMY, Desk, OpenDesk


async def test_an_admitted_intent_becomes_one_filled_order_and_a_record_of_it(desk: Desk) -> None:
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    [order] = desk.orders()
    record = await desk.gate.lookup(intent.id)
    assert execution.state is Terminal.FILLED
    assert record is not None
    assert record.phase is Phase.PLACED
    assert record.order_id == execution.order_id == str(order["orderId"])
    assert order["clientOrderId"] == execution.client_order_id
    assert execution.filled_quantity == Decimal("0.01")


async def test_the_permit_is_given_back_when_the_order_is_placed(desk: Desk) -> None:
    await desk.executor.execute(desk.intent())

    status = await desk.gate.status()
    assert status.in_flight == 0
    assert "lock" not in {each.name for each in status.standing}


async def test_an_execution_has_the_outcome_that_was_reported(desk: Desk) -> None:
    intent = desk.intent()
    placed = await desk.executor.execute(intent)
    denied = await desk.executor.execute(intent)
    unfit = await desk.executor.execute(desk.intent(notional="99"))

    assert placed.outcome == Outcome.placed(str(placed.order_id))
    assert denied.outcome is None
    assert unfit.outcome == Outcome.unsent("MIN_QUANTITY", unfit.detail, retryable=False)


async def test_a_second_delivery_is_told_the_order_of_the_first(desk: Desk) -> None:
    intent = desk.intent()
    first = await desk.executor.execute(intent)

    second = await desk.executor.execute(intent)

    assert second.state is Terminal.DENIED
    assert (second.reason, second.order_id) == ("DUPLICATE", first.order_id)
    assert len(desk.orders()) == 1


@pytest.mark.parametrize(("notional", "quantity"), [("199.99", "0.001"), ("200", "0.002"), ("299.99", "0.002")])
async def test_quantities_are_rounded_down_to_the_lot_size(desk: Desk, notional: str, quantity: str) -> None:
    execution = await desk.executor.execute(desk.intent(notional=notional))

    [order] = desk.orders()
    assert Decimal(order["origQty"]) == execution.filled_quantity == Decimal(quantity)


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ({"notional": "99"}, "MIN_QUANTITY"),
        ({"quantity": "0.0009"}, "MIN_QUANTITY"),
        ({"quantity": "1000000"}, "MAX_QUANTITY"),
    ],
)
async def test_what_the_filters_refuse_is_not_sent(desk: Desk, size: dict[str, str], code: str) -> None:
    intent = desk.intent(**size)

    execution = await desk.executor.execute(intent)

    record = await desk.gate.lookup(intent.id)
    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, code)
    assert not execution.retryable
    assert record is not None
    assert (record.phase, record.code) == (Phase.REJECTED, code)
    assert desk.orders() == []


async def test_an_entry_below_the_least_notional_is_not_sent_but_an_exit_is(desk: Desk) -> None:
    await desk.executor.execute(desk.intent("NEARUSDT", notional="100"))

    entry = await desk.executor.execute(desk.intent("NEARUSDT", quantity="1"))
    exit_ = await desk.executor.execute(desk.intent("NEARUSDT", "SELL", quantity="1", reduce_only=True))

    assert (entry.state, entry.reason) == (Terminal.REJECTED_ORDER, "MIN_NOTIONAL")
    assert exit_.state is Terminal.FILLED


async def test_an_unknown_symbol_is_refused_before_anything_is_sent(desk: Desk) -> None:
    execution = await desk.executor.execute(desk.intent("NOSUCHUSDT"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, "UNKNOWN_SYMBOL")


async def test_what_was_not_sent_gives_its_slots_back(open_desk: OpenDesk) -> None:
    desk = await open_desk(Policy())
    await desk.executor.execute(desk.intent(notional="20"))

    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED


async def test_a_reduce_only_order_closes_and_never_opens(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))

    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))
    nothing_left = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert closed.state is Terminal.FILLED
    assert desk.orders()[-1]["reduceOnly"] is True
    assert (nothing_left.state, nothing_left.reason) == (Terminal.REJECTED_EXCHANGE, "-2022")
    assert not nothing_left.retryable
    status = await desk.gate.status()
    assert "failures" not in {each.name for each in status.standing}, "a refused exit is no margin failure"


async def test_an_exit_is_sent_while_everything_stops_entries(desk: Desk, redis_client: redis.Redis) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    await desk.gate.halt(by="test", reason="stop entries")
    for switch in ("safe_mode", "cooldown_global", "cooldown_symbol:BTCUSDT"):
        redis_client.set(f"quantum:safety:{switch}", "1", ex=900)
    now_ms = time.time_ns() // 1_000_000
    for window in ("rate:symbol:BTCUSDT", "rate:global", "failures"):
        redis_client.lpush(f"quantum:exec:{window}", *[now_ms] * 1000)
    desk.unreadable_account()

    entry = await desk.executor.execute(desk.intent())
    exit_ = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert entry.state is Terminal.DENIED
    assert exit_.state is Terminal.FILLED


async def test_bad_input_is_denied_and_named(desk: Desk) -> None:
    execution = await desk.executor.execute({"id": "x", "symbol": "BTCUSDT", "side": "BUY", "notional": "NaN"})

    assert (execution.state, execution.reason) == (Terminal.DENIED, "INVALID")
    assert "notional" in execution.detail or "timestamp" in execution.detail


@pytest.mark.parametrize(
    ("asked", "intent_id"),
    [
        (None, "?"),
        (5, "?"),
        ([], "?"),
        ("x", "?"),
        ({1: 2}, "?"),
        ({"id": "two\nlines", "symbol": 5}, "?"),
        ({"trace_id": "t-1"}, "t-1"),
        ({"intent_id": "i-1", "symbol": 5}, "i-1"),
    ],
)
async def test_whatever_is_handed_in_gets_an_answer_and_one_line_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture, asked: Any, intent_id: str
) -> None:
    caplog.set_level(logging.INFO, "gate")

    execution = await desk.executor.execute(asked)

    assert (execution.state, execution.reason, execution.intent_id) == (Terminal.DENIED, "INVALID", intent_id)
    assert all("\n" not in record.getMessage() for record in caplog.records)


async def test_nothing_is_sent_when_the_store_is_gone(open_desk: OpenDesk) -> None:
    desk = await open_desk(ROOMY, "redis://127.0.0.1:1/0")

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, execution.reason) == (Terminal.DENIED, "STORE_UNAVAILABLE")
    assert execution.retryable
    assert desk.orders() == []
