"""On a cluster all keys of an account live in one slot, and the gate follows the slot; sentinels name the master."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis
import redis.asyncio

from gate import AsyncGate, Gate, Grade, InvalidField, Policy, Reason
from gate.client.services import SERVICES
from gate.protocol.keyspace import Keyspace
from gate.store.cluster_wire import ClusterWire
from gate.store.connect import connect as connect_wire
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.ports import free_port
from tests.servers.process import ProcessStore
from tests.servers.store import connect
from tests.store.test_stores_by_url import works

ROOMY = Policy(rate_symbol_limit=99, rate_global_limit=99)
TAGGED = "{quantum}"


class Sentinel(ProcessStore):
    """A sentinel that watches one master by the name of `gate`."""

    def __init__(self, master_port: int) -> None:
        self._master_port = master_port
        super().__init__()

    def _command(self) -> list[str]:
        binary = super()._command()[0]
        settings = self._directory / "sentinel.conf"
        settings.write_text(
            f"port {self._port}\nbind 127.0.0.1\ndir {self._directory}\n"
            f"sentinel monitor gate 127.0.0.1 {self._master_port} 1\n"
        )
        return [binary, str(settings), "--sentinel"]


def port_of(store: ProcessStore) -> int:
    return int(store.url.rpartition(":")[2].partition("/")[0])


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "the cluster doesn't come up"
        time.sleep(0.01)


class Node(ProcessStore):
    """A node of a cluster."""

    def __init__(self) -> None:
        # Not 10,000 above its other port: outgoing connections come from there, and may have taken it.
        self.bus_port = free_port()
        ports = ("--cluster-port", str(self.bus_port))
        super().__init__(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", *ports])


def new_node(stack: ExitStack) -> Node:
    node = Node()
    stack.callback(node.close)
    return node


def ask(node: ProcessStore, *command: str | int) -> str:
    with node.client() as client:
        client.response_callbacks.clear()
        return at.text(client.execute_command(*command))


def is_up(node: ProcessStore) -> bool:
    return "cluster_state:ok" in ask(node, "CLUSTER", "INFO")


@pytest.fixture(scope="module")
def one_node() -> Iterator[ProcessStore]:
    """A cluster of one node with all slots, which takes two seconds to start."""
    with ExitStack() as stack:
        node = new_node(stack)
        ask(node, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: is_up(node))
        yield node


@pytest.fixture
def cluster(one_node: ProcessStore) -> ProcessStore:
    """A cluster of one node, empty."""
    ask(one_node, "FLUSHALL")
    ask(one_node, "SCRIPT", "FLUSH")
    return one_node


def cluster_url(node: ProcessStore) -> str:
    return f"redis+cluster://127.0.0.1:{port_of(node)}"


def test_a_prefix_with_a_hash_tag_works_on_a_cluster(cluster: ProcessStore, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY, url=cluster_url(cluster), prefix=TAGGED)
    assert works(gate) == 1
    with cluster.client() as client:
        client.set("{quantum}:safety:cooldown_symbol:BTCUSDT", "1")
        assert gate.evaluate(at.entry("sig-2")).reason is Reason.COOLDOWN_SYMBOL
        client.script_flush()
    assert gate.reset("cooldowns", by="ops", reason="test").changed == ("{quantum}:safety:cooldown_symbol:BTCUSDT",)
    assert at.admitted(gate.evaluate(at.entry("sig-2"))).fence == 2


def test_the_doctor_and_the_audit_know_a_cluster(cluster: ProcessStore, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY, url=cluster_url(cluster), prefix=TAGGED)
    assert gate.init(by="ops", reason="a new account").audited
    assert [each.by for each in gate.audit().entries] == ["ops"]
    found = gate.diagnose()
    assert found
    assert [each.grade for each in found.checks if each.what in ("memory", "keys", "guards")] == [Grade.OK] * 3
    with cluster.client() as client:
        assert sorted(map(at.text, client.keys("*"))) == ["{quantum}:exec:state", "{quantum}:safety:audit"]


@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_a_prefix_without_a_hash_tag_is_refused_on_a_cluster(
    kind: type[Gate] | type[AsyncGate], cluster: ProcessStore
) -> None:
    with pytest.raises(InvalidField) as caught:
        kind.from_url(cluster_url(cluster), prefix="quantum")
    assert str(caught.value) == (
        "prefix: 'quantum' has no hash tag, which a cluster needs to keep all keys of an account in one slot: "
        "use {quantum}"
    )


def connections(node: ProcessStore) -> set[str]:
    """The numbers of all that are open, but for that which asks."""
    with node.client() as client:
        own = client.client_id()
        rows: Any = client.client_list()
        return {each["id"] for each in rows} - {str(own)}


def test_gates_that_are_closed_leave_no_connection_to_a_cluster(cluster: ProcessStore, open_gate: OpenGate) -> None:
    gates = []
    for number in range(3):
        gates.append(open_gate(ROOMY, url=cluster_url(cluster), prefix=f"{{acct{number}}}"))
        gates[-1].init(by="ops", reason="a new account")
        gates[-1].leave_trace()
        assert connections(cluster)
        gates[-1].close()
        wait_until(lambda: not connections(cluster))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody can close what belongs to a loop that is closed
def test_a_gate_on_a_cluster_may_be_closed_on_another_event_loop(cluster: ProcessStore) -> None:
    gate = AsyncGate.from_url(cluster_url(cluster), prefix=TAGGED, policy=ROOMY)
    asyncio.run(gate.init(by="ops", reason="a new account"))
    asyncio.run(gate.close())
    del gate
    gc.collect()


async def test_a_cluster_client_that_was_passed_stays_open(cluster: ProcessStore) -> None:
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=port_of(cluster))
    await client.initialize()
    theirs = connections(cluster)
    async with AsyncGate(client=client, prefix=TAGGED, policy=ROOMY, timeout_ms=5_000) as gate:
        await gate.init(by="ops", reason="a new account")
        assert theirs < connections(cluster)
    await asyncio.to_thread(wait_until, lambda: not connections(cluster) - theirs)
    assert connections(cluster) == theirs
    await client.aclose()


def test_an_existing_cluster_client_is_used(cluster: ProcessStore) -> None:
    with closing(redis.RedisCluster(host="127.0.0.1", port=port_of(cluster), decode_responses=True)) as client:
        with Gate(client=client, prefix=TAGGED, policy=ROOMY, timeout_ms=5_000) as gate:
            assert works(gate) == 1
        with pytest.raises(InvalidField, match="hash tag"):
            Gate(client=client, prefix="quantum")


async def test_an_existing_asyncio_cluster_client_is_used(cluster: ProcessStore) -> None:
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=port_of(cluster))
    async with AsyncGate(client=client, prefix=TAGGED, policy=ROOMY, timeout_ms=5_000) as gate:
        assert (await gate.init(by="ops", reason="a new account")).audited
        assert at.admitted(await gate.evaluate(at.entry())).fence == 1
    with pytest.raises(InvalidField, match="hash tag"):
        AsyncGate(client=client, prefix="quantum")
    await client.aclose()


def test_a_slot_that_moves_is_followed(open_gate: OpenGate) -> None:
    with ExitStack() as stack:
        here, there = new_node(stack), new_node(stack)
        slot = int(ask(here, "CLUSTER", "KEYSLOT", "{quantum}:exec:state"))
        ask(here, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        ask(there, "CLUSTER", "MEET", "127.0.0.1", port_of(here), here.bus_port)
        names = {node: ask(node, "CLUSTER", "MYID") for node in (here, there)}
        wait_until(lambda: is_up(here) and is_up(there))
        wait_until(lambda: all(name in ask(here, "CLUSTER", "NODES") for name in names.values()))

        gate = open_gate(ROOMY, url=cluster_url(here), prefix=TAGGED)
        assert gate.inspect(at.exit_()).admitted
        for node in (there, here):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", names[there])
        assert gate.halt(by="ops", reason="test").copies.replicas == 0
        assert int(ask(there, "EXISTS", f"{TAGGED}:safety:halt")) == 1
        assert gate.resume(by="ops", reason="test").before == "entries"
        assert works(gate) == 1
        assert int(ask(there, "DBSIZE")) > 0
        assert int(ask(here, "DBSIZE")) == 0


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
async def test_a_slot_that_moves_is_followed_by_the_word_of_its_old_holder(kind: str) -> None:
    """Right after a failover, the node that tells the layout may not have heard of it."""
    for _ in range(5):
        if await _is_followed_though_told_late(kind):
            return
    pytest.fail("each time, the node that was to be told late had heard at once")


async def _is_followed_though_told_late(kind: str) -> bool:
    """False where that node has heard of it before it was asked: nodes tell each other when they like."""
    with ExitStack() as stack:
        told_late, here, there = nodes = [new_node(stack) for _ in range(3)]
        slot = int(ask(here, "CLUSTER", "KEYSLOT", "{quantum}:exec:state"))
        # One of them holds a slot from the beginning, so that the layout names it.
        another = (slot + 1) % 16384
        ask(here, "CLUSTER", "ADDSLOTS", *(each for each in range(16384) if each != another))
        ask(there, "CLUSTER", "ADDSLOTS", another)
        for node in (told_late, there):
            ask(node, "CLUSTER", "MEET", "127.0.0.1", port_of(here), here.bus_port)
        names = {node: ask(node, "CLUSTER", "MYID") for node in nodes}
        wait_until(lambda: all(map(is_up, nodes)))
        wait_until(lambda: all(name in ask(node, "CLUSTER", "NODES") for name in names.values() for node in nodes))

        def move() -> bool:
            for node in (there, here):
                ask(node, "CLUSTER", "SETSLOT", slot, "NODE", names[there])
            return _slots_of(names[there], told_late) == [str(another)]

        # The layout comes from the node that is told late, and from no other.
        layout: Any = {"host": "127.0.0.1", "port": port_of(told_late), "dynamic_startup_nodes": False}
        if kind == "threads":
            client = stack.enter_context(closing(redis.RedisCluster(**layout)))
            with Gate(client=client, prefix=TAGGED, policy=ROOMY, timeout_ms=5_000) as gate:
                told = [gate.status().server.run_id]
                late = move()
                told.append(gate.status().server.run_id)
        else:
            beside = redis.asyncio.RedisCluster(host="127.0.0.1", port=port_of(told_late))
            async with AsyncGate(client=beside, prefix=TAGGED, policy=ROOMY, timeout_ms=5_000) as waiting:
                told = [(await waiting.status()).server.run_id]
                late = move()
                told.append((await waiting.status()).server.run_id)
            await beside.aclose()
        assert told == [_run_id(here), _run_id(there)]
    return late


def _run_id(node: ProcessStore) -> str:
    with node.client() as client:
        return str(client.info("server")["run_id"])


def _slots_of(name: str, by: ProcessStore) -> list[str]:
    """The slots that a node has, as another one knows."""
    (line,) = [each for each in ask(by, "CLUSTER", "NODES").splitlines() if each.startswith(name)]
    return line.split()[8:]


def test_services_are_seen_where_their_key_has_another_slot_than_the_account(open_gate: OpenGate) -> None:
    with ExitStack() as stack:
        here, there = new_node(stack), new_node(stack)
        slot = int(ask(here, "CLUSTER", "KEYSLOT", SERVICES))
        for node, slots in ((here, [each for each in range(16384) if each != slot]), (there, [slot])):
            ask(node, "CLUSTER", "ADDSLOTS", *slots)
        ask(there, "CLUSTER", "MEET", "127.0.0.1", port_of(here), here.bus_port)
        wait_until(lambda: is_up(here) and is_up(there))

        gate = open_gate(ROOMY, url=cluster_url(here), prefix=TAGGED)
        other = open_gate(ROOMY, url=cluster_url(here), prefix="{acct7}")
        gate.leave_trace()
        assert [each.prefix for each in other.seen_services().others] == [TAGGED]
        assert (gate.claim_account("digest"), other.claim_account("digest")) == (None, TAGGED)
        assert (gate.claim_prefix("first"), gate.claim_prefix("second")) == (True, False)
        gate.init(by="ops", reason="a new account")
        gate.halt(by="ops", reason="test")
        assert gate.still_out().clear
        assert int(ask(there, "DBSIZE")) == 3


def test_a_cluster_out_of_reach_denies_and_comes_back(cluster: ProcessStore, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY, url=cluster_url(cluster), prefix=TAGGED, timeout_ms=400)
    gate.init(by="ops", reason="a new account")
    assert gate.evaluate(at.entry())
    cluster.pause()
    assert gate.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.STORE_UNAVAILABLE
    cluster.resume()
    wait_until(lambda: is_up(cluster))
    wait_until(lambda: gate.evaluate(at.entry("sig-2", "ETHUSDT")).admitted)


def test_a_cluster_that_nobody_answers_for_denies(open_gate: OpenGate) -> None:
    gate = open_gate(url="redis+cluster://127.0.0.1:1", prefix=TAGGED)
    assert gate.evaluate(at.entry()).reason is Reason.STORE_UNAVAILABLE


def test_a_sentinel_names_the_master(open_gate: OpenGate) -> None:
    with ExitStack() as stack:
        master = ProcessStore()
        stack.callback(master.close)
        sentinel = Sentinel(port_of(master))
        stack.callback(sentinel.close)
        gate = open_gate(url=f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/gate/2")
        assert works(gate) == 1
        with connect(f"redis://127.0.0.1:{port_of(master)}/2") as client:
            assert client.exists(at.RECORD) == 1
        wrong = open_gate(url=f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/other")
        assert wrong.evaluate(at.entry()).reason is Reason.STORE_UNAVAILABLE
        sentinel.stop()
        alone = open_gate(url=f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/gate")
        assert alone.evaluate(at.entry()).reason is Reason.STORE_UNAVAILABLE


def test_a_gate_that_is_closed_leaves_no_connection_to_a_sentinel(open_gate: OpenGate) -> None:
    with ExitStack() as stack:
        master = ProcessStore()
        stack.callback(master.close)
        sentinel = Sentinel(port_of(master))
        stack.callback(sentinel.close)
        gate = open_gate(url=f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/gate")
        assert works(gate) == 1
        assert connections(sentinel)
        gate.close()
        wait_until(lambda: not connections(sentinel))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody can close what belongs to a loop that is closed
def test_a_gate_asks_the_sentinels_on_each_event_loop() -> None:
    with ExitStack() as stack:
        master = ProcessStore()
        stack.callback(master.close)
        sentinel = Sentinel(port_of(master))
        stack.callback(sentinel.close)
        address = f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/gate"
        gate = AsyncGate.from_url(address, policy=ROOMY, timeout_ms=5_000)
        asyncio.run(gate.init(by="ops", reason="a new account"))
        assert asyncio.run(gate.evaluate(at.entry())).admitted
        del gate
        gc.collect()


@pytest.mark.parametrize("harm", ["stopped", "paused"])
def test_a_sentinel_out_of_reach_leaves_the_word_to_the_next(harm: str, open_gate: OpenGate) -> None:
    with ExitStack() as stack:
        master = ProcessStore()
        stack.callback(master.close)
        silent, speaking = Sentinel(port_of(master)), Sentinel(port_of(master))
        stack.callback(silent.close)
        stack.callback(speaking.close)
        if harm == "stopped":
            silent.stop()
        else:
            silent.pause()
        ports = f"127.0.0.1:{port_of(silent)},127.0.0.1:{port_of(speaking)}"
        assert works(open_gate(url=f"redis+sentinel://{ports}/gate", timeout_ms=1_000)) == 1
        if harm == "paused":
            silent.resume()


def test_sentinels_out_of_reach_cost_no_more_than_the_time_out(open_gate: OpenGate) -> None:
    gate = open_gate(url="redis+sentinel://127.0.0.1:1,127.0.0.1:2/gate", timeout_ms=250)
    started = time.monotonic()
    assert gate.evaluate(at.entry()).reason is Reason.STORE_UNAVAILABLE
    assert time.monotonic() - started < 2.5  # redis-py's own retries take longer


def test_no_password_is_shown_by_what_reaches_a_slot() -> None:
    wire = connect_wire("redis+cluster://alice:s3cret@127.0.0.1:1", Keyspace(TAGGED), 250)[0]
    assert isinstance(wire, ClusterWire)
    assert "s3cret" not in repr(wire._slot)
