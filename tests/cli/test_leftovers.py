"""`gate leftovers` names what the replaced system has left, and clears it when a person says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from tests.cli.conftest import Run

WHO = ("--by", "ops", "--reason", "the old service has stopped")
LOCK, RATE, RECORD = "quantum:exec:lock:BTCUSDT:BUY", "quantum:exec:rate:global", "quantum:exec:processed:old"


def test_without_leftovers_it_says_so(gate: Run) -> None:
    assert gate("leftovers").stdout.startswith("No leftovers under quantum at ")


def test_each_is_named_and_nothing_is_cleared_unasked(gate: Run, redis_client: redis.Redis) -> None:
    for key in (LOCK, RATE, RECORD):
        redis_client.set(key, "1")
    lines = gate("leftovers").stdout.splitlines()
    assert lines[0].startswith("3 leftovers under quantum at ")
    assert f"{LOCK} (no TTL): '1' without a TTL: nobody's lock; deletes it" in lines
    assert f"{RATE} (no TTL): a string, where a list belongs; deletes it" in lines
    [record] = [line for line in lines if line.startswith(RECORD)]
    assert "its intent is denied, for good; has it lapse after dedup_ttl_ms" in record
    assert redis_client.exists(LOCK, RATE, RECORD) == 3


def test_clearing_needs_a_name_and_a_reason_and_is_audited(
    gate: Run, gate_json: Callable[..., Any], redis_client: redis.Redis
) -> None:
    redis_client.set(LOCK, "1")
    assert gate("leftovers", "--clear").exit_code == 2
    assert redis_client.exists(LOCK)
    out = gate("leftovers", "--clear", *WHO).stdout
    assert out.startswith(f"{LOCK}\nCleared 1 of 1 leftovers of quantum at ")
    assert not redis_client.exists(LOCK)
    assert redis_client.xlen("quantum:safety:audit") == 1
    redis_client.set(RATE, "1")
    answer = gate_json("leftovers")
    assert [(each["key"], each["remedy"], each["ttl_ms"]) for each in answer["found"]] == [(RATE, "delete", None)]
    assert gate_json("leftovers", "--clear", *WHO)["changed"] == [RATE]
