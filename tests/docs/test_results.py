"""docs/results.md names every field that the executor's values have, and every state."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import fields

from gate.exchange.streams.order_updates import OrderState, OrderUpdate
from gate.executor import Execution, Terminal

TEXT = (Path(__file__).parents[2] / "docs" / "results.md").read_text("utf-8")
ANSWER, UPDATE = TEXT.split("## `OrderUpdate`")


def _listed(text: str) -> set[str]:
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_field_of_an_execution_is_listed_and_no_other() -> None:
    assert _listed(ANSWER) == {each.name for each in fields(Execution)} | {each.value for each in Terminal}


def test_every_field_of_an_update_is_listed_and_no_other() -> None:
    assert _listed(UPDATE) == {each.name for each in fields(OrderUpdate)} | {"alarming"}


@pytest.mark.parametrize("state", list(OrderState))
def test_every_state_of_an_order_is_told(state: OrderState) -> None:
    assert state.value in UPDATE
