"""An answer of the exchange is read, or it is no answer: nothing is guessed, and nothing else is raised."""

from __future__ import annotations

from typing import Any

import pytest

from gate.exchange.answers import decode_account_code, decode_conditional_order, decode_order, figure
from gate.exchange.failures import ExchangeFailure
from gate.executor.execution import Terminal
from tests.executor.conftest import Desk

HUGE = 10**5000


@pytest.mark.parametrize(
    "order_id", [None, "", "a b", True, 1.5, [], {}, HUGE, "9" * 65, "\n"], ids=lambda each: repr(type(each))
)
def test_an_answer_without_an_order_id_tells_of_no_order(order_id: Any) -> None:
    """Recorded as an order of the id None, it would be filled for ever and found never."""
    with pytest.raises(ExchangeFailure) as unreadable:
        decode_order({"orderId": order_id, "clientOrderId": "g-1", "status": "FILLED"})
    assert unreadable.value.failure.may_exist
    assert len(str(unreadable.value)) < 200
    with pytest.raises(ExchangeFailure):
        decode_conditional_order({"algoId": order_id, "clientAlgoId": "g-1"})


@pytest.mark.parametrize("order_id", [8389765, "8389765", 10**28])
def test_an_order_id_is_kept_as_text(order_id: int | str) -> None:
    assert decode_order({"orderId": order_id, "clientOrderId": "g-1"}).order_id == str(order_id)


def test_a_figure_of_thousands_of_digits_is_unreadable() -> None:
    with pytest.raises(ExchangeFailure, match="leverage"):
        figure("leverage", HUGE)


@pytest.mark.parametrize("leverage", ["0.5", "0", -1, HUGE], ids=["half", "0", "-1", "huge"])
async def test_a_leverage_below_one_denies_and_the_next_intent_is_judged_anew(desk: Desk, leverage: Any) -> None:
    """Kept as 0, it made every later intent of the symbol end in a division by zero."""
    read = desk.exchange._rest.client.futures_symbol_config

    async def odd(**parameters: Any) -> Any:
        return [{**each, "leverage": leverage} for each in await read(**parameters)]

    desk.exchange._rest.client.futures_symbol_config = odd
    refused = await desk.executor.execute(desk.intent())
    desk.exchange._rest.client.futures_symbol_config = read
    filled = await desk.executor.execute(desk.intent())

    assert (refused.state, refused.retryable) == (Terminal.REJECTED_MARGIN, True)
    assert filled.state is Terminal.FILLED


ROW = {"accountAlias": "SgsR", "asset": "USDT", "balance": "122607.35137903"}
NO_CODES: list[Any] = ["", None, 7, HUGE, [], {}, True]


def test_the_code_of_the_account_is_that_of_all_its_balances() -> None:
    assert decode_account_code([ROW, {**ROW, "asset": "BNB"}]) == "SgsR"


@pytest.mark.parametrize(
    "answer",
    [
        *([], {}, None, HUGE, "text", [None], [[ROW]], ROW, [{"asset": "USDT"}]),
        *([{**ROW, "accountAlias": code}] for code in NO_CODES),
        *([ROW, {**ROW, "accountAlias": code}] for code in [*NO_CODES, "other"]),
    ],
    ids=lambda each: repr(type(each)),
)
def test_an_answer_without_one_code_tells_of_no_account(answer: Any) -> None:
    """A wrong one would keep an executor from starting, or let two accounts start under one prefix."""
    assert decode_account_code(answer) is None
