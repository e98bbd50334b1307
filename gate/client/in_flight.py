"""The permits of an account that nobody has settled: how many there are, which are in doubt, what they reserve."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gate.client.caller import Caller
from gate.client.doubtful import copies_in_state
from gate.client.standing import report_damage
from gate.protocol.scripts import Pipeline
from gate.protocol.texts import intent_id_of, line_of, whole_or_none
from gate.store.wire import Dialogue
from gate.values.errors import StoreError
from gate.values.record import MILLIONTHS, Phase
from gate.values.reports import Standing

NAMED_AT_MOST: Final = 100
_READ_AT_MOST: Final = 1000  # members of the in-flight set; a sensible max_in_flight is far below


@dataclass(frozen=True, slots=True)
class Permits:
    """What the in-flight set holds."""

    live: int = 0
    in_doubt: int = 0
    doubtful: tuple[str, ...] = ()
    reserved: Decimal = Decimal(0)
    symbols: frozenset[str] = frozenset()
    """Of those that were read."""


def read_permits(caller: Caller, now_ms: int, standing: list[Standing]) -> Dialogue[Permits]:
    """The entries' permits. Reports the set where it can't be read."""
    key = caller.keyspace.inflight
    live, past, overdue, running = yield Pipeline(
        (
            ("ZCOUNT", key, f"({now_ms}", "+inf"),
            ("ZCOUNT", key, "-inf", now_ms),
            ("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, NAMED_AT_MOST),
            ("ZRANGEBYSCORE", key, f"({now_ms}", "+inf", "LIMIT", 0, _READ_AT_MOST),
        )
    )
    if damage := next((each for each in (live, past, overdue, running) if isinstance(each, StoreError)), None):
        yield from report_damage("in_flight", key, damage, standing)
        return Permits()
    overdue, running = overdue[:NAMED_AT_MOST], running[:_READ_AT_MOST]
    doubtful, reserved, unknown = [intent_id_of(member) for member in overdue], 0, 0
    ids = [*doubtful, *map(intent_id_of, running)]
    copies = yield from copies_in_state(caller, ids)
    for intent_id, member in zip(ids[len(overdue) :], running, strict=True):
        millionths = member.partition(b":")[0]
        reserved += max(0, whole_or_none(line_of(millionths)) or 0)
        # A permit that is settled as unknown is in doubt at once, also before its deadline.
        record = copies.get(intent_id)
        if record is not None and record.phase is Phase.UNKNOWN:
            unknown += 1
            doubtful.append(intent_id)
    symbols = frozenset(record.symbol for record in copies.values() if record.symbol)
    return Permits(live, past + unknown, tuple(doubtful[:NAMED_AT_MOST]), Decimal(reserved) / MILLIONTHS, symbols)


def read_exits(key: str, now_ms: int, standing: list[Standing]) -> Dialogue[tuple[int, int, tuple[str, ...]]]:
    """How many exits have no final outcome; how many of these are past their deadline, and which are the oldest.
    Reports the set where it can't be read."""
    past, live, overdue = yield Pipeline(
        (
            ("ZCOUNT", key, "-inf", now_ms),
            ("ZCOUNT", key, f"({now_ms}", "+inf"),
            ("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, NAMED_AT_MOST),
        )
    )
    if damage := next((each for each in (past, live, overdue) if isinstance(each, StoreError)), None):
        yield from report_damage("exits", key, damage, standing)
        return 0, 0, ()
    return live + past, past, tuple(map(intent_id_of, overdue[:NAMED_AT_MOST]))
