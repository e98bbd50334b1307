"""halt, resume, reset, policy apply: done, audited, said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from gate import Policy

Run = Callable[..., Result]
WHO = ("--by", "ops", "--reason", "CPI print")


def test_halt_and_resume(gate: Run, gate_json: Callable[..., Any], redis_client: redis.Redis) -> None:
    halted = gate("halt", *WHO)
    assert (halted.exit_code, halted.stdout) == (0, "Halted for entries; exits pass.\n")
    assert redis_client.hget("quantum:safety:halt", "reason") == b"CPI print"
    assert gate("halt", "--scope", "all", *WHO).stdout == "Halted, exits too.\n"
    assert "only resume narrows it" in gate("halt", *WHO).stdout
    assert gate("resume", *WHO).stdout == "Resumed: the halt (all) is off.\n"
    assert gate("resume", *WHO).stdout == "There was no halt; nothing was changed.\n"
    assert redis_client.xlen("quantum:safety:audit") == 5
    assert gate_json("halt", *WHO) == {
        "act": "halt",
        "by": "ops",
        "reason": "CPI print",
        "before": None,
        "changed": ["entries"],
        "audited": True,
    }


def test_reset_names_what_it_has_switched_off(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:safe_mode", "1")
    redis_client.set("quantum:safety:cooldown_symbol:BTCUSDT", "1")
    assert gate("reset", "cooldowns", *WHO).stdout == "Reset cooldowns: quantum:safety:cooldown_symbol:BTCUSDT off.\n"
    assert gate("reset", "failures", *WHO).stdout == "Reset failures: nothing was on.\n"
    assert gate("reset", "all", *WHO).stdout == "Reset all: quantum:safety:safe_mode off.\n"


def test_policy_apply(gate: Run, redis_client: redis.Redis, tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[policy]\nmode = "observe"\n')
    own, observing = Policy().fingerprint, Policy(mode="observe").fingerprint
    assert gate("policy", "apply", *WHO).stdout == f"Policy {own} is in force; before: none.\n"
    assert gate("policy", "apply", *WHO).stdout == f"Policy {own} was in force already.\n"
    switched = gate("--config", str(file), "policy", "apply", *WHO).stdout
    assert switched == f"Policy {observing} is in force; before: {own}. Observe mode: from now on nothing is denied.\n"
    assert redis_client.hget("quantum:exec:state", "policy") == observing.encode()


@pytest.mark.parametrize(
    "words", [("halt",), ("resume",), ("reset", "all"), ("policy", "apply")], ids=lambda words: " ".join(words)
)
def test_an_audit_that_cannot_be_written_is_said(gate: Run, redis_client: redis.Redis, words: tuple[str, ...]) -> None:
    redis_client.set("quantum:safety:audit", "in the way")
    done = gate(*words, *WHO)
    assert done.exit_code == 0
    assert done.stdout.count("\n") == done.stderr.count("\n") == 1
    assert "could not be written to the audit stream" in done.stderr
    assert json.loads(gate(*words, *WHO, "--json").stdout)["audited"] is False


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("halt", "--by", "ops"), "Missing option '--reason'"),
        (("resume", "--reason", "why"), "Missing option '--by'"),
        (("halt", "--by", " ", "--reason", "why"), "by: ' ' is empty"),
        (("halt", "--by", "ops", "--reason", "two\nlines"), "reason: 'two\\nlines' is not one line"),
        (("halt", "--scope", "some", *WHO), "'some' is not one of 'entries', 'all'"),
        (("reset", "halt", *WHO), "'halt' is not one of 'safe_mode'"),
        (("reset", *WHO), "Missing argument 'WHAT'"),
        (("policy", "apply", "--by", "ops"), "Missing option '--reason'"),
        (("stop",), "No such command 'stop'"),
        (("--prefix", "a b", "halt", *WHO), "prefix: 'a b' is not a key prefix"),
    ],
)
def test_bad_input_changes_nothing(gate: Run, redis_client: redis.Redis, words: tuple[str, ...], names: str) -> None:
    done = gate(*words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert names in done.stderr
    assert redis_client.dbsize() == 0
