"""A sample of each kind of fault. `scripts/crash-matrix --memory --clocks --policies --acl --evict` does thousands."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

import pytest

from gate.paper import PaperExchange
from tests.faults.desk import POLICY, Admitted, Desk, Findings
from tests.faults.kinds import KINDS
from tests.faults.runs import run_batch
from tests.servers.process import ProcessStore


async def test_no_fault_makes_a_second_order_or_a_late_one() -> None:
    """All kinds at once, since they mostly wait."""
    names = [name for name in KINDS if KINDS[name].available]
    found = dict(
        zip(names, await asyncio.gather(*(run_batch(name, "suite", 0, accounts=2) for name in names)), strict=True)
    )
    assert {name: each.violations for name, each in found.items() if each.violations} == {}
    for name, each in found.items():
        assert each.orders > 0 or name == "worker stands still"
        if KINDS[name].group == "memory":
            assert each.verified > 0, "permits after a loss say verify"
            assert each.denied_young > 0, "entries wait after a loss"
    assert found["keys evicted"].verified > 0


async def judged(orders: int, late_ms: float, admissions: int) -> Findings:
    """What the judge says of one intent with so many orders, so late, and of so many admissions in a moment."""
    with PaperExchange() as paper:
        store = ProcessStore()
        try:
            desk = Desk("d", paper.accounts[0], paper.url, random.Random(1))
            await desk.open([f"redis://127.0.0.1:{store._port}/0"])
            intents = [desk.new_intent(exits=False) for _ in range(admissions)]
            for intent in intents:
                verdict = await desk.gate(0).evaluate(intent)
                if verdict.permit is not None:
                    break
            assert verdict.permit is not None
            until_ms = time.time() * 1000 + POLICY.lock_ttl_ms
            desk.admitted = [Admitted(intent, verdict.permit, POLICY, until_ms) for intent in intents]
            row: Mapping[str, Any] = {"time": until_ms + late_ms}
            ledger = {desk.gate(0).client_order_id(intents[0].id): [row] * orders}
            found = desk.judge(ledger, windows=True)
            await desk.close()
            return found
        finally:
            store.close()


@pytest.mark.parametrize(
    ("orders", "late_ms", "admissions", "said"),
    [
        (1, -100, 1, None),
        (2, -100, 1, "2 orders"),
        (1, 400, 1, "accepted 400 ms after its deadline"),
        (1, -100, 10, "10 in the account's window"),
    ],
)
async def test_the_judge_can_condemn(orders: int, late_ms: float, admissions: int, said: str | None) -> None:
    found = await judged(orders, late_ms, admissions)
    if said is None:
        assert found.violations == []
    else:
        assert any(said in each for each in found.violations)


def test_every_fault_belongs_to_a_switch_of_the_command() -> None:
    assert {kind.group for kind in KINDS.values()} == {"memory", "clocks", "policies", "acl", "evict"}
