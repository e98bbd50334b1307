"""At the default log level, a service's log has each denial that leaves a position open, and says which one."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

import gate as package
from gate import Outcome, Reason
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.store import PrivateStore, Store

EXIT_DENIED = "EXIT DENIED id=sig-1 symbol=BTCUSDT side=SELL reason="


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name == "gate" and record.levelno >= logging.WARNING
    ]


def test_an_exit_that_a_dead_store_denies_is_a_warning(open_gate: OpenGate, caplog: pytest.LogCaptureFixture) -> None:
    gate = open_gate(url="redis://127.0.0.1:1/0")
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.STORE_UNAVAILABLE
    (said,) = warnings(caplog)
    assert said.startswith(f"{EXIT_DENIED}STORE_UNAVAILABLE ")
    assert said.endswith(' unless="WITHOUT STORE follows: then an executor sends it all the same"')


def test_an_exit_that_a_guard_denies_stays_denied(open_sync_gate: OpenGate, caplog: pytest.LogCaptureFixture) -> None:
    gate = open_sync_gate()
    gate.halt(by="ops", reason="test", scope="all")
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.HALTED
    assert "unless=" not in warnings(caplog)[-1]


def test_a_failure_of_the_store_says_what_follows(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture, store: Store
) -> None:
    away = open_gate(url="redis://127.0.0.1:1/0").evaluate(at.entry())
    assert (away.reason, away.retryable) == (Reason.STORE_UNAVAILABLE, True)
    assert away.detail.endswith(": there is no permit and no order; try the intent again")
    redis_client.rpush(at.LOCK, "a list")
    broken = open_gate().evaluate(at.entry())
    assert broken.reason is Reason.STORE_ERROR
    assert broken.detail.endswith(". There is no permit and no order until that is put right")
    permit = at.admitted(open_gate().evaluate(at.exit_(side="SELL")))
    open_gate(url="redis://127.0.0.1:1/0").settle(permit, Outcome.placed("1"))
    (said,) = warnings(caplog)
    assert said.startswith("NOT REPORTED id=sig-1 symbol=BTCUSDT side=SELL outcome=placed detail=")
    assert said.endswith(": the intent is in doubt until that is repeated, or it is reconciled")


def test_whatever_stands_in_for_a_side_the_answer_is_a_verdict(
    open_sync_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    class Neither:
        def __bool__(self) -> bool:
            raise ValueError("neither true nor false, like an array")

    asked = {"id": "sig-1", "symbol": "BTCUSDT", "side": Neither(), "action": "SELL"}
    assert open_sync_gate().evaluate(asked).reason is Reason.INVALID
    (said,) = warnings(caplog)
    assert said.startswith("INVALID id=sig-1 symbol=BTCUSDT side=SELL ")


def test_an_exit_that_the_script_denies_is_a_warning_and_an_entry_is_none(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate()
    gate.halt(by="ops", reason="CPI print", scope="all")
    assert gate.evaluate(at.entry()).reason is Reason.HALTED
    assert warnings(caplog) == []
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.HALTED
    assert warnings(caplog) == [f'{EXIT_DENIED}HALTED detail="all halted by ops: CPI print"']


def test_an_exit_whose_key_is_damaged_is_a_warning(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.rpush(at.RECORD, "a list")
    assert open_gate().evaluate(at.exit_(side="SELL")).reason is Reason.STORE_ERROR
    (said,) = warnings(caplog)
    assert said.startswith(f'{EXIT_DENIED}STORE_ERROR detail="{at.RECORD} holds a value of the wrong type')


def test_an_exit_that_comes_again_after_its_order_was_placed_is_no_warning(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate()
    permit = at.admitted(gate.evaluate(at.exit_(side="SELL")))
    assert gate.settle(permit, Outcome.placed("1"))
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.DUPLICATE
    assert warnings(caplog) == []


def test_an_exit_under_an_id_that_another_order_has_is_a_warning(
    open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate()
    gate.settle(at.admitted(gate.evaluate(at.exit_(side="SELL"))), Outcome.placed("1"))
    assert gate.evaluate(at.exit_(side="SELL", notional="7")).reason is Reason.CONFLICT
    (said,) = warnings(caplog)
    assert said.startswith(f"{EXIT_DENIED}CONFLICT ")


def test_an_exit_that_comes_again_after_its_end_in_doubt_is_a_warning(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate()
    assert gate.settle(at.admitted(gate.evaluate(at.exit_(side="SELL"))), Outcome.unknown("no answer"))
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.DUPLICATE
    assert [said.partition(" detail=")[0] for said in warnings(caplog)] == [f"{EXIT_DENIED}DUPLICATE"]


def test_what_cannot_be_read_is_a_warning_since_it_may_be_an_exit(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"intent_id": "i-1", "symbol": "BTCUSDT", "action": "SELL", "quantity": "NaN", "reduce_only": True}
    assert open_gate().evaluate(asked).reason is Reason.INVALID
    (said,) = warnings(caplog)
    assert said.startswith("INVALID id=i-1 symbol=BTCUSDT side=SELL ")


@pytest.mark.parametrize("asked", [{"symbol": "two\nlines", "side": 5}, {}, "text"])
def test_a_strangers_text_stays_on_one_line(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture, asked: object
) -> None:
    assert open_gate().evaluate(asked).reason is Reason.INVALID  # type: ignore[arg-type]  # on purpose
    (said,) = warnings(caplog)
    assert said.startswith("INVALID id=? symbol=- side=- ")
    assert "\n" not in said


@pytest.mark.parametrize("room", ["client", "executor"])
def test_a_line_that_names_an_intent_names_its_symbol_and_side_too(room: str) -> None:
    lines = [
        line.strip()
        for path in sorted((Path(package.__file__).parent / room).rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r'"[^"]*\bid=(%s|{)', line)
    ]
    assert [line for line in lines if "symbol=" not in line or "side=" not in line] == []


def test_an_exit_whose_other_delivery_is_on_its_way_is_no_warning(
    redis_client: redis.Redis, open_gate: OpenGate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = open_gate()
    at.admitted(gate.evaluate(at.exit_(side="SELL")))
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.DUPLICATE
    assert warnings(caplog) == []
    later_ns = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    assert gate.evaluate(at.exit_(side="SELL")).reason is Reason.DUPLICATE
    (said,) = warnings(caplog)
    assert said.startswith(EXIT_DENIED), "nobody has heard of that order, and its permit has run out"


def test_a_sentence_of_the_store_that_has_its_full_stop_gets_no_second_one(
    new_private_store: Callable[..., PrivateStore], open_gate: OpenGate
) -> None:
    full = new_private_store("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    detail = open_gate(url=full.url).evaluate(at.entry()).detail
    assert "'maxmemory'. There is no permit" in detail
    away = open_gate(url="redis://127.0.0.1:1").evaluate(at.entry()).detail
    assert ".:" not in away
