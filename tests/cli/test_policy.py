"""`gate policy show` and `gate policy apply`: what is in force, by whom, and what a change changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from gate import Act, Gate, Policy
from tests.client import account as at
from tests.servers.store import Store

Run = Callable[..., Result]
RunJson = Callable[..., Any]
WHO = ("--by", "ops", "--reason", "CPI print")
NINE = Policy(rate_global_limit=9)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "gate.toml"
    file.write_text("[policy]\nrate_global_limit = 9\n")
    return file


def put_in_force(store: Store, policy: Policy) -> None:
    with Gate.from_url(store.url) as gate:
        gate.apply_policy(policy, by="ops", reason="test")


def rows(said: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for line in said.splitlines() if (words := line.split())}


def test_show_offline(bare: Run, file: Path) -> None:
    done = bare("--config", str(file), "policy", "show")
    assert (done.exit_code, done.stderr) == (0, "")
    assert rows(done.stdout)["rate_global_limit"] == ["-", "9", str(file)]
    assert rows(done.stdout)["lock_ttl_ms"] == ["-", "30000", "default"]
    assert rows(done.stdout)["Fingerprint:"] == [NINE.fingerprint]
    assert "In force: unknown, since no store is given." in done.stdout
    assert "Warning" not in done.stdout
    file.write_text("[policy]\nlock_ttl_ms = 1000\n")
    assert "Warning: lock_ttl_ms 1000" in bare("--config", str(file), "policy", "show").stdout


def test_show_before_the_first_admission(gate: Run) -> None:
    said = gate("policy", "show").stdout
    assert "In force: none yet" in said
    assert rows(said)["rate_global_limit"] == ["-", "5", "default"]
    assert rows(said)["exits_without_store"] == ["-", "true", "default"], "as a config file has it"


def test_show_tells_the_figures_in_force_since_when_and_by_whom(
    gate: Run, gate_json: RunJson, redis_client: redis.Redis, file: Path
) -> None:
    gate("--config", str(file), "policy", "apply", "--by", "ops", "--reason", "wider limits")
    before = at.server_ms(redis_client)
    said, answer = gate("policy", "show").stdout, gate_json("policy", "show")
    assert rows(said)["rate_global_limit"] == ["9", "9", "the", "policy", "in", "force"]
    assert f"In force: {NINE.fingerprint} since 2" in said
    assert "by ops: wider limits. This caller has no policy of its own, and follows it." in said
    assert answer["figures"]["rate_global_limit"] == {"value": 9, "from": "the policy in force", "in_force": 9}
    assert (answer["in_force"], answer["by"], answer["reason"]) == (NINE.fingerprint, "ops", "wider limits")
    assert before - 60_000 < answer["since_ms"] <= before
    assert (answer["follows"], answer["agrees"], answer["differs"]) == (True, True, [])
    [audited] = at.audit(redis_client)
    assert (audited["by"], int(audited["at"])) == ("ops", answer["since_ms"]), "the audit says the same"


def test_show_tells_that_the_first_admission_put_it_in_force(gate: Run, gate_json: RunJson) -> None:
    assert gate("eval", "--id", "a", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "9", "--commit")
    answer = gate_json("policy", "show")
    assert (answer["by"], answer["reason"]) == ("gate", "the first admission")
    assert answer["in_force"] == Policy().fingerprint


def test_show_beside_another_in_force(gate: Run, gate_json: RunJson, store: Store, file: Path) -> None:
    put_in_force(store, Policy(max_in_flight=8))
    said, answer = (
        gate("--config", str(file), "policy", "show").stdout,
        gate_json("--config", str(file), "policy", "show"),
    )
    assert rows(said)["rate_global_limit"] == ["5", "9", str(file)]
    assert rows(said)["max_in_flight"] == ["8", "64", "default"]
    assert "entries of callers with these figures are denied POLICY_MISMATCH" in said
    assert "would change rate_global_limit 5 -> 9, max_in_flight 8 -> 64." in said
    assert (answer["agrees"], answer["differs"]) == (False, ["rate_global_limit", "max_in_flight"])
    assert answer["figures"]["max_in_flight"] == {"value": 64, "from": "default", "in_force": 8}
    put_in_force(store, NINE)
    assert "It is this one." in gate("--config", str(file), "policy", "show").stdout


def test_show_says_where_the_figures_cannot_be_read(gate: Run, gate_json: RunJson, redis_client: redis.Redis) -> None:
    redis_client.hset("quantum:exec:state", "policy", "enforce-other")
    said = gate("policy", "show").stdout
    assert "enforce-other. Its figures can't be read: the store's figures of the policy in force are missing" in said
    assert rows(said)["rate_global_limit"] == ["?", "5", "default"]
    assert gate_json("policy", "show")["agrees"] is False


@pytest.mark.parametrize("words", [(), ("--set", "rate_global_limit=8")], ids=["nothing", "set alone"])
def test_apply_never_takes_defaults_silently(gate: Run, redis_client: redis.Redis, words: tuple[str, ...]) -> None:
    done = gate("policy", "apply", *words, *WHO)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--defaults" in done.stderr
    assert not redis_client.exists("quantum:exec:state") or not redis_client.hexists("quantum:exec:state", "policy")


def test_a_file_without_figures_names_no_policy(gate: Run, redis_client: redis.Redis, file: Path) -> None:
    file.write_text("")
    for where in ({"env": {"GATE_CONFIG": str(file)}}, {}):
        flags = () if where else ("--config", str(file))
        done = gate(*flags, "policy", "apply", *WHO, **where)
        assert (done.exit_code, f"{file} has no figure in a table [policy]" in done.stderr) == (2, True)


def test_apply_shows_first_what_changes(gate: Run, redis_client: redis.Redis, store: Store, file: Path) -> None:
    put_in_force(store, Policy(max_in_flight=8))
    done = gate("--config", str(file), "policy", "apply", *WHO)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"Policy of quantum at {store.url}, from {file}:")
    table, _, acted = done.stdout.partition(f"Policy of quantum at {store.url}: ")
    assert rows(table)["rate_global_limit"] == ["5", "9"]
    assert rows(table)["max_in_flight"] == ["8", "64"]
    assert "lock_ttl_ms" not in table, "what stays as it is isn't shown"
    assert acted.startswith(f"{Policy(max_in_flight=8).fingerprint} -> {NINE.fingerprint}.\n")
    assert redis_client.hget("quantum:exec:state", "policy") == NINE.fingerprint.encode()


def test_apply_says_first_that_entries_rest_where_a_window_gets_longer(gate: Run, store: Store) -> None:
    put_in_force(store, Policy())
    longer = gate("policy", "apply", "--set", "rate_symbol_window_ms=40000", *WHO)
    assert "A window gets longer: all entries rest for 40 s then, until the lists know enough." in longer.stdout
    assert "cooldown_global" in gate("status").stdout
    assert "entries rest" not in gate("policy", "apply", "--set", "rate_symbol_window_ms=20000", *WHO).stdout


def test_apply_says_that_a_cooldown_outlasts_the_limit_that_has_tripped_it(
    gate: Run, redis_client: redis.Redis, store: Store
) -> None:
    put_in_force(store, Policy(rate_global_limit=2))
    redis_client.set("quantum:safety:cooldown_global", "1", px=290_000)
    told = gate("policy", "apply", "--set", "rate_global_limit=9", *WHO).stdout
    assert re.search(r"The account's cooldown goes on for 4m \d+s: gate reset cooldowns ends it\.", told), told
    gate("reset", "cooldowns", *WHO)
    assert "cooldown goes on" not in gate("policy", "apply", "--set", "rate_global_limit=8", *WHO).stdout


def test_apply_takes_the_file_of_the_environment(gate: Run, redis_client: redis.Redis, file: Path) -> None:
    assert gate("policy", "apply", *WHO, env={"GATE_CONFIG": str(file)}).exit_code == 0
    assert redis_client.hget("quantum:exec:state", "policy") == NINE.fingerprint.encode()


def test_set_changes_single_figures_of_the_policy_in_force(
    gate: Run, gate_json: RunJson, store: Store, redis_client: redis.Redis
) -> None:
    put_in_force(store, Policy(max_in_flight=8))
    answer = gate_json("policy", "apply", "--set", "rate_global_limit=9", "--set", "margin_buffer=0.5", *WHO)
    assert answer["source"] == "the policy in force"
    assert answer["changes"] == {
        "rate_global_limit": {"now": "5", "then": "9"},
        "margin_buffer": {"now": "0.25", "then": "0.5"},
    }
    assert answer["changed"] == [Policy(max_in_flight=8, rate_global_limit=9, margin_buffer=Decimal("0.5")).fingerprint]


def test_set_goes_on_from_a_file_or_the_defaults_where_these_are_named(
    gate: Run, gate_json: RunJson, file: Path
) -> None:
    done = gate("--config", str(file), "policy", "apply", "--set", "max_in_flight=8", *WHO, "--json")
    answer = json.loads(done.stdout)
    assert answer["changed"] == [Policy(rate_global_limit=9, max_in_flight=8).fingerprint]
    assert (answer["source"], answer["before"]) == (str(file), None)
    answer = gate_json("policy", "apply", "--defaults", "--set", "max_in_flight=8", *WHO)
    assert answer["changed"] == [Policy(max_in_flight=8).fingerprint]
    done = gate("--config", str(file), "policy", "apply", "--defaults", *WHO)
    assert (done.exit_code, "give one of them" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        (("--set", "skew_ms=7"), replace(NINE, skew_ms=7)),
        (("--defaults",), Policy()),
        (("--defaults", "--set", "skew_ms=7"), Policy(skew_ms=7)),
    ],
    ids=["a setting", "the defaults", "both"],
)
def test_a_file_that_only_names_the_store_does_not_hinder(
    gate: Run, store: Store, tmp_path: Path, words: tuple[str, ...], becomes: Policy
) -> None:
    put_in_force(store, NINE)
    file = tmp_path / "gate.toml"
    file.write_text('prefix = "quantum"\n')
    done = gate("--config", str(file), "policy", "apply", *words, *WHO)
    assert done.exit_code == 0
    with Gate.from_url(store.url) as follower:
        found = follower.policy_in_force()
    assert found is not None
    assert found.policy == becomes


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("rate_globl_limit=8", "rate_globl_limit: is not a figure of the policy; write rate_global_limit"),
        ("rate_global=8", "is not a figure of the policy; write rate_global_limit or rate_global_window_ms"),
        ("nonsense=8", "nonsense: is not a figure of the policy; `gate policy show` lists them all"),
        ("margin_buffer=25%", "margin_buffer: '25%' is not a number; 0.25 keeps 25 % free"),
        ("mode=observe", "mode: is not a figure of the policy; it is each caller's own, in its config file"),
        ("rate_global_limit=many", "rate_global_limit: 'many' is not a whole number"),
        ("rate_global_limit=0", "rate_global_limit: 0 is not a whole number"),
        ("dedup_ttl_ms=1000", "dedup_ttl_ms: 1000 is below"),
        ("exits_without_store=fals", "exits_without_store: 'fals' is neither true nor false"),
        ("margin_buffer=nan", "margin_buffer: NaN is not a Decimal"),
    ],
)
def test_a_bad_setting_changes_nothing(gate: Run, store: Store, setting: str, problem: str) -> None:
    put_in_force(store, NINE)
    done = gate("policy", "apply", "--set", setting, *WHO)
    assert (done.exit_code, done.stdout, problem in done.stderr) == (2, "", True)
    assert "twice" in gate("policy", "apply", "--set", "skew_ms=1", "--set", "skew_ms=2", *WHO).stderr


def test_where_nothing_changes_it_says_so_and_does_nothing(
    gate: Run, gate_json: RunJson, redis_client: redis.Redis, store: Store, file: Path
) -> None:
    put_in_force(store, NINE)
    audited = at.audit(redis_client)
    said = gate("--config", str(file), "policy", "apply", *WHO)
    assert said.stdout == f"Nothing changes: {NINE.fingerprint} is in force already, quantum at {store.url}.\n"
    answer = gate_json("--config", str(file), "policy", "apply", *WHO)
    assert (answer["changed"], answer["changes"], answer["before"]) == ([], {}, NINE.fingerprint)
    assert at.audit(redis_client) == audited


def test_a_person_can_apply_what_the_first_admission_has_put_in_force(
    gate: Run, redis_client: redis.Redis, store: Store, file: Path
) -> None:
    put_in_force(store, NINE)
    redis_client.delete("quantum:safety:policy")  # the state's copy stays, which a worker may write
    done = gate("--config", str(file), "policy", "apply", *WHO)
    assert (done.exit_code, "no figure changes" in done.stdout) == (0, True)
    assert redis_client.exists("quantum:safety:policy")


def test_figures_that_cannot_be_read_are_written_anew(gate: Run, redis_client: redis.Redis, store: Store) -> None:
    put_in_force(store, Policy())
    redis_client.set("quantum:safety:policy", Policy().fingerprint)
    done = gate("policy", "apply", "--defaults", *WHO)
    assert "The figures in force can't be read" in done.stdout
    assert "In force: " + Policy().fingerprint in gate("policy", "show").stdout
    assert "can't be read" not in gate("policy", "show").stdout
    redis_client.set("quantum:safety:policy", Policy().fingerprint)
    done = gate("policy", "apply", "--set", "skew_ms=1", *WHO)
    assert (done.exit_code, "so --set has nothing to change" in done.stderr) == (2, True)


def test_a_policy_that_came_after_the_look_is_not_replaced(
    gate: Run, store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two people who each change one figure would undo each other's change."""
    put_in_force(store, NINE)
    act, others = Gate.apply_policy, Policy(max_in_flight=8)

    def after_another(self: Gate, *args: Any, **more: Any) -> Act:
        act(self, others, by="ann", reason="was quicker")
        return act(self, *args, **more)

    monkeypatch.setattr(Gate, "apply_policy", after_another)
    done = gate("policy", "apply", "--set", "skew_ms=1", *WHO)
    assert (done.exit_code, "another policy has come since" in done.stderr) == (3, True)
    assert redis_client.hget("quantum:exec:state", "policy") == others.fingerprint.encode()


