"""The service needs no more than the rights of scripts/deploy/worker.acl."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gate import Gate, Outcome
from gate.protocol.keyspace import Keyspace
from gate.service import rights
from gate.service.rights import Lack, lacks
from gate.store.connect import plain_client
from tests.service.desk import DEAD, RESULTS, STREAM, Desk, Worker, payload, until
from tests.service.test_check import KEYS
from tests.service.test_check import gate as run_gate
from tests.service.test_updates import OPEN, rests
from tests.service.test_values import settings

ACL = Path(__file__).resolve().parents[2] / "scripts" / "deploy" / "acl"
PASSWORD = "0123456789abcdef0123"  # noqa: S105  # of a store that lives as long as the test


AUDIT, JOURNAL = "quantum:safety:audit", "quantum:exec:audit"


def noted(desk: Desk, key: str) -> list[bytes]:
    rows: Any = desk.client.xrange(key)
    return [fields[b"what"] for _, fields in rows]


def url_of_a_worker(harmed: Desk) -> str:
    line = subprocess.run([ACL, "worker"], input=PASSWORD, capture_output=True, text=True, check=True).stdout
    _, name, *rules = shlex.split(line) if "(" not in line else re.findall(r"\([^)]*\)|\S+", line)
    harmed.client.execute_command("ACL", "SETUSER", name, *rules)
    harmed.client.execute_command("ACL", "LOG", "RESET")
    return re.sub("//", f"//{name}:{PASSWORD}@", harmed.url)


def refused(desk: Desk, worker: Worker) -> set[bytes]:
    """The keys. Whether alerts may go to the audit, a service finds out by its first."""
    assert "NOPERM" not in worker.log
    rows: Any = desk.client.execute_command("ACL", "LOG")
    return {row[b"object"] for row in rows}


def test_a_worker_does_all_its_work_under_its_acl(harmed: Desk) -> None:
    user = url_of_a_worker(harmed)
    owed, left = payload("ETHUSDT", id="owed"), payload("SOLUSDT", id="left")
    with Gate.from_url(harmed.url) as gate:
        gate.evaluate(owed)  # of a worker that died before its order
    harmed.left_by_a_dead_worker(left)
    harmed.url = user

    worker = harmed.worker("[service.alerts]\nmargin_below = 2000000\n")
    harmed.send(payload(id="sig-1"))
    harmed.send(payload(side="SELL", id="exit", reduce_only=True))
    harmed.send(data="{")
    until(lambda: harmed.results(DEAD), told=lambda: worker.log)
    assert {row["intent_id"]: row["status"] for row in harmed.wait_results(3)} == {
        "left": "filled",
        "sig-1": "filled",
        "exit": "filled",
    }
    rests(harmed, id="resting", symbol="ADAUSDT", price=0.3, quantity=20)
    harmed.paper.set_price("ADAUSDT", "0.2999")
    assert harmed.wait_updates()[0]["intent_id"] == "resting"
    until(lambda: worker.health()["in_doubt"] is not None, told=lambda: worker.log)
    until(lambda: b"alert margin" in noted(harmed, JOURNAL), told=lambda: worker.log)
    assert worker.stop() == 0
    assert not harmed.client.exists(AUDIT, OPEN)
    assert refused(harmed, worker) == {AUDIT.encode()}


def test_under_its_acl_a_worker_tells_of_a_late_order(harmed: Desk) -> None:
    harmed.url = url_of_a_worker(harmed)
    worker = harmed.worker().consumes()
    with Gate.from_url(harmed.url) as gate:
        verdict = gate.evaluate(payload("ETHUSDT", side="SELL", reduce_only=True, id="late"))
        assert verdict.permit
        gate.settle(verdict.permit, Outcome.not_placed("looked it up"))
        gate.settle(verdict.permit, Outcome.placed("77"))
    assert b"late order" in noted(harmed, JOURNAL)
    until(lambda: 'ALERT kind=late_order says="order 77 of late' in worker.log, told=lambda: worker.log)
    assert worker.stop() == 0
    assert not refused(harmed, worker)


KEPT = "{gate}:prefix:quantum"
COMMANDS = {
    **{
        f"x{what}": {STREAM}
        for what in ("readgroup", "group|create", "ack", "pending", "range", "len", "autoclaim", "claim")
    },
    "xgroup|delconsumer": {STREAM},
    "xadd": {RESULTS, DEAD},
    "set": {"quantum:stream:answered:?", "quantum:stream:order:?", "{gate}:account:digest", KEPT},
    "zadd": {OPEN, "quantum:exec:inflight:exits", "quantum:symbols", "{gate}:services"},
    "evalsha": {STREAM, "quantum:exec:state"},
    "script|load": {""},
    "zrange": {OPEN},
    "zrem": {OPEN, "quantum:exec:inflight:exits"},
    "zremrangebyrank": {OPEN, "quantum:symbols"},
    "pexpire": {OPEN, "quantum:symbols"},
    "zrevrange": {"{gate}:services"},
    "zscore": {"{gate}:services"},
    "zremrangebyscore": {"{gate}:services"},
    "get": {"{gate}:account:digest", KEPT},
    "expire": {"{gate}:account:digest", KEPT},
}


async def lacking(url: str) -> list[Lack]:
    """Of the rights that a service of these tests needs."""
    client = plain_client(url, 2_000)
    try:
        return await lacks(client, settings(), Keyspace("quantum"), "digest")
    finally:
        await client.aclose()


async def test_a_user_of_the_acl_lacks_nothing_and_asking_changes_nothing(harmed: Desk) -> None:
    user = url_of_a_worker(harmed)
    before = harmed.client.keys("*")
    assert await lacking(user) == []
    assert harmed.client.keys("*") == before
    assert harmed.client.execute_command("ACL", "LOG") == []


@pytest.mark.parametrize("command", COMMANDS)
async def test_each_right_that_is_missing_is_named(harmed: Desk, command: str) -> None:
    harmed.client.acl_setuser("lame", enabled=True, nopass=True, keys=["*"], commands=["+@all", f"-{command}"])
    found = await lacking(re.sub("//", "//lame:any@", harmed.url))
    assert {each.key for each in found} == COMMANDS[command]
    assert {each.command for each in found} == {command.upper().replace("|", " ")}


async def test_a_command_that_the_server_does_not_have_is_a_right_that_is_missing(harmed: Desk) -> None:
    """As where an administrator has renamed it away."""
    harmed.client.acl_setuser("lame", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
    made = rights._tries

    def renamed(*of: Any) -> Iterator[rights._Try]:
        return (each._replace(words=("XNOWHERE", *each.words[1:])) for each in made(*of) if each.words[0] == "XCLAIM")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rights, "_tries", renamed)
        assert [each.command for each in await lacking(harmed.url)] == ["XNOWHERE"]


def test_check_tells_what_is_of_no_use_without_a_right_from_what_goes_on(harmed: Desk) -> None:
    rights = ["+@all", "-xautoclaim", "-zrevrange"]
    harmed.client.acl_setuser("lame", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=rights)
    harmed.url = re.sub("//", "//lame:any@", harmed.url)
    done = run_gate(harmed, "--check", **KEYS)
    said = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert f"WRONG: this user lacks XAUTOCLAIM {STREAM}: what a dead worker leaves isn't taken over" in said
    assert "rights warning: this user lacks ZREVRANGE {gate}:services: a mistaken prefix isn't noticed" in said
