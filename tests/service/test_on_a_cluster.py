"""`gate run` on a cluster: the check before its start, and its answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from gate import Gate
from gate.client.services import SERVICES
from gate.paper import PaperExchange
from gate.protocol.scripts import script
from gate.store.connect import load_script, plain_client
from tests.client import account as at
from tests.servers.users import line_of
from tests.service.desk import Desk, payload, until
from tests.service.test_check import KEYS
from tests.service.test_check import gate as run_gate
from tests.service.test_updates import RESTING
from tests.store.test_clusters import Node, ask, cluster_url, is_up, new_node, port_of, wait_until

PREFIX = "{quantum}"
CONFIG = f'prefix = "{PREFIX}"\n'
STREAM, RESULTS = f"{PREFIX}:stream:trade.intent", f"{PREFIX}:stream:execution.result"

pytestmark = pytest.mark.outside_roles("its users are its own")


class Nodes(NamedTuple):
    here: Node
    """Holds the account."""
    there: Node
    """Holds what all accounts share, and is the one that the URL names."""

    def user(self, name: str, *rules: str, of: Node | None = None) -> str:
        """A URL for a user whom both know; with `of` only that one has the rules, and the other lets it do all."""
        for each in self:
            lets = rules if of in (None, each) else ("~*", "&*", "+@all")
            ask(each, "ACL", "SETUSER", name, "reset", *lets, "on", "nopass")
        return cluster_url(self.there).replace("//", f"//{name}:any@")


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Nodes]:
    """A cluster that takes seconds to start."""
    with ExitStack() as stack:
        nodes = Nodes(new_node(stack), new_node(stack))
        here, there = nodes
        shared = int(ask(here, "CLUSTER", "KEYSLOT", SERVICES))
        ask(here, "CLUSTER", "ADDSLOTS", *(each for each in range(16384) if each != shared))
        ask(there, "CLUSTER", "ADDSLOTS", shared)
        ask(there, "CLUSTER", "MEET", "127.0.0.1", port_of(here), here.bus_port)
        wait_until(lambda: is_up(here) and is_up(there))
        yield nodes


@pytest.fixture
def nodes(two_nodes: Nodes) -> Nodes:
    """The cluster, empty."""
    for each in two_nodes:
        ask(each, "FLUSHALL")
        ask(each, "SCRIPT", "FLUSH")
        ask(each, "ACL", "LOG", "RESET")
    return two_nodes


@pytest.fixture
def clustered(nodes: Nodes, paper: PaperExchange, tmp_path: Path) -> Iterator[Desk]:
    """Its client is of the node that holds the account."""
    with nodes.here.client() as client:
        desk = Desk(client, cluster_url(nodes.there), paper, tmp_path)
        yield desk
        for worker in desk.workers:
            worker.kill()


def keys_of(nodes: Nodes) -> list[str]:
    found: list[str] = []
    for each in nodes:
        with each.client() as client:
            found += map(at.text, client.keys("*"))
    return found


def test_check_passes_a_worker_on_a_cluster_and_changes_nothing(nodes: Nodes, clustered: Desk) -> None:
    rules = line_of("worker", PREFIX, "worker").split()[2:]
    clustered.url = nodes.user("worker", *rules)
    done = run_gate(clustered, "--check", config=CONFIG, **KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rights" not in done.stdout
    assert "would be made" in done.stdout
    assert keys_of(nodes) == []
    assert [ask(each, "ACL", "LOG") for each in nodes] == ["[]", "[]"]


def test_check_names_each_right_that_is_missing_on_a_cluster(nodes: Nodes, clustered: Desk) -> None:
    lacking = ("xreadgroup", "script|load", "xgroup|create", "xclaim", "xgroup|delconsumer", "zrem")
    clustered.url = nodes.user("lame", "~*", "&*", "+@all", *(f"-{each}" for each in lacking), of=nodes.here)
    done = run_gate(clustered, "--check", config=CONFIG, **KEYS)
    assert done.returncode == 1, done.stdout + done.stderr
    named = re.findall(r"^rights +WRONG: this user lacks ([A-Z ]+?)(?: \{|:)", done.stdout, re.MULTILINE)
    assert set(named) == {each.upper().replace("|", " ") for each in lacking}


def test_check_names_a_right_that_is_missing_on_the_node_of_what_accounts_share(nodes: Nodes, clustered: Desk) -> None:
    clustered.url = nodes.user("lame", "~*", "&*", "+@all", "-zrevrange", "-script|load", of=nodes.there)
    done = run_gate(clustered, "--check", config=CONFIG, **KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^rights +(.*)$", done.stdout, re.MULTILINE) == [
        f"warning: this user lacks ZREVRANGE {SERVICES}: a mistaken prefix isn't noticed"
    ]


def test_check_sees_other_accounts_and_who_keeps_this_one_on_a_cluster(nodes: Nodes, clustered: Desk) -> None:
    clustered.client.hset("{acct7}:exec:state", "fence", "7")
    worker = clustered.worker(CONFIG).consumes()
    other = run_gate(clustered, "--check", config='prefix = "{other}"\n', **KEYS)
    assert other.returncode == 1, other.stdout + other.stderr
    beside, wrong = re.findall(r"^prefix +(.*)$", other.stdout, re.MULTILINE)
    assert beside.startswith("warning: this store holds accounts under {acct7}, and nothing under {other}.")
    assert wrong.startswith("WRONG: ")
    assert PREFIX in wrong
    again = run_gate(clustered, "--check", config=CONFIG, **KEYS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "lag 0, pending 0, consumers 1" in again.stdout
    assert worker.stop() == 0


def test_a_service_loads_its_scripts_on_the_node_of_its_account_alone(nodes: Nodes, clustered: Desk) -> None:
    """The other one may be away, or not know the user."""
    with Gate.from_url(cluster_url(nodes.here), prefix=PREFIX) as gate:
        gate.init(by="ops", reason="a new account")
        worker = clustered.worker(CONFIG).consumes()
        until(lambda: worker.health()["streams"] == "ok", told=lambda: worker.log)
        resting = json.dumps(payload(**RESTING, id="resting"))
        fields = {"event_type": "trade.intent", "payload": resting, "source": "ai"}
        clustered.client.xadd(STREAM, dict(fields))  # type: ignore[arg-type]
        until(lambda: clustered.told(RESULTS), told=lambda: worker.log)
        clustered.paper.set_price("BTCUSDT", "89999.9")
        gate.halt(by="ops", reason="test")
        until(lambda: len(clustered.told(RESULTS)) > 1, told=lambda: worker.log)
        worker.said("ALERT kind=halt")
    assert [row["state"] for row in clustered.told(RESULTS)] == ["PLACED", "ORDER_UPDATE"]
    assert worker.stop() == 0
    shas = [script(each).sha for each in ("answer", "mark_told", "order_update")]
    with nodes.here.client() as here, nodes.there.client() as there:
        assert (here.script_exists(*shas), there.script_exists(*shas)) == ([True] * 3, [False] * 3)


async def test_a_script_goes_to_the_node_of_its_key_alone(nodes: Nodes) -> None:
    client = plain_client(cluster_url(nodes.there), 2_000)
    try:
        await load_script(client, "return 1", STREAM)
    finally:
        await client.aclose()
    with nodes.here.client() as here, nodes.there.client() as there:
        sha = hashlib.sha1(b"return 1", usedforsecurity=False).hexdigest()
        assert (here.script_exists(sha), there.script_exists(sha)) == ([True], [False])
