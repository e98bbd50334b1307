"""A worker may die anywhere, the exchange may answer anything, and the store may forget: one intent, one order.

A sample that takes seconds; `scripts/crash-matrix` goes through thousands of runs.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gate.exchange.port import Exchange
from gate.paper import FaultKind
from gate.paper.serving.faults import STREAM_KINDS
from tests.crash.matrix import BATCH, Tally, run_batch
from tests.crash.plan import STEPS, Trade, draw
from tests.crash.sample import sample
from tests.exchange.told import told_by_streams
from tests.servers.store import PrivateStore

RUNS = sample("suite")
RESTARTED_RUNS = range(14)


def test_killed_anywhere_an_intent_has_one_order_and_its_record_says_so(
    new_private_store: Callable[..., PrivateStore],
) -> None:
    store = new_private_store("--databases", str(BATCH))

    tally = Tally()
    run_batch("suite", RUNS, store.url, tally)

    print(f"{tally}, seed suite")
    assert not tally.bad, "\n".join(map(str, tally.bad))
    assert tally.runs == len(RUNS)
    died_at = {step.partition(" ")[2] for step in tally.killed if step != "anytime"}
    assert died_at == set(STEPS), "every step has lost a worker"


def test_killed_anywhere_while_the_store_restarts_without_memory_an_intent_has_one_order(
    new_private_store: Callable[..., PrivateStore],
) -> None:
    store = new_private_store("--databases", str(BATCH))

    tally = Tally()
    run_batch("restarts", RESTARTED_RUNS, store.url, tally, restarted=store)

    print(f"{tally}, seed restarts")
    assert not tally.bad, "\n".join(map(str, tally.bad))
    assert tally.runs == len(RESTARTED_RUNS)
    assert tally.restarts


def test_with_streams_the_workers_that_live_go_by_them_too(
    monkeypatch: pytest.MonkeyPatch, new_private_store: Callable[..., PrivateStore]
) -> None:
    streams: list[str] = []

    async def told(exchange: Exchange, *symbols: str) -> None:
        await told_by_streams(exchange, *symbols)
        streams.append(exchange.streams())

    monkeypatch.setattr("tests.crash.course.told_by_streams", told)
    store = new_private_store("--databases", str(BATCH))

    tally = Tally()
    run_batch("streams", range(2), store.url, tally, streams=True)

    assert not tally.bad, "\n".join(map(str, tally.bad))
    assert streams == ["ok", "ok"]


def test_a_plan_is_drawn_the_same_again() -> None:
    assert [draw("1", number) for number in range(50)] == [draw("1", number) for number in range(50)]
    assert draw("1", 7) != draw("2", 7)


def test_the_sample_has_every_step_every_fault_and_every_order_in_it() -> None:
    plans = [draw("suite", number) for number in RUNS]

    killed = {(plan.kill.step, plan.kill.when) for plan in plans}
    assert killed >= {(step, when) for step in STEPS for when in ("before", "after")}
    assert {plan.kill.when for plan in plans} == {"before", "during", "after", "anytime", "stalled"}
    # The workers listen to no stream; a late answer is what a slow body is to them.
    assert {fault.kind for plan in plans for fault in plan.faults} == set(FaultKind) - STREAM_KINDS - {
        FaultKind.LATE_ANSWER
    }
    assert {plan.trade for plan in plans} == set(Trade)
    assert len(RUNS) <= 60, "more would not be a sample of seconds"
