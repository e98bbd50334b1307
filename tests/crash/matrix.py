"""Many runs at once, on one store and one paper exchange, and the exchange's books held against the gate's records."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import redis

from gate.paper import PaperExchange
from tests.crash.course import Course, Report
from tests.crash.plan import Plan, draw
from tests.crash.zygote import Zygote

AT_ONCE: Final = 40
BATCH: Final = 400
"""Runs that share a paper exchange, and a store with that many databases: losing its memory concerns one run."""


_UNTIL_THE_FIRST_RESTART_S: Final = (1.0, 4.0)  # while even a few runs are all under way
_BETWEEN_RESTARTS_S: Final = (5.0, 12.0)
_LATE_MS: Final = 250
"""When the machine is so busy that a request takes that much longer than its delay, the exchange may accept it later
than it promises. Such a run proves nothing."""


@dataclass(slots=True)
class Tally:
    """The results of the runs."""

    runs: int = 0
    orders: int = 0
    lapsed: int = 0
    late: int = 0
    restarts: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    bad: list[Report] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """The number of broken promises."""
        return sum(len(each.violations) for each in self.bad)

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.killed.total()} workers killed, {self.orders} orders, "
            + (f"{self.restarts} restarts of the store, " if self.restarts else "")
            + f"{self.lapsed} records lapsed in doubt, {self.late} of the runs not counted (machine too busy), "
            f"{self.violations} violations"
        )


class Restarts:
    """Kills a store that keeps nothing on disk and starts it again, empty, at moments drawn from the seed."""

    def __init__(self, seed: str, store: Restartable) -> None:
        self._chance = random.Random(f"restarts of {seed}")
        self._store = store
        self.count = 0

    async def until_cancelled(self) -> None:
        """In between there is time enough for a delivery that waits until a young memory is old enough."""
        pause_s = self._chance.uniform(*_UNTIL_THE_FIRST_RESTART_S)
        while True:
            await asyncio.sleep(pause_s)
            # Not cancelled half way: the store must be up when the runs are judged.
            await asyncio.shield(asyncio.to_thread(self._restart))
            pause_s = self._chance.uniform(*_BETWEEN_RESTARTS_S)

    def _restart(self) -> None:
        self._store.stop()
        self._store.start()
        self.count += 1


class Restartable(Protocol):
    """A store that keeps its memory only in its process."""

    def stop(self) -> None: ...

    def start(self) -> None: ...


def run_batch(
    seed: str,
    numbers: Sequence[int],
    store_url: str,
    tally: Tally,
    restarted: Restartable | None = None,
    *,
    streams: bool = False,
) -> list[Report]:
    """Runs them on a store with at least as many databases, adds what they came to, and returns each.

    With `restarted` that store loses all its memory time and again. With `streams` the workers go by what the
    exchange's streams tell.
    """
    # Where nothing is remembered of an intent that is too old to be delivered again, its order stays unrecorded: one
    # order is all that can be promised then.
    plans = [replace(plan, lapses=plan.lapses and restarted is None) for plan in (draw(seed, n) for n in numbers)]
    with PaperExchange(
        accounts=[plan.account for plan in plans],
        faults=[fault for plan in plans for fault in plan.faults],
        limits=None,
    ) as paper:
        restarts = Restarts(seed, restarted) if restarted else None
        reports = asyncio.run(_all(plans, store_url, paper.url, restarts, streams))
        tally.restarts += restarts.count if restarts else 0
        books = paper.ledger()
    orders: dict[str, list[str]] = defaultdict(list)
    waited_ms: dict[str, int] = defaultdict(int)
    for row in books:
        client_order_id = str(row["clientOrderId"])
        orders[client_order_id].append(str(row["orderId"]))
        waited_ms[client_order_id] = max(
            waited_ms[client_order_id], int(str(row["time"])) - int(str(row["receiveTime"]))
        )
    for report in reports:
        delay_ms = max((each.delay_ms or 0 for each in report.plan.faults), default=0)
        report.late = waited_ms[report.plan.client_order_id] > delay_ms + _LATE_MS
        orders.pop(report.plan.setup_id, None)
        _check(report, orders.pop(report.plan.client_order_id, report.conditional_orders), tally)
    assert not orders, f"orders of no intent: {dict(orders)}"
    return reports


async def _all(
    plans: Sequence[Plan], store_url: str, exchange_url: str, restarts: Restarts | None, streams: bool
) -> list[Report]:
    places = asyncio.Semaphore(AT_ONCE)
    restarting = asyncio.create_task(restarts.until_cancelled()) if restarts else None
    async with Zygote() as zygote:

        async def one(database: int, plan: Plan) -> Report:
            async with places:
                store = f"{store_url.rpartition('/')[0]}/{database}"
                return await Course(plan, store, exchange_url, zygote, streams=streams).run()

        reports = await asyncio.gather(*(one(*each) for each in enumerate(plans)))
    if restarting is not None:
        restarting.cancel()
    return reports


def _check(report: Report, orders: list[str], tally: Tally) -> None:
    if len(orders) > 1:
        report.violations.append(f"{len(orders)} orders for one intent: {orders}")
    if orders and report.order_id is None:
        report.violations.append(f"order {orders[0]} exists and isn't recorded")
    if report.order_id is not None and report.order_id not in orders:
        report.violations.append(f"order {report.order_id} is recorded and doesn't exist: {orders}")
    tally.runs += 1
    if report.late:
        tally.late += 1
        return
    tally.orders += len(orders)
    tally.lapsed += report.lapsed
    tally.killed.update(report.killed)
    if report.violations:
        tally.bad.append(report)


def run_matrix(
    seed: str,
    runs: int,
    store_url: str,
    say: Callable[[Tally], None] = lambda _: None,
    restarted: Restartable | None = None,
    *,
    streams: bool = False,
) -> Tally:
    """So many runs, in batches; `say` hears of each. The store must be empty, and have BATCH databases."""
    tally = Tally()
    for start in range(0, runs, BATCH):
        run_batch(seed, range(start, min(start + BATCH, runs)), store_url, tally, restarted, streams=streams)
        with redis.Redis.from_url(store_url) as store:
            store.flushall()
        say(tally)
    return tally
