"""`gate intents` lists what was admitted of late, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from gate import Gate, Intent, Outcome, Policy
from gate.cli.screens.record_rows import became
from gate.values.record import Record, decode_record
from tests.cli.conftest import Run
from tests.servers.store import Store

ROOMY = Policy(rate_symbol_limit=1_000, rate_global_limit=1_000)


def intent(name: str, **more: Any) -> Intent:
    given: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "notional": "200", **more}
    return Intent(id=name, timestamp=int(time.time() * 1000), **given)


@pytest.fixture
def four(store: Store, redis_client: redis.Redis) -> None:
    """Placed, rejected, in doubt, and on its way."""
    with Gate.from_url(store.url, policy=ROOMY) as worker:

        def settled(name: str, outcome: Outcome, **more: Any) -> None:
            permit = worker.evaluate(intent(name, **more)).permit
            assert permit is not None
            assert worker.settle(permit, outcome)

        settled("sig-1", Outcome.placed("8389765"))
        settled("sig-2", Outcome.rejected("-2019", "Margin is insufficient."), symbol="ETHUSDT")
        settled("sig-3", Outcome.unknown("no answer", code="TIMEOUT"), symbol="XRPUSDT")
        assert worker.evaluate(intent("sig-4", quantity="1", notional=None, reduce_only=True, side="SELL"))


def cells(line: str) -> list[str]:
    return [cell for cell in map(str.strip, line.split("   ")) if cell]


def test_each_is_a_line_and_the_latest_stands_last(gate: Run, four: None) -> None:
    headline, headings, *lines = gate("intents").stdout.splitlines()
    assert headline.startswith("All intents that are remembered of quantum at ")
    assert cells(headings) == ["admitted", "intent", "order", "what became of it"]
    assert [cells(line)[1:3] for line in lines] == [
        ["sig-1", "BUY BTCUSDT"],
        ["sig-2", "BUY ETHUSDT"],
        ["sig-3", "BUY XRPUSDT"],
        ["sig-4", "SELL BTCUSDT, reduce-only"],
    ]
    said = [cells(line)[3] for line in lines]
    assert said[0] == "placed, order 8389765"
    assert said[1].startswith("rejected: -2019 ")
    assert said[2].startswith("unknown: in doubt: TIMEOUT")
    assert said[3].startswith("admitted, ")
    assert said[3].endswith(" s left")


def test_only_the_latest_of_one_symbol(gate: Run, four: None) -> None:
    headline, _, line = gate("intents", "--last", "1", "--symbol", "btcusdt").stdout.splitlines()
    assert headline.startswith("The latest intent of BTCUSDT of quantum at ")
    assert cells(line)[1] == "sig-4"


def test_without_one_it_says_so(gate: Run) -> None:
    result = gate("intents", "--symbol", "ETHUSDT")
    assert result.stdout.startswith("No intent of ETHUSDT is remembered of quantum at ")
    assert result.exit_code == 0


def test_as_json(gate: Run, gate_json: Callable[..., Any], four: None) -> None:
    answer = gate_json("intents", "--last", "3")
    assert answer["more"] is True
    assert [(each["id"], each["phase"]) for each in answer["intents"]] == [
        ("sig-2", "rejected"),
        ("sig-3", "unknown"),
        ("sig-4", "admitted"),
    ]
    shown = gate_json("show", "sig-3")
    told = {name: value for name, value in shown.items() if name != "heard"}
    assert answer["intents"][1] == {**told, "in_doubt": True}
    assert [each["in_doubt"] for each in answer["intents"]] == [False, True, False]


def test_a_permit_that_was_never_settled_is_in_doubt(gate_json: Callable[..., Any], redis_client: redis.Redis) -> None:
    redis_client.set("quantum:exec:processed:sig-9", "admitted t 7 f 1000 BTCUSDT BUY 30000 1 - 0")
    [only] = gate_json("intents")["intents"]
    assert (only["phase"], only["in_doubt"]) == ("admitted", True)


def test_a_part_that_cannot_be_read_is_said_and_the_exit_code_tells(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:exec:processed:old", "1")
    redis_client.set("quantum:exec:inflight", "1")
    result = gate("intents")
    assert result.exit_code == 1
    assert "old" in result.stdout
    assert "quantum:exec:inflight can't be read: permits without a record are missing here" in result.stderr


def test_what_a_hand_has_written_changes_no_terminal(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:exec:processed:a\x1b[2Jb\nc", "1\x1b[2J")
    out = gate("intents").stdout
    assert "\x1b" not in out
    assert len(out.splitlines()) == 3
    assert cells(out.splitlines()[2])[:3] == ["?", "a\\x1b[2Jb c", "?"]
    assert "not written by the gate, holds '1" in out


def test_without_a_store(bare: Run) -> None:
    result = bare("--url", "redis://127.0.0.1:1/0", "intents")
    assert result.exit_code == 3
    assert "what became of the intents is unknown" in result.stderr


def record(text: str) -> Record:
    return decode_record("sig-1", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("admitted t 7 f 1000 BTCUSDT BUY 30000 1 - 0", "admitted, 11 s left"),
        ("admitted t 7 f 1000 BTCUSDT BUY 10000 1 - 0", "admitted, never settled: in doubt"),
        ("admitted t 7 f 1000 BTCUSDT BUY 30000 0 o LOCKED 5 x", "would be denied; admitted, 11 s left"),
        ("placed t 7 f 1000 BTCUSDT BUY 500 1 - 8389765", "placed, order 8389765"),
        ("rejected t 7 f 1000 BTCUSDT BUY 500 1 - -2019 no\tmargin", "rejected: -2019 no margin"),
        ("rejected t 7 f 1000 BTCUSDT BUY 500 1 u NO_MARGIN x", "rejected, before anything was sent: NO_MARGIN x"),
        ("unknown t 7 f 1000 BTCUSDT BUY 30000 1 - TIMEOUT x", "unknown: in doubt: TIMEOUT x"),
        ("1", "not written by the gate, holds '1'; denies until gate leftovers clears it"),
    ],
)
def test_what_became_of_it_in_words(text: str, words: str) -> None:
    assert became(record(text), 20_000) == words
