"""The executor's fallbacks when a reading or a report fails, and what it learns from its readings."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal

import pytest
from msgspec import structs

from gate import Outcome, Permit, Phase, Settled, Settlement
from gate.exchange.port import OrderAnswer, OrderRequest, Validity
from gate.exchange.usage import decode_limits
from gate.executor.execution import Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk


def _unreadable(desk: Desk, path: str) -> None:
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=path))


async def test_an_exit_by_quantity_needs_no_price(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    _unreadable(desk, "/fapi/v1/premiumIndex")

    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert closed.state is Terminal.FILLED


async def test_old_filters_are_better_than_none(desk: Desk) -> None:
    await desk.executor.execute(desk.intent())
    desk.exchange.forget_filters()
    _unreadable(desk, "/fapi/v1/exchangeInfo")

    assert (await desk.executor.execute(desk.intent("ETHUSDT"))).state is Terminal.FILLED


async def test_after_a_code_about_filters_they_are_read_again(desk: Desk) -> None:
    forgotten: list[bool] = []
    desk.exchange.forget_filters = lambda: forgotten.append(True)  # type: ignore[method-assign]
    desk.paper.inject(Fault(kind=FaultKind.ERROR, times=1, code=-4164, msg="as asked for"))

    await desk.executor.execute(desk.intent())

    assert forgotten == [True]


async def test_what_is_reserved_follows_the_leverage_that_was_last_read(open_desk: OpenDesk) -> None:
    desk = await open_desk(replace(ROOMY, leverage="exchange"))
    await desk.executor.execute(desk.intent(leverage=125))

    execution = await desk.executor.execute(desk.intent(leverage=125))

    assert execution.verdict.permit is not None
    assert execution.margin is not None
    assert execution.verdict.permit.reserved == execution.margin.need, "at the exchange's 20x, not at the intent's 125x"


async def test_an_outcome_that_could_not_be_reported_is_reported_again(desk: Desk) -> None:
    settle, refused = desk.gate.settle, [Settlement(Settled.STORE_UNAVAILABLE, detail="away")]

    async def first_in_vain(permit: Permit, outcome: Outcome) -> Settlement:
        return refused.pop() if refused else await settle(permit, outcome)

    desk.gate.settle = first_in_vain  # type: ignore[method-assign]
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    record = await desk.gate.lookup(intent.id)
    assert execution.settlement
    assert record is not None
    assert record.phase is Phase.PLACED


async def test_an_order_that_ended_without_a_fill_is_on_record_but_no_success(desk: Desk) -> None:
    place = desk.exchange.place

    async def expires(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        answer = await place(order, validity, timeout_ms=timeout_ms)
        return structs.replace(answer, status="EXPIRED", filled_quantity=Decimal(0), average_price=None)

    desk.exchange.place = expires  # type: ignore[method-assign]
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    record = await desk.gate.lookup(intent.id)
    assert (execution.state, execution.reason, bool(execution)) == (Terminal.REJECTED_EXCHANGE, "EXPIRED", False)
    assert record is not None
    assert record.order_id == execution.order_id


async def test_a_removal_whose_answer_is_lost_counts_when_the_next_report_finds_no_record(desk: Desk) -> None:
    settle, heard = desk.gate.settle, iter([False])

    async def first_answer_lost(permit: Permit, outcome: Outcome) -> Settlement:
        settlement = await settle(permit, outcome)
        return settlement if next(heard, True) else Settlement(Settled.STORE_UNAVAILABLE, detail="lost")

    desk.gate.settle = first_answer_lost  # type: ignore[method-assign]
    desk.balance("0")

    execution = await desk.executor.execute(desk.intent())

    assert execution.settlement == Settlement(Settled.ALREADY)
    assert execution.retryable


@pytest.mark.parametrize(
    "terms",
    [
        {"order_type": "STOP_MARKET", "trigger_price": "90000"},
        {"order_type": "LIMIT", "price": "105000"},
        {"order_type": "LIMIT", "price": "105000", "time_in_force": "IOC"},
    ],
    ids=["a stop that waits", "a limit that rests", "a limit that expired"],
)
async def test_an_exit_that_has_filled_nothing_is_not_said_to_be_executed(
    desk: Desk, caplog: pytest.LogCaptureFixture, terms: dict[str, str]
) -> None:
    caplog.set_level(logging.INFO, "gate")
    await desk.executor.execute(desk.intent(quantity="0.01"))

    await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True, **terms))

    assert "CLOSE_EXECUTED" not in caplog.text


@pytest.mark.parametrize(("interval", "limit"), [(0, 10), (1, 0), (-1, 5)])
async def test_limits_that_make_no_sense_are_skipped(desk: Desk, interval: int, limit: int) -> None:
    row = {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": interval, "limit": limit}
    await desk.exchange.filters("BTCUSDT")
    desk.exchange._rest.usage.limits = decode_limits([row])

    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED
