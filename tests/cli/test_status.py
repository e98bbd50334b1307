"""`gate status` and `gate show`: what stands in Redis, at a glance."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from click.testing import Result

from gate import Gate, Intent, Outcome, Policy
from gate.cli.show import record_rows
from gate.record import Record, decode_record
from tests.servers.store import Store

Run = Callable[..., Result]
RunJson = Callable[..., Any]
EVAL = ("eval", "--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200", "--commit")
WHO = ("--by", "ops", "--reason", "CPI print")


def test_an_empty_account_is_open(gate: Run, gate_json: RunJson) -> None:
    out = gate("status").stdout
    assert out.startswith("OPEN\n")
    assert "none in force yet" in out
    answer = gate_json("status")
    assert (answer["stopped"], answer["halt"], answer["standing"], answer["fence"]) == (False, None, [], 0)
    assert answer["policy"] == {"in_force": None, "own": Policy().fingerprint, "agrees": True}


def test_what_is_under_way(gate: Run, gate_json: RunJson) -> None:
    gate(*EVAL)
    out = gate("status").stdout
    assert out.startswith("OPEN, but not for every symbol\n")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert lines["lock"][1:] == ["on", *lines["lock"][2:-1], "quantum:exec:lock:BTCUSDT:BUY"]
    assert lines["rate_symbol"][1] == "full"
    assert lines["rate_global"][1] == "counts"
    assert "1 of 5 orders in 60 s" in out
    assert "In flight: 1, margin reserved 250. Last fence 1." in out
    assert "permits say verify until" in out
    answer = gate_json("status")
    assert (answer["in_flight"], answer["in_doubt"], answer["reserved"], answer["fence"]) == (1, 0, "250", 1)
    assert answer["verifying_until_ms"] == answer["memory_since_ms"] + 3_600_000
    assert {each["name"] for each in answer["standing"]} == {"lock", "rate_symbol", "rate_global"}


def test_a_halt_says_who_and_why(gate: Run, gate_json: RunJson) -> None:
    gate("halt", *WHO)
    assert gate("status").stdout.startswith("HALTED for entries, exits pass. By ops: CPI print, since 2")
    answer = gate_json("status")
    assert answer["stopped"] is True
    assert (answer["halt"]["by"], answer["halt"]["scope"]) == ("ops", "entries")
    gate("halt", "--scope", "all", *WHO)
    assert gate("status").stdout.startswith("HALTED, exits too.")


def test_stops_by_hand_and_damage_are_marked(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:safe_mode", "by \x1b[31mhand")
    redis_client.hset("quantum:safety:cooldown_global", "a", "b")
    redis_client.set("quantum:safety:cooldown_symbol:BTCUSDT", "0")
    out = gate("status").stdout
    assert out.startswith("STOPPED for entries by safe_mode, cooldown_global; exits pass\n")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "NO TTL" in lines["safe_mode"]
    assert "DAMAGED" in lines["cooldown_global"]
    assert " off " in lines["cooldown_symbol"]
    assert "\x1b" not in out


def test_another_policy_in_force_is_said(gate: Run, store: Store) -> None:
    with Gate.from_url(store.url, policy=Policy(rate_global_limit=9)) as other:
        other.apply_policy(by="ops", reason="test")
    assert "entries from here are denied POLICY_MISMATCH" in gate("status").stdout
    with Gate.from_url(store.url, policy=Policy(mode="observe")) as other:
        other.apply_policy(by="ops", reason="test")
    assert "Observe mode: nothing is really denied" in gate("status").stdout


def test_show(gate: Run, gate_json: RunJson, store: Store) -> None:
    missing = gate("show", "sig-81")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "there is no record of sig-81" in missing.stderr
    missing = gate("show", "sig-81", "--json")
    assert (missing.exit_code, missing.stdout, missing.stderr) == (1, "null\n", "")

    with Gate.from_url(store.url) as ours:
        now_ms = ours.status().now_ms
        intent = Intent(id="sig-81", symbol="BTCUSDT", side="BUY", notional="200", timestamp=now_ms)
        permit = ours.evaluate(intent).permit
        assert permit is not None
        ours.settle(permit, Outcome.placed(8389765))
    shown = gate("show", "sig-81")
    lines = dict(line.split("   ", 1) for line in shown.stdout.splitlines())
    figures = {name: value.strip() for name, value in lines.items()}
    assert shown.exit_code == 0
    assert (figures["phase"], figures["order id"], figures["fence"]) == ("placed", "8389765", "1")
    assert figures["client order id"] == permit.client_order_id
    assert figures["settled"].endswith("ago)")
    answer = gate_json("show", "sig-81")
    assert (answer["phase"], answer["order_id"], answer["reduce_only"]) == ("placed", "8389765", False)
    assert answer["client_order_id"] == permit.client_order_id


LINES = {
    "admitted tok 7 fp 1000 BTCUSDT BUY 30000 0 - 0": ("phase", "admitted, never settled: in doubt"),
    "unknown tok 7 fp 1000 BTCUSDT BUY 30000 0 - UNKNOWN timed out": ("code", "UNKNOWN timed out"),
    "rejected tok 7 fp 1000 BTCUSDT BUY 5 0 - -2019 Margin": ("code", "-2019 Margin"),
    "rejected tok 7 fp 1000 BTCUSDT BUY 5 0 u LATE": ("phase", "rejected, before anything was sent"),
    "placed tok 7 fp 1000 BTCUSDT SELL 5 0 x 99": ("order", "SELL BTCUSDT, reduce-only"),
    "1": ("holds", "'1', left by something else than the gate; it denies until it lapses"),
}


@pytest.mark.parametrize(("text", "row"), LINES.items())
def test_every_phase_reads_as_what_it_is(text: str, row: tuple[str, str]) -> None:
    record: Record = decode_record("sig-81", text)
    assert row in record_rows(record, "g-x", 1_700_000_000_000)


def test_show_refuses_what_no_id_can_be(gate: Run) -> None:
    done = gate("show", "a\nb")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_json_of_a_leftover(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:exec:processed:sig-81", "1")
    answer = json.loads(gate("show", "sig-81", "--json").stdout)
    assert (answer["phase"], answer["note"]) == ("foreign", "1")
