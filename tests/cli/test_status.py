"""`gate status` and `gate show`: what stands in Redis, at a glance."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from gate import Gate, Intent, Outcome, Policy
from gate.cli.screens.record_rows import record_rows
from gate.values.record import Record, decode_record
from tests.servers.store import PrivateStore, Store

Run = Callable[..., Result]
RunJson = Callable[..., Any]
EVAL = ("eval", "--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200", "--commit")
WHO = ("--by", "ops", "--reason", "CPI print")


def test_an_empty_account_is_open(gate: Run, gate_json: RunJson) -> None:
    out = gate("status").stdout
    assert out.startswith("OPEN\n")
    assert "none in force yet" in out
    assert "\nNothing is on: " in out
    answer = gate_json("status")
    assert (answer["stopped"], answer["halt"], answer["standing"], answer["fence"]) == (False, None, [], 0)
    assert answer["policy"] == {"in_force": None, "own": Policy().fingerprint, "agrees": True, "differs": {}}


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
    assert "Memory: whole since 2" in out
    answer = gate_json("status")
    assert (answer["in_flight"], answer["in_doubt"], answer["reserved"], answer["fence"]) == (1, 0, "250", 1)
    assert answer["verifying_until_ms"] is None
    assert {each["name"] for each in answer["standing"]} == {"lock", "rate_symbol", "rate_global"}


def test_a_halt_says_who_and_why(gate: Run, gate_json: RunJson) -> None:
    gate("halt", "--no-wait", *WHO)
    out = gate("status").stdout
    assert out.startswith("HALTED for entries, exits pass. By ops: CPI print, since 2")
    assert "\nNothing else is on: " in out
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
    assert out.startswith("STOPPED for entries by safe_mode, cooldown_global (damaged); exits pass\n")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "NO TTL" in lines["safe_mode"]
    assert "DAMAGED" in lines["cooldown_global"]
    assert " off " in lines["cooldown_symbol"]
    assert "\x1b" not in out


def test_another_policy_in_force_is_said_figure_by_figure(
    gate: Run, gate_json: RunJson, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("[policy]\nrate_global_limit = 7\n")
    with Gate.from_url(store.url, policy=Policy(rate_global_limit=9)) as other:
        other.apply_policy(by="ops", reason="test")
    done = gate("--config", str(file), "status")
    out = done.stdout
    assert (done.exit_code, out.partition(";")[0]) == (1, "STOPPED for entries from here by POLICY_MISMATCH")
    assert "entries from here are denied POLICY_MISMATCH. rate_global_limit 9, here 7\n" in out
    answer = gate_json("--config", str(file), "status")["policy"]
    assert (answer["agrees"], answer["differs"]) == (False, {"rate_global_limit": {"in_force": "9", "own": "7"}})
    follower = gate("status")
    assert (follower.exit_code, "POLICY_MISMATCH" in follower.stdout) == (0, False), "one without a policy follows"


def test_windows_are_shown_by_the_figures_in_force(gate: Run, store: Store, redis_client: redis.Redis) -> None:
    with Gate.from_url(store.url, policy=Policy(rate_global_limit=9)) as other:
        other.apply_policy(by="ops", reason="test")
    assert gate(*EVAL).exit_code == 0
    assert "1 of 9 orders in 60 s" in gate("status").stdout


def test_the_mode_is_a_field_and_the_observers_are_named(
    gate: Run, gate_json: RunJson, store: Store, tmp_path: Path
) -> None:
    assert (gate_json("status")["mode"], gate_json("status")["observers"]) == ("enforce", [])
    file = tmp_path / "gate.toml"
    file.write_text('[policy]\nmode = "observe"\n')
    gate("--config", str(file), "eval", *EVAL[1:], "--commit")

    [observer] = gate_json("status")["observers"]
    assert observer["name"].endswith(f":{os.getpid()} {Policy().fingerprint}")
    assert "Observing: 1, not held back but by a halt: " in gate("status").stdout
    assert gate_json("--config", str(file), "status")["mode"] == "observe"
    assert "Observe mode: nothing is really denied" in gate("--config", str(file), "status").stdout
    gate("halt", "--no-wait", *WHO)
    out = gate("--config", str(file), "status").stdout
    assert "Observe mode: the halt binds, but for it nothing is really denied" in out


def test_the_exit_code_tells_whether_entries_pass(
    gate: Run, bare: Run, store: Store, redis_client: redis.Redis
) -> None:
    def code(*form: str) -> int:
        return gate("status", *form).exit_code

    assert code() == 0
    gate(*EVAL)
    assert code() == 0, "one symbol rests, the account doesn't"
    for stop, end in (
        (("halt", "--no-wait", *WHO), ("resume", *WHO)),
        (("halt", "--scope", "all", "--no-wait", *WHO), ("resume", *WHO)),
    ):
        gate(*stop)
        assert (code(), code("--json")) == (1, 1)
        gate(*end)
        assert (code(), code("--json")) == (0, 0)
    redis_client.set("quantum:safety:safe_mode", "1", px=60_000)
    assert code() == 1
    gate("reset", "safe_mode", *WHO)
    redis_client.rpush("quantum:safety:cooldown_global", "damaged")
    assert code() == 1
    redis_client.delete("quantum:safety:cooldown_global")
    redis_client.hset("quantum:exec:state", "run_id", "another")
    assert code() == 1, "the memory is new"
    nothing = bare("--url", "redis://127.0.0.1:1", "status")
    assert (nothing.exit_code, nothing.stdout) == (3, "")
    assert "; nothing is known of the account; a service that can't ask the store" in nothing.stderr


def test_of_a_caller_that_observes_only_a_person_and_damage_stop_entries(
    gate: Run, redis_client: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[policy]\nmode = "observe"\n')

    def code() -> int:
        return gate("--config", str(file), "status").exit_code

    redis_client.set("quantum:observe:safety:safe_mode", "1", px=60_000)
    assert code() == 0
    redis_client.rpush("quantum:observe:safety:cooldown_global", "damaged")
    assert code() == 1
    redis_client.delete("quantum:observe:safety:cooldown_global")
    gate("halt", "--no-wait", *WHO)
    assert code() == 1


def test_it_is_not_open_while_something_is_in_doubt(gate: Run, gate_json: RunJson, store: Store) -> None:
    with Gate.from_url(store.url) as worker:
        for number, symbol in enumerate(("BTCUSDT", "ETHUSDT"), start=1):
            verdict = worker.evaluate(
                Intent(id=f"sig-{number}", symbol=symbol, side="BUY", notional="200", timestamp=_now_ms())
            )
            assert verdict.permit is not None
            assert worker.settle(verdict.permit, Outcome.unknown("no answer"))
            done = gate("status")
            many = "an intent" if number == 1 else "2 intents"
            said = (
                f"IN DOUBT: {many} may have an order that nobody has heard of; entries pass, but not for every symbol\n"
            )
            assert (done.exit_code, done.stdout.startswith(said)) == (0, True)
    assert gate_json("status")["entries_pass"] is True
    gate("halt", "--no-wait", *WHO)
    done = gate("status")
    assert (done.exit_code, done.stdout.startswith("HALTED")) == (1, True)
    assert "In doubt: 2: sig-1, sig-2." in done.stdout


@pytest.mark.parametrize("halted", [False, True])
def test_a_prefix_under_which_nothing_was_ever_seen_does_not_look_healthy(
    gate: Run, gate_json: RunJson, redis_client: redis.Redis, halted: bool
) -> None:
    if halted:
        gate("--prefix", "nope", "halt", "--no-wait", *WHO)
    done = gate("--prefix", "nope", "status")
    first = "HALTED" if halted else "NOTHING IS KNOWN of the prefix nope here; entries wait, exits pass\n"
    assert (done.exit_code, done.stdout.startswith(first)) == (1, True)
    assert "No gate has ever run under this prefix here, or the store has forgotten it" in done.stdout
    assert gate("status").stdout.count("has ever run") == 0, "of this one a person has spoken"
    assert gate_json("status")["ever_seen"] is True


def test_a_prefix_that_nobody_knows_names_those_at_work(gate: Run, store: Store, redis_client: redis.Redis) -> None:
    redis_client.flushall()
    with Gate.from_url(store.url, prefix="acct7") as service:
        service.leave_trace()
    said = gate("--prefix", "qantum", "status")
    assert said.exit_code == 1
    assert "Services were seen here under other prefixes: acct7 (" in said.stdout
    assert json.loads(gate("--prefix", "qantum", "status", "--json").stdout)["others"] == ["acct7"]
    gate("init", *WHO)
    assert json.loads(gate("status", "--json").stdout)["others"] == [], "of this one a person has spoken"
    redis_client.delete("{gate}:services")
    redis_client.set("{gate}:services", "not a sorted set")
    assert json.loads(gate("--prefix", "qantum", "status", "--json").stdout)["others"] == []


def test_status_tells_which_server_it_is_and_what_can_lose_its_memory(
    bare: Run, new_private_store: Callable[..., PrivateStore]
) -> None:
    sound, careless = (
        new_private_store("--appendonly", "yes"),
        new_private_store("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no"),
    )
    out = bare("--url", sound.url, "status").stdout
    assert re.search(r"^Server: (Redis|Valkey) \d+\.\d+\.\d+, eviction noeviction, append-only file on\.$", out, re.M)
    assert [line for line in out.splitlines() if "Warning" in line and "CVE" not in line] == []
    out = bare("--url", careless.url, "status").stdout
    assert ", eviction allkeys-lru, append-only file OFF.\n" in out
    assert "set maxmemory-policy noeviction.\n" in out
    assert "set appendonly yes.\n" in out
    server = json.loads(bare("--url", careless.url, "status", "--json").stdout)["server"]
    warnings = [each for each in server["warnings"] if "CVE" not in each]
    assert (server["eviction"], server["append_only"], len(warnings)) == ("allkeys-lru", False, 2)


def _now_ms() -> int:
    return int(time.time() * 1000)


def test_a_switch_whose_text_speaks_of_damage_is_not_damaged(
    gate: Run, gate_json: RunJson, redis_client: redis.Redis
) -> None:
    redis_client.set("quantum:safety:safe_mode", "damaged: a fan, where a cooler belongs", ex=60)
    assert gate("status").stdout.startswith("STOPPED for entries by safe_mode; exits pass\n")
    [safe_mode] = gate_json("status")["standing"]
    assert safe_mode["damage"] is None


LEFTOVERS = {
    # a leftover under this key: the headline, what no longer can be known, and what is damaged
    "safety:halt": ("STOPPED, exits too: quantum:safety:halt is damaged; `gate resume` clears it\n", (), "hash"),
    "exec:state": ("STOPPED for entries by state (damaged); exits pass\n", ("fence", "policy"), "hash"),
    "exec:inflight": ("STOPPED for entries by in_flight (damaged); exits pass\n", ("in_flight",), "zset"),
    "exec:failures": ("STOPPED for entries by failures (damaged); exits pass\n", (), "list"),
    "exec:rate:global": ("STOPPED for entries by rate_global (damaged); exits pass\n", (), "list"),
    "exec:rate:symbol:BTCUSDT": ("OPEN, but not for every symbol\n", (), "list"),
    "safety:audit": ("OPEN\n", (), "stream"),
}


@pytest.mark.parametrize("key", LEFTOVERS)
def test_a_leftover_is_shown_as_the_gate_reads_it(gate: Run, redis_client: redis.Redis, store: Store, key: str) -> None:
    headline, unknown, belongs = LEFTOVERS[key]
    redis_client.set(f"quantum:{key}", "1")
    out = gate("status").stdout
    answer = json.loads(gate("status", "--json").stdout)
    assert out.startswith(headline)
    assert f"damaged: a string, where a {belongs} belongs" in out
    [damage] = [each["damage"] for each in answer["standing"] if each["damage"] is not None]
    assert damage == {"problem": f"a string, where a {belongs} belongs", "belongs": belongs, "holds": "string"}

    look = ("eval", "--id", "a", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")
    entry, exit_ = gate(*look).exit_code, gate(*look, "--reduce-only").exit_code
    assert (answer["stopped"] or "not for every symbol" in out) is (entry != 0)
    assert answer["stops_exits"] is (exit_ != 0)

    assert ("In flight: ?, margin reserved ?" in out) is ("in_flight" in unknown)
    assert ("Last fence ?." in out) is ("fence" in unknown)
    assert ("Policy: in force is unknown, quantum:exec:state is damaged" in out) is ("policy" in unknown)
    assert [name for name in ("in_flight", "fence") if answer[name] is None] == [n for n in unknown if n != "policy"]
    assert answer["policy"]["agrees"] is (None if "policy" in unknown else True)
    shown = gate("policy", "show").stdout
    assert ("In force: unknown, since quantum:exec:state is damaged" in shown) is ("policy" in unknown)


@pytest.mark.parametrize("damage", ["yesterday", "", "-1", "1.5", str(2**53), "9" * 5_000])
@pytest.mark.parametrize("field", ["fence", "since", "lost"])
def test_a_memory_that_cannot_be_read_stops_entries_and_status_says_so(
    gate: Run, redis_client: redis.Redis, field: str, damage: str
) -> None:
    assert gate("policy", "apply", "--defaults", *WHO).exit_code == 0
    redis_client.hset("quantum:exec:state", field, damage)
    assert "not a whole number" in gate(*EVAL).stderr
    out = gate("status").stdout
    answer = json.loads(gate("status", "--json").stdout)
    assert out.startswith("STOPPED for entries by state (damaged); exits pass\n")
    assert "damaged: fence, since or lost is not a whole number" in out
    assert "Last fence ?.\n" in out
    assert "Memory: unknown, quantum:exec:state is damaged.\n" in out
    assert (answer["stopped"], answer["stops_exits"], answer["fence"]) == (True, False, None)

    own = Policy().fingerprint
    assert f"Policy: {own} in force, the same as here.\n" in out, "this can still be read"
    assert (answer["policy"]["in_force"], answer["policy"]["agrees"]) == (own, True)
    assert "In force: unknown" not in gate("policy", "show").stdout

    gate("init", *WHO)
    assert gate("status").stdout.startswith("OPEN\n")
    assert gate(*EVAL).exit_code == 0


def test_damage_denies_in_observe_mode_too(gate: Run, redis_client: redis.Redis, tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[policy]\nmode = "observe"\n')
    redis_client.set("quantum:observe:exec:inflight", "1")
    out = gate("--config", str(file), "status").stdout
    assert out.splitlines()[0].endswith("Observe mode: only what is damaged is really denied")


def test_a_lock_without_a_ttl_is_no_permit(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:exec:lock:BTCUSDT:BUY", "1")
    assert "no permit of the gate made it" in gate("status").stdout


def test_status_names_the_account_and_the_store(gate: Run, gate_json: RunJson, store: Store) -> None:
    assert gate("--prefix", "acct7", "status").stdout.splitlines()[1] == f"Account acct7 at {store.url}"
    assert gate_json("status")["store"] == store.url


def test_show(gate: Run, gate_json: RunJson, store: Store) -> None:
    missing = gate("show", "sig-81")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "there is no record of sig-81" in missing.stderr
    assert "A denial leaves none; the reason of a past denial is in the log of its caller." in missing.stderr
    assert missing.stderr.count("\n") == 1
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
    "rejected tok 7 fp 1000 BTCUSDT BUY 5 0 x -2015 Key": (
        "again",
        "refused for good, no order exists: send it under a new id",
    ),
    "rejected tok 7 fp 1000 BTCUSDT SELL 5 0 x -2022 Gone": (
        "again",
        "refused for good, no order exists: nothing was left to close",
    ),
    "rejected tok 7 fp 1000 BTCUSDT BUY 5 0 u MIN_QUANTITY Small": (
        "again",
        "refused for good, no order exists: change it, and send it under a new id",
    ),
    "rejected tok 7 fp 1000 BTCUSDT BUY 5 0 - NOT_PLACED x": (
        "again",
        "never under this id: the exchange had no such order when its time was over; send it under a new id",
    ),
    "rejected tok 7 fp 1000 BTCUSDT BUY 5 0 u LATE": ("phase", "rejected, before anything was sent"),
    "placed tok 7 fp 1000 BTCUSDT SELL 5 0 x 99": ("order", "SELL BTCUSDT, reduce-only"),
    "1": ("holds", "'1', not written by the gate; it denies as long as it exists"),
}


@pytest.mark.parametrize(("text", "row"), LINES.items())
def test_every_phase_reads_as_what_it_is(text: str, row: tuple[str, str]) -> None:
    record: Record = decode_record("sig-81", text)
    assert row in record_rows(record, "g-x", 1_700_000_000_000)


@pytest.mark.parametrize("intent_id", ["a\nb", "a b", "", "x" * 129])
def test_show_refuses_an_impossible_id(gate: Run, intent_id: str) -> None:
    done = gate("show", intent_id)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not an intent's id" in done.stderr


def test_json_of_a_leftover_has_the_keys_of_every_record(
    gate: Run, gate_json: RunJson, redis_client: redis.Redis
) -> None:
    gate(*EVAL)
    names = set(gate_json("show", "sig-81"))
    redis_client.set("quantum:exec:processed:sig-81", "1")
    answer = gate_json("show", "sig-81")
    assert (answer["phase"], answer["note"], answer["token"]) == ("foreign", "1", None)
    assert set(answer) == names
