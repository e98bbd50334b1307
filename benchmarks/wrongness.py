"""How often each way is wrong, where many processes share an account and some of them die between two commands.

Intents come in bursts and one by one, and each reaches two processes at the same time and a third one a little later.
A process that has an admission holds it for a moment, as long as an order takes; some hold it for longer than the lock
lives, as a process does that was stopped, or whose request hangs. Now and then one kills itself by SIGKILL, after a
command that the seed has chosen, and another one takes its place.

Each process writes down what it asked and what it was answered, by the machine's one monotonic clock. Only what can't
be otherwise counts as wrong: see `judged`.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.server import Server
from benchmarks.ways import WAYS, Steps, keys_of_the_account, sync_ways
from benchmarks.workload import symbol
from gate import Gate, Intent, Policy

T = TypeVar("T")
POLICY: Final = Policy(
    rate_symbol_limit=1,
    rate_symbol_window_ms=1_000,
    rate_global_limit=10,
    rate_global_window_ms=1_000,
    cooldown_global_ms=1,
    lock_ttl_ms=2_000,
    max_in_flight=1_000,
)
"""The windows are whole seconds, since that is what the packages know."""
_LOCK_NS: Final = POLICY.lock_ttl_ms * 1_000_000
_BLUR_NS: Final = 2_000_000
"""A server counts whole ms: two moments may be this much nearer to each other than it thinks."""
_SYMBOLS: Final = 16
_PHASES: Final = ((12, 0.8), (400, 0.9))
"""Intents a second, and for how many seconds: a trickle and a burst, in turn."""
_AGAIN_S: Final = 0.2
"""After which an intent is delivered once more."""
_TOO_LATE_S: Final = 0.05
_LONG_HOLDS: Final = 0.25
_LONGEST_HOLD_S: Final = 1.3 * POLICY.lock_ttl_ms / 1000
_SHORT_HOLD_S: Final = 0.003
_LIFE: Final = (20, 150)
"""The fewest and the most calls of a process before it dies, within one of the next ten commands."""
_LAST_COMMANDS: Final = 10
_START_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each way is tried, by how many processes. The seed tells who dies when."""

    seconds: float
    processes: int = 16
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """What a process knows of an intent. Times in ns."""

    intent: int
    symbol: str = ""
    answer: str = "died"
    """`admitted`, else why it was denied; `died`: the process did, before it had an answer."""
    asked_ns: int = 0
    told_ns: int = 0
    held_until_ns: int = 0
    """How long the process relied on its admission, and at most as long as its lock lives for certain."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one way."""

    way: str
    calls: int
    admitted: int
    killed: int
    twice: int
    """Intents that were admitted more than once."""
    over_account: int
    """Admissions beyond what the account's window allows."""
    most_account: int
    """The most admissions in any one window."""
    over_symbol: int
    most_symbol: int
    held_by_two: int
    """Admissions of a symbol and side that another process still held."""
    without_ttl: int
    """Keys of an intent, a symbol or a window that no time will remove."""
    lost: int
    """Intents that were denied, and are duplicates when they come again, though nobody ever had an admission."""

    @property
    def wrong(self) -> int:
        """How often it was wrong, in whatever way."""
        return self.twice + self.over_account + self.over_symbol + self.held_by_two + self.without_ttl + self.lost


def measure(
    server: Server, plan: Plan, names: Sequence[str] = tuple(WAYS), begin: Callable[[str], None] = lambda _: None
) -> list[Found]:
    """Tries one way after the other, each on the empty server."""
    found = []
    for name in names:
        begin(WAYS[name])
        with server.client() as client:
            client.flushall()
            if name == "gate":
                with Gate.from_url(server.url(), policy=POLICY) as gate:
                    gate.init(by="bench", reason="a new account")
            with tempfile.TemporaryDirectory(prefix="gate-bench-") as directory:
                killed = _crowd(server.url(), name, plan, Path(directory))
                calls = [call for file in Path(directory).iterdir() for call in _calls_in(file)]
            keys = [key for key in client.scan_iter(count=1_000) if key not in keys_of_the_account(name)]
            without_ttl = sum(client.pttl(key) == -1 for key in keys)
            client.flushall()
        found.append(judged(name, calls, killed, without_ttl))
    return found


def judged(way: str, calls: Sequence[Call], killed: int = 0, without_ttl: int = 0) -> Found:
    """Counts what is wrong for certain.

    An admission falls into a window only if it was both asked and told within it, and a lock is held only from when
    its process was told until it stopped relying on it.
    """
    admitted = [call for call in calls if call.answer == "admitted"]
    of_symbol: dict[str, list[Call]] = {}
    had: dict[int, list[Call]] = {}
    for call in admitted:
        of_symbol.setdefault(call.symbol, []).append(call)
    for call in calls:
        had.setdefault(call.intent, []).append(call)
    account = _over(admitted, POLICY.rate_global_limit, POLICY.rate_global_window_ms)
    symbols = [_over(each, POLICY.rate_symbol_limit, POLICY.rate_symbol_window_ms) for each in of_symbol.values()]
    return Found(
        way=way,
        calls=len(calls),
        admitted=len(admitted),
        killed=killed,
        twice=sum(len([call for call in of if call.answer == "admitted"]) > 1 for of in had.values()),
        over_account=account[0],
        most_account=account[1],
        over_symbol=sum(over for over, _ in symbols),
        most_symbol=max((most for _, most in symbols), default=0),
        held_by_two=sum(_held_by_two(each) for each in of_symbol.values()),
        without_ttl=without_ttl,
        lost=sum(_lost(of) for of in had.values()),
    )


