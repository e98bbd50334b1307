"""Reads intents, executes them, and writes one result for each, until it is told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from redis.exceptions import TimeoutError as TimedOut

from gate.client.denials import unread
from gate.client.gates import AsyncGate
from gate.exchange.port import Exchange
from gate.executor import Executor, Terminal
from gate.service.answering import Answering
from gate.service.deciding import Deciding, Later, answered_as
from gate.service.intake import DeadLetter, read_entry
from gate.service.looking import Looking
from gate.service.metrics import Metrics
from gate.service.pauses import grown
from gate.service.pulse import Pulse
from gate.service.results import Asked, Ending, ending_of, result_fields
from gate.service.settings import Settings
from gate.service.streams import STORE_FAILURES, Answer, Fields, Streams, said_of
from gate.service.taker_rates import TakerRates
from gate.service.told import told_by
from gate.service.unread import buried, refused
from gate.service.updating import Updating
from gate.service.waiting import Held, Waiting
from gate.values.errors import NOT_SEEN, StoreFailure, StoreUnavailable
from gate.values.guards import Reason
from gate.values.intent import LONGEST_ID
from gate.values.log_words import log_of, names, pairs

_log: Final = log_of("gate.service")

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_STALE_KEPT_MS: Final = 60_000
"""How long it is known that a stale intent was answered. A backlog of a million mustn't fill the store."""
_NAMED_AT_MOST: Final = 20
_CANCELLED_WITHIN_S: Final = 10.0
_WRITTEN_WITHIN_S: Final = 5.0