def test_a_file_with_other_figures_than_those_applied_is_warned_of(gate: Run, store: Store, file: Path) -> None:
    put_in_force(store, NINE)
    done = gate("policy", "apply", "--set", "rate_global_limit=8", *WHO, env={"GATE_CONFIG": str(file)})
    assert f"{file} has other figures: entries of callers that read it are denied POLICY_MISMATCH" in done.stderr


def test_a_policy_for_those_that_observe_is_for_no_others(gate: Run, redis_client: redis.Redis, file: Path) -> None:
    file.write_text('[policy]\nmode = "observe"\nrate_global_limit = 9\n')
    said = gate("--config", str(file), "policy", "apply", *WHO).stdout
    assert "Observe mode: it is in force for callers that observe, and for no others." in said
    assert redis_client.hget("quantum:observe:exec:state", "policy") == NINE.fingerprint.encode()
    assert not redis_client.exists("quantum:exec:state") or not redis_client.hexists("quantum:exec:state", "policy")


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_mode_alone_is_no_policy_to_apply(gate: Run, gate_json: RunJson, file: Path, mode: str) -> None:
    file.write_text(f'[policy]\nmode = "{mode}"\n')
    done = gate("--config", str(file), "policy", "apply", *WHO)
    assert (done.exit_code, "has no figure in a table [policy]" in done.stderr) == (2, True)
    assert gate_json("--config", str(file), "policy", "show")["follows"] is (mode == "enforce")


