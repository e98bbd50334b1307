"""The intents that were admitted of late, with what became of each: their records, found by SCAN."""

from __future__ import annotations

import heapq
from typing import Final

from gate.client.caller import Caller
from gate.client.doubtful import copies_in_state
from gate.client.facts import server_now_ms
from gate.client.leftovers import Looked
from gate.client.scanning import scan
from gate.protocol.scripts import Pipeline
from gate.protocol.texts import LONGEST_NAME, MOST_PAGES, NO_END, intent_id_of, line_of
from gate.store.wire import Dialogue
from gate.values.errors import InvalidField, StoreError, StoreFailure
from gate.values.recent import MOST, RecentIntents
from gate.values.record import Phase, Record, decode_record

_SCANNED: Final = 2_000
_PERMITS: Final = 1_000


def recent_intents(caller: Caller, at_most: int, symbol: str | None, looked: Looked | None) -> Dialogue[RecentIntents]:
    """Those that were admitted last, of one symbol or of all. Raises InvalidField, StoreFailure."""
    if not 1 <= at_most <= MOST:
        raise InvalidField("at_most", at_most, f"is not a number from 1 to {MOST}")
    now_ms = yield from server_now_ms()
    # By their ids: SCAN may show a key twice.
    latest: dict[str, Record] = {}
    count, cursor, pages = 0, b"0", 0
    while True:
        pattern = f"{caller.keyspace.record_prefix}*"
        cursor, scanned = yield from scan(cursor, pattern, _SCANNED)
        names = [name for name in scanned if len(name) <= LONGEST_NAME]
        _add(latest, (yield from _records(caller, names)), at_most, symbol)
        count += len(names)
        if looked is not None:
            looked(count)
        pages += 1
        if pages > MOST_PAGES:
            raise StoreError(NO_END)
        if cursor == b"0":
            break
    copies, unread = yield from _lapsed(caller, latest)
    _add(latest, copies, at_most, symbol)
    records = sorted(latest.values(), key=_place)
    return RecentIntents(tuple(records[-at_most:]), len(records) > at_most, unread, now_ms)


def _add(latest: dict[str, Record], records: dict[str, Record], at_most: int, symbol: str | None) -> None:
    """Adds those of the symbol. One more is kept than is wanted: it tells that there are more."""
    latest.update((each, record) for each, record in records.items() if symbol in (None, record.symbol))
    if len(latest) > 2 * at_most + 1:
        kept = heapq.nlargest(at_most + 1, latest.values(), key=_place)
        latest.clear()
        latest.update((record.intent_id, record) for record in kept)


def _place(record: Record) -> tuple[int, int, str]:
    return record.admitted_ms, record.fence, record.intent_id


def _records(caller: Caller, names: list[bytes]) -> Dialogue[dict[str, Record]]:
    """The records under these keys. By the names as they came: a hand may have written any bytes."""
    if not names:
        return {}
    replies = yield Pipeline(tuple(("GET", name) for name in names))
    found: dict[str, Record] = {}
    for name, reply in zip(names, replies, strict=True):
        intent_id = name.decode(errors="replace").removeprefix(caller.keyspace.record_prefix)
        if isinstance(reply, StoreError) and str(reply).startswith("WRONGTYPE"):
            found[intent_id] = Record(intent_id, Phase.FOREIGN, note="no text")
        elif isinstance(reply, StoreFailure):
            raise reply
        elif reply is not None:
            found[intent_id] = decode_record(intent_id, line_of(reply))
    return found


def _lapsed(caller: Caller, known: dict[str, Record]) -> Dialogue[tuple[dict[str, Record], tuple[str, ...]]]:
    """Of permits without an outcome whose records have lapsed: the copies. And the keys that can't be read."""
    ids: list[str] = []
    unread: list[str] = []
    for key in (caller.keyspace.inflight, caller.keyspace.exits):
        try:
            members = yield ("ZRANGE", key, 0, _PERMITS - 1, "REV")
        except StoreError:
            unread.append(key)
        else:
            ids += [intent_id_of(member) for member in members]
    return (yield from copies_in_state(caller, [each for each in ids if each not in known])), tuple(unread)
