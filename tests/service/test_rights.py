"""The service needs no more than the rights of scripts/deploy/worker.acl."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from gate import Gate, Outcome
from tests.service.desk import DEAD, Desk, Worker, payload, until
from tests.service.test_updates import OPEN, rests

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
