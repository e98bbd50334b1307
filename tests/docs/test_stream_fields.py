"""docs/stream-fields.md has the words that are understood, as the table in the code has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gate import Intent
from gate.cli.screens.judgement import intent_json
from gate.cli.screens.judgement_screen import described
from gate.values.stream_words import REFUSED, TERMS, UNITLESS_SIZES, Term

PAGE = (Path(__file__).parents[2] / "docs" / "stream-fields.md").read_text("utf-8")
UNDERSTOOD, _, REST = PAGE.partition("## What is refused")


def row(term: Term) -> str:
    return f"| `{term.name}` | {', '.join(f'`{word}`' for word in term.words)} | {term.says} |\n"


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_the_page_has_what_is_understood(term: Term) -> None:
    assert row(term) in UNDERSTOOD


@pytest.mark.parametrize("term", REFUSED, ids=lambda term: term.name)
def test_the_page_has_what_is_refused(term: Term) -> None:
    assert row(term) in REST


def test_the_page_has_nothing_else() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert len(rows) == len(TERMS) + len(REFUSED)


def test_the_page_has_what_eval_tells() -> None:
    _, _, told = PAGE.partition("## What `gate eval` tells")
    intent = Intent(
        id="sig-81",
        symbol="BTCUSDT",
        side="BUY",
        notional=150,
        leverage=7,
        timestamp=1_766_550_734_062,
        order_type="STOP_MARKET",
        trigger_price=60000,
        aside={"stop_loss": 1, "model": 1, "regime": 1},
        notes=("ai_size_usd 150 goes before position_size_usd 200", "leverage 7.5 is rounded down to 7"),
    )
    assert "".join(f"    {line}\n" for line in described(intent)) in told
    assert all(f"`{name}`" in told for name in intent_json(intent))


@pytest.mark.parametrize("word", UNITLESS_SIZES)
def test_the_page_has_the_sizes_without_a_unit(word: str) -> None:
    assert f"`{word}`" in REST
