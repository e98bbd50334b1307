"""The margin pre-flight: where it isn't sure, nothing is sent."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from gate import Intent, Policy
from gate.exchange.order_plan import check_margin
from gate.execution import Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, OpenDesk

# 1,000 USDT at the exchange's leverage of 20, and a quarter more.
NEED = Decimal("62.50")


async def test_the_margin_with_its_buffer_must_be_free_to_the_cent(desk: Desk) -> None:
    desk.balance(NEED - Decimal("0.01"))

    execution = await desk.executor.execute(desk.intent())

    assert execution.state is Terminal.REJECTED_MARGIN
    assert execution.detail == "need 62.50, have 62.49"
    assert desk.orders() == []


async def test_what_is_just_enough_is_sent(desk: Desk) -> None:
    desk.balance(NEED)

    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED


async def test_leverage_is_what_the_exchange_has_set_not_what_the_intent_wishes(desk: Desk) -> None:
    desk.balance(NEED - 1)

    execution = await desk.executor.execute(desk.intent(leverage=125))

    assert execution.state is Terminal.REJECTED_MARGIN


async def test_a_margin_rejection_counts_as_a_failure_and_rests_symbol_and_account(desk: Desk) -> None:
    desk.balance("0")

    await desk.executor.execute(desk.intent())

    on = {each.name for each in (await desk.gate.status()).standing}
    assert {"failures", "cooldown_symbol", "cooldown_global"} <= on


async def test_an_intent_rejected_for_margin_may_come_again(desk: Desk) -> None:
    desk.balance("0")
    intent = desk.intent()
    execution = await desk.executor.execute(intent)
    desk.balance("10000")
    await desk.gate.reset("all", by="test", reason="balance is back")

    assert execution.retryable
    assert (await desk.executor.execute(intent)).state is Terminal.FILLED


async def test_the_exchange_has_the_last_word(open_desk: OpenDesk) -> None:
    """Without a buffer the pre-flight passes; the exchange assumes a worse price and adds fees."""
    desk = await open_desk(Policy(rate_global_limit=100, margin_buffer=Decimal(0)))
    desk.balance("50.01")

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "-2019")
    assert "failures" in {each.name for each in (await desk.gate.status()).standing}


@pytest.mark.parametrize("path", ["/fapi/v3/account", "/fapi/v1/symbolConfig"])
@pytest.mark.parametrize("kind", [FaultKind.INTERNAL_503, FaultKind.JSON_LIST, FaultKind.EMPTY_200, FaultKind.HTML_502])
async def test_a_figure_that_can_not_be_had_sends_nothing(desk: Desk, path: str, kind: FaultKind) -> None:
    desk.paper.inject(Fault(kind=kind, method="GET", path=path))

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "MARGIN_UNREADABLE")
    assert execution.retryable
    assert desk.orders() == []


async def test_two_workers_with_room_for_one_order_send_exactly_one(open_desk: OpenDesk) -> None:
    first, second = await open_desk(), await open_desk()
    first.balance(NEED + 1)
    intents: list[Intent] = [first.intent("BTCUSDT"), first.intent("ETHUSDT")]

    executions = await asyncio.gather(first.executor.execute(intents[0]), second.executor.execute(intents[1]))

    assert sorted(each.state for each in executions) == [Terminal.FILLED, Terminal.REJECTED_MARGIN]
    assert len(first.orders()) == 1


async def test_a_permit_ahead_keeps_its_reserved_margin(desk: Desk) -> None:
    ahead = await desk.gate.evaluate(desk.intent("ETHUSDT", notional="1000", leverage=20))
    desk.balance(NEED + 1)

    execution = await desk.executor.execute(desk.intent())

    assert ahead.admitted
    assert execution.state is Terminal.REJECTED_MARGIN
    assert execution.detail == "need 62.50, have 63.50 less 62.50 reserved for others"
    assert "failures" not in {each.name for each in (await desk.gate.status()).standing}, "others' margin is no failure"


def test_the_check_is_exact_in_decimal() -> None:
    check = check_margin(Decimal("0.3"), 3, Decimal("0.1"), Decimal("0.11"), Decimal(0))
    assert check.covered
    assert not check_margin(Decimal("0.3"), 3, Decimal("0.1"), Decimal("0.11"), Decimal("1e-18")).covered
