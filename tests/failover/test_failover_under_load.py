"""A store fails over while executors send orders: entries wait, exits pass, and each intent has one order.

Two short runs; `scripts/failover-under-load` goes through every kind of failover, again and again.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from click.testing import CliRunner

from tests.failover.__main__ import main
from tests.failover.deployments import Cluster, Deployment, Sentinels
from tests.failover.faults import killed, slot_moved
from tests.failover.judge import Report
from tests.failover.plan import PREFIX
from tests.failover.run import Run
from tests.failover.worker import Answer


async def a_short_run(deployment: Deployment, fault: str) -> Report:
    """Until an exit has passed in the new memory; the entries' wait isn't waited out."""
    try:
        async with Run(deployment, "suite", fault, processes=2) as run:
            run.begin()
            await run.heard(lambda answer: answer.state == "FILLED")
            await (killed if fault == "killed" else slot_moved)(run)
            since = time.time()
            later = [False, False]

            def noted(answer: Answer) -> bool:
                if answer.began > since and answer.verdicts:
                    last = answer.verdicts[-1]
                    later[0] |= last.reason == "MEMORY_YOUNG"
                    later[1] |= answer.state == "FILLED" and last.is_exit
                return all(later)

            await run.heard(noted)
            return await run.finish()
    finally:
        await asyncio.to_thread(deployment.close)


def test_a_run_that_breaks_off_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    async def run(name: str, seed: str, on_redis: bool) -> Report:
        ran.append(seed)
        if len(ran) == 1:
            raise RuntimeError("for a test")
        return Report(name, seed)

    monkeypatch.setattr("tests.failover.__main__.take_through", run)

    ended = CliRunner().invoke(main, ["--fault", "cluster-slot-at-once", "--runs", "2"])

    assert ended.exit_code == 1
    assert "cluster-slot-at-once: broke off: RuntimeError('for a test')" in ended.output
    assert "1 runs, " in ended.output
    assert CliRunner().invoke(main, ["--fault", "cluster-slot-at-once", "--on-redis"]).exit_code == 2
    assert len(ran) == 2


@pytest.mark.parametrize("fault", ["killed", "slot moved"])
async def test_entries_wait_exits_pass_and_each_intent_has_one_order(fault: str) -> None:
    deployment: Deployment = (
        await asyncio.to_thread(Sentinels)
        if fault == "killed"
        else await asyncio.to_thread(Cluster, f"{PREFIX}:exec:state", replicas=False)
    )

    report = await a_short_run(deployment, fault)

    print(report)
    assert not report.violations, str(report)
    assert report.orders > 0
    assert report.verify > 0, "an exit in the new memory is looked up first"
