"""The service on a store of several servers: its streams use redis-py's ordinary client, and follow a failover."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gate import Gate
from gate.paper import PaperExchange
from tests.failover.deployments import Cluster, Deployment, Sentinels, ask, wait_until
from tests.servers.process import ProcessStore
from tests.servers.session import declare_whole
from tests.service.desk import UPDATE, Worker, payload
from tests.service.test_updates import RESTING

PREFIX = "{quantum}"
STREAM, GROUP = f"{PREFIX}:stream:trade.intent", f"{PREFIX}:group:execution:trade.intent"


@pytest.fixture(params=["sentinels", "cluster"])
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    made = Sentinels() if request.param == "sentinels" else Cluster(f"{PREFIX}:exec:state")
    with closing(made):
        yield made


def send(deployment: Deployment, content: dict[str, Any]) -> None:
    entry = json.dumps(content)
    ask(deployment.primary(), "XADD", STREAM, "*", "event_type", "trade.intent", "payload", entry)


def replicated(primary: ProcessStore) -> bool:
    """Whether a replica has all that was written until now: WAIT speaks of its own connection's writes."""
    with primary.client() as client, client.pipeline(transaction=False) as pipe:
        pipe.set(f"{PREFIX}:mark", "1", px=1_000)
        pipe.execute_command("WAIT", 1, 200)
        return int(pipe.execute()[-1]) >= 1


def wait_result(deployment: Deployment, intent_id: str, *, update: bool = False) -> dict[str, str]:
    """Waits until the intent has a result, and nothing is pending; or until its order has an update."""
    found: list[dict[str, str]] = []

    def answered() -> bool:
        primary = deployment.primary()
        rows = ask(primary, "XRANGE", f"{PREFIX}:stream:execution.result", "-", "+")
        told = [[each.decode() for each in fields] for _, fields in rows]
        results = [dict(zip(row[::2], row[1::2], strict=True)) for row in told]
        found[:] = [row for row in results if row["intent_id"] == intent_id and (row["state"] == UPDATE) is update]
        return bool(found) and ask(primary, "XPENDING", STREAM, GROUP)[0] == 0

    wait_until(answered, f"{intent_id} is answered")
    [result] = found
    return result


def test_intents_are_read_and_answered_before_a_failover_and_after_it(
    deployment: Deployment, paper: PaperExchange, tmp_path: Path
) -> None:
    with deployment.primary().client() as client:
        declare_whole(client, PREFIX)
    worker = Worker(tmp_path, deployment.url, paper.url, f'prefix = "{PREFIX}"\n')
    try:
        worker.consumes()
        send(deployment, payload(id="entry"))
        assert wait_result(deployment, "entry")["status"] == "filled"
        send(deployment, payload("ADAUSDT", id="rests", **{**RESTING, "price": 0.3, "quantity": 20}))
        assert wait_result(deployment, "rests")["status"] == "pending_fill"
        old = deployment.primary()
        wait_until(lambda: replicated(old), "a replica has it")
        old.stop()
        asyncio.run(deployment.new_primary(old))
        worker.said("STORE BACK")
        with Gate.from_url(deployment.url, prefix=PREFIX, timeout_ms=2_000) as gate:
            gate.init(by="ops", reason="looked at the exchange")  # else entries wait, and the suite with them
        send(deployment, payload("ETHUSDT", id="later"))
        assert wait_result(deployment, "later")["status"] == "filled"
        paper.set_price("ADAUSDT", "0.2999")
        assert wait_result(deployment, "rests", update=True)["status"] == "filled"
        assert worker.log.count("STORE AWAY") == worker.log.count("STORE BACK") == 1
        assert worker.stop() == 0
        assert len(paper.ledger()) == 3
    finally:
        worker.kill()
