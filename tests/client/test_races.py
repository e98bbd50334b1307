"""Sixteen processes and two thousand deliveries: one order per intent, one permit per symbol and side, exact limits."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise

import pytest

from gate import Gate, Phase, Record
from tests.client.racing import POLICY, Told, get_ready, race
from tests.servers.session import declare_whole
from tests.servers.store import Store

PROCESSES, DELIVERIES, INTENTS = 16, 2_000, 900


def deliveries() -> list[list[int]]:
    """Every intent at least twice, each time to a random process."""
    chance = random.Random(81)
    numbers = [number % INTENTS for number in range(DELIVERIES)]
    # Neighbours in the list are delivered at about the same moment, by different processes.
    numbers.sort(key=lambda number: (number // 40, chance.random()))
    return [numbers[process::PROCESSES] for process in range(PROCESSES)]


@pytest.fixture(scope="module")
def raced(store: Store) -> tuple[list[Told], dict[str, Record], int]:
    """The verdicts of the processes, the records in the store, and the last fence."""
    with store.client() as client:
        client.flushall()
        declare_whole(client)
        # Not forked from here, where threads run; and one import of the gate for all, not sixteen.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", "tests.client.racing"])
        start = context.Barrier(PROCESSES)
        with ProcessPoolExecutor(PROCESSES, context, get_ready, (start,)) as pool:
            shares = deliveries()
            told = list(pool.map(race, [store.url] * PROCESSES, range(PROCESSES), shares))
        with Gate.from_url(store.url, policy=POLICY, timeout_ms=5_000) as gate:
            found = {f"sig-{number}": gate.lookup(f"sig-{number}") for number in range(INTENTS)}
        fence = int(client.hget("quantum:exec:state", "fence") or 0)
        left = client.zcard("quantum:exec:inflight"), client.keys("quantum:exec:lock:*")
        assert left == (0, []), "a settled permit still holds something"
    return told, {id: record for id, record in found.items() if record is not None}, fence


Raced = tuple[list[Told], dict[str, Record], int]


def admissions(told: list[Told]) -> list[tuple[str, str, str, int]]:
    return [admission for each in told for admission in each.admissions]


def test_the_processes_really_raced(raced: Raced) -> None:
    denials = sum((each.denials for each in raced[0]), Counter[str]())
    assert len(admissions(raced[0])) > 50
    for reason in ("DUPLICATE", "LOCKED", "RATE_SYMBOL", "RATE_GLOBAL"):
        assert denials[reason] > 0, denials
    assert denials.keys() <= {
        "DUPLICATE",
        "LOCKED",
        "IN_FLIGHT_LIMIT",
        "RATE_SYMBOL",
        "RATE_GLOBAL",
        "COOLDOWN_GLOBAL",
    }
    assert sum((each.settlements for each in raced[0]), Counter[str]()).keys() == {"SETTLED"}


def test_no_intent_is_admitted_twice(raced: Raced) -> None:
    told, records, _ = raced
    count = Counter(id for id, _, _, _ in admissions(told))
    assert {id: times for id, times in count.items() if times > 1} == {}
    assert count.keys() == records.keys()
    assert {(id, token[:8]) for id, token, _, _ in admissions(told)} == {
        (id, each.token[:8]) for id, each in records.items()
    }, "a placed record keeps the beginning"


def test_fences_are_unique_without_a_gap_and_grow(raced: Raced) -> None:
    told, records, last = raced
    fences = sorted(fence for _, _, _, fence in admissions(told))
    assert fences == list(range(1, last + 1))
    for each in told:
        own = [fence for _, _, _, fence in each.admissions]
        assert own == sorted(own)
    in_order = sorted(records.values(), key=lambda record: record.fence)
    assert all(one.admitted_ms <= other.admitted_ms for one, other in pairwise(in_order))


def test_no_two_permits_live_on_a_symbol_and_side(raced: Raced) -> None:
    held: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in raced[1].values():
        held[record.symbol, record.side].append(record)
    for records in held.values():
        records.sort(key=lambda record: record.fence)
        for earlier, later in pairwise(records):
            assert earlier.settled_ms is not None
            assert earlier.settled_ms <= later.admitted_ms, (earlier, later)


def most_in_a_window(times_ms: list[int], window_ms: int) -> int:
    """The largest count in any window of that length."""
    times_ms = sorted(times_ms)
    return max(
        (sum(start <= other < start + window_ms for other in times_ms[i:]) for i, start in enumerate(times_ms)),
        default=0,
    )


def test_no_window_holds_more_than_its_limit(raced: Raced) -> None:
    counted = [record for record in raced[1].values() if not record.unsent]
    assert {record.phase for record in counted} <= {Phase.PLACED, Phase.REJECTED}
    times = [record.admitted_ms for record in counted]
    assert most_in_a_window(times, POLICY.rate_global_window_ms) <= POLICY.rate_global_limit
    for symbol in {record.symbol for record in counted}:
        own = [record.admitted_ms for record in counted if record.symbol == symbol]
        assert most_in_a_window(own, POLICY.rate_symbol_window_ms) <= POLICY.rate_symbol_limit
