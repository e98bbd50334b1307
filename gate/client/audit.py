"""What people and trips did, from the streams of the audit: the account's own, and those of callers that observe."""

from __future__ import annotations

from typing import NamedTuple

from gate.client.facts import server_now_ms
from gate.protocol.explain import explain_error
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Pipeline
from gate.protocol.texts import brief, line_of
from gate.store.wire import Dialogue
from gate.values.audit import KEPT, Audit, AuditEntry, UnreadStream
from gate.values.errors import InvalidField, StoreError, StoreFailure


def audit(prefix: str, at_most: int, within_ms: int | None) -> Dialogue[Audit]:
    """The latest entries, in one trip, and one more where a time is asked for. Raises InvalidField, and StoreFailure
    where no stream can be read."""
    if not 1 <= at_most <= KEPT:
        raise InvalidField("at_most", at_most, f"is not a number from 1 to {KEPT}")
    if within_ms is not None and within_ms < 1:
        raise InvalidField("within_ms", within_ms, "is not above 0")
    streams = [
        _Stream(key, by_worker, keys.observing)
        for keys in (Keyspace(prefix), Keyspace(prefix, observing=True))
        for key, by_worker in ((keys.audit, False), (keys.journal, True))
    ]
    now_ms = yield from server_now_ms()
    since = "-" if within_ms is None else str(max(0, now_ms - within_ms))
    replies = yield Pipeline(tuple(("XREVRANGE", key, "+", since, "COUNT", at_most + 1) for key, *_ in streams))
    entries: list[AuditEntry] = []
    unread: list[UnreadStream] = []
    for stream, reply in zip(streams, replies, strict=True):
        if isinstance(reply, StoreFailure):
            unread.append(UnreadStream(stream.key, str(reply)))
            continue
        entries += [_entry(stream, number, parts) for number, parts in reply[: at_most + 1]]
    if len(unread) == len(streams):
        raise StoreError(explain_error(f"{unread[0].problem} key={unread[0].key}"))
    entries.sort(key=lambda each: (*_place(each.entry), each.key))
    return Audit(tuple(entries[-at_most:]), len(entries) > at_most, tuple(unread), now_ms)


class _Stream(NamedTuple):
    key: str
    by_worker: bool
    observing: bool


def _entry(stream: _Stream, number: bytes, parts: list[bytes]) -> AuditEntry:
    fields = dict(zip(parts[::2], parts[1::2], strict=True))
    what, by, reason = (brief(fields.get(name, b"?")) for name in (b"what", b"by", b"reason"))
    entry, user = line_of(number), brief(fields.get(b"user", b""))
    return AuditEntry(_place(entry)[0], what, by, reason, user, stream.key, entry, stream.by_worker, stream.observing)


def _place(entry: str) -> tuple[int, int]:
    """The time in ms in an entry's id, and its number within that."""
    time_ms, _, number = entry.partition("-")
    return int(time_ms), int(number)
