"""What nobody has settled: permits past their deadline, the copies of their records, and what was settled as absent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import structs

from gate.client.caller import Caller
from gate.client.facts import server_now_ms
from gate.client.looks import lookup
from gate.client.policies import learn
from gate.protocol.explain import explain_error
from gate.protocol.permits import permit_of_record
from gate.protocol.scripts import Message, Pipeline
from gate.protocol.texts import brief, intent_id_of, line_of
from gate.store.failures import ReplyLost
from gate.store.wire import Dialogue, Reply
from gate.values.errors import InvalidField, StoreError, StoreUnavailable
from gate.values.outcome import NOT_PLACED
from gate.values.record import Phase, Record, decode_record
from gate.values.reports import Absence, DoubtfulPermit, InDoubt
from gate.values.verdict import Permit

_ABSENCES_AT_ONCE: Final = 1_000
_SETTLED_AS_ABSENT: Final = b"settled as absent"  # lua/settle.lua


def in_doubt(caller: Caller, at_most: int, skip: int) -> Dialogue[InDoubt]:
    """Permits past their deadline without a final outcome, the oldest first. Raises InvalidField, StoreFailure."""
    if at_most < 1:
        raise InvalidField("at_most", at_most, "is not above 0")
    if skip < 0:
        raise InvalidField("skip", skip, "is below 0")
    now_ms = yield from server_now_ms()
    members = yield from _past_deadlines(caller, now_ms, at_most, skip)
    permits, lapsed = [], []
    if caller.follows and members:
        yield from learn(caller)  # how old the intents of these may be is a figure of the policy
    records = yield from _records_or_copies(caller, members)
    for intent_id in members:
        record = records.get(intent_id)
        if record is None:
            lapsed.append(intent_id)
        elif record.deadline_ms is not None:
            permits.append(DoubtfulPermit(record, permit_of_record(caller.keyspace, record)))
    return InDoubt(tuple(permits), tuple(lapsed), now_ms)


def _past_deadlines(caller: Caller, now_ms: int, at_most: int, skip: int) -> Dialogue[list[str]]:
    """The intents of permits past their deadline, entries and exits, the oldest first."""
    found: list[tuple[float, str]] = []
    for key in (caller.keyspace.inflight, caller.keyspace.exits):
        try:
            said = yield ("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, skip + at_most, "WITHSCORES")
        except StoreError as error:
            raise StoreError(explain_error(f"{error} key={key}")) from None
        ids = [intent_id_of(member) for member in said[::2]]
        found += zip(map(float, said[1::2]), ids, strict=True)
    return [intent_id for _, intent_id in sorted(found)[skip : skip + at_most]]


def absences(caller: Caller, within_ms: int, known: Collection[str]) -> Dialogue[tuple[Absence, ...]]:
    """What was settled as absent lately, the newest first, from the audit. Raises StoreFailure."""
    found, learns = [], caller.follows
    now_ms = yield from server_now_ms()
    entries = []
    for key in (caller.keyspace.audit, caller.keyspace.journal):
        try:
            entries += yield ("XREVRANGE", key, "+", max(0, now_ms - within_ms), "COUNT", _ABSENCES_AT_ONCE)
        except StoreError as error:
            raise StoreError(explain_error(f"{error} key={key}")) from None
    entries.sort(key=lambda each: [int(part) for part in each[0].split(b"-")], reverse=True)
    for entry, parts in entries[:_ABSENCES_AT_ONCE]:
        fields = dict(zip(parts[::2], parts[1::2], strict=True))
        if fields.get(b"what") != _SETTLED_AS_ABSENT:
            continue
        number, permit = entry.decode(), None
        if number not in known:
            if learns:
                yield from learn(caller)  # as in in_doubt
                learns = False
            permit = yield from _permit_of_absent(caller, brief(fields.get(b"reason", b"")))
        found.append(Absence(number, max(0, now_ms - int(number.partition("-")[0])), permit))
    return tuple(found)


def _permit_of_absent(caller: Caller, intent_id: str) -> Dialogue[Permit | None]:
    record = yield from lookup(caller, intent_id)
    if record is None or record.phase is not Phase.REJECTED or record.code != NOT_PLACED:
        return None
    permit = permit_of_record(caller.keyspace, record)
    return structs.replace(permit, deadline_ms=record.admitted_ms + caller.policy.lock_ttl_ms)


def _records_or_copies(caller: Caller, ids: Sequence[str]) -> Dialogue[dict[str, Record]]:
    """The records of permits; of those that have lapsed, the copies in the state. Raises StoreFailure."""
    found: dict[str, Record] = {}
    if not ids:
        return found
    keys = [caller.keyspace.record(intent_id) for intent_id in ids]
    replies = yield from _asked_again(Pipeline(tuple(("GET", key) for key in keys)))
    for intent_id, key, reply in zip(ids, keys, replies, strict=True):
        if isinstance(reply, StoreError):
            raise StoreError(explain_error(f"{reply} key={key}"))
        if isinstance(reply, StoreUnavailable):
            raise reply
        if reply is not None:
            found[intent_id] = decode_record(intent_id, line_of(reply))
    copies = yield from copies_in_state(caller, [intent_id for intent_id in ids if intent_id not in found])
    found |= {each: copy for each, copy in copies.items() if copy.deadline_ms is not None}
    for record in found.values():
        caller.saw(record.fence, record.line)
    return found


def copies_in_state(caller: Caller, ids: Sequence[str]) -> Dialogue[dict[str, Record]]:
    """The copies of unsettled permits' records in the state key, which outlive the records. Of those that have one.

    Empty where the state is damaged: status shows that, and the permits themselves must stay visible.
    """
    if not ids:
        return {}
    fields = (caller.keyspace.permit_field(intent_id) for intent_id in ids)
    try:
        replies = yield from _asked_again(("HMGET", caller.keyspace.state, *fields))
    except StoreError:
        return {}
    return {
        intent_id: decode_record(intent_id, line_of(reply))
        for intent_id, reply in zip(ids, replies, strict=True)
        if reply is not None
    }


def _asked_again(question: Message) -> Dialogue[Reply]:
    """The reply; asks once more where the first one is lost."""
    try:
        return (yield question)
    except ReplyLost:
        return (yield question)
