"""Answers on their way: written many at once, and kept until they are.

While the store is away, all wait. An answer that the store refuses waits by itself, so that no other waits behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from redis.exceptions import ResponseError

from gate.service.metrics import Metrics
from gate.service.pauses import grown
from gate.service.pulse import Pulse
from gate.service.streams import STORE_FAILURES, Answer, Streams, said_of
from gate.values.log_words import log_of

_log: Final = log_of("gate.service")

_TOGETHER: Final = 200
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


_Row = tuple[Answer, float]
"""An answer, and when its intent was taken in hand."""


class Answering:
    """The answers of one service."""

    def __init__(
        self, streams: Streams, pulse: Pulse, metrics: Metrics, results: str, done_with: Callable[[Sequence[str]], None]
    ) -> None:
        """`results`: the stream of the results; the others are dead letters. `done_with` hears of the entries that need
        no answer any more."""
        self._streams: Final = streams
        self._pulse: Final = pulse
        self._metrics: Final = metrics
        self._results: Final = results
        self._done_with: Final = done_with
        self._answers: Final[deque[_Row]] = deque()
        self._refused: Final[deque[_Row]] = deque()
        self._again_s = 0.0
        """When the refused ones are tried again, on the loop's clock."""
        self._on_their_way: Final[set[str]] = set()
        self._to_answer: Final = asyncio.Event()
        self._writing = False
        self._written: Final = asyncio.Event()
        self._loop: Final = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._answers) + len(self._refused)

    def has(self, answered: str) -> bool:
        """Whether an intent has its last answer, and that isn't written yet."""
        return answered in self._on_their_way

    def add(self, answer: Answer, taken_s: float) -> None:
        """Another answer, to an intent that was taken in hand then, on the loop's clock."""
        self._answers.append((answer, taken_s))
        if not answer.no_order:
            self._on_their_way.add(answer.answered)
        self._to_answer.set()

    async def until_written(self, within_s: float) -> None:
        """Returns when nothing waits any more, or after that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self) or self._writing:
                    self._written.clear()
                    await self._written.wait()

    async def keep_answering(self) -> None:
        """Writes what comes, for ever. Raises what isn't a failure of the store."""
        unheard_before = refused_before = 0
        while True:
            await self._until_some_are_due()
            again = bool(self._refused) and self._loop.time() >= self._again_s
            waiting = self._refused if again else self._answers
            self._writing = True
            batch = [waiting.popleft() for _ in range(min(_TOGETHER, len(waiting)))]
            try:
                replies = await self._streams.answer([answer for answer, _ in batch])
            except STORE_FAILURES as error:
                replies = [error] * len(batch)
            failed: list[tuple[_Row, Exception]] = []
            done: list[str] = []
            for row, reply in zip(batch, replies, strict=True):
                if isinstance(reply, Exception):
                    failed.append((row, reply))
                else:
                    self._answered(*row, written=reply)
                    answer, taken_s = row
                    if answer.then is not None:
                        self.add(answer.then, taken_s)
                    done.append(answer.entry_id)
            refused = [row for row, error in failed if isinstance(error, ResponseError)]
            unheard = [row for row, error in failed if not isinstance(error, ResponseError)]
            if (again and done) or not self._refused:
                refused_before = 0
            if refused and (again or not self._refused):
                self._again_s = self._loop.time() + grown(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, refused_before)
                refused_before += 1
            self._refused.extend(refused)
            waiting.extendleft(reversed(unheard))
            self._writing = False
            self._done_with(done)
            self._written.set()
            if failed:
                self._tell(len(failed), failed[0][1])
            elif not self._refused:
                self._pulse.results = "ok"
            if unheard:
                await asyncio.sleep(grown(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, unheard_before))
                unheard_before += 1
            else:
                unheard_before = 0

    async def _until_some_are_due(self) -> None:
        while not self._answers:
            left_s = self._again_s - self._loop.time() if self._refused else None
            if left_s is not None and left_s <= 0:
                return
            self._to_answer.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._to_answer.wait()

    def _tell(self, count: int, error: Exception) -> None:
        said = said_of(error)
        if self._pulse.results == "ok":
            _log.warning("RESULTS WAIT %d can't be written: %s", count, said)
        self._pulse.results = said
        self._metrics.failures.labels("answer").inc()

    def _answered(self, answer: Answer, taken_s: float, *, written: bool) -> None:
        if not answer.no_order:
            self._on_their_way.discard(answer.answered)
        if not written:
            self._metrics.repeats.inc()
            return
        self._pulse.result_s = time.monotonic()
        if answer.stream != self._results:
            return
        state = answer.fields["state"]
        self._pulse.state = str(state)
        self._metrics.results.labels(state).inc()
        self._metrics.whole.observe(self._loop.time() - taken_s)