def _over(admitted: Sequence[Call], limit: int, window_ms: int) -> tuple[int, int]:
    """Admissions that were one too many, and the most in one window."""
    over, most = 0, 0
    in_turn = sorted(admitted, key=lambda call: call.told_ns)
    first = 0
    for place, last in enumerate(in_turn):
        since_ns = last.told_ns - window_ms * 1_000_000 + _BLUR_NS
        while in_turn[first].told_ns < since_ns:
            first += 1
        within = sum(call.asked_ns > since_ns for call in in_turn[first : place + 1])
        over += within > limit
        most = max(most, within)
    return over, most


def _held_by_two(admitted: Sequence[Call]) -> int:
    in_turn = sorted(admitted, key=lambda call: call.told_ns)
    return sum(
        any(call.told_ns < min(earlier.held_until_ns, call.held_until_ns) for earlier in in_turn[:place])
        for place, call in enumerate(in_turn)
    )


def _lost(of_intent: Sequence[Call]) -> bool:
    denied = [call for call in of_intent if call.answer not in ("admitted", "died", "duplicate")]
    called_duplicate = [call for call in of_intent if call.answer == "duplicate"]
    if len(denied) + len(called_duplicate) < len(of_intent):
        return False
    return any(each.told_ns < call.asked_ns for each in denied for call in called_duplicate)


def _calls_in(file: Path) -> Iterable[Call]:
    """A process' own words. The last call has no answer where it died."""
    call: Call | None = None
    for line in file.read_text().splitlines():
        word, *more = json.loads(line)
        if word == "asks":
            if call is not None:
                yield call
            call = Call(more[0])
        elif word == "told":
            call = Call(*more)
        elif call is not None:
            held_ns = min(more[0], call.asked_ns + _LOCK_NS - _BLUR_NS)
            call = Call(call.intent, call.symbol, call.answer, call.asked_ns, call.told_ns, held_ns)
    if call is not None:
        yield call


def _crowd(url: str, name: str, plan: Plan, directory: Path) -> int:
    """Lets the processes run, and replaces each that dies. Returns how many did."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.wrongness"])
    starts_s = time.monotonic() + _START_S
    ends_s = starts_s + plan.seconds
    alive: dict[Any, int] = {}
    killed = 0

    def start(place: int, life: int) -> None:
        process = context.Process(
            target=_process, args=(url, name, plan, place, life, starts_s, directory / f"{place}-{life}")
        )
        process.start()
        alive[process] = life
        places[process] = place

    places: dict[Any, int] = {}
    for place in range(plan.processes):
        start(place, 0)
    while alive:
        multiprocessing.connection.wait([process.sentinel for process in alive])
        for process in [each for each in alive if each.exitcode is not None]:
            life = alive.pop(process)
            if process.exitcode == -signal.SIGKILL:
                killed += 1
                if time.monotonic() < ends_s:
                    start(places[process], life + 1)
            elif process.exitcode:
                raise RuntimeError(f"a process has failed: {process.exitcode}")
    return killed


def _process(url: str, name: str, plan: Plan, place: int, life: int, starts_s: float, file: Path) -> None:
    """One life of one process: takes the intents that are its own, when they are due."""
    logging.disable(logging.CRITICAL)
    chance = random.Random(f"{plan.seed} {place} {life}")
    calls_left, commands_left = chance.randint(*_LIFE), chance.randint(1, _LAST_COMMANDS)

    def driven(steps: Steps[T]) -> T:
        nonlocal commands_left
        reply = None
        try:
            while True:
                reply = steps.send(reply)
                commands_left -= calls_left <= 0
                if not commands_left:
                    os.kill(os.getpid(), signal.SIGKILL)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    # A line is with the system before the next command.
    with sync_ways(url, POLICY, (name,)) as ways, file.open("w", buffering=1) as out:
        way = ways[name]

        def tell(*words: str | int) -> None:
            print(json.dumps(words), file=out)

        for number, due_s in _deliveries(plan, place):
            late_s = time.monotonic() - starts_s - due_s
            if late_s > _TOO_LATE_S:
                continue
            time.sleep(max(-late_s, 0))
            intent = _intent(number)
            calls_left -= 1
            tell("asks", number)
            asked_ns = time.monotonic_ns()
            answer = driven(way.admit(intent))
            tell("told", number, intent.symbol, answer.denied or "admitted", asked_ns, time.monotonic_ns())
            if not answer.denied:
                longest_s = _LONGEST_HOLD_S if chance.random() < _LONG_HOLDS else _SHORT_HOLD_S
                time.sleep(chance.random() * longest_s)
                tell("held", time.monotonic_ns())
                driven(way.finish(intent, answer))


def _deliveries(plan: Plan, place: int) -> list[tuple[int, float]]:
    """The intents that reach the process at this place, and when. Every process makes the same plan."""
    chance = random.Random(plan.seed)
    mine: list[tuple[int, float]] = []
    number, due_s = 0, 0.0
    while due_s < plan.seconds:
        first, second, third = chance.sample(range(plan.processes), 3)
        if place in (first, second):
            mine.append((number, due_s))
        elif place == third:
            mine.append((number, due_s + _AGAIN_S))
        passed_s = due_s % sum(seconds for _, seconds in _PHASES)
        due_s += chance.expovariate(_PHASES[passed_s > _PHASES[0][1]][0])
        number += 1
    return sorted(mine, key=lambda each: each[1])


def _intent(number: int) -> Intent:
    of = symbol(number % _SYMBOLS)
    return Intent(
        id=f"{of}_{number}",
        symbol=of,
        side="BUY",
        notional="200",
        leverage=5,
        timestamp=time.time_ns() // 1_000_000,
    )
