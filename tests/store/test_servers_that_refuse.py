"""A server that is full, or a replica: whoever looks is told what the next order will be told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from gate import Gate, Policy, Reason, StoreError
from gate.cli.program import program
from gate.cli.screens.status_screen import headline
from gate.service.looking import stopped_by
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.store import PrivateStore

Refuse = Callable[[PrivateStore], None]

FULL = "the server's memory is full: it takes no verdict; raise maxmemory, or make room"
REPLICA = "the server is a replica, which takes no verdict; give the URL of its primary"
TOO_FEW = "the server has too few replicas, so it takes no verdict; "
NO_DISK = "the server can't write to its disk, so it takes no verdict; its log says why"


def fill(store: PrivateStore) -> None:
    with store.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)


def follow_another(store: PrivateStore) -> None:
    with store.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")


def want_replicas(store: PrivateStore) -> None:
    with store.client() as client:
        client.config_set("min-replicas-to-write", 2)


def fail_to_save(store: PrivateStore) -> None:
    with store.client() as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            time.sleep(0.01)


each_refusal = pytest.mark.parametrize(
    ("refuse", "why"),
    [(fill, FULL), (follow_another, REPLICA), (want_replicas, TOO_FEW), (fail_to_save, NO_DISK)],
    ids=["full", "a replica", "too few replicas", "no snapshot"],
)


@pytest.fixture
def private_store(new_private_store: Callable[..., PrivateStore]) -> PrivateStore:
    """In a folder where nobody can write a snapshot."""
    return new_private_store("--dir", "/proc")


@each_refusal
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_status_and_a_look_say_what_a_verdict_says(
    refuse: Refuse, why: str, mode: str, private_store: PrivateStore, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(mode=mode), url=private_store.url)
    gate.init(by="ops", reason="a new account")
    assert gate.status().entries_pass
    assert gate.inspect(at.entry())
    refuse(private_store)
    verdict = gate.evaluate(at.entry())
    assert not verdict.admitted
    assert verdict.reason in (Reason.STORE_ERROR, Reason.STORE_UNAVAILABLE)
    found = gate.status()
    assert found.stopped
    assert not found.entries_pass
    assert found.refuses_writes.startswith(why)
    assert stopped_by(found)[-1].startswith(f"store: {why}")
    assert headline(found)[0].startswith(f"STOPPED for entries: {why}")
    assert "Observe mode" not in headline(found)[0], "nothing is admitted in this mode either"
    for intent in (at.entry(), at.exit_("sig-2")):
        with pytest.raises(StoreError, match=f"^{re.escape(why)}"):
            gate.inspect(intent)


@each_refusal
def test_a_guard_that_denies_is_still_named(
    refuse: Refuse, why: str, private_store: PrivateStore, open_gate: OpenGate
) -> None:
    gate = open_gate(url=private_store.url)
    gate.init(by="ops", reason="a new account")
    gate.halt(by="ops", reason="CPI print")
    refuse(private_store)
    assert gate.inspect(at.entry()).reason is Reason.HALTED
    assert gate.status().halt is not None


@each_refusal
def test_a_person_reads_it_in_the_first_line(refuse: Refuse, why: str, private_store: PrivateStore) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(program, ["--url", private_store.url, *words])
        return done.exit_code, done.output

    assert run("init", "--by", "ops", "--reason", "a new account")[0] == 0
    refuse(private_store)
    code, said = run("status")
    assert code == 1
    assert said.startswith(f"STOPPED for entries: {why}")
    assert "An executor sends exits without it" in " ".join(said.split("\n\n")[0].split())
    code, said = run("status", "--json")
    assert (code, json.loads(said)["entries_pass"]) == (1, False)
    assert json.loads(said)["refuses_writes"].startswith(why)
    code, said = run("eval", "--id", "a", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")
    assert code == 3
    assert said.startswith("gate: no verdict, STORE_ERROR: ")
    assert why in said


def test_a_halt_comes_first_since_a_person_has_to_end_it(private_store: PrivateStore, open_gate: OpenGate) -> None:
    open_gate(url=private_store.url).init(by="ops", reason="a new account")
    fill(private_store)
    halt = ["--url", private_store.url, "halt", "--by", "ops", "--reason", "it is full"]
    assert CliRunner().invoke(program, halt).exit_code == 0
    said = CliRunner().invoke(program, ["--url", private_store.url, "status"]).output
    assert said.startswith("HALTED for entries, exits pass. By ops: it is full")
    assert f"Warning: {FULL}" in said


def test_what_is_known_is_told_of_a_server_whose_writes_are_paused(
    private_store: PrivateStore, open_gate: OpenGate
) -> None:
    gate = open_gate(url=private_store.url, timeout_ms=300)
    gate.halt(by="ops", reason="CPI print")
    with private_store.client() as client:
        client.client_pause(60_000, all=False)
        found = gate.status()
        client.client_unpause()
    assert found.halt is not None
    assert found.refuses_writes.startswith("the server takes no verdict (")
    assert found.refuses_writes.endswith("are its writes paused? CLIENT UNPAUSE ends that")
    assert gate.status().refuses_writes == ""


def test_exits_are_said_to_be_held_where_none_goes_without_the_store(
    private_store: PrivateStore, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(exits_without_store=False), url=private_store.url)
    gate.apply_policy(by="ops", reason="test")
    gate.init(by="ops", reason="a new account")
    fill(private_store)
    said = CliRunner().invoke(program, ["--url", private_store.url, "status"]).output
    assert "Exits are held too: exits_without_store is off" in " ".join(said.split("\n\n")[0].split())


def test_a_prefix_that_nobody_knows_comes_first(private_store: PrivateStore) -> None:
    fill(private_store)
    said = CliRunner().invoke(program, ["--url", private_store.url, "--prefix", "qantum", "status"]).output
    assert said.startswith("NOTHING IS KNOWN of the prefix qantum here")
    assert f"Warning: {FULL}" in said


@pytest.mark.parametrize(("right", "names"), [("zadd", "ZADD quantum:exec:inflight"), ("info", "INFO")])
def test_the_right_that_a_workers_user_lacks_is_told(right: str, names: str, private_store: PrivateStore) -> None:
    with private_store.client() as client:
        client.acl_setuser("worker", enabled=True, nopass=True, keys=["*"], commands=["+@all", f"-{right}"])
    with Gate.from_url(private_store.url.replace("redis://", "redis://worker:any@")) as gate:
        found = gate.status()
    assert found.lacks.startswith(names)
    assert stopped_by(found)[-1] == f"store: this service's user lacks {found.lacks}; ACL SETUSER grants it"
