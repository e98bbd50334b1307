"""The service needs no more than the rights of scripts/deploy/worker.acl."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from gate import Gate
from tests.service.desk import DEAD, Desk, payload, until

ACL = Path(__file__).resolve().parents[2] / "scripts" / "deploy" / "acl"
PASSWORD = "0123456789abcdef0123"  # noqa: S105  # of a store that lives as long as the test


def audit(desk: Desk) -> Any:
    return desk.client.xrange("quantum:safety:audit")


def test_a_worker_does_all_its_work_under_its_acl(harmed: Desk) -> None:
    line = subprocess.run([ACL, "worker"], input=PASSWORD, capture_output=True, text=True, check=True).stdout
    _, name, *rules = shlex.split(line) if "(" not in line else re.findall(r"\([^)]*\)|\S+", line)
    harmed.client.execute_command("ACL", "SETUSER", name, *rules)
    harmed.client.execute_command("ACL", "LOG", "RESET")
    owed, left = payload("ETHUSDT", id="owed"), payload("SOLUSDT", id="left")
    with Gate.from_url(harmed.url) as gate:
        gate.evaluate(owed)  # of a worker that died before its order
    harmed.left_by_a_dead_worker(left)
    administrator = harmed.url
    harmed.url = re.sub("//", f"//{name}:{PASSWORD}@", administrator)

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
    until(lambda: worker.health()["in_doubt"] is not None, told=lambda: worker.log)
    until(lambda: b"alert margin" in [fields[b"what"] for _, fields in audit(harmed)], told=lambda: worker.log)
    assert worker.stop() == 0

    refused: Any = harmed.client.execute_command("ACL", "LOG")
    assert refused == []
    assert "NOPERM" not in worker.log
