"""Puts an intent on the stream by hand, and waits for its result. What the service couldn't read isn't put there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import redis.asyncio
from redis.exceptions import NoPermissionError, ResponseError

from gate.protocol.texts import as_text
from gate.service.intake import DeadLetter, Entry, read_entry
from gate.service.settings import Settings
from gate.service.streams import is_last
from gate.service.told import UPDATE

_SOURCE: Final = "gate submit"
_READ_WAITS_MS: Final = 1_000
_PAGE: Final = 500


def entry_fields(payload: str, now_ms: int) -> dict[str, str]:
    """The fields of an entry, in the envelope that the replaced system's producers use."""
    at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {"event_type": "trade.intent", "payload": payload, "timestamp": at, "source": _SOURCE}


def as_the_service_reads(fields: Mapping[str, str], settings: Settings, entry_id: str) -> Entry:
    """Raises InvalidIntent for what would become a dead letter."""
    encoded = {name.encode(): value.encode() for name, value in fields.items()}
    read = read_entry(entry_id, encoded, settings.id)
    if isinstance(read, DeadLetter):
        raise read.invalid
    return read


def payload_of(described: Mapping[str, object]) -> str:
    """The payload of an intent that options describe."""
    return json.dumps(described, ensure_ascii=False)


class Where(StrEnum):
    """Where an entry is that has no result yet."""

    UNREAD = "unread"
    """Nobody of the group has read it."""
    IN_HAND = "in hand"
    """A consumer has it and hasn't answered."""
    DONE = "done"
    """It is acknowledged. That may have been without a result, as of an intent that has one already."""
    UNKNOWN = "unknown"
    """The store's user may not ask."""


class Whereabouts(NamedTuple):
    """Where an entry is, and the consumer that has it in hand."""

    where: Where
    consumer: str = ""


class Submission:
    """The stream of one account. Every method raises what redis-py raises where the store fails."""

    def __init__(self, client: Any, settings: Settings) -> None:
        """`client`: redis-py's for asyncio, with bytes as replies."""
        self._client: Final[redis.asyncio.Redis] = client
        self._of: Final = settings

    async def already_answered(self, entry: Entry) -> bool:
        """Whether an intent like this has its last result already: a second one is not written. One that tells of no
        order isn't the last. False for a user who may not ask."""
        key = f"{self._of.answered}{entry.intent.id}:{entry.intent.fingerprint}"
        with suppress(NoPermissionError):
            return is_last(await self._client.get(key))
        return False

    async def newest_result(self) -> str:
        """The id of the newest result, `0-0` without one: what comes later is behind it. Raises NoPermissionError also
        for a user who may not read what comes later, as `result` does."""
        rows: Any = await self._client.xrevrange(self._of.results, count=1)
        newest = as_text(rows[0][0]) if rows else "0-0"
        await self._client.xread({self._of.results: newest}, count=1)
        return newest

    async def add(self, fields: Mapping[str, str]) -> str:
        """Puts the entry on the stream. Returns its id."""
        return as_text(await self._client.xadd(self._of.stream, dict(fields)))  # type: ignore[arg-type]

    async def whereabouts(self, entry_id: str) -> Whereabouts:
        """Where an entry is that has no result yet."""
        of = self._of
        try:
            # In this order: what is read in between is pending by then, and not done.
            groups: Any = await self._client.xinfo_groups(of.stream)
            rows: Any = await self._client.xpending_range(of.stream, of.group, entry_id, entry_id, 1)
            if rows:
                return Whereabouts(Where.IN_HAND, as_text(rows[0]["consumer"]))
        except NoPermissionError:
            return Whereabouts(Where.UNKNOWN)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return Whereabouts(Where.UNREAD)
        read_to = next((as_text(row["last-delivered-id"]) for row in groups if as_text(row["name"]) == of.group), "0-0")
        return Whereabouts(Where.UNREAD if _order(read_to) < _order(entry_id) else Where.DONE)

    async def result(self, intent_id: str, after: str, within_s: float) -> dict[str, str] | None:
        """The first result of an intent behind that id; None where there is none within the time."""
        until_s = time.monotonic() + within_s
        while (left_s := until_s - time.monotonic()) > 0:
            wait_ms = max(1, min(_READ_WAITS_MS, int(left_s * 1000)))
            rows: Any = await self._client.xread({self._of.results: after}, count=_PAGE, block=wait_ms)
            for entry_id, fields in rows[0][1] if rows else ():
                after = as_text(entry_id)
                told = {as_text(name): as_text(value) for name, value in fields.items()}
                if told.get("intent_id") == intent_id and told.get("state") != UPDATE:
                    return told
        return None


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)