class Service:
    """One consumer of one account's intents."""

    def __init__(
        self,
        settings: Settings,
        gate: AsyncGate,
        exchange: Exchange,
        executor: Executor,
        streams: Streams,
        pulse: Pulse,
        metrics: Metrics,
        rates: TakerRates,
        looking: Looking | None = None,
        updating: Updating | None = None,
    ) -> None:
        """Beside the work `looking` sees to health, figures and alerts, and `updating` tells what comes of orders."""
        self._of: Final = settings
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._executor: Final = executor
        self._streams: Final = streams
        self._pulse: Final = pulse
        self._metrics: Final = metrics
        self._rates: Final = rates
        self._looking: Final = looking
        self._updating: Final = updating
        self._waiting: Final = Waiting(settings.concurrency)
        self._in_hand: Final[dict[str, Held | None]] = {}
        self._unheard = True
        """Whether this consumer may have been given what it hasn't heard of."""
        self._answering: Final = Answering(streams, pulse, metrics, settings.results, self._done_with)
        self._deciding: Final = Deciding(settings, gate, exchange, streams, self._answering)
        self._room: Final = asyncio.Event()
        self._work: Final[set[asyncio.Task[None]]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._heard: Final = asyncio.Event()
        """Set with the first read: by then there is a group."""
        self._closing = False
        self._loop: Final = asyncio.get_running_loop()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set. Then it ends what it has begun, and hands over the rest. Raises what ends a loop."""
        stopped = asyncio.create_task(stopping.wait())
        answering = asyncio.create_task(self._answering.keep_answering(), name="answering")
        others = [
            asyncio.create_task(self._keep_reading(), name="reading"),
            asyncio.create_task(self._keep_taking_over(), name="taking over"),
        ]
        if self._looking is not None:
            others.append(asyncio.create_task(self._looking.keep_looking(self._heard, self._try_again), name="looking"))
        if self._updating is not None:
            others.append(asyncio.create_task(self._updating.keep_telling(), name="updating"))
        self._pulse.phase = "consuming"
        try:
            await asyncio.wait({stopped, answering, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pulse.phase = "stopping"
            failed = next((each for each in (answering, *others) if each.done() and not each.cancelled()), None)
            await self._end([stopped, *others], answering)
        if failed is not None:
            broken = failed.exception() or RuntimeError("a loop ended by itself")
            broken.add_note(f"the loop: {failed.get_name()}")
            raise broken

    async def _end(self, others: Sequence[asyncio.Task[Any]], answering: asyncio.Task[None]) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        await _cancelled(others)
        if self._work:
            await asyncio.wait(self._work, timeout=self._of.stop_within_ms / 1000)
        for task in self._work:
            task.cancel()  # the executor settles what it has begun; the entry stays pending
        if self._work:
            await asyncio.wait(self._work, timeout=_CANCELLED_WITHIN_S)
        if not answering.done():
            await self._answering.until_written(_WRITTEN_WITHIN_S)
        await _cancelled([answering])
        try:
            async with asyncio.timeout(_WRITTEN_WITHIN_S):
                left = await self._streams.leave(self._rested_ms)
        except STORE_FAILURES as error:
            _log.warning("LEFT its consumer stays: %s", said_of(error))
        else:
            _log.info("LEFT consumer=%s handed over %d", self._of.consumer, left)

    @property
    def _rested_ms(self) -> int:
        return self._of.rested_ms(self._gate.policy)

    # Reading.

    async def _keep_reading(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            self._pulse.turned_s = time.monotonic()
            room = min(self._of.in_hand - len(self._in_hand), self._of.read_count)
            if room <= 0 or self._waiting.ready >= max(self._of.read_count, 2 * self._of.concurrency):
                await self._for_room(room <= 0)
                continue
            try:
                if self._unheard:
                    self._unheard = False
                    await self._take_in_own()
                    self._has_read()  # what comes next may take its second
                entries = await self._streams.read(room)
            except STORE_FAILURES as error:
                if self._pulse.store in ("ok", "not asked yet"):
                    _log.warning("STORE AWAY nothing read: %s", said_of(error))
                self._pulse.store, self._unheard = said_of(error), True
                self._metrics.failures.labels("read").inc()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            self._has_read()
            pause_s = _FIRST_PAUSE_S
            self._take_in(entries)

    def _has_read(self) -> None:
        if self._pulse.store not in ("ok", "not asked yet"):
            _log.info("STORE BACK reading goes on")
        self._pulse.store, self._pulse.read_s = "ok", time.monotonic()
        self._heard.set()

    async def _for_room(self, full: bool) -> None:
        """Until there is room for more. Where all is full of what waits, that is tried once more, and answered."""
        if full:
            self._waiting.wake()
            self._begin()
        self._room.clear()
        try:
            await asyncio.wait_for(self._room.wait(), 1)
        except TimeoutError:
            return
        self._pulse.read_s = time.monotonic()  # it gets on, though it reads nothing

    async def _take_in_own(self) -> None:
        """What this consumer was given and has never heard of: by an answer that was lost, or before a restart."""
        after = "0"
        while page := await self._streams.own(after):
            after = page[-1][0]
            self._take_in([row for row in page if row[1]])

    def _take_in(self, entries: list[tuple[str, Fields]]) -> None:
        now_s, now_ms = self._loop.time(), time.time_ns() // 1_000_000
        for entry_id, fields in entries:
            if entry_id in self._in_hand:
                continue
            read = read_entry(entry_id, fields, self._of.id)
            if isinstance(read, DeadLetter):
                self._bury(read, now_s)
                continue
            alone = now_ms - read.intent.timestamp_ms > self._gate.policy.max_age_ms
            held = Held(read, alone=alone, taken_s=now_s)
            self._in_hand[entry_id] = held
            self._waiting.add(held, now_s)
        self._begin()

    def _bury(self, letter: DeadLetter, now_s: float) -> None:
        try:
            content: Mapping[str, object] = {name.decode(): value.decode() for name, value in letter.fields.items()}
        except UnicodeDecodeError:
            content = {}
        unread(content, letter.invalid)
        self._in_hand[letter.entry_id] = None
        self._metrics.dead.inc()
        self._judged(Ending(Terminal.DENIED, Reason.INVALID))
        task = asyncio.create_task(self._answer_unread(letter, now_s))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer_unread(self, letter: DeadLetter, now_s: float) -> None:
        """Of an id that the gate knows, another entry was read, and its result is told. A second one would hide it."""
        try:
            # An id that is longer than any may be was cut: it may be another's.
            tells = letter.intent_id != NOT_SEEN and len(letter.intent_id) < LONGEST_ID
            known = not tells or await self._is_known(letter.intent_id)
        except Exception as error:  # it must not stay in hand for good
            _log.warning("no result for what can't be read, %s: %s", pairs(id=letter.intent_id), error)
            known = True
        if known:
            self._answering.add(buried(letter, self._of), now_s)
        else:
            now_ms = time.time_ns() // 1_000_000
            self._answering.add(refused(letter, self._of, rested_ms=self._rested_ms, now_ms=now_ms), now_s)

    async def _is_known(self, intent_id: str) -> bool:
        """Whether an intent of this id is in hand, or has a record; asks until the store answers."""

        def in_hand() -> bool:
            return any(held is not None and held.entry.intent.id == intent_id for held in self._in_hand.values())

        if in_hand():
            return True
        tries = 0
        while True:
            try:
                return await self._gate.lookup(intent_id) is not None or in_hand()
            except StoreUnavailable:
                await asyncio.sleep(grown(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, tries))
                tries += 1

    # Taking over.

    async def _keep_taking_over(self) -> None:
        await self._heard.wait()
        while True:
            try:
                await self._streams.keep([*self._in_hand])
                after = "0-0"
                while True:
                    after, entries, gone = await self._streams.take_over(self._rested_ms, after)
                    if gone:
                        _log.error(
                            "ENTRIES GONE %d were trimmed from the stream unanswered: %s", len(gone), _some(gone)
                        )
                        self._metrics.gone.inc(len(gone))
                    theirs = [row for row in entries if row[0] not in self._in_hand]
                    if theirs:
                        _log.info("TAKEN OVER %d entries, the first is %s", len(theirs), theirs[0][0])
                        self._metrics.taken_over.inc(len(theirs))
                        self._take_in(theirs)
                    if after == "0-0" or len(self._in_hand) >= self._of.in_hand:
                        break
            except STORE_FAILURES as error:
                if isinstance(error, TimedOut):
                    self._unheard = True  # what it has claimed is this consumer's by now
                self._metrics.failures.labels("take_over").inc()
                _log.debug("nothing taken over: %s", said_of(error))
            await asyncio.sleep(min(self._rested_ms / 4000, 5.0))

    # At work.

    def _begin(self) -> None:
        """Starts what may start now, and sets the clock for what may start next."""
        if self._closing:
            return
        self._waiting.wake(self._loop.time())
        while (held := self._waiting.take()) is not None:
            task = asyncio.create_task(self._try(held))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (due_s := self._waiting.next_due_s) is not None:
            self._timer = self._loop.call_at(due_s, self._begin)
        self._count()
        self._room.set()

    def _try_again(self) -> None:
        """A person has acted: what is held may be admitted now, though its wait isn't over."""
        self._waiting.wake_tried()
        self._begin()

    def _count(self) -> None:
        pulse = self._pulse
        pulse.in_hand, pulse.at_work = len(self._in_hand), self._waiting.at_work
        pulse.unwritten = len(self._answering)
        pulse.held = self._waiting.held_back

    async def _try(self, held: Held) -> None:
        try:
            came = await self._one_try(held)
            answer = None if isinstance(came, Later) else await self._answer_of(held, came)
        except asyncio.CancelledError:
            raise  # the service ends: the entry stays pending, and another worker finds out what became of it
        except Exception as error:  # one intent must not end the service, nor hold up its symbol
            held.faults += 1
            if not isinstance(error, (*STORE_FAILURES, StoreFailure)):
                _log.exception("%s failed", names(held.entry.intent))
            self._metrics.failures.labels("intent").inc()
            came = self._deciding.after_a_fault(held, error)
            answer = None if isinstance(came, Later) else self._packed(held, came, None)
        if isinstance(came, Later):
            self._put_off(held, came)
        elif answer is not None:
            # Before the next of its symbol starts: results of a symbol keep its order.
            self._answering.add(answer, held.taken_s)
            if held.exit and self._looking is not None:
                self._looking.exit_ended(held.entry.intent, came)
        self._waiting.done(held)
        self._begin()

    def _put_off(self, held: Held, later: Later) -> None:
        self._metrics.retries.labels(later.reason).inc()
        again = Held(held.entry, alone=held.alone or later.alone, taken_s=held.taken_s)
        again.tries, again.faults, again.refused = held.tries + 1, held.faults, held.refused + later.refused
        again.due_s = self._loop.time() + later.wait_s
        self._in_hand[held.entry.entry_id] = again
        self._waiting.add(again)

    async def _one_try(self, held: Held) -> Ending | Later:
        intent = held.entry.intent
        if self._deciding.left_ms(intent) <= 0 and self._of.max_age_s is not None:
            known = await self._gate.lookup(intent.id)
            if known is None:
                age_s = (time.time_ns() // 1_000_000 - intent.timestamp_ms) // 1000
                detail = f"{age_s} s old, and this service takes {self._of.max_age_s} s at most"
                _log.info("TERMINAL STATE: DENIED %s reason=STALE STALE_INTENT_DROP %s", names(intent), detail)
                return self._judged(Ending(Terminal.DENIED, Reason.STALE, detail))
        begun_s = self._loop.time()
        execution = await self._executor.execute(intent)
        self._metrics.execution.labels(execution.state.value).observe(self._loop.time() - begun_s)
        ending = self._judged(ending_of(execution), execution.verdict.reason)
        if execution.state is Terminal.DENIED and execution.reason == Reason.DUPLICATE:
            return await self._deciding.as_before(held, execution)
        full = len(self._in_hand) >= self._of.in_hand
        return self._deciding.again(held, execution, full=full) or ending

    def _judged(self, ending: Ending, reason: str | None = None) -> Ending:
        said = str(reason or ending.reason)
        self._pulse.verdict_s, self._pulse.verdict = time.monotonic(), said
        self._metrics.verdicts.labels(said).inc()
        return ending

    # Answering.

    async def _answer_of(self, held: Held, ending: Ending) -> Answer:
        fee_rate = await self._rates.rate(held.entry.intent.symbol) if ending.filled_quantity > 0 else None
        return self._packed(held, ending, fee_rate)

    def _packed(self, held: Held, ending: Ending, fee_rate: Decimal | None) -> Answer:
        now_ms = time.time_ns() // 1_000_000
        fields = result_fields(Asked.by(held.entry), ending, by=self._of.consumer, now_ms=now_ms, fee_rate=fee_rate)
        keep_ms = _STALE_KEPT_MS if ending.reason == Reason.STALE else self._gate.policy.dedup_ttl_ms
        of, entry = self._of, held.entry
        return Answer(
            entry.entry_id,
            of.results,
            of.results_kept,
            answered_as(entry.intent),
            keep_ms,
            dict(fields.items()),
            ending.nothing_came,
            ending.client_order_id or "",
            told_by(entry, ending),
            retryable=ending.retryable,
        )

    def _done_with(self, entry_ids: Sequence[str]) -> None:
        """Their answers are written, or were before."""
        for each in entry_ids:
            self._in_hand.pop(each, None)
        self._count()
        self._room.set()


def _some(ids: Sequence[str]) -> str:
    named = ", ".join(ids[:_NAMED_AT_MOST])
    return named if len(ids) <= _NAMED_AT_MOST else f"{named} and {len(ids) - _NAMED_AT_MOST} more"


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels until they have ended: redis-py may take a cancellation for a time-out of its own."""
    waiting = set(tasks)
    while waiting:
        for each in waiting:
            each.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=0.5)
