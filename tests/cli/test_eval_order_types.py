"""`gate eval` for more than a market order: by options and by file, judged, described, and refused in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from click.testing import Result

from tests.servers.session import holds_only_a_whole_memory

Run = Callable[..., Result]
RunJson = Callable[..., Any]

ASKED = ["--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--quantity", "0.01", "--leverage", "5"]
LIMIT = ["--order-type", "LIMIT", "--price", "60000"]
STOP = ["--order-type", "STOP_MARKET", "--trigger-price", "60000"]
TAKE_PROFIT = ["--order-type", "TAKE_PROFIT_MARKET", "--trigger-price", "60000"]


@pytest.mark.parametrize("terms", [LIMIT, STOP, TAKE_PROFIT], ids=lambda terms: terms[1])
def test_the_answer_names_the_order_type(gate_json: RunJson, terms: list[str]) -> None:
    answer = gate_json("eval", *ASKED, *terms)
    assert answer["admitted"]
    assert answer["intent"]["order_type"] == terms[1]


@pytest.mark.parametrize(
    ("terms", "line"),
    [
        (["--price", "60000"], "sig-81 entry: BUY MARKET BTCUSDT quantity 0.01 expected at 60000 5x"),
        (["--order-type", "MARKET"], "sig-81 entry: BUY MARKET BTCUSDT quantity 0.01 5x"),
        (LIMIT, "sig-81 entry: BUY LIMIT BTCUSDT quantity 0.01 at 60000 GTC 5x"),
        ([*LIMIT, "--time-in-force", "FOK"], "sig-81 entry: BUY LIMIT BTCUSDT quantity 0.01 at 60000 FOK 5x"),
        (STOP, "sig-81 entry: BUY STOP_MARKET BTCUSDT quantity 0.01 triggered at 60000 CONTRACT_PRICE 5x"),
        (
            [*TAKE_PROFIT, "--working-type", "MARK_PRICE"],
            "sig-81 entry: BUY TAKE_PROFIT_MARKET BTCUSDT quantity 0.01 triggered at 60000 MARK_PRICE 5x",
        ),
    ],
    ids=" ".join,
)
def test_a_person_reads_the_terms(gate: Run, terms: list[str], line: str) -> None:
    result = gate("eval", *ASKED, *terms)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1] == line


EXIT = ["--id", "sig-81", "--symbol", "BTCUSDT"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--side", "CLOSE"], "sig-81 exit: CLOSE MARKET BTCUSDT all that is open reduce-only"),
        (
            ["--side", "SELL", "--close-position", *STOP],
            "sig-81 exit: SELL STOP_MARKET BTCUSDT all that is open triggered at 60000 CONTRACT_PRICE reduce-only",
        ),
        (
            ["--side", "SELL", "--quantity", "0.01", "--reduce-only"],
            "sig-81 exit: SELL MARKET BTCUSDT quantity 0.01 reduce-only",
        ),
        (
            ["--side", "SELL", "--quantity", "0.01", "--position-side", "LONG"],
            "sig-81 exit: SELL MARKET BTCUSDT quantity 0.01 LONG",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_person_reads_whether_it_is_an_exit(gate: Run, words: list[str], line: str) -> None:
    result = gate("eval", *EXIT, *words)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1] == line


PRODUCED: dict[str, object] = {
    "id": "sig-81",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "stop-market",
    "stopPrice": 60000,
    "position_size_usd": 200.0,
    "ai_size_usd": 150,
    "leverage": 7.5,
    "stop_loss": 59000,
    "model": "ensemble",
    "regime": "unknown",
}


def test_a_person_reads_what_was_decided_and_what_was_put_aside(gate: Run) -> None:
    result = gate("eval", "--intent", "-", "--timestamp", str(int(time.time() * 1000)), input=json.dumps(PRODUCED))
    assert result.stdout.splitlines()[1:5] == [
        "sig-81 entry: BUY STOP_MARKET BTCUSDT notional 150 triggered at 60000 CONTRACT_PRICE 7x",
        "read: ai_size_usd 150 goes before position_size_usd 200",
        "read: leverage 7.5 is rounded down to 7",
        "put aside: stop_loss, model, regime",
    ]


def test_a_program_reads_the_same(gate_json: RunJson) -> None:
    now_ms = str(int(time.time() * 1000))
    answer = gate_json("eval", "--intent", "-", "--timestamp", now_ms, input=json.dumps(PRODUCED))
    assert answer["intent"] == {
        "id": "sig-81",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "exit": False,
        "order_type": "STOP_MARKET",
        "notional": "150",
        "quantity": None,
        "close_position": False,
        "price": None,
        "time_in_force": None,
        "trigger_price": "60000",
        "working_type": "CONTRACT_PRICE",
        "position_side": None,
        "reduce_only": False,
        "leverage": 7,
        "notes": [
            "ai_size_usd 150 goes before position_size_usd 200",
            "leverage 7.5 is rounded down to 7",
        ],
        "aside": ["stop_loss", "model", "regime"],
    }


def test_what_was_put_aside_is_told_within_bounds(gate: Run) -> None:
    entry = {**PRODUCED, "a\nb": 1, "x" * 100: 1, **{f"feature_{n}": n for n in range(50)}}
    result = gate("eval", "--intent", "-", "--timestamp", str(int(time.time() * 1000)), input=json.dumps(entry))
    (line,) = [each for each in result.stdout.splitlines() if each.startswith("put aside:")]
    assert "a b, " + "x" * 40 + ", feature_0" in line
    assert line.endswith("feature_34 and 15 more")


@pytest.mark.parametrize("terms", [LIMIT, STOP, TAKE_PROFIT], ids=lambda terms: terms[1])
def test_a_claim_holds_the_margin_that_the_terms_need(gate_json: RunJson, terms: list[str]) -> None:
    assert gate_json("eval", *ASKED, *terms, "--commit")["committed"]
    assert gate_json("status")["reserved"] == "150", "0.01 at 60000 with 5x, and a quarter more"


@pytest.mark.parametrize(
    "other",
    [[], ["--order-type", "LIMIT", "--price", "60001"], [*LIMIT, "--time-in-force", "IOC"], STOP],
    ids=" ".join,
)
def test_the_same_id_with_other_terms_is_a_conflict(gate: Run, gate_json: RunJson, other: list[str]) -> None:
    gate_json("eval", *ASKED, *LIMIT, "--commit")
    assert gate_json("eval", *ASKED, *LIMIT, "--time-in-force", "GTC")["reason"] == "DUPLICATE"
    result = gate("eval", *ASKED, *other, "--json")
    assert (result.exit_code, json.loads(result.stdout)["reason"]) == (1, "CONFLICT")


def test_a_file_carries_the_terms_as_streams_do(gate_json: RunJson) -> None:
    gate_json("eval", *ASKED, *STOP, "--working-type", "MARK_PRICE", "--commit")
    said = {"id": "sig-81", "symbol": "BTCUSDT", "side": "BUY", "quantity": 0.01, "leverage": 5}
    said |= {"orderType": "stop_market", "stopPrice": "60000.0", "workingType": "mark_price"}
    now_ms = str(int(time.time() * 1000))
    answer = gate_json("eval", "--intent", "-", "--timestamp", now_ms, input=json.dumps(said))
    assert (answer["reason"], answer["intent"]["order_type"]) == ("DUPLICATE", "STOP_MARKET")


BAD = {
    "an unknown type": (["--order-type", "STOP"], "order_type: 'STOP' is not one of MARKET, LIMIT, STOP_MARKET"),
    "a type in small letters": (["--order-type", "limit", "--price", "1"], "order_type: 'limit'"),
    "an empty type": (["--order-type", ""], "order_type: ''"),
    "a limit order without a limit": (["--order-type", "LIMIT"], "price: is missing; a LIMIT order needs one"),
    "a stop without a trigger": (["--order-type", "STOP_MARKET"], "trigger_price: is missing; a STOP_MARKET order"),
    "a trigger that is none": (["--order-type", "STOP_MARKET", "--trigger-price", "0"], "trigger_price: '0'"),
    "a trigger beside market": (["--trigger-price", "60000"], "trigger_price: '60000' is for STOP_MARKET and"),
    "a trigger beside limit": ([*LIMIT, "--trigger-price", "60000"], "leave it out, or change order_type LIMIT"),
    "a time in force beside market": (["--time-in-force", "GTC"], "time_in_force: 'GTC' is for LIMIT orders"),
    "an empty time in force": ([*LIMIT, "--time-in-force", ""], "time_in_force: '' is not one of GTC"),
    "a working type beside market": (["--working-type", "MARK_PRICE"], "working_type: 'MARK_PRICE' is for STOP"),
    "an unknown working type": ([*STOP, "--working-type", "LAST"], "working_type: 'LAST' is not one of CONTRACT"),
}


@pytest.mark.parametrize("case", BAD)
def test_terms_that_do_not_fit_are_one_line_and_exit_code_2(gate: Run, redis_client: redis.Redis, case: str) -> None:
    terms, names = BAD[case]
    result = gate("eval", *ASKED, *terms, "--commit")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert names in result.stderr
    assert holds_only_a_whole_memory(redis_client)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--order-type", "LIMIT"),
        ("--time-in-force", "GTC"),
        ("--trigger-price", "60000"),
        ("--working-type", "MARK_PRICE"),
    ],
)
def test_a_file_has_its_own_terms(gate: Run, option: str, value: str) -> None:
    result = gate("eval", "--intent", "-", option, value, input="{}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--intent describes the whole intent; leave out {option}." in result.stderr


def test_the_help_says_what_a_price_means(gate: Run) -> None:
    said = " ".join(gate("eval", "--help").stdout.split())
    assert "--price P The limit of a LIMIT order; else the expected price" in said
    for word in ("MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET", "GTC", "IOC", "FOK", "GTX", "MARK_PRICE"):
        assert word in said
