"""`gate run --check`, and what the command refuses."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from gate import Gate, Policy
from gate.paper import Account, PaperExchange
from gate.service.check import _clock
from tests.servers.store import PrivateStore
from tests.service.desk import STREAM, Desk

KEYS = {"BINANCE_API_KEY": "key", "BINANCE_API_SECRET": "secret"}


def gate(desk: Desk, *words: str, config: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    file = desk.folder / "gate.toml"
    file.write_text(config, "utf-8")
    command = [sys.executable, "-m", "gate", "--url", desk.url, "--config", str(file), "run"]
    base = [] if "--demo" in words else ["--base-url", desk.paper.url]
    return subprocess.run(
        [*command, *base, *words], capture_output=True, text=True, env={"PATH": "/bin", **environ}, timeout=60
    )


def test_check_says_what_it_would_do_and_does_nothing(desk: Desk) -> None:
    before = desk.client.keys("*")
    done = gate(desk, "--check", **KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"stream        {STREAM}" in done.stdout
    assert f"{desk.paper.url}: the keys work" in done.stdout
    assert "would be made" in done.stdout
    assert done.stderr == "", "the store is told of once"
    assert desk.client.keys("*") == before


@pytest.mark.parametrize(("mode", "would_be"), [("enforce", "held"), ("observe", "named and sent, since it observes")])
def test_check_says_what_becomes_of_entries_where_safe_mode_is_on(desk: Desk, mode: str, would_be: str) -> None:
    for prefix in "quantum", "quantum:observe":
        desk.client.set(f"{prefix}:safety:safe_mode", "1", ex=60)
    done = gate(desk, "--check", config=f'[policy]\nmode = "{mode}"\n', **KEYS)
    assert f"entries would be {would_be}: " in " ".join(done.stdout.split())


def test_check_in_json(desk: Desk) -> None:
    done = gate(desk, "--check", "--json", config="[service]\nconcurrency = 7\n", **KEYS)
    told = json.loads(done.stdout)
    assert (told["ok"], told["concurrency"]) == (True, 7)


def test_a_store_that_takes_no_verdict_is_3(desk: Desk) -> None:
    desk.client.config_set("min-replicas-to-write", 2)
    try:
        done = gate(desk, "--check", **KEYS)
    finally:
        desk.client.config_set("min-replicas-to-write", 0)
    assert done.returncode == 3
    assert "WRONG: the server has too few replicas, so it takes no verdict" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        (("--appendonly", "yes"), []),
        (("--appendonly", "no"), ["a restart loses records and halts, after which entries wait; set appendonly yes"]),
        (
            ("--appendonly", "yes", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"),
            [
                "it may drop records, locks and halts when its memory is full, so that every order is looked up first; "
                "set maxmemory-policy noeviction"
            ],
        ),
    ],
    ids=["well", "no file", "evicts"],
)
def test_a_server_that_may_lose_what_the_gate_must_remember_is_a_warning_with_the_remedy(
    new_private_store: Callable[..., PrivateStore],
    paper: PaperExchange,
    tmp_path: Path,
    arguments: tuple[str, ...],
    warned: list[str],
) -> None:
    store = new_private_store(*arguments)
    with store.client() as client:
        done = gate(Desk(client, store.url, paper, tmp_path), "--check", **KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.findall(r"^store +warning: (.*)$", done.stdout, re.MULTILINE)
    assert [each for each in said if "CVE" not in each] == warned


@pytest.mark.outside_roles("it makes a user of its own")
def test_a_user_that_lacks_a_right_is_1(desk: Desk) -> None:
    desk.client.acl_setuser("lame", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-zadd"])
    desk.url = desk.url.replace("redis://", "redis://lame:any@")
    try:
        done = gate(desk, "--check", **KEYS)
    finally:
        desk.client.acl_deluser("lame")
    assert done.returncode == 1
    assert "WRONG: this user lacks ZADD quantum:exec:inflight: no entry is admitted" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("mode", "url", "warned"),
    [
        (0o644, "redis://worker:hidden-away@127.0.0.1:1/0", True),
        (0o604, "redis://:hidden-away@127.0.0.1:1/0", True),
        (0o640, "redis://:hidden-away@127.0.0.1:1/0", False),
        (0o600, "redis://worker:hidden-away@127.0.0.1:1/0", False),
        (0o644, "redis://127.0.0.1:1/0?note=me@here", False),
    ],
)
def test_a_password_that_others_of_the_host_may_read_is_a_warning(
    desk: Desk, mode: int, url: str, warned: bool
) -> None:
    """The store of the flag counts. What the file holds is what others may read."""
    file = desk.folder / "gate.toml"
    file.touch()
    file.chmod(mode)
    done = gate(desk, "--check", config=f'url = "{url}"\n', **KEYS)
    assert ("config warning: " in " ".join(done.stdout.split())) is warned
    assert done.returncode == 0
    assert "hidden-away" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("off_ms", "ok", "says"),
    [
        (900, True, "the store's is "),
        (3_000, True, "warning: the store's is +"),
        (-20_000, False, "the store's is -"),
    ],
)
def test_a_clock_that_is_off_is_judged_as_gate_doctor_judges_it(desk: Desk, off_ms: int, ok: bool, says: str) -> None:
    with Gate.from_url(desk.url) as gate_:
        status = gate_.status()
    now_ms = time.time_ns() // 1_000_000
    found = _clock(structs.replace(status, now_ms=now_ms + off_ms), asked_ms=now_ms)
    assert (found.ok, found.says.startswith(says), "by NTP, with chrony" in found.says) == (ok, True, off_ms != 900)


def test_wrong_keys_are_1_and_never_shown(desk: Desk) -> None:
    with PaperExchange(accounts=[Account(key="other", secret="other")]) as paper:  # noqa: S106
        desk.paper = paper
        done = gate(desk, "--check", **KEYS | {"BINANCE_API_SECRET": "hidden-away"})
    assert done.returncode == 1
    assert "WRONG: " in done.stdout
    assert "hidden-away" not in done.stdout + done.stderr


def test_another_policy_in_force_is_1_and_names_the_figures(desk: Desk) -> None:
    with Gate.from_url(desk.url, policy=Policy(rate_global_limit=7)) as gate_:
        gate_.apply_policy(by="ops", reason="test")
    done = gate(desk, "--check", config="[policy]\nrate_global_limit = 9\n", **KEYS)
    assert done.returncode == 1
    assert "rate_global_limit 7 in force, 9 here; put this one in force by gate policy apply, or" in done.stdout


def test_settings_that_work_against_the_policy_or_another_are_named_with_a_remedy(desk: Desk) -> None:
    config = "[service]\nmax_age_s = 900\ntakeover_ms = 39000\nconcurrency = 70\nin_hand = 4\n"
    done = gate(desk, "--check", config=config, **KEYS)
    assert done.returncode == 0, done.stdout
    for said in (
        "max_age_s or INTENT_MAX_AGE_SEC: 900 s is above the policy's max_age_ms 600000, and that counts; write 600",
        "takeover_ms: 39000 is below the policy's lock_ttl_ms and ten seconds, and 40000 counts; write 40000 or more",
        "concurrency or EXEC_CONCURRENCY: 70 is above the policy's max_in_flight 64",
        "in_hand: 4 is below the concurrency 70, which is never reached; write 70",
    ):
        assert f"setting       warning: service.{said}" in done.stdout
    done = gate(desk, "--check", INTENT_MAX_AGE_SEC="60", **KEYS)
    assert "takeover_ms: 60000 is not below the 60000 ms for which an intent is fresh" in done.stdout
    assert "setting" not in gate(desk, "--check", **KEYS).stdout
    desk.worker(config).said('SETTING "service.takeover_ms: 39000')


def test_no_store_is_3(harmed: Desk, private_store: object) -> None:
    private_store.stop()  # type: ignore[attr-defined]
    done = gate(harmed, "--check", **KEYS)
    assert done.returncode == 3
    assert "WRONG: " in done.stdout


@pytest.mark.parametrize(
    ("config", "environ", "said"),
    [
        ("", {}, "BINANCE_API_KEY and BINANCE_API_SECRET must be set"),
        ("[service]\nconcurency = 7\n", KEYS, "gate.toml: service.concurency: is not a setting"),
        ("[service]\nconcurrency = 0\nlog = 'xml'\n", KEYS, "service.log: 'xml' is neither"),
        ('[service]\nid = "fixed"\n', KEYS, "names no field"),
        ('[service]\nresults = "quantum:stream:trade.intent"\n', KEYS, "must be three streams"),
        (
            "[policy]\nmax_age_ms = 500000\n[service]\nmax_age_s = 900\n",
            KEYS,
            "service.max_age_s or INTENT_MAX_AGE_SEC: 900 s is above the policy's max_age_ms 500000",
        ),
        ("[service]\nlisten = '9109'\n", KEYS, "is not an address"),
        ("", KEYS | {"EXEC_CONCURRENCY": "many"}, "EXEC_CONCURRENCY: 'many' is not a whole number"),
        ("", KEYS | {"BINANCE_API_KEY_FILE": "/nowhere"}, "both set"),
        ("", KEYS | {"BINANCE_API_KEY": "k y"}, "gate run: BINANCE_API_KEY has a space, a line's end"),
        ("", KEYS | {"BINANCE_API_SECRET": "s\n"}, "gate run: BINANCE_API_SECRET has a space, a line's end"),
        (
            "",
            {"BINANCE_API_KEY_FILE": "/nowhere", "BINANCE_API_SECRET": "s"},
            "BINANCE_API_KEY_FILE: /nowhere can't be",
        ),
    ],
)
def test_what_cant_be_used_is_2_and_one_line(desk: Desk, config: str, environ: dict[str, str], said: str) -> None:
    done = gate(desk, config=config, **environ)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_keys_come_from_files(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key\n")
    (tmp_path / "secret").write_text("secret\n")
    files = {"BINANCE_API_KEY_FILE": str(tmp_path / "key"), "BINANCE_API_SECRET_FILE": str(tmp_path / "secret")}
    assert gate(desk, "--check", **files).returncode == 0


def test_an_empty_address_means_no_real_exchange(desk: Desk) -> None:
    done = gate(desk, "--check", "--base-url", "", **KEYS)
    assert done.returncode == 2
    assert "--base-url is empty; leave it out for the real exchange" in done.stderr


@pytest.mark.parametrize("more", [["--base-url", ""], []], ids=["an empty address", "a file"])
def test_a_key_file_that_cant_be_read_doesnt_hold_up_a_halt(desk: Desk, more: list[str]) -> None:
    words = ["--url", desk.url, "halt", "--by", "ops", "--reason", "test", "--no-wait", *more]
    environ = {"PATH": "/bin", "BINANCE_API_KEY_FILE": "/nowhere", "BINANCE_API_SECRET": "s"}
    done = subprocess.run(
        [sys.executable, "-m", "gate", *words], capture_output=True, text=True, env=environ, timeout=60
    )
    assert desk.client.exists("quantum:safety:halt"), done.stderr


def test_the_old_names_of_the_keys_are_for_the_demo(desk: Desk) -> None:
    done = gate(desk, "--demo", **KEYS)
    assert "BINANCE_TESTNET_API_KEY and BINANCE_TESTNET_SECRET_KEY must be set" in done.stderr


def test_a_port_that_is_taken_is_named(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = gate(desk, "--listen", f"127.0.0.1:{port}", **KEYS)
        checked = gate(desk, "--listen", f"127.0.0.1:{port}", "--check", **KEYS)
    assert done.returncode == 1
    assert done.stderr == f"gate: 127.0.0.1:{port}: Address already in use; give another --listen\n"
    assert checked.returncode == 0, "it may be that of the service which this one replaces"
    assert f"listen        warning: 127.0.0.1:{port}: Address already in use" in checked.stdout


def test_a_second_prefix_on_the_same_keys_is_refused(desk: Desk) -> None:
    desk.worker().consumes()
    file = desk.folder / "other.toml"
    file.write_text('prefix = "other"\n')
    command = [sys.executable, "-m", "gate", "--url", desk.url, "--config", str(file), "run", "--listen", "none"]
    command += ["--base-url", desk.paper.url]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/bin", **KEYS}, timeout=60)
    assert done.returncode == 3
    assert "quantum" in done.stderr

    command.append("--check")
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/bin", **KEYS}, timeout=60)
    assert done.returncode == 1
    [said] = re.findall(r"^prefix +WRONG: (.*)$", done.stdout, re.MULTILINE)
    assert "quantum" in said


def test_a_second_account_under_one_prefix_is_refused(desk: Desk) -> None:
    accounts = [Account("key", "secret"), Account("key-2", "secret-2")]
    with PaperExchange(accounts=accounts, limits=None) as desk.paper:
        desk.worker().consumes()
        second = {"BINANCE_API_KEY": "key-2", "BINANCE_API_SECRET": "secret-2"}
        before = desk.client.keys("{gate}:[ap]*")
        checked = gate(desk, "--check", **second)
        assert set(desk.client.keys("{gate}:[ap]*")) == set(before), "it claims nothing"
        done = gate(desk, "--listen", "none", **second)
        apart = gate(desk, "--check", config='prefix = "second"\n', **second)
        again = gate(desk, "--check", **KEYS)
    remedy = "is kept under the prefix 'quantum' on this store: give each account a prefix of its own"
    assert checked.returncode == 1
    [said] = re.findall(r"^prefix +WRONG: (.*)$", checked.stdout, re.MULTILINE)
    assert remedy in said
    assert done.returncode == 3
    assert remedy in done.stderr
    assert (apart.returncode, again.returncode) == (0, 0), apart.stdout + again.stdout


def test_another_prefix_of_the_account_by_another_key_is_a_warning(desk: Desk) -> None:
    with PaperExchange(accounts=[Account("key", "secret")], limits=None) as desk.paper:
        port = int(desk.paper.url.rpartition(":")[2])
        desk.worker().consumes().kill()
    another = {"BINANCE_API_KEY": "key-2", "BINANCE_API_SECRET": "secret-2"}
    with PaperExchange(accounts=[Account("key-2", "secret-2", name="account-1")], limits=None, port=port) as desk.paper:
        apart = gate(desk, "--check", config='prefix = "second"\n', **another)
        under_its_own = gate(desk, "--check", **another)
    assert apart.returncode == 0, apart.stdout
    said = " ".join(re.findall(r"^prefix +warning: (.*)$", apart.stdout, re.MULTILINE))
    assert "second beside quantum: the other prefix keeps this account, too, by another API key" in said
    assert "by another API key" not in under_its_own.stdout
    assert under_its_own.returncode == 0, under_its_own.stdout


def test_other_accounts_on_a_store_that_knows_nothing_of_this_one_are_named(harmed: Desk) -> None:
    harmed.client.hset("pr\nod:exec:state", "fence", "7")
    harmed.client.hset("acct7:observe:exec:state", "fence", "7")
    harmed.client.hset("quantun:exec:state", "fence", "0")
    before = harmed.client.keys("*")
    assert "prefix        warning: " not in gate(harmed, "--check", **KEYS).stdout, "this account is known"
    done = gate(harmed, "--check", config='prefix = "quantun"\n', **KEYS)
    assert done.returncode == 0, done.stdout
    [said] = re.findall(r"^prefix +warning: (.*)$", done.stdout, re.MULTILINE)
    assert said.startswith(
        "this store holds accounts under acct7, pr od, quantum, and nothing under quantun. If one of"
    )
    assert harmed.client.keys("*") == before
