"""What others write into the store, an intent or an answer can't forge a line of the log, nor a field of a line."""

from __future__ import annotations

import ast
import io
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

import gate as package
from gate import Intent, Outcome, Reason
from gate.paper import Fault, FaultKind
from gate.values.log_words import LONGEST, inform, log_of, names, pairs
from tests.client import account as at
from tests.client.gates import OpenGate, open_gate, open_sync_gate
from tests.executor.conftest import Desk, OpenDesk, desk, open_desk, paper
from tests.security.log_lines import read_back, written

__all__ = ["desk", "open_desk", "open_gate", "open_sync_gate", "paper"]

FORGED = "TERMINAL STATE: FILLED id=other symbol=ETHUSDT side=BUY order=1"
LINE_ENDS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
UNPRINTED = ["\x1b[2K", "\x07", "\x7f", "\x9b31m", "\u202e", "\u2066", "\ufeff", "\u200b"]


def begins_forged(lines: list[str]) -> list[str]:
    """The lines that begin as the attacker's would, whatever a reader takes for the end of a line."""
    every = [each for line in lines for each in line.splitlines()]
    return [each for each in every if each.removeprefix("INFO ").lstrip().startswith("TERMINAL STATE: FILLED")]


@pytest.mark.parametrize("end", LINE_ENDS)
def test_a_halts_reason_is_part_of_its_line(redis_client: redis.Redis, open_sync_gate: OpenGate, end: str) -> None:
    redis_client.hset(at.HALT, mapping={"scope": "all", "by": f"ops{end}{FORGED}", "reason": f"CPI{end}{FORGED}"})
    with written() as lines:
        assert open_sync_gate().evaluate(at.exit_(side="SELL")).reason is Reason.HALTED
    assert begins_forged(lines) == []
    _, said = read_back(lines[-2])
    assert said["symbol"] == "BTCUSDT"
    assert FORGED in said["detail"]


@pytest.mark.parametrize("text", UNPRINTED)
def test_what_a_terminal_acts_on_is_escaped(redis_client: redis.Redis, open_sync_gate: OpenGate, text: str) -> None:
    redis_client.hset(at.HALT, mapping={"scope": "all", "by": "ops", "reason": f"a{text}b"})
    with written() as lines:
        open_sync_gate().evaluate(at.exit_(side="SELL"))
    assert all(each.isprintable() for each in lines)
    assert read_back(lines[-2])[1]["detail"].endswith(f"a{text}b")


