"""A person's act is answered when replicas and disk have it. Where they don't, the answer says so, and is right."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
import redis

from gate import Act, Policy, StoreError
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.process import ProcessStore
from tests.servers.wire import Fault, Wire
from tests.store.test_clusters import port_of

BRIEF_MS = 800
ACTS: dict[str, Callable[[AnyGate], Act]] = {
    "halt": lambda gate: gate.halt(by="ops", reason="CPI print"),
    "resume": lambda gate: gate.resume(by="ops", reason="CPI is out"),
    "reset": lambda gate: gate.reset("all", by="ops", reason="looked into"),
    "policy": lambda gate: gate.apply_policy(Policy(), by="ops", reason="new limits"),
    "init": lambda gate: gate.init(by="ops", reason="a new account"),
}

NewStore = Callable[..., ProcessStore]


@pytest.fixture
def new_store() -> Iterator[NewStore]:
    """Starts servers with arguments; all end with the test."""
    with ExitStack() as stack:

        def new(*arguments: str) -> ProcessStore:
            store = ProcessStore(arguments)
            stack.callback(store.close)
            return store

        yield new


@pytest.fixture
def primary(new_store: NewStore) -> ProcessStore:
    return new_store("--repl-diskless-sync-delay", "0")


@pytest.fixture
def replicas(new_store: NewStore, primary: ProcessStore) -> list[ProcessStore]:
    """Two replicas of the primary, in step with it."""
    return in_step(primary, *(new_store("--replicaof", "127.0.0.1", str(port_of(primary))) for _ in range(2)))


def in_step(primary: ProcessStore, *replicas: ProcessStore) -> list[ProcessStore]:
    with primary.client() as client:
        wait_until(lambda: replication(client).count("state=online") == len(replicas))
        client.set("in", "step")
        wait_until(lambda: client.wait(len(replicas), 100) == len(replicas))
    return list(replicas)


class Link:
    """The connections of replicas to a primary. Held up, it takes what the primary sends and passes on nothing.

    A frozen replica would not do: what its kernel has taken in by then is there when it wakes up.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._passing = threading.Event()
        self._passing.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        self._passing.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                replica, _ = self._listener.accept()
                primary = socket.create_connection(("127.0.0.1", self._target_port))
                self._ends += [replica, primary]
                for source, sink in (replica, primary), (primary, replica):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._passing.wait()
                sink.sendall(data)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._passing.set()


def replication(client: redis.Redis) -> str:
    client.response_callbacks.clear()
    return at.text(client.execute_command("INFO", "replication"))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it doesn't come true"
        time.sleep(0.01)


def promoted(replica: ProcessStore, primary: ProcessStore) -> str:
    """The URL of a replica that has taken over from a primary that is gone."""
    primary.stop()
    with replica.client() as client:
        client.replicaof("NO", "ONE")
    return replica.url


@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_on_every_replica_when_it_is_answered(
    act: str, primary: ProcessStore, replicas: list[ProcessStore], open_gate: OpenGate
) -> None:
    done = ACTS[act](open_gate(url=primary.url))
    for replica in replicas:
        with replica.client() as client:
            assert client.xlen(at.AUDIT) == 1
    assert (done.copies.replicas, done.copies.on_replicas, done.copies.doubt) == (2, 2, "")
    assert done.copies.survives_failover is True
    assert (done.copies.append_only, done.copies.on_disk, done.copies.survives_restart) == (False, False, False)


def test_a_halt_that_is_on_every_replica_outlives_the_primary(
    primary: ProcessStore, replicas: list[ProcessStore], open_gate: OpenGate
) -> None:
    assert ACTS["halt"](open_gate(url=primary.url)).copies.survives_failover
    after = open_gate(url=promoted(replicas[1], primary))
    assert after.halt_in_force() is not None
    assert not after.evaluate(at.entry())


def test_a_halt_that_no_replica_has_says_so_and_is_lost_with_the_primary(
    primary: ProcessStore, new_store: NewStore, open_gate: OpenGate
) -> None:
    gate = open_gate(url=primary.url)
    with Link(port_of(primary)) as link:
        (replica,) = in_step(primary, new_store("--replicaof", "127.0.0.1", str(link.port)))
        link.hold()
        done = ACTS["halt"](gate)
    assert (done.copies.replicas, done.copies.on_replicas) == (1, 0)
    assert done.copies.survives_failover is False
    assert gate.halt_in_force() is not None, "it is in force at once"
    after = open_gate(url=promoted(replica, primary))
    assert after.halt_in_force() is None


def test_an_act_that_one_replica_lacks_may_be_lost_and_a_repeat_brings_it(
    primary: ProcessStore, replicas: list[ProcessStore], open_gate: OpenGate
) -> None:
    gate = open_gate(url=primary.url)
    replicas[0].pause()
    done = ACTS["halt"](gate)
    assert (done.copies.replicas, done.copies.on_replicas) == (2, 1)
    assert done.copies.survives_failover is False
    replicas[0].resume()
    wait_until(lambda: ACTS["halt"](gate).copies.on_replicas == 2)


@pytest.mark.parametrize("sync", ["always", "everysec"])
def test_a_halt_on_disk_outlives_the_server(sync: str, new_store: NewStore, open_gate: OpenGate) -> None:
    store = new_store("--appendonly", "yes", "--appendfsync", sync)
    done = ACTS["halt"](open_gate(url=store.url))
    assert (done.copies.replicas, done.copies.on_replicas, done.copies.survives_failover) == (0, 0, False)
    assert (done.copies.append_only, done.copies.on_disk, done.copies.survives_restart) == (True, True, True)
    store.stop()
    store.start()
    after = open_gate(url=store.url)
    assert after.halt_in_force() is not None
    assert not after.evaluate(at.entry())


