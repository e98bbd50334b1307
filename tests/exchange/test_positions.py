"""What is open, as the exchange tells it; what can't be read is no closed position."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gate.exchange.answers import decode_positions
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Position

LONG: dict[str, Any] = {"symbol": "BTCUSDT", "positionSide": "LONG", "positionAmt": "0.010"}
SHORT: dict[str, Any] = {"symbol": "BTCUSDT", "positionSide": "SHORT", "positionAmt": "-0.020"}


def test_open_positions_of_the_symbol() -> None:
    flat = {**LONG, "positionSide": "BOTH", "positionAmt": "0.000"}
    other = {**LONG, "symbol": "ETHUSDT"}

    found = decode_positions([LONG, SHORT, flat, other], "BTCUSDT")

    assert found == (Position("LONG", Decimal("0.010")), Position("SHORT", Decimal("-0.020")))
    assert [(each.closing_side, each.size) for each in found] == [("SELL", Decimal("0.01")), ("BUY", Decimal("0.02"))]
    assert decode_positions([], "BTCUSDT") == ()


@pytest.mark.parametrize(("amount", "direction"), [("0.01", "LONG"), ("-0.01", "SHORT")])
def test_in_one_way_mode_the_sign_is_the_direction(amount: str, direction: str) -> None:
    (held,) = decode_positions([{**LONG, "positionSide": "BOTH", "positionAmt": amount}], "BTCUSDT")
    assert (held.direction, held.hedged) == (direction, False)


@pytest.mark.parametrize(
    "answer",
    [{}, None, "", [None], [{}], [{**LONG, "positionAmt": "much"}], [{**LONG, "positionSide": "UP"}]],
    ids=repr,
)
def test_an_answer_that_can_not_be_read_is_a_failure(answer: object) -> None:
    with pytest.raises(ExchangeFailure):
        decode_positions(answer, "BTCUSDT")
