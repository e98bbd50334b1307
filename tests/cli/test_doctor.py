"""`gate doctor` says in its first line whether all is well, and in its exit code whether something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from tests.cli.conftest import Run

LOCK = "quantum:exec:lock:BTCUSDT:BUY"


def test_nothing_is_wrong(gate: Run) -> None:
    result = gate("doctor")
    assert result.exit_code == 0
    *lines, empty, last = result.stdout.splitlines()
    assert (empty, last.partition(":")[0]) == ("", "The exchange isn't asked")
    assert lines[0].startswith(("All is well: quantum at ", "Nothing is wrong, "))
    assert lines[2].split() == ["what", "how", "it", "is"]
    assert [line.split()[0] for line in lines[3:]] == ["ok", *(line.split()[0] for line in lines[4:])]
    assert lines[-1].split()[:3] == ["ok", "guards", "proven"]


def test_something_is_wrong(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set(LOCK, "1")
    result = gate("doctor", "--no-proof")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 thing WRONG")
    [line] = [line for line in result.stdout.splitlines() if LOCK in line]
    assert line.split()[:2] == ["wrong", "keys"]
    assert "guards" not in result.stdout


def test_as_json(gate_json: Callable[..., Any], redis_client: redis.Redis) -> None:
    answer = gate_json("doctor")
    assert (answer["prefix"], answer["wrong"]) == ("quantum", 0)
    assert answer["warnings"] == sum(each["grade"] == "warning" for each in answer["checks"])
    assert {"what": "memory", "grade": "ok", "says": "whole"} in answer["checks"]
    assert answer["checks"][-1]["what"] == "guards"
    redis_client.set(LOCK, "1")
    redis_client.set("quantum:exec:rate:global", "1")
    assert gate_json("doctor")["wrong"] == 2


def test_what_a_hand_has_written_changes_no_terminal(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:safe_mode", "a\x1b[2J\nb", px=100_000)
    out = gate("doctor", "--no-proof").stdout
    assert "\x1b" not in out
    [line] = [line for line in out.splitlines() if "entries are stopped" in line]
    assert "safe_mode a\\x1b[2J" in line


def test_a_slip_in_the_policy_is_wrong(gate: Run, tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    config.write_text("[policy]\nrate_global_limt = 8\n")
    result = gate("--config", str(config), "doctor", "--no-proof", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["wrong"]) == (1, 1)
    assert answer["checks"][0]["what"] == "config"
    assert "rate_global_limt" in answer["checks"][0]["says"]


def test_without_a_store(bare: Run) -> None:
    result = bare("--url", "redis://127.0.0.1:1/0", "doctor")
    assert result.exit_code == 3
    assert "whether all is well is unknown" in result.stderr
