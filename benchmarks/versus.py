"""How long an admission takes: by the gate, and by what a user would pick instead, for threads and for asyncio.

Below them lies the floor: a PING, an empty script and a SET of the same clients. All take turns in one run, a burst
each, so that noise hits all.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Final

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.batches import EMPTY
from benchmarks.server import Server
from benchmarks.ways import WAYS, Answer, Steps, Way, async_ways, run, run_async, sync_ways
from benchmarks.workload import WITHOUT_LIMITS, Account
from gate import Gate, Intent

FLOOR: Final = {"ping": "PING", "empty": "an empty script", "set": "SET NX PX"}
KINDS: Final = ("threads", "asyncio")
CALLERS: Final = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    calls: int
    """Of one contender in one round, by all its callers together; each makes one at least."""
    callers: tuple[int, ...] = CALLERS
    kinds: tuple[str, ...] = KINDS


FULL: Final = Plan(rounds=24, calls=192)
QUICK: Final = Plan(rounds=6, calls=64)


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender at one number of callers."""

    kind: str
    callers: int
    name: str
    calls_us: tuple[float, ...]
    """Of every call, sorted."""
    against_gate: float
    """The time of a burst in the gate's: of the lower quartiles, which a busy machine disturbs least."""
    a_second: float
    """Calls a second in a burst; the upper quartile."""

    @property
    def what(self) -> str:
        """In words."""
        return {**FLOOR, **WAYS}[self.name]

    def at(self, share: float) -> float:
        """The time that this share of the calls doesn't exceed, in µs."""
        return self.calls_us[min(int(share * len(self.calls_us)), len(self.calls_us) - 1)]


class _Floor:
    """One command that decides nothing."""

    def __init__(self, ask: Callable[[Intent], Any]) -> None:
        self._ask: Final = ask

    def admit(self, intent: Intent) -> Steps[Answer]:
        yield self._ask(intent)
        return Answer()

    def finish(self, intent: Intent, answer: Answer) -> Steps[None]:
        yield from ()


def measure(server: Server, plan: Plan, begin: Callable[[str], None] = lambda _: None) -> list[Timing]:
    """Every contender by every number of callers."""
    with server.client() as client:
        client.flushall()
        empty_sha = str(client.script_load(EMPTY))
    with Gate.from_url(server.url(), policy=WITHOUT_LIMITS) as gate:
        gate.init(by="bench", reason="a new account")
    account = Account()  # one for all: no symbol comes twice
    found: list[Timing] = []
    for kind in plan.kinds:
        for callers in plan.callers:
            begin(f"{kind}, {callers} at once")
            found += (_of_threads if kind == "threads" else _of_asyncio)(server, plan, account, callers, empty_sha)
    return found


def _floor(client: Any, empty_sha: str) -> dict[str, Way]:
    return {
        "ping": _Floor(lambda _: client.ping()),
        "empty": _Floor(lambda _: client.execute_command("EVALSHA", empty_sha, 0)),
        "set": _Floor(lambda intent: client.set(f"single:exec:processed:{intent.id}", "1", nx=True, px=3_600_000)),
    }


def _of_threads(server: Server, plan: Plan, account: Account, callers: int, empty_sha: str) -> list[Timing]:
    with (
        redis.Redis.from_url(server.url(), retry=Retry(NoBackoff(), 0)) as client,
        sync_ways(server.url(), WITHOUT_LIMITS, tuple(WAYS)) as ways,
        ThreadPoolExecutor(callers) as pool,
    ):
        turns = _turns("threads", plan, account, callers, _floor(client, empty_sha) | ways)
        try:
            way, intents = next(turns)
            while True:
                way, intents = turns.send(_burst(pool, callers, way, intents))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _of_asyncio(server: Server, plan: Plan, account: Account, callers: int, empty_sha: str) -> list[Timing]:
    async def all_turns() -> list[Timing]:
        async with (
            redis.asyncio.Redis.from_url(server.url()) as client,
            async_ways(server.url(), WITHOUT_LIMITS, tuple(WAYS)) as ways,
        ):
            turns = _turns("asyncio", plan, account, callers, _floor(client, empty_sha) | ways)
            try:
                way, intents = next(turns)
                while True:
                    way, intents = turns.send(await _async_burst(callers, way, intents))
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    return asyncio.run(all_turns())