def test_an_audit_that_cannot_be_written_is_said(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:audit", "in the way")
    assert "it is done, but not in the audit" in gate("policy", "apply", "--defaults", *WHO).stderr


@pytest.mark.parametrize(
    ("words", "answer", "code", "done"),
    [((), b"n\n", 1, False), ((), b"y\n", 0, True), (("--yes",), b"", 0, True)],
    ids=["no", "yes", "--yes"],
)
def test_at_a_terminal_it_asks(
    store: Store, redis_client: redis.Redis, words: tuple[str, ...], answer: bytes, code: int, done: bool
) -> None:
    """With a script's standard input, as in the other tests, it doesn't."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "gate", "--url", store.url, "policy", "apply", "--defaults", *WHO, *words]
    with closing(os.fdopen(ours, "wb", buffering=0)) as keyboard, closing(os.fdopen(theirs, "rb")) as terminal:
        keyboard.write(answer)
        said = subprocess.run(command, stdin=terminal, capture_output=True, timeout=60, check=False)
    assert (said.returncode, redis_client.hexists("quantum:exec:state", "policy")) == (code, done), said.stderr
    assert (b"Put it in force?" in said.stdout) is (words == ())
    assert b"rate_global_limit" in said.stdout.partition(b"Put it in force?")[0], "what changes is shown first"
