"""A worker may die anywhere, the exchange may answer anything, and the store may forget: one intent, one order."""

from __future__ import annotations

from collections.abc import Callable

from tests.crash.matrix import BATCH, run_matrix
from tests.crash.plan import STEPS, draw
from tests.servers.store import PrivateStore

RUNS = 120
RESTARTED_RUNS = 40
SEED = "suite"


def test_killed_anywhere_an_intent_has_one_order_and_its_record_says_so(
    new_private_store: Callable[..., PrivateStore],
) -> None:
    store = new_private_store("--databases", str(BATCH))

    tally = run_matrix(SEED, RUNS, store.url)

    print(f"{tally}, seed {SEED}")
    assert not tally.bad, "\n".join(map(str, tally.bad))
    assert tally.runs == RUNS
    died_at = {step.partition(" ")[2] for step in tally.killed if step != "anytime"}
    assert died_at == set(STEPS), "every step has lost a worker"


def test_killed_anywhere_while_the_store_restarts_without_memory_an_intent_has_one_order(
    new_private_store: Callable[..., PrivateStore],
) -> None:
    store = new_private_store("--databases", str(BATCH))

    tally = run_matrix("restarts", RESTARTED_RUNS, store.url, restarted=store)

    print(f"{tally}, seed restarts")
    assert not tally.bad, "\n".join(map(str, tally.bad))
    assert tally.runs == RESTARTED_RUNS
    assert tally.restarts


def test_a_plan_is_drawn_the_same_again() -> None:
    assert [draw("1", number) for number in range(50)] == [draw("1", number) for number in range(50)]
    assert draw("1", 7) != draw("2", 7)