def test_a_disk_that_does_not_confirm_in_time_is_no_copy(new_store: NewStore, open_gate: OpenGate) -> None:
    store = new_store("--appendonly", "yes", "--appendfsync", "no")
    done = ACTS["halt"](open_gate(url=store.url, timeout_ms=BRIEF_MS))
    assert (done.audited, done.copies.append_only, done.copies.on_disk) == (True, True, False)


def test_a_server_without_replica_and_file_keeps_it_in_memory_only(primary: ProcessStore, open_gate: OpenGate) -> None:
    done = ACTS["halt"](open_gate(url=primary.url))
    assert (done.copies.replicas, done.copies.on_replicas, done.copies.survives_failover) == (0, 0, False)
    assert (done.copies.append_only, done.copies.on_disk) == (False, False)


def test_a_server_that_knows_no_waitaof_cannot_say_what_is_on_disk(new_store: NewStore, open_gate: OpenGate) -> None:
    """As Redis before 7.2."""
    store = new_store("--appendonly", "yes", "--rename-command", "WAITAOF", "")
    done = ACTS["halt"](open_gate(url=store.url))
    assert (done.audited, done.copies.append_only, done.copies.on_disk) == (True, True, None)
    assert "unknown command" in done.copies.doubt


def test_a_user_who_may_not_ask_for_replicas_learns_of_one_or_of_none(
    primary: ProcessStore, replicas: list[ProcessStore], open_gate: OpenGate
) -> None:
    with primary.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-info")
        done = ACTS["halt"](open_gate(url=primary.url))
        assert (done.copies.replicas, done.copies.survives_failover) == (None, None)
        assert (done.copies.on_replicas or 0) >= 1
        assert (done.copies.append_only, done.copies.on_disk) == (False, False), "WAITAOF says that there is no file"
        client.execute_command("ACL", "SETUSER", "default", "-wait", "-waitaof")
        done = ACTS["halt"](open_gate(url=primary.url))
        assert (done.audited, done.changed) == (True, ("entries",))
        assert (done.copies.on_replicas, done.copies.on_disk) == (None, None)
        assert "no permissions" in done.copies.doubt
        assert client.xlen(at.AUDIT) == 2


LOSSES: dict[str, Callable[[Wire], Fault]] = {
    "reply lost": lambda wire: wire.lose_next_reply("WAIT"),
    "reply withheld": lambda wire: wire.withhold_next_reply("WAIT"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_an_act_whose_confirmation_is_lost_is_done_once_and_unconfirmed(
    loss: str, primary: ProcessStore, replicas: list[ProcessStore], open_gate: OpenGate
) -> None:
    with Wire(primary.url) as wire, primary.client() as client:
        gate = open_gate(url=wire.url, timeout_ms=BRIEF_MS)
        ACTS["resume"](gate)
        fault = LOSSES[loss](wire)
        done = ACTS["halt"](gate)
        fault.wait()
        assert (done.audited, done.changed) == (True, ("entries",))
        assert (done.copies.replicas, done.copies.on_replicas, done.copies.survives_failover) == (2, None, None)
        assert done.copies.doubt
        assert client.xlen(at.AUDIT) == 2
        halt = gate.halt_in_force()
        assert halt is not None
        assert halt.reason == "CPI print", "no late reply is taken for another call's"


@pytest.mark.parametrize("lost", ["reply", "script"])
def test_an_act_that_is_sent_again_is_waited_for_again(
    lost: str, primary: ProcessStore, replicas: list[ProcessStore], open_gate: OpenGate
) -> None:
    with Wire(primary.url) as wire, primary.client() as client:
        gate = open_gate(url=wire.url, timeout_ms=BRIEF_MS)
        ACTS["resume"](gate)
        if lost == "reply":
            wire.lose_next_reply("EVALSHA")
        else:
            client.script_flush()
        done = ACTS["halt"](gate)
        assert (done.copies.replicas, done.copies.on_replicas) == (2, 2)
        assert client.xlen(at.AUDIT) == 2


@pytest.mark.parametrize(("rights", "on_replicas"), [("+xsetid", 0), ("-xsetid", None)])
def test_a_replay_does_not_take_a_connection_that_wrote_nothing_for_a_confirmation(
    rights: str, on_replicas: int | None, primary: ProcessStore, replicas: list[ProcessStore], open_gate: OpenGate
) -> None:
    with Wire(primary.url) as wire, primary.client() as client:
        gate = open_gate(url=wire.url, timeout_ms=BRIEF_MS)
        ACTS["resume"](gate)
        client.execute_command("ACL", "SETUSER", "default", rights)
        for replica in replicas:
            replica.pause()
        lost = wire.lose_next_reply("EVALSHA")
        done = ACTS["halt"](gate)
        assert lost.happened
        assert (done.copies.replicas, done.copies.on_replicas) == (2, on_replicas)
        assert not done.copies.survives_failover
        assert client.xlen(at.AUDIT) == 2


def test_an_act_that_looks_at_a_server_in_vain_is_done(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(), url=wire.url, timeout_ms=BRIEF_MS)
    lost = wire.lose_next_reply("INFO")
    done = ACTS["halt"](gate)
    assert lost.happened
    assert (done.audited, done.copies.replicas) == (True, None)
    assert gate.halt_in_force() is not None


def test_an_act_that_the_store_refuses_names_the_key(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(at.STATE, "not a hash")
    with pytest.raises(StoreError, match=at.STATE):
        ACTS["policy"](open_gate())
