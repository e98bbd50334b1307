"""Which of the intents in hand may start now. No I/O, and no clock: the caller gives the time.

Entries of a symbol go one after the other, in the order of the stream. One that has to wait keeps its place: the
others of its symbol wait behind it. An exit goes before every entry that waits, and beside all that are at work. Only
where an older entry of its symbol is just about to be sent, it gives that a second: it may be what it is to close. An
intent that is too old to be admitted waits for nobody: all that is left to do is to answer it. While an exit that the
exchange has refused is to be tried again, entries of its symbol wait: it must not close what they open.
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter, deque
from typing import Final

from gate.service.intake import Entry

GRACE_S: Final = 1.0
"""How long an exit waits at most for an older entry of its symbol that is being sent."""


class Held:
    """An intent in hand."""

    __slots__ = ("alone", "due_s", "entry", "exit", "faults", "refused", "taken_s", "timed", "tries")

    def __init__(self, entry: Entry, *, alone: bool, taken_s: float = 0.0) -> None:
        self.entry: Final = entry
        self.taken_s: Final = taken_s
        """When the service took it in hand, on the caller's clock."""
        self.exit: Final = entry.intent.is_exit
        self.alone: Final = alone or self.exit
        """Whether it waits for no other intent."""
        self.due_s = 0.0
        """When it may start, on the caller's clock."""
        self.timed = False
        """Whether it stands among those that wait for a time."""
        self.tries = 0
        """How often it was tried, and is to be tried again."""
        self.faults = 0
        """How often trying it has failed by an exception."""
        self.refused = 0
        """Of an exit: how often the exchange has refused it for a moment."""


class Waiting:
    """The intents in hand that aren't at work."""

    def __init__(self, concurrency: int) -> None:
        """`concurrency`: how many entries may be at work at once; beside them as many exits."""
        self._concurrency: Final = concurrency
        self._at_work = {True: 0, False: 0}
        self._ready_alone: dict[bool, deque[Held]] = {True: deque(), False: deque()}
        self._ready: deque[str] = deque()
        self._lanes: dict[str, list[tuple[tuple[int, int], Held]]] = {}
        self._busy: dict[str, tuple[int, int]] = {}
        self._due: list[tuple[float, int, Held]] = []
        self._timed_alone = 0
        self._behind: dict[str, list[Held]] = {}
        self._refused: Counter[str] = Counter()
        self._numbers = 0

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._ready_alone.values())) + sum(map(len, self._lanes.values())) + self._timed_alone

    @property
    def at_work(self) -> int:
        """How many were taken and aren't done."""
        return sum(self._at_work.values())

    @property
    def held_back(self) -> int:
        """How many wait for a time, or behind one that does."""
        # By lanes: there are as many as symbols, while thousands may wait for a time.
        return sum(len(lane) for lane in self._lanes.values() if lane and lane[0][1].timed) + self._timed_alone

    @property
    def ready(self) -> int:
        """How many wait only for their turn."""
        return len(self) - self.held_back

    @property
    def next_due_s(self) -> float | None:
        """When the first of those that wait for a time may start."""
        return self._due[0][0] if self._due else None

    def add(self, held: Held, now_s: float = 0.0) -> None:
        """Takes an intent in, or back for another try at its `due_s`."""
        symbol = held.entry.intent.symbol
        if held.refused:
            self._refused[symbol] += 1
        if held.alone:
            if held.exit and not held.due_s and not held.tries and self._moves_before(held):
                held.due_s = now_s + GRACE_S
                self._behind.setdefault(symbol, []).append(held)
            if held.due_s:
                self._wait(held)
            else:
                self._ready_alone[held.exit].append(held)
            return
        lane = self._lanes.setdefault(symbol, [])
        row = (held.entry.order, held)
        bisect.insort(lane, row, key=lambda each: each[0])
        if lane[0] is row and symbol not in self._busy:
            self._offer(symbol)

    def take(self) -> Held | None:
        """The next that may start; None while none may. Its `done` must follow."""
        for of_exits in (True, False):
            ready = self._ready_alone[of_exits]
            if ready and self._at_work[of_exits] < self._concurrency:
                return self._started(ready.popleft())
        while self._ready and self._at_work[False] < self._concurrency:
            symbol = self._ready.popleft()
            lane = self._lanes.get(symbol)
            if symbol in self._busy or symbol in self._refused or not lane or lane[0][1].due_s:
                continue  # offered twice, or it is offered again by what it waits for
            order, first = lane.pop(0)
            self._busy[symbol] = order
            return self._started(first)
        return None

    def done(self, held: Held) -> None:
        """It isn't at work any more. Where it is to be tried again, `add` comes first, so that it keeps its place."""
        self._at_work[held.exit] -= 1
        symbol = held.entry.intent.symbol
        if held.refused:
            self._refused[symbol] -= 1
            if not self._refused[symbol]:
                del self._refused[symbol]
                if self._lanes.get(symbol) and symbol not in self._busy:
                    self._offer(symbol)
        if held.alone:
            return
        self._busy.pop(symbol, None)
        if self._lanes.get(symbol):
            self._offer(symbol)
        else:
            self._lanes.pop(symbol, None)
        for exit_ in [each for each in self._behind.get(symbol, ()) if not self._moves_before(each)]:
            self._ready_now(exit_)

    def wake(self, now_s: float | None = None) -> None:
        """Lets those start whose time has come; without a time, all."""
        while self._due and (now_s is None or self._due[0][0] <= now_s):
            held = heapq.heappop(self._due)[2]
            if not held.timed:
                continue  # it didn't have to wait so long
            if held.alone:
                self._ready_now(held)
            else:
                held.due_s, held.timed = 0.0, False
                self._offer(held.entry.intent.symbol)

    def wake_tried(self) -> None:
        """Lets those start that were tried before, whenever their time comes."""
        for _, _, held in sorted(self._due):
            if held.tries and held.timed and held.alone:
                self._ready_now(held)
        for symbol, lane in self._lanes.items():
            for _, held in lane:  # whoever has a time was tried
                held.due_s, held.timed = 0.0, False
            if lane and symbol not in self._busy:
                self._offer(symbol)

    def _moves_before(self, held: Held) -> bool:
        """Whether an older entry of its symbol is at work, or starts with the next turn."""
        symbol, order = held.entry.intent.symbol, held.entry.order
        if symbol in self._busy:
            return self._busy[symbol] < order
        lane = self._lanes.get(symbol, [])
        return any(not first.due_s and before < order for before, first in lane[:1])

    def _ready_now(self, held: Held) -> None:
        """One that goes alone and has waited."""
        held.due_s, held.timed = 0.0, False
        self._timed_alone -= 1
        behind = self._behind.get(held.entry.intent.symbol, [])
        if held in behind:
            behind.remove(held)
            if not behind:
                del self._behind[held.entry.intent.symbol]
        self._ready_alone[held.exit].append(held)

    def _started(self, held: Held) -> Held:
        self._at_work[held.exit] += 1
        return held

    def _offer(self, symbol: str) -> None:
        """A lane's first may start, or waits for its time."""
        first = self._lanes[symbol][0][1]
        if not first.due_s:
            self._ready.append(symbol)
        elif not first.timed:
            self._wait(first)

    def _wait(self, held: Held) -> None:
        held.timed = True
        self._timed_alone += held.alone
        self._numbers += 1
        heapq.heappush(self._due, (held.due_s, self._numbers, held))
