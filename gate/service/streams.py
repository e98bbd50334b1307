"""The service's streams: reads intents in a consumer group, and answers them. All I/O on redis-py's own asyncio client.

Blocking reads and verdicts don't share a wire: a verdict has a quarter of a second, a read waits for a whole one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import redis.asyncio
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from gate.protocol.scripts import Call, script
from gate.protocol.texts import as_text
from gate.service.settings import Settings
from gate.service.told import OPEN_MS, ToldOrder
from gate.store.connect import load_script
from gate.store.unreached import certificate_remedy

STORE_FAILURES: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py raises where the store can't be asked, or refuses."""
READ_WAITS_MS: Final = 1_000
_PAGE: Final = 500
_SOON_S: Final = 0.25
"""An answer that comes within this isn't near its time-out."""
_NO_ORDER: Final = "no_order "
"""How lua/answer.lua marks an answer that may not be the last."""
_NO_ORDER_NOW: Final = f"{_NO_ORDER}retryable "
"""The same, where a denial for good may follow."""
LEFT: Final = "handed-over"
"""The consumer that keeps what a service leaves at its end, until another one takes it over."""

_CLIENT: Final = " : <redis."
"""Where redis-py's word of a sentinel goes on with the whole client."""
OPEN: Final = "open"
"""Behind the beginning of the orders' keys: those of which more may come."""

Fields = Mapping[bytes, bytes]


class TakenOver(NamedTuple):
    """A page of what rests with consumers."""

    after: str
    """Where to go on; `0-0` at the end."""
    entries: list[tuple[str, Fields]]
    gone: list[str]
    """Ids of entries that the stream doesn't have any more. They aren't pending any more either."""


NO_ENTRY: Final = "0-0"
"""No entry has this id: of an answer that acknowledges none, since another one of the same entry does."""


def encoded(text: str | bytes) -> bytes:
    """A name or value as it is written. What JSON may hold and no text can, half of a surrogate pair, is escaped: an
    answer that can't be written would hold up all others."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is written when an entry is done with: a result, or a dead letter."""

    entry_id: str
    """The entry that it acknowledges."""
    stream: str
    most: int
    answered: str
    """What tells this intent from all others."""
    keep_ms: int
    fields: Mapping[str | bytes, str | bytes]
    no_order: bool = False
    """Whether it tells of no order: another delivery may still become one, and has its answer then."""
    client_order_id: str = ""
    told: ToldOrder | None = None
    """What it tells of its order, for the updates that follow."""
    retryable: bool = False
    """Of one without an order: whether it says that the same intent may be admitted later. Another delivery that says
    no has its answer too."""
    then: Answer | None = None
    """What is written once this is, and acknowledges the entry in its place."""


@dataclass(frozen=True, slots=True)
class Update:
    """What has come of an order after its result."""

    key: str
    """The order's client order id; of one that the exchange has sent, more."""
    before: bytes
    """What was told of it so far, as the store has it; empty for nothing."""
    told: ToldOrder
    """What is told with this."""
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Backlog:
    """Where the group stands."""

    lag: int | None
    """Entries that nobody of the group has read; None where the server doesn't know."""
    pending: int
    """Entries that were read and not answered."""
    consumers: int


