"""What the gate remembers of an intent, for a person. Pure."""

from __future__ import annotations

from typing import Final

from gate.cli.screens.wording import ago, one_line, span
from gate.values.fields import plain
from gate.values.record import Phase, Record

_NOTHING_LEFT: Final = frozenset({"-2022", "NOTHING_TO_CLOSE"})


def record_rows(record: Record, client_order_id: str, now_ms: int) -> list[tuple[str, str]]:
    """The figures of a record, as rows. `now_ms`: this host's clock, for the ages."""
    if record.phase is Phase.FOREIGN:
        return [("phase", record.phase.value), ("holds", one_line(str(record)))]
    rows = [("phase", phase_words(record, now_ms)), ("order", f"{record.side} {record.symbol}{exit_words(record)}")]
    if record.order_id is not None:
        rows.append(("order id", one_line(record.order_id)))
    if record.code is not None:
        rows.append(("code", one_line(record.note)))
    rows += [("client order id", client_order_id), ("fence", str(record.fence))]
    rows.append(("admitted", ago(record.admitted_ms, now_ms)))
    if record.deadline_ms is not None:
        rows.append(("deadline", ago(record.deadline_ms, now_ms)))
    if record.settled_ms is not None:
        rows.append(("settled", ago(record.settled_ms, now_ms)))
    if for_good := for_good_words(record):
        rows.append(("again", for_good))
    if record.reserved:
        rows.append(("reserved", plain(record.reserved)))
    if record.verify:
        rows.append(("verify", "yes: at the admission the store may have lost records"))
    if record.penalised:
        rows.append(("penalty", "applied"))
    return rows


def in_doubt(record: Record, now_ms: int) -> bool:
    """Whether an order may exist that nobody has heard of."""
    overdue = record.deadline_ms is not None and record.deadline_ms < now_ms
    return record.phase is Phase.UNKNOWN or (record.phase is Phase.ADMITTED and overdue)


def phase_words(record: Record, now_ms: int) -> str:
    """In which phase it stands, and what follows from that."""
    if record.phase is Phase.REJECTED and record.unsent:
        return "rejected, before anything was sent"
    overdue = record.deadline_ms is not None and record.deadline_ms < now_ms
    if record.phase is Phase.ADMITTED and overdue:
        return "admitted, never settled: in doubt"
    if record.phase is Phase.UNKNOWN:
        return "unknown: in doubt"
    return record.phase.value


def for_good_words(record: Record) -> str:
    """What follows from a refusal that uses the intent's id up; empty where none does. One that may come again leaves
    no record."""
    if record.phase is not Phase.REJECTED:
        return ""
    if record.code == "NOT_PLACED":
        return "never under this id: the exchange had no such order when its time was over; send it under a new id"
    if record.code in _NOTHING_LEFT:
        return "refused for good, no order exists: nothing was left to close"
    changed = "change it, and " if record.unsent else ""
    return f"refused for good, no order exists: {changed}send it under a new id"


def exit_words(record: Record) -> str:
    """What an exit says behind its symbol."""
    return ", reduce-only" if record.is_exit else ""


def became(record: Record, now_ms: int) -> str:
    """What became of an intent, in one line."""
    words = "would be denied; " if record.observed and record.phase is Phase.ADMITTED else ""
    if record.phase is Phase.FOREIGN:
        return one_line(f"not written by the gate, holds {record.note!r}; denies until gate leftovers clears it")
    words += phase_words(record, now_ms)
    if record.phase is Phase.ADMITTED and record.deadline_ms is not None and record.deadline_ms >= now_ms:
        words += f", {span(record.deadline_ms - now_ms)} left"
    if record.order_id is not None:
        words += f", order {record.order_id}"
    if record.code is not None:
        words += f": {record.note}"
    return one_line(words)