@dataclass(frozen=True, slots=True)
class _Burst:
    """The calls of all callers at once, and how long the whole took."""

    calls_ns: list[int]
    whole_ns: int


def _turns(
    kind: str, plan: Plan, account: Account, callers: int, contenders: dict[str, Way]
) -> Generator[tuple[Way, list[Intent]], _Burst, list[Timing]]:
    """Yields whose turn it is, with the intents; is sent what came of it. The first round only warms up."""
    names = list(contenders)
    bursts: dict[str, list[_Burst]] = {name: [] for name in names}
    for number in range(plan.rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            intents = [account.intent() for _ in range(max(plan.calls, callers) // callers * callers)]
            burst = yield contenders[name], intents
            if number:
                bursts[name].append(burst)
    return [
        Timing(
            kind=kind,
            callers=callers,
            name=name,
            calls_us=tuple(sorted(took_ns / 1000 for burst in bursts[name] for took_ns in burst.calls_ns)),
            against_gate=_quick_ns(bursts[name]) / _quick_ns(bursts["gate"]),
            a_second=len(bursts[name][0].calls_ns) / _quick_ns(bursts[name]) * 1e9,
        )
        for name in names
    ]


def _quick_ns(bursts: list[_Burst]) -> float:
    return statistics.quantiles([each.whole_ns for each in bursts], n=4, method="inclusive")[0]


def _burst(pool: ThreadPoolExecutor, callers: int, way: Way, intents: list[Intent]) -> _Burst:
    together = threading.Barrier(callers)

    def call(own: list[Intent]) -> tuple[list[tuple[Intent, Answer]], list[int], int, int]:
        together.wait()
        answers, calls_ns = [], []
        began_ns = perf_counter_ns()
        for intent in own:
            started_ns = perf_counter_ns()
            answer = run(way.admit(intent))
            calls_ns.append(perf_counter_ns() - started_ns)
            answers.append((intent, answer))
        return answers, calls_ns, began_ns, perf_counter_ns()

    parts = list(pool.map(call, [intents[first::callers] for first in range(callers)]))
    for answers, *_ in parts:
        for intent, answer in answers:
            run(way.finish(intent, _admitted(answer)))
    calls_ns = [took_ns for part in parts for took_ns in part[1]]
    return _Burst(calls_ns, max(part[3] for part in parts) - min(part[2] for part in parts))


async def _async_burst(callers: int, way: Way, intents: list[Intent]) -> _Burst:
    calls_ns: list[int] = []

    async def call(own: list[Intent]) -> list[tuple[Intent, Answer]]:
        answers = []
        for intent in own:
            started_ns = perf_counter_ns()
            answer = await run_async(way.admit(intent))
            calls_ns.append(perf_counter_ns() - started_ns)
            answers.append((intent, answer))
        return answers

    began_ns = perf_counter_ns()
    parts: Iterable[list[tuple[Intent, Answer]]] = await _gathered(
        call(intents[first::callers]) for first in range(callers)
    )
    whole_ns = perf_counter_ns() - began_ns
    for answers in parts:
        for intent, answer in answers:
            await run_async(way.finish(intent, _admitted(answer)))
    return _Burst(calls_ns, whole_ns)


async def _gathered(calls: Iterable[Awaitable[list[tuple[Intent, Answer]]]]) -> list[list[tuple[Intent, Answer]]]:
    return await asyncio.gather(*calls)


def _admitted(answer: Answer) -> Answer:
    if answer.denied:
        raise RuntimeError(f"an admission was to be measured: {answer}")
    return answer
