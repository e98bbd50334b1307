"""Answers on their way: written many at once, and kept until they are."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from gate.service.metrics import Metrics
from gate.service.pulse import Pulse
from gate.service.streams import STORE_FAILURES, Answer, Streams, said_of
from gate.values.log_words import log_of

_log: Final = log_of("gate.service")

_TOGETHER: Final = 200
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


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
        self._answers: Final[deque[tuple[Answer, float]]] = deque()
        self._on_their_way: Final[set[str]] = set()
        self._to_answer: Final = asyncio.Event()
        self._writing = False
        self._written: Final = asyncio.Event()
        self._loop: Final = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._answers)

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
                while self._answers or self._writing:
                    self._written.clear()
                    await self._written.wait()

    async def keep_answering(self) -> None:
        """Writes what comes, for ever. Raises what isn't a failure of the store."""
        pause_s = _FIRST_PAUSE_S
        while True:
            if not self._answers:
                self._to_answer.clear()
                await self._to_answer.wait()
            self._writing = True
            batch = [self._answers.popleft() for _ in range(min(_TOGETHER, len(self._answers)))]
            try:
                replies = await self._streams.answer([answer for answer, _ in batch])
            except STORE_FAILURES as error:
                replies = [error] * len(batch)
            except BaseException:
                self._answers.extendleft(reversed(batch))
                raise
            failed, done = [], []
            for row, reply in zip(batch, replies, strict=True):
                if isinstance(reply, Exception):
                    failed.append((row, reply))
                else:
                    self._answered(*row, written=reply)
                    done.append(row[0].entry_id)
            self._answers.extendleft(row for row, _ in reversed(failed))
            self._writing = False
            self._done_with(done)
            self._written.set()
            if not failed:
                self._pulse.results, pause_s = "ok", _FIRST_PAUSE_S
                continue
            said = said_of(failed[0][1])
            if self._pulse.results == "ok":
                _log.warning("RESULTS WAIT %d can't be written: %s", len(failed), said)
            self._pulse.results = said
            self._metrics.failures.labels("answer").inc()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

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
