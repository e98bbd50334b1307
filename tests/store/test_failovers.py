"""When another server takes over, the gate goes there by itself, and soon."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from gate import Policy, Reason
from gate.store import connection
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.failover.deployments import Cluster, ask, port_of, said, wait_until
from tests.servers.process import ProcessStore
from tests.store.test_clusters import Sentinel

ROOMY = Policy(rate_symbol_limit=99, rate_global_limit=99)
TAGGED = "{quantum}"


def test_a_master_that_sentinels_name_no_more_is_left_though_it_answers(open_gate: OpenGate) -> None:
    with ExitStack() as stack:
        old, new = ProcessStore(), ProcessStore()
        stack.callback(old.close)
        stack.callback(new.close)
        sentinel = Sentinel(port_of(old))
        stack.callback(sentinel.close)
        gate = open_gate(ROOMY, url=f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/gate")
        gate.halt(by="ops", reason="on the old master")
        assert gate.halt_in_force() is not None

        ask(sentinel, "SENTINEL", "REMOVE", "gate")
        ask(sentinel, "SENTINEL", "MONITOR", "gate", "127.0.0.1", port_of(new), 1)

        wait_until(lambda: gate.halt_in_force() is None, "the gate asks the new master")


def test_a_master_goes_on_while_no_sentinel_answers(open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_MASTER_ASKED_EVERY_S", 0)
    with ExitStack() as stack:
        master = ProcessStore()
        stack.callback(master.close)
        sentinel = Sentinel(port_of(master))
        stack.callback(sentinel.close)
        gate = open_gate(ROOMY, url=f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/gate")
        gate.init(by="ops", reason="a new account")

        sentinel.stop()

        assert at.admitted(gate.evaluate(at.entry())).fence == 1


def test_the_first_call_after_a_takeover_finds_the_node(open_gate: OpenGate) -> None:
    with ExitStack() as stack:
        cluster = Cluster(f"{TAGGED}:exec:state", primaries=2, replicas=False)
        stack.callback(cluster.close)
        here, there = cluster.servers
        gate = open_gate(ROOMY, url=cluster.url, prefix=TAGGED)
        assert gate.inspect(at.exit_()).admitted
        here.stop()
        assert gate.evaluate(at.exit_()).reason is Reason.STORE_UNAVAILABLE

        ask(there, "CLUSTER", "SETSLOT", cluster.slot, "NODE", cluster.names[there])

        assert gate.evaluate(at.exit_()).admitted


def test_many_calls_that_fail_on_one_node_read_the_layout_once(open_sync_gate: OpenGate) -> None:
    calls = 16
    with ExitStack() as stack:
        cluster = Cluster(f"{TAGGED}:exec:state", primaries=2, replicas=False)
        stack.callback(cluster.close)
        here, there = cluster.servers
        gate = open_sync_gate(ROOMY, url=cluster.url, prefix=TAGGED, timeout_ms=250)
        assert gate.inspect(at.exit_()).admitted
        before = layouts_read(there)

        here.pause()
        together = threading.Barrier(calls)

        def call(number: int) -> None:
            together.wait()
            assert gate.evaluate(at.exit_(f"sig-{number}")).reason is Reason.STORE_UNAVAILABLE

        threads = [threading.Thread(target=call, args=(number,)) for number in range(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        here.resume()

        assert layouts_read(there) - before < calls


def layouts_read(node: ProcessStore) -> int:
    rows = [row for row in said(node, "INFO", "commandstats").splitlines() if row.startswith("cmdstat_cluster|slots:")]
    return int(rows[0].partition("calls=")[2].partition(",")[0]) if rows else 0