class Streams:
    """One consumer of the group. Every method raises one of STORE_FAILURES where the store fails."""

    def __init__(self, client: Any, settings: Settings) -> None:
        """`client`: redis-py's for asyncio, with bytes as replies."""
        self._client: Final[redis.asyncio.Redis] = client
        self._of: Final = settings
        self._at_once = _PAGE
        """The most entries that are asked for at once. Fewer after an answer that took too long: they may be large."""
        self._script: Final = script("answer")
        fixed = {"entries": settings.stream, "group": settings.group, "open_orders": settings.orders + OPEN}
        self._call: Final = Call("EVALSHA", self._script, fixed)
        self._update_script: Final = script("order_update")
        fixed = {"answers": settings.results, "open_orders": settings.orders + OPEN}
        self._update_call: Final = Call("EVALSHA", self._update_script, {**fixed, "most": settings.results_kept})

    async def begin(self) -> None:
        """Makes the group where there is none: it begins with the oldest entry."""
        try:
            await self._client.xgroup_create(self._of.stream, self._of.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read(self, count: int, *, wait_ms: int = READ_WAITS_MS) -> list[tuple[str, Fields]]:
        """New entries, at most so many. Waits for the first of them."""
        return await self._read(">", count, wait_ms)

    async def own(self, after: str = "0") -> list[tuple[str, Fields]]:
        """What this consumer has been given and not answered, a page of it: also what it has never heard of, because
        the reply was lost."""
        return await self._read(after, _PAGE, None)

    async def _read(self, after: str, count: int, wait_ms: int | None) -> list[tuple[str, Fields]]:
        of, most = self._of, min(count, self._at_once)
        try:
            with self._fewer_where_it_takes_too_long() as came:
                reply: Any = await self._client.xreadgroup(
                    of.group, of.consumer, {of.stream: after}, count=most, block=wait_ms
                )
                entries = _entries(reply)
                came.append(len(entries))
                return entries
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self.begin()  # the store has lost its memory
            return []

    @contextmanager
    def _fewer_where_it_takes_too_long(self) -> Iterator[list[int]]:
        """Gives a list for the number of entries that came."""
        came, began_s = list[int](), time.monotonic()
        try:
            yield came
        except TimedOut:
            self._at_once = max(1, self._at_once // 4)
            raise
        # One that is empty, or only just in time, says nothing of how long more of them take.
        if any(came) and time.monotonic() - began_s < _SOON_S:
            self._at_once = min(_PAGE, 2 * self._at_once)

    async def take_over(self, rested_ms: int, after: str = "0-0") -> TakenOver:
        """Entries that rest with their consumers for so long, a page of them."""
        of = self._of
        with self._fewer_where_it_takes_too_long() as came:
            reply: Any = await self._client.xautoclaim(
                of.stream, of.group, of.consumer, min_idle_time=rested_ms, start_id=after, count=self._at_once
            )
            came.append(len(reply[1]))
        entries = [(as_text(number), fields) for number, fields in reply[1] if fields]
        return TakenOver(as_text(reply[0]), entries, [as_text(number) for number in reply[2]])

    async def keep(self, entry_ids: Sequence[str]) -> None:
        """Says that these are in hand, so that nobody takes them over."""
        of = self._of
        for start in range(0, len(entry_ids), _PAGE):
            await self._client.xclaim(
                of.stream, of.group, of.consumer, 0, list(entry_ids[start : start + _PAGE]), justid=True
            )

    async def mark(self, answered: str) -> bytes | str | None:
        """What lua/answer.lua has noted of an intent."""
        mark: bytes | str | None = await self._client.get(self._of.answered + answered)
        return mark

    async def answer(self, answers: Sequence[Answer]) -> list[bool | Exception]:
        """Writes answers and acknowledges their entries: for each whether it was written, or why it failed. An answer
        may be sent twice."""
        replies = await self._send(answers)
        refused = [each for each in replies if isinstance(each, ResponseError)]
        if any(isinstance(each, NoScriptError) for each in refused):
            await load_script(self._client, self._script.source, self._of.stream)
        elif any("NOGROUP" in str(each) for each in refused):
            await self.begin()
        else:
            return replies
        return await self._send(answers)

    async def _send(self, answers: Sequence[Answer]) -> list[bool | Exception]:
        pipeline: Any = self._client.pipeline(transaction=False)
        now_ms = time.time_ns() // 1_000_000
        for each in answers:
            told = each.told
            call = self._call(
                answers=each.stream,
                answered=self._of.answered + each.answered,
                order=self._of.orders + each.client_order_id,
                entry=each.entry_id,
                keep_ms=each.keep_ms,
                most=each.most,
                no_order=int(each.no_order),
                retryable=int(each.retryable),
                told="" if told is None else told.packed(),
                told_ms=OPEN_MS if told is not None and told.open else each.keep_ms,
                client_order_id=each.client_order_id,
                open=int(told is not None and told.open),
                now_ms=now_ms,
            )
            pipeline.execute_command(*call, *(encoded(part) for field in each.fields.items() for part in field))
        return await _sent(pipeline)

    async def told_of(self, keys: Sequence[str]) -> list[bytes | None]:
        """What was told of each order, packed; None for one of which there is no result."""
        told: Any = await self._client.mget([self._of.orders + key for key in keys])
        return list(told)

    async def open_orders(self) -> list[tuple[str, int]]:
        """The client order ids of the orders of which more may come, and when that was noted; the oldest first."""
        rows: Any = await self._client.zrange(self._of.orders + OPEN, 0, -1, withscores=True)
        return [(as_text(row), int(noted_ms)) for row, noted_ms in rows]

    async def no_more_of(self, keys: Sequence[str], keep_ms: int) -> None:
        """Says that nothing more comes of these orders. What was told of them stays so long."""
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.zrem(self._of.orders + OPEN, *keys)
        for key in keys:
            pipeline.pexpire(self._of.orders + key, keep_ms)
        await pipeline.execute()

    async def update(self, updates: Sequence[Update], keep_ms: int) -> list[bool | Exception]:
        """Tells updates: for each whether it was told, or why it failed. False: something else was told meanwhile.

        `keep_ms`: how long an order is known of which no more comes.
        """
        replies = await self._send_updates(updates, keep_ms)
        if not any(isinstance(each, NoScriptError) for each in replies):
            return replies
        await load_script(self._client, self._update_script.source, self._of.results)
        return await self._send_updates(updates, keep_ms)

    async def _send_updates(self, updates: Sequence[Update], keep_ms: int) -> list[bool | Exception]:
        pipeline: Any = self._client.pipeline(transaction=False)
        now_ms = time.time_ns() // 1_000_000
        for each in updates:
            call = self._update_call(
                order=self._of.orders + each.key,
                before=each.before,
                told=each.told.packed(),
                told_ms=OPEN_MS if each.told.open else keep_ms,
                client_order_id=each.key,
                open=int(each.told.open),
                now_ms=now_ms,
            )
            pipeline.execute_command(*call, *(encoded(part) for field in each.fields.items() for part in field))
        return await _sent(pipeline)

    async def backlog(self) -> Backlog:
        """Where the group stands."""
        rows: Any = await self._client.xinfo_groups(self._of.stream)
        for row in rows:
            if as_text(row["name"]) == self._of.group:
                lag = row.get("lag")
                if lag != 0 and not await self._has_after(as_text(row["last-delivered-id"])):
                    lag = 0
                return Backlog(None if lag is None else int(lag), int(row["pending"]), int(row["consumers"]))
        return Backlog(None, 0, 0)

    async def _has_after(self, entry_id: str) -> bool:
        """Whether there is an entry that nobody has read. The server's own count is wrong for good after its restart
        with a rewritten append-only file (Redis 7.0), and missing after an XDEL."""
        return bool(await self._client.xrange(self._of.stream, f"({entry_id}", count=1))

    async def look(self) -> tuple[bool, Backlog]:
        """Whether there is the group, and where it stands. Only reads; also whether the other streams are streams."""
        for stream in (self._of.results, self._of.dead_letters):
            await self._client.xlen(stream)
        try:
            backlog = await self.backlog()
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return False, Backlog(None, 0, 0)
        return backlog.consumers > 0 or backlog.lag is not None, backlog

    async def leave(self, rested_ms: int) -> int:
        """Hands over what this consumer has not answered, so that another one takes it at once, and removes the
        consumer. Returns how many entries that were."""
        of, left = self._of, 0
        while page := await self.own():
            # A deleted entry has no fields; it stays pending until it is acknowledged.
            gone = [number for number, fields in page if not fields]
            if gone:
                await self._client.xack(of.stream, of.group, *gone)
            kept = [number for number, fields in page if fields]
            if kept:
                await self._client.xclaim(of.stream, of.group, LEFT, 0, list(kept), idle=rested_ms, justid=True)
                left += len(kept)
        await self._client.xgroup_delconsumer(of.stream, of.group, of.consumer)
        return left

    async def close(self) -> None:
        """Closes the connections."""
        async with asyncio.timeout(5):
            await self._client.aclose()


async def _sent(pipeline: Any) -> list[bool | Exception]:
    replies = await pipeline.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, ConnectionFailed):
            raise reply
    return [reply if isinstance(reply, Exception) else bool(reply) for reply in replies]


def is_last(mark: bytes | str | None) -> bool:
    """Whether what lua/answer.lua has noted of an intent is its last answer."""
    return mark is not None and not as_text(mark).startswith(_NO_ORDER)


def is_for_good(mark: bytes | str | None) -> bool:
    """Whether it tells of an answer that no further denial follows; an order may."""
    return mark is not None and not as_text(mark).startswith(_NO_ORDER_NOW)


def said_of(error: BaseException) -> str:
    """What a failure of the store says, on one line, and not all of it where that is long."""
    words = str(error).partition(_CLIENT)[0].split()
    said = " ".join(words)[:200] or type(error).__name__
    remedy = certificate_remedy(error)
    return f"{said.rstrip('.')}; {remedy}" if remedy else said


def _entries(reply: Any) -> list[tuple[str, Fields]]:
    rows = reply.items() if isinstance(reply, Mapping) else reply
    found: list[tuple[str, Fields]] = []
    for _, entries in rows or ():
        pages = entries[0] if entries and isinstance(entries[0], list) else entries
        found += [(as_text(number), fields or {}) for number, fields in pages]
    return found
