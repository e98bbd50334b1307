"""`gate eval`: exit codes, its JSON, and bad input in one line."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from gate import Gate, Policy
from gate.values.guards import GUARDS
from tests.client import account as at
from tests.servers.session import declare_whole, holds_only_a_whole_memory
from tests.servers.store import Store
from tests.servers.wire import Wire

Run = Callable[..., Result]
RunJson = Callable[..., Any]

NAMES = [guard.name for guard in GUARDS]
INTENT = {"--id": "sig-81", "--symbol": "BTCUSDT", "--side": "BUY", "--notional": "200"}


def words(**changes: str | None) -> list[str]:
    """The options of a good intent, with changes: words(side="UP", notional=None)."""
    options = INTENT | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return [word for name, value in options.items() if value is not None for word in (name, value)]


def test_admits_and_claims_nothing(gate_json: RunJson, gate: Run, redis_client: redis.Redis) -> None:
    answer = gate_json("eval", *words())
    assert list(answer) == [
        "admitted",
        "reason",
        "retryable",
        "retry_after_ms",
        "committed",
        "mode",
        "intent",
        "guards",
        "permit",
    ]
    assert answer["intent"].items() >= {"id": "sig-81", "symbol": "BTCUSDT", "side": "BUY"}.items()
    assert (answer["admitted"], answer["reason"], answer["mode"]) == (True, "ADMITTED", "enforce")
    assert (answer["retryable"], answer["retry_after_ms"], answer["permit"]) == (False, None, None)
    assert answer["committed"] is False
    assert [row["guard"] for row in answer["guards"]] == NAMES
    assert all(
        list(row) == ["guard", "passed", "key", "ttl_ms", "detail", "exempt", "age_ms"] for row in answer["guards"]
    )
    assert all(row["passed"] for row in answer["guards"])
    assert holds_only_a_whole_memory(redis_client)
    assert gate("eval", *words()).exit_code == 0


def test_denies_with_the_reason_the_key_and_the_time(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:safe_mode", "5 failures in 300 s", px=871_234)
    result = gate("eval", *words(), "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (answer["admitted"], answer["reason"], answer["retryable"]) == (False, "SAFE_MODE", True)
    assert 860_000 < answer["retry_after_ms"] <= 871_234
    (row,) = (row for row in answer["guards"] if not row["passed"])
    assert row.pop("ttl_ms") == answer["retry_after_ms"]
    assert row == {
        "guard": "safe_mode",
        "passed": False,
        "key": "quantum:safety:safe_mode",
        "detail": "5 failures in 300 s",
        "exempt": False,
        "age_ms": None,
    }


def test_an_exit_passes_where_an_entry_is_stopped(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:safe_mode", "1")
    assert gate("eval", *words()).exit_code == 1
    result = gate("eval", *words(), "--reduce-only")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    answer = json.loads(gate("eval", *words(), "--reduce-only", "--json").stdout)
    exempt = {row["guard"] for row in answer["guards"] if row["exempt"]}
    assert "safe_mode" in exempt
    assert exempt == {line[0] for line in lines if line[1:2] == ["exempt"]}
    assert not {"halt", "duplicate", "stale"} & exempt


def test_commit_claims(gate_json: RunJson, gate: Run, redis_client: redis.Redis) -> None:
    answer = gate_json("eval", *words(), "--commit")
    assert answer["committed"] is True
    permit = answer["permit"]
    assert list(permit) == ["token", "fence", "client_order_id", "deadline_ms", "verify"]
    assert redis_client.get("quantum:exec:lock:BTCUSDT:BUY") == permit["token"].encode()
    assert (permit["fence"], permit["verify"]) == (1, False)
    assert all(row["passed"] for row in answer["guards"])

    again = gate("eval", *words(), "--commit", "--json")
    answer = json.loads(again.stdout)
    assert again.exit_code == 1
    assert (answer["reason"], answer["committed"], answer["permit"]) == ("DUPLICATE", False, None)
    assert answer["prior"]["fence"] == 1
    denying = [row["guard"] for row in answer["guards"] if not row["passed"]]
    assert denying[0] == "duplicate"


def test_a_look_at_a_duplicate_tells_what_became_of_it(gate_json: RunJson) -> None:
    gate_json("eval", *words(), "--commit")
    answer = gate_json("eval", *words())
    assert answer["reason"] == "DUPLICATE"
    assert (answer["prior"]["phase"], answer["prior"]["order_id"]) == ("admitted", None)
    assert gate_json("eval", *words(notional="201"))["reason"] == "CONFLICT"


def test_observe_mode_admits_and_says_what_it_would_have_denied(
    gate: Run, redis_client: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[policy]\nmode = "observe"\n')
    redis_client.set("quantum:observe:safety:safe_mode", "1")
    for commit in ([], ["--commit"]):
        result = gate("--config", str(file), "eval", *words(), "--json", *commit)
        answer = json.loads(result.stdout)
        assert result.exit_code == 0
        assert (answer["admitted"], answer["reason"], answer["mode"]) == (True, "SAFE_MODE", "observe")
        assert (answer["committed"], answer["permit"] is None) == (bool(commit), not commit)
        assert [row["guard"] for row in answer["guards"] if not row["passed"]] == ["safe_mode"]
    assert not redis_client.exists("quantum:exec:lock:BTCUSDT:BUY", "quantum:exec:rate:global")


def test_a_person_reads_reason_state_time_and_key(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:safe_mode", "why \x1b[31m[red]", px=871_234)
    redis_client.set("quantum:safety:cooldown_symbol:BTCUSDT", "1")
    out = gate("eval", *words()).stdout
    assert out.startswith("DENY SAFE_MODE: why \\x1b[31m[red]. Retry in 14m 3")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "DENIES" in lines["safe_mode"]
    assert lines["safe_mode"].endswith("quantum:safety:safe_mode")
    assert " denies " in lines["cooldown_symbol"]
    assert " - " in lines["cooldown_symbol"]
    assert "\x1b" not in out


def test_a_policy_mismatch_names_the_figures_that_differ(gate: Run, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("[policy]\nrate_global_limit = 7\n")
    with Gate.from_url(store.url, policy=Policy(rate_global_limit=9, max_in_flight=8)) as other:
        other.apply_policy(by="ops", reason="test")
    out = gate("--config", str(file), "eval", *words()).stdout
    assert out.startswith("DENY POLICY_MISMATCH")
    assert "rate_global_limit is 9, here 7, max_in_flight is 8, here 64" in out
    assert gate("eval", *words()).exit_code == 0, "a caller without a policy follows"


def test_figures_in_force_that_cannot_be_read_deny_and_the_cure_is_said(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.hset("quantum:exec:state", "policy", "enforce-other")
    out = gate("eval", *words()).stdout
    assert out.startswith("DENY POLICY_MISMATCH")
    assert "figures of the policy in force are missing or damaged: `gate policy apply` puts one in force" in out


BAD = {
    "a side in small letters": (words(side="buy"), "side: 'buy' is not one of BUY, SELL, CLOSE; write BUY\n"),
    "an unknown side": (words(side="UP"), "side: 'UP'"),
    "zero": (words(notional="0"), "notional: '0'"),
    "negative": (words(notional="-5"), "notional: '-5'"),
    "NaN": (words(notional="NaN"), "notional: 'NaN'"),
    "infinite": (words(notional="inf"), "notional: 'inf'"),
    "a quantity that is none": (words(notional=None, quantity="many"), "quantity: 'many'"),
    "no size": (words(notional=None), "notional: is missing; give notional or quantity"),
    "two sizes": (words(quantity="1"), "quantity: '1'"),
    "a price that is none": (words(notional=None, quantity="1", price="-1"), "price: '-1'"),
    "more margin than there is": (words(notional="900000000000"), "is more margin than 100,000,000"),
    "a long id": (words(id="x" * 129), "id: 'xxx"),
    "an id with a control character": (words(id="a\nb"), "id: 'a\\nb'"),
    "an id with a space": (words(id="a b"), "id: 'a b'"),
    "an empty id": (words(id=""), "id: ''"),
    "a symbol in small letters": (
        words(symbol="btcusdt"),
        "symbol: 'btcusdt' is not a symbol: 2 to 30 of A-Z, 0-9, _ and Chinese characters; write BTCUSDT\n",
    ),
    "a symbol with a dash": (words(symbol="BTC-USDT"), "symbol: 'BTC-USDT'"),
    "a symbol of one letter": (words(symbol="B"), "symbol: 'B'"),
    "a time without a zone": (words(timestamp="2026-01-01T00:00:00"), "timestamp: '2026-01-01T00:00:00'"),
    "an unreadable time": (words(timestamp="soon"), "timestamp: 'soon'"),
    "an unreadable leverage": (words(leverage="5x"), "'--leverage': '5x'"),
    "a leverage of zero": (words(leverage="0"), "leverage: 0"),
    "an unknown position side": (words(position_side="UP"), "position_side: 'UP'"),
    "no side": (words(side=None), "Missing --side"),
    "a file beside options": ([*words(), "--intent", "x.json"], "leave out --id, --symbol, --side, --notional"),
    "a file that isn't there": (["--intent", "no.json"], "intent: 'no.json' can't be read: No such file"),
    "an unknown option": ([*words(), "--size", "1"], "No such option"),
}


def test_help_says_that_the_gate_does_not_know_the_symbols(gate: Run) -> None:
    assert "The gate doesn't know the exchange's symbols" in gate("eval", "--help").stdout


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_bad_input_is_one_line_and_exit_code_2(
    gate: Run, redis_client: redis.Redis, case: str, form: list[str]
) -> None:
    arguments, names = BAD[case]
    result = gate("eval", *arguments, "--commit", *form)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert names in result.stderr
    assert holds_only_a_whole_memory(redis_client)
    if not form:
        assert result.stdout == ""
        return
    assert result.stdout.count("\n") == 1
    error = json.loads(result.stdout)["error"]
    assert list(error) == ["field", "value", "problem"]
    assert error["problem"] in result.stderr
    field, colon, _ = names.partition(":")
    if colon and field.isidentifier():
        assert error["field"] == field


STREAM = {"symbol": "NEARUSDT", "action": "LONG", "position_size_usd": 200.0, "timestamp": "2025-12-24T04:32:14"}


def test_an_intent_as_streams_carry_it(gate: Run, tmp_path: Path) -> None:
    file = tmp_path / "intent.json"
    file.write_text(json.dumps({"payload": json.dumps(STREAM), "source": "ai"}))
    for result in (
        gate("eval", "--intent", str(file), "--json"),
        gate("eval", "--intent", "-", "--json", input=file.read_text()),
    ):
        answer = json.loads(result.stdout)
        assert answer["reason"] == "STALE"
        named = {"id": "NEARUSDT_2025-12-24T04:32:14", "symbol": "NEARUSDT", "side": "BUY"}
        assert answer["intent"].items() >= named.items()


TIMELESS = json.dumps({"id": "a", "symbol": "NEARUSDT", "side": "SELL", "quantity": 0.1})


@pytest.mark.parametrize("asked", [TIMELESS, json.dumps({"payload": TIMELESS}), TIMELESS[:-1] + ', "timestamp": ""}'])
def test_an_intent_without_a_time_gets_the_answer_that_a_worker_would_get(
    gate: Run, redis_client: redis.Redis, asked: str
) -> None:
    result = gate("eval", "--intent", "-", "--commit", input=asked)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "timestamp: " in result.stderr
    assert "put one in, or pass --timestamp" in result.stderr
    assert holds_only_a_whole_memory(redis_client)


def test_a_time_can_be_given_to_an_intent_without_one(gate: Run, gate_json: RunJson) -> None:
    now_ms = int(time.time() * 1000)
    assert gate_json("eval", "--intent", "-", "--timestamp", str(now_ms), input=TIMELESS)["reason"] == "ADMITTED"
    old = gate("eval", "--intent", "-", "--timestamp", str(now_ms - 700_000), "--json", input=TIMELESS)
    assert (old.exit_code, json.loads(old.stdout)["reason"]) == (1, "STALE")
    for text, problem in (("soon", "timestamp: 'soon' is not a time"), ("2026-01-01T00:00:00", "has no zone")):
        bad = gate("eval", "--intent", "-", "--timestamp", text, input=TIMELESS)
        assert (bad.exit_code, bad.stderr.count("\n")) == (2, 1)
        assert problem in bad.stderr
    both = gate("eval", "--intent", "-", "--timestamp", str(now_ms), input=json.dumps(STREAM))
    assert (both.exit_code, both.stderr.count("\n")) == (2, 1)
    assert "this one has its own" in both.stderr


def test_a_byte_order_mark_is_no_error(gate: Run) -> None:
    asked = json.dumps(STREAM).encode("utf-8-sig")
    assert gate("eval", "--intent", "-", input=asked).stdout.startswith("DENY STALE")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "intent: 'stdin' is empty"),
        (b"\xef\xbb\xbf \n", "intent: 'stdin' is empty"),
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        (b"\xff\xfe", "is not UTF-8"),
        ("[" * 100_000, "is not JSON that can be read: it is nested too deeply"),
        ('{"price": 1e99999999999999999999}', "is not JSON"),
        (json.dumps({"payload": '{"price": 1e99999999999999999999}'}), "payload: "),
        (json.dumps({"payload": "[" * 100_000}), "payload: "),
        ('{"payload": "\\ud800"}', "payload: "),
        (json.dumps(STREAM | {"position_size_usd": float("nan")}), "position_size_usd: nan is not finite"),
        (json.dumps(STREAM | {"position_size_usd": -1}), "position_size_usd: -1 must be above zero"),
        (json.dumps(STREAM | {"action": "FLY"}), "action: 'FLY' is not one of"),
        (json.dumps(STREAM | {"timestamp": "soon"}), "timestamp: 'soon' is not a time"),
        (json.dumps(STREAM | {"symbol": None}), "symbol: is missing"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_code_2(gate: Run, text: str | bytes, names: str) -> None:
    result = gate("eval", "--intent", "-", input=text)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert names in result.stderr


def test_a_damaged_key_gives_no_verdict(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.hset("quantum:safety:safe_mode", "a", "b")
    result = gate("eval", *words(), "--commit")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert "STORE_ERROR: quantum:safety:safe_mode holds a value of the wrong type" in result.stderr
    answer = json.loads(gate("eval", *words(), "--json").stdout)
    assert (answer["admitted"], answer["reason"], answer["guards"]) == (False, "STORE_ERROR", [])
    assert "quantum:safety:safe_mode" in answer["detail"]


CURES = {
    "exec:processed:sig-81": "this intent is denied, be it an entry or an exit",
    "exec:lock:BTCUSDT:BUY": "entries of this symbol and side are denied, exits pass",
    "exec:rate:symbol:BTCUSDT": "entries of this symbol are denied, exits pass",
    "exec:rate:global": "entries are denied, exits pass",
    "exec:failures": "entries are denied, exits pass",
    "exec:inflight": "entries are denied, exits pass",
    "exec:state": "entries are denied, exits pass",
    "safety:halt": "entries and exits are denied",
    "safety:safe_mode": "entries are denied, exits pass",
    "safety:cooldown_global": "entries are denied, exits pass",
    "safety:cooldown_symbol:BTCUSDT": "entries of this symbol are denied, exits pass",
}


@pytest.mark.parametrize("key", CURES)
def test_damage_says_what_it_stops_and_the_cure_that_it_names_works(
    gate: Run, redis_client: redis.Redis, key: str
) -> None:
    key, stops = f"quantum:{key}", CURES[key]
    redis_client.delete(key)
    redis_client.geoadd(key, (1, 2, "a")) if key != "quantum:exec:inflight" else redis_client.set(key, "1")
    said = gate("eval", *words()).stderr
    assert f"{key} holds a value of the wrong type" in said
    assert f": {stops}, until its TTL runs out, or for good if it has none" in said
    assert gate("eval", *words(), "--reduce-only").exit_code == (0 if "exits pass" in stops else 3)
    assert gate("eval", *words(symbol="ETHUSDT")).exit_code == (0 if " this " in stops and "intent" not in stops else 3)

    command, delete = re.search(r"`gate ([^`]+)` clears it", said), f"DEL {key} clears it"
    if command:
        assert gate(*command[1].split(), "--by", "ops", "--reason", "leftover").exit_code == 0
    else:
        assert delete in said
        redis_client.delete(key)
    if key == at.STATE:  # without it the memory is new
        assert gate("eval", *words()).exit_code == 1
        assert gate("init", "--by", "ops", "--reason", "looked at the exchange").exit_code == 0
    assert gate("eval", *words()).exit_code == 0


def test_a_lock_without_a_ttl_is_not_called_a_permit(gate: Run, redis_client: redis.Redis) -> None:
    key = "quantum:exec:lock:BTCUSDT:BUY"
    redis_client.set(key, "1")
    for form in ([], ["--commit"]):
        assert gate("eval", *words(), "--reduce-only").exit_code == 0, "an exit needs no lock"
        out = gate("eval", *words(), *form).stdout
        assert out.startswith(f"DENY LOCKED: {key} has no TTL, so no permit of the gate made it")
        assert "then DEL it. No retry will change that until somebody ends the cause." in out
    redis_client.pexpire(key, 20_000)
    said = "LOCKED: another permit is live for this symbol and side, 20 s at most; free once its order is settled. "
    assert f"{said}Retry in 1" in gate("eval", *words()).stdout


def test_a_leftover_record_says_how_to_end_it(gate: Run, redis_client: redis.Redis) -> None:
    key = "quantum:exec:processed:sig-81"
    redis_client.set(key, "1")
    out = gate("eval", *words()).stdout
    assert f"as long as it exists: TTL {key} tells how long (-1: for good), DEL {key} ends it" in out
    assert "No retry" not in out


def test_a_switch_without_a_ttl_names_the_command_that_ends_it(gate: Run, redis_client: redis.Redis) -> None:
    for key, reset in (("safe_mode", "safe_mode"), ("cooldown_global", "cooldowns")):
        redis_client.set(f"quantum:safety:{key}", "1")
        assert f"`gate reset {reset}` ends it." in gate("eval", *words()).stdout
        gate("reset", reset, "--by", "ops", "--reason", "test")
    assert gate("eval", *words()).exit_code == 0


@pytest.mark.parametrize("commit", [[], ["--commit"]], ids=["look", "commit"])
def test_a_stale_intent_tells_its_age_in_a_field(gate: Run, commit: list[str]) -> None:
    for age_ms in (700_000, -60_000):
        asked = words(timestamp=str(int(time.time() * 1000) - age_ms))
        answer = json.loads(gate("eval", *asked, *commit, "--json").stdout)
        told = {row["guard"]: row["age_ms"] for row in answer["guards"] if row["age_ms"] is not None}
        assert list(told) == ["stale"]
        assert age_ms <= told["stale"] < age_ms + 30_000


@pytest.mark.parametrize("commit", [[], ["--commit"]], ids=["look", "commit"])
def test_an_intent_from_the_future_may_pass_later(gate: Run, commit: list[str]) -> None:
    out = gate("eval", *words(timestamp=str(int(time.time() * 1000) + 60_000)), *commit).stdout
    assert "in the future, skew allows 5 s. It may pass when its time has come" in out
    assert "No retry" not in out


def test_the_time_is_now_unless_said(gate_json: RunJson) -> None:
    old = str(int(time.time() * 1000) - 700_000)
    assert gate_json("eval", *words(timestamp=old))["reason"] == "STALE"
    assert gate_json("eval", *words())["reason"] == "ADMITTED"


def test_a_lost_answer_to_a_claim_says_that_nobody_can_tell(bare: Run, redis_client: redis.Redis, wire: Wire) -> None:
    bare("--url", wire.url, "eval", *words(), "--commit")  # so that the store has the script
    for form in (["--json"], []):
        redis_client.flushall()
        declare_whole(redis_client)
        lost = [wire.lose_next_reply("EVALSHA", "evaluate") for _ in range(2)]
        result = bare("--url", wire.url, "eval", *words(), "--commit", *form)
        assert all(fault.happened for fault in lost)
        assert result.exit_code == 3
        assert redis_client.exists("quantum:exec:processed:sig-81")
        assert "look with gate show sig-81" in result.stdout + result.stderr
        if form:
            answer = json.loads(result.stdout)
            assert (answer["reason"], answer["committed"], answer["permit"]) == ("STORE_UNAVAILABLE", None, None)


def test_a_claim_says_what_becomes_of_it_and_a_look_doesnt(gate: Run) -> None:
    words = ("eval", "--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")
    told = "If nobody settles it by then, it is in doubt: `gate reconcile` asks the exchange then, and settles it."
    assert told not in " ".join(gate(*words).stdout.split())
    assert told in " ".join(gate(*words, "--commit").stdout.split())
