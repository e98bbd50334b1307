"""halt, resume, reset, policy apply, init: done, audited, said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
import redis
from click.testing import Result

from gate import Act, Copies
from gate.cli.commands.operate import copies_sentence, copies_warning
from tests.servers.process import ProcessStore
from tests.servers.session import declare_whole, holds_only_a_whole_memory
from tests.servers.store import Store
from tests.servers.wire import Wire
from tests.store.test_acts_that_last import in_step
from tests.store.test_clusters import port_of

Run = Callable[..., Result]
WHO = ("--by", "ops", "--reason", "CPI print")
# The shared store has neither; tests/store/test_acts_that_last.py has servers with replicas and with files.
KEPT = "In memory only: no replica, no append-only file.\n"
CLEAR = "Confirmed: no entry can reach the exchange any more.\n"
LOSABLE = "gate: warning: a restart of this server can lose this {}\n"


@pytest.fixture
def account(store: Store, redis_client: redis.Redis) -> str:
    """An account under whose prefix the gate has already run."""
    redis_client.hset("quantum:exec:state", "fence", 1)
    return f"quantum at {store.url}"


def test_halt_and_resume(
    gate: Run, gate_json: Callable[..., Any], redis_client: redis.Redis, store: Store, account: str
) -> None:
    halted = gate("halt", *WHO)
    assert (halted.exit_code, halted.stdout) == (0, f"Halted {account} for entries; exits pass.\n{KEPT}{CLEAR}")
    assert halted.stderr == LOSABLE.format("halt")
    assert redis_client.hget("quantum:safety:halt", "reason") == b"CPI print"
    assert gate("halt", "--scope", "all", *WHO).stdout.startswith(f"Halted {account}, exits too. It was halted already")
    assert "only resume narrows it" in gate("halt", *WHO).stdout
    resumed = gate("resume", *WHO).stdout
    assert resumed.startswith(f"Resumed {account}: the halt (all by ops: CPI print, since 2")
    assert resumed.endswith(f"Z) is off. Services try again the fresh intents that they held.\n{KEPT}")
    assert gate("resume", *WHO).stdout == f"There was no halt of {account}; nothing was changed.\n{KEPT}"
    assert redis_client.xlen("quantum:safety:audit") == 5
    assert gate_json("resume", *WHO)["changed"] == []
    assert gate_json("halt", *WHO) == {
        "act": "halt",
        "by": "ops",
        "reason": "CPI print",
        "before": None,
        "changed": ["entries"],
        "observers": 0,
        "prefix_doubt": None,
        "audited": True,
        "kept": {
            "replicas": 0,
            "on_replicas": 0,
            "append_only": False,
            "on_disk": False,
            "replayed": None,
            "survives_failover": False,
            "survives_restart": False,
            "warning": "a restart of this server can lose this halt",
        },
        "prefix": "quantum",
        "store": store.url,
        "confirmed": True,
        "absent": [],
        "still_out": {"count": 0, "forgotten_ms": 0, "wait_ms": 0, "intents": []},
        "resting": None,
        "cancelled": None,
    }
    assert gate_json("resume", *WHO)["changed"] == ["entries"]


def test_a_second_halt_says_whose_the_first_was(gate: Run, account: str) -> None:
    gate("halt", "--by", "ann", "--reason", "CPI print")
    second = gate("halt", "--by", "bob", "--reason", "me too").stdout
    assert (
        f"Halted {account} for entries; exits pass. It was halted already, entries by ann: CPI print, since 2" in second
    )
    assert second.endswith(KEPT + CLEAR)
    assert second.count("\n") == 3


def test_a_halt_that_cannot_be_read_is_replaced_and_cleared(gate: Run, redis_client: redis.Redis, account: str) -> None:
    redis_client.set("quantum:safety:halt", "1")
    assert (
        "It was halted already, ? by ?: its key is damaged, so exits are stopped too; this halt replaces"
        in gate("halt", *WHO).stdout
    )
    redis_client.delete("quantum:safety:halt")
    redis_client.set("quantum:safety:halt", "1")
    resumed = gate("resume", *WHO).stdout
    assert resumed.startswith(
        f"Resumed {account}: the halt (? by ?: its key is damaged, so exits are stopped too) is off. Services try again"
    )
    assert not redis_client.exists("quantum:safety:halt")


def test_a_halt_of_an_account_that_nobody_knows_warns(
    gate: Run, redis_client: redis.Redis, store: Store, short: tuple[str, str]
) -> None:
    for form, lines in ([], (2, 3)), (["--json"], (1, 1)):
        done = gate("--prefix", "qantum", "halt", "--no-wait", *WHO, *form)
        assert (done.exit_code, (done.stdout.count("\n"), done.stderr.count("\n"))) == (0, lines)
        assert "knows of no admission under the prefix qantum; is this the right account?" in done.stderr
    answer = gate(*short, "--prefix", "elsewhere", "halt", *WHO).stdout
    assert "But only under the prefix elsewhere: see the warning." in answer
    assert f"qantum at {store.url}" in gate("--prefix", "qantum", "resume", *WHO).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("halt",), "halted"),
        (("resume",), "resumed"),
        (("reset", "all"), "reset"),
        (("policy", "apply", "--defaults"), "switched"),
        (("init",), "initialised"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_failed_act_says_that_it_is_not_known_to_be_done(bare: Run, words: tuple[str, ...], said: str) -> None:
    dead = ("--url", "redis://ops:s3cret@127.0.0.1:1/0")
    done = bare(*dead, *words, *WHO)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert f"gate: NOT known to be {said}, quantum at redis://***@127.0.0.1:1/0: STORE_UNAVAILABLE" in done.stderr
    assert "look with gate status, and repeat it" in done.stderr
    answer = json.loads(bare(*dead, *words, *WHO, "--json").stdout)
    assert (answer["reason"], answer["done"], answer["prefix"]) == ("STORE_UNAVAILABLE", None, "quantum")
    assert answer["store"] == "redis://***@127.0.0.1:1/0"


def test_a_halt_goes_through_where_the_look_before_it_fails(bare: Run, redis_client: redis.Redis, wire: Wire) -> None:
    lost = wire.lose_next_reply("EXISTS")
    done = bare("--url", wire.url, "halt", *WHO)
    assert lost.happened
    assert (done.exit_code, done.stderr) == (0, LOSABLE.format("halt"))
    assert redis_client.exists("quantum:safety:halt")


UNREAD = "unknown whether a restart keeps this halt: see gate doctor"


@pytest.mark.parametrize(
    ("copies", "kept", "warned"),
    [
        (Copies(2, 2, True, True, replayed=True), "On 2 of 2 replicas; on disk.", ""),
        (Copies(2, 2, True, True), "On 2 of 2 replicas; on disk.", UNREAD),
        (Copies(1, 1, False, False), "On 1 of 1 replica; no append-only file.", ""),
        (Copies(1, 1, True, None, replayed=True), "On 1 of 1 replica; in the append-only file.", ""),
        (Copies(2, 1, True, True), "On 1 of 2 replicas; on disk.", "a failover can still lose this halt; repeat it"),
        (
            Copies(2, 0, True, False),
            "On 0 of 2 replicas; not on disk yet.",
            "a failover now loses this halt; repeat it",
        ),
        (Copies(0, 0, True, True), "No replica is connected; on disk.", UNREAD),
        (Copies(0, 0, True, None, replayed=True), "No replica is connected; in the append-only file.", ""),
        (
            Copies(0, 0, True, False),
            "No replica is connected; not on disk yet.",
            "a crash of its host can still lose this halt: repeat it; with appendfsync no, set everysec first",
        ),
        (
            Copies(0, 0, False, False),
            "In memory only: no replica, no append-only file.",
            "a restart of this server can lose this halt",
        ),
        (
            Copies(0, 0, True, True, replayed=False),
            "No replica is connected; in the append-only file, but not read back.",
            "a restart loses this halt all the same: see gate doctor",
        ),
        (
            Copies(2, None, True, None, replayed=False),
            "Whether a replica has it is unknown; in the append-only file, but not read back.",
            "a restart loses this halt all the same: see gate doctor",
        ),
        (Copies(0, 0, True, True, replayed=True), "No replica is connected; on disk.", ""),
        (Copies(None, 1, True, True, "no", True), "On 1 of an unknown number of replicas; on disk.", ""),
        (
            Copies(0, 0, True, False, replayed=False),
            "No replica is connected; not on disk yet.",
            "a restart loses this halt all the same: see gate doctor",
        ),
        (
            Copies(None, 0, None, None, "NOPERM info"),
            "Whether a replica has it is unknown; whether it is on disk is unknown.",
            "unknown whether a failover keeps this halt: NOPERM info",
        ),
        (
            Copies(2, None, True, True, "no answer"),
            "Whether a replica has it is unknown; on disk.",
            "unknown whether a failover keeps this halt: no answer",
        ),
    ],
)
def test_an_act_says_where_it_is_kept_and_warns_of_what_can_lose_it(copies: Copies, kept: str, warned: str) -> None:
    assert copies_sentence(copies) == kept
    assert copies_warning(Act("halt", True, copies=copies)) == warned
    assert len(kept) <= 80
    assert len(f"gate: warning: {warned}") <= 112


def test_a_replica_that_hangs_is_said_and_the_act_is_done(bare: Run) -> None:
    with (
        closing(ProcessStore(["--repl-diskless-sync-delay", "0"])) as primary,
        closing(ProcessStore(["--replicaof", "127.0.0.1", str(port_of(primary))])) as replica,
        primary.client() as client,
    ):
        declare_whole(client)
        client.hset("quantum:exec:state", "fence", 1)
        in_step(primary, replica)
        said = bare("--url", primary.url, "halt", *WHO)
        assert said.stdout.endswith(f"\nOn 1 of 1 replica; no append-only file.\n{CLEAR}")
        assert (said.exit_code, said.stderr) == (0, "")
        replica.pause()
        said = bare("--url", primary.url, "halt", *WHO)
        assert said.stdout.endswith(f"\nOn 0 of 1 replica; no append-only file.\n{CLEAR}")
        assert said.stderr == "gate: warning: a failover now loses this halt; repeat it\n"
        assert said.exit_code == 0, "it is in force"
        answer = json.loads(bare("--url", primary.url, "resume", *WHO, "--json").stdout)
        assert (answer["kept"]["on_replicas"], answer["kept"]["survives_failover"]) == (0, False)


HELD = "Services try again the fresh intents that they held."


def test_reset_names_what_it_has_switched_off(gate: Run, redis_client: redis.Redis, account: str) -> None:
    redis_client.set("quantum:safety:safe_mode", "1")
    redis_client.set("quantum:safety:cooldown_symbol:BTCUSDT", "1")
    cooldowns = gate("reset", "cooldowns", *WHO).stdout
    assert cooldowns == f"Reset cooldowns of {account}: quantum:safety:cooldown_symbol:BTCUSDT off. {HELD}\n{KEPT}"
    assert gate("reset", "failures", *WHO).stdout == f"Reset failures of {account}: nothing was on.\n{KEPT}"
    assert gate("reset", "all", *WHO).stdout == f"Reset all of {account}: quantum:safety:safe_mode off. {HELD}\n{KEPT}"


@pytest.mark.parametrize(
    "words",
    [("halt",), ("resume",), ("reset", "all"), ("init",)],
    ids=lambda words: " ".join(words),
)
def test_an_audit_that_cannot_be_written_is_said(
    gate: Run, redis_client: redis.Redis, account: str, words: tuple[str, ...]
) -> None:
    redis_client.set("quantum:safety:audit", "in the way")
    done = gate(*words, *WHO)
    assert done.exit_code == 0
    assert (done.stdout.count("\n"), done.stderr.count("\n")) == (3 if words in (("halt",), ("init",)) else 2, 2)
    assert "it is done, but not in the audit" in done.stderr
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
        (("init", "--by", "ops"), "Missing option '--reason'"),
        (("stop",), "No such command 'stop'"),
        (("halp",), "Did you mean 'halt'"),
        (
            ("status", "--url", "redis://h"),
            "'--url'. It goes before the command: gate --url ... status.",
        ),
        (("--json", "status"), "No such option '--json'. It goes behind the command: gate COMMAND --json."),
        (("policy", "--json", "show"), "It goes behind the command: gate policy COMMAND --json."),
        (("status", "--jsn"), click.NoSuchOption("--jsn").format_message().rstrip(".")),
        (("--prefix", "a b", "halt", *WHO), "prefix: 'a b' is not a key prefix"),
    ],
)
def test_bad_input_changes_nothing(gate: Run, redis_client: redis.Redis, words: tuple[str, ...], names: str) -> None:
    done = gate(*words)
    said = done.stdout if "--json" in words else ""
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, said, 1)
    assert names in done.stderr
    assert holds_only_a_whole_memory(redis_client)


def test_a_halt_says_that_it_binds_those_that_observe(gate: Run, gate_json: Callable[..., Any], tmp_path: Path) -> None:
    assert "observe" not in gate("halt", *WHO).stdout
    file = tmp_path / "gate.toml"
    file.write_text('[policy]\nmode = "observe"\n')
    entry = ("--id", "sig-1", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")
    gate("--config", str(file), "eval", *entry, "--commit")
    said = gate("halt", *WHO)
    assert "It binds the 1 that observe, too." in said.stdout
    assert "never run" not in said.stderr
    assert gate_json("halt", *WHO)["observers"] == 1