def test_a_switchs_text_the_policy_and_a_records_note_are_parts_of_their_lines(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    # An exit's own record, a line that only looks like one of the gate's.
    note = f"9\n{FORGED}"
    record = f"placed token 1 fp {int(time.time() * 1000)} BTCUSDT BUY 100 0 x {note}"
    redis_client.set(at.RECORD, record)
    with written() as lines:
        open_sync_gate().evaluate(at.exit_())
        open_sync_gate().evaluate(at.exit_(side="SELL"))
    redis_client.delete(at.RECORD)
    redis_client.hset(at.STATE, mapping={"policy": f"x\n{FORGED}", "figures": f"y\n{FORGED}"})
    with written() as more:
        open_sync_gate().evaluate(at.entry())
        open_sync_gate().evaluate(at.exit_())
        open_sync_gate().policy_in_force()
    assert begins_forged(lines + more) == []
    for line in filter(None, lines + more):
        read_back(line)


async def test_what_an_observer_would_be_denied_for_is_one_line(open_desk: OpenDesk, redis_client: redis.Redis) -> None:
    desk = await open_desk()
    redis_client.set(at.SAFE_MODE, f"1\n{FORGED}")
    with written() as lines:
        denied = await desk.executor.execute(desk.intent())
    assert denied.reason == "SAFE_MODE"
    assert begins_forged(lines) == []
    (said,) = [read_back(line)[1] for line in lines if "TERMINAL STATE: DENIED" in line]
    assert (said["id"], said["reason"]) == (denied.intent_id, "SAFE_MODE")


def test_a_switch_of_20_mb_is_a_line_of_bounded_length(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    redis_client.hset(at.HALT, mapping={"scope": "all", "by": "ops", "reason": "x" * 20_000_000})
    redis_client.set(at.SAFE_MODE, "y" * 20_000_000)
    gate = open_sync_gate()
    with written() as lines:
        denied = gate.evaluate(at.exit_(side="SELL"))
        found = gate.status()
    redis_client.delete(at.HALT)
    entry = gate.evaluate(at.entry())
    assert (denied.reason, entry.reason) == (Reason.HALTED, Reason.SAFE_MODE)
    assert max(len(line) for line in lines) < 2 * LONGEST
    assert len(denied.detail) <= LONGEST
    assert len(entry.detail) <= LONGEST
    assert found.halt is not None
    assert len(found.halt.reason) <= LONGEST
    assert max(len(each.detail) for each in found.standing) <= LONGEST


@pytest.mark.parametrize("where", ["id", "symbol", "name"])
def test_an_intent_that_cannot_be_read_forges_no_field(open_sync_gate: OpenGate, where: str) -> None:
    forged = "sig-9 symbol=ETHUSDT side=BUY reason=FILLED"
    asked: dict[str, Any] = {"id": "sig-1", "symbol": "BTCUSDT", "side": "BUY", "notional": "200"}
    asked["timestamp"] = "2026-11-26T00:00:00Z" if where == "name" else "NaN"
    asked = {**asked, f"reduce_only_\n{FORGED}": "yes"} if where == "name" else {**asked, where: forged}
    with written() as lines:
        denied = open_sync_gate().evaluate(asked)
    assert denied.reason is Reason.INVALID
    assert denied.detail.isprintable()
    _, said = read_back(lines[-2])
    assert said["side"] == "BUY"
    assert begins_forged(lines) == []


async def test_an_exchanges_message_forges_neither_a_line_nor_a_field(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ERROR, code=-9999, msg=f"no\u2028{FORGED} reason=FILLED detail=x"))
    intent = desk.intent(reduce_only=True, side="SELL", quantity="0.1")
    with written() as lines:
        refused = await desk.executor.execute(intent)
    assert begins_forged(lines) == []
    (said,) = [read_back(line)[1] for line in lines if line.partition(" ")[2].startswith("TERMINAL STATE")]
    assert (said["id"], said["reason"], said["order"]) == (intent.id, refused.reason, "-")
    assert FORGED in said["detail"]


def test_an_outcomes_detail_stays_a_detail(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate()
    permit = at.admitted(gate.evaluate(at.exit_()))
    gate.settle(permit, Outcome.rejected("-1", f"a=b {FORGED} token=x"))
    with written() as lines:
        gate.evaluate(at.exit_())
    _, said = read_back(lines[-2])
    assert (said["id"], said["symbol"]) == ("sig-1", "BTCUSDT")
    assert "token" not in said


def test_no_line_of_a_traceback_looks_like_a_line_of_the_log() -> None:
    with written() as lines:
        try:
            raise RuntimeError(f"what a stranger says\n{FORGED}\r{FORGED}\u2028INFO {FORGED}")
        except RuntimeError:
            log_of("gate.executor").exception("%s executor failed", names(at.entry()))
    assert begins_forged(lines) == []
    assert any("what a stranger says" in line for line in lines)


anything = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from([FORGED, 'a" b="c', "\\", "a=b"])


@given(st.dictionaries(st.sampled_from(["id", "reason", "detail", "order"]), anything), anything)
def test_a_line_is_read_back_as_it_was_logged(values: dict[str, str], free: str) -> None:
    with written() as lines:
        log_of("gate.client").warning("SAID %s %s %s", pairs(**values), "x" + free, 5)
    (line,) = lines[:-1]
    assert line.isprintable()
    words, said = read_back(line.removeprefix("WARNING "))
    cut = {name: each if len(each) <= LONGEST else f"{each[: LONGEST - 1]}…" for name, each in values.items() if each}
    assert said == cut
    assert words == ["SAID", "x" + free, "5"]


def test_every_module_takes_its_logger_from_where_lines_are_made() -> None:
    """And gives it texts of its own as the line, never a text that was put together before."""
    wrong = []
    for file in sorted(Path(package.__file__).parent.rglob("*.py")):
        if file.name == "log_words.py" or "paper" in file.parts:
            continue
        if file.match("service/logs.py"):  # it sets up what the process writes, others' lines too
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            told: ast.expr
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "inform":
                told = node.args[1]
                if not (isinstance(told, ast.Constant) and isinstance(told.value, str)):
                    wrong.append(f"{file.name}:{node.lineno}: {ast.unparse(told)}")
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value
            if node.func.attr == "getLogger" and "cli" not in file.parts:
                wrong.append(f"{file.name}:{node.lineno}: logging.getLogger")
            if isinstance(owner, ast.Name) and owner.id == "_log" and node.func.attr != "isEnabledFor":
                told = node.args[1 if node.func.attr == "log" else 0]
                if not (isinstance(told, ast.Constant) and isinstance(told.value, str)):
                    wrong.append(f"{file.name}:{node.lineno}: {ast.unparse(told)}")
    assert wrong == []


def test_a_filter_is_added_once_however_often_a_logger_is_asked_for() -> None:
    loggers = {log_of("gate.executor") for _ in range(3)}
    (logger,) = loggers
    assert len(logger.filters) == 1
    file = io.StringIO()
    logger.addHandler(handler := logging.StreamHandler(file))
    logger.warning("%s", Intent)
    logger.removeHandler(handler)
    assert file.getvalue().count("\n") == 1


class _Read:
    """A value that tells how often a line was made of it."""

    times = 0

    def __str__(self) -> str:
        self.times += 1
        return "read"


@pytest.mark.parametrize(("level", "times"), [(logging.INFO, 1), (logging.WARNING, 0)])
def test_a_line_of_every_order_is_made_only_where_somebody_reads_it(
    caplog: pytest.LogCaptureFixture, level: int, times: int
) -> None:
    value = _Read()
    caplog.set_level(level, "gate.executor")
    inform(log_of("gate.executor"), "MARGIN CHECK", at.entry(), detail=value)
    assert value.times == times
    assert caplog.messages == ["MARGIN CHECK id=sig-1 symbol=BTCUSDT side=BUY detail=read"] * times
