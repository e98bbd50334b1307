"""What is written of an entry that can't be read: a dead letter, and a result where it shows an id. No I/O."""

from __future__ import annotations

from itertools import islice
from typing import Final

from gate.executor import Terminal
from gate.service.intake import DeadLetter
from gate.service.results import Asked, Ending, result_fields
from gate.service.settings import Settings
from gate.service.streams import NO_ENTRY, Answer
from gate.values.guards import Reason

_MOST_FIELDS: Final = 1_000
"""Of an entry that can't be read. A script passes on 7,900 words in one command at most."""
_KEPT_MS: Final = 60_000
"""How long it is known that such an entry was answered, beyond its takings over."""


def buried(letter: DeadLetter, of: Settings) -> Answer:
    """Its dead letter, which acknowledges it."""
    added: dict[str | bytes, str | bytes] = {
        "error": letter.error,
        "intent_id": letter.intent_id,
        "entry": letter.entry_id,
        "stream": of.stream,
        "by": of.consumer,
    }
    if (left_out := len(letter.fields) - _MOST_FIELDS) > 0:
        added["left_out"] = f"{left_out} more fields; the entry is {letter.entry_id} of {of.stream}"
    came: dict[str | bytes, str | bytes] = {
        b"entry_" + name if name.decode("latin-1") in added else name: value
        for name, value in islice(letter.fields.items(), _MOST_FIELDS)
    }
    entry = letter.entry_id
    return Answer(entry, of.dead_letters, of.dead_letters_kept, f"entry:{entry}", _KEPT_MS, {**came, **added})


def refused(letter: DeadLetter, of: Settings, *, rested_ms: int, now_ms: int) -> Answer:
    """Its result, for whoever waits for it; behind it comes its dead letter. `rested_ms`: how long an entry rests until
    another worker takes it over; that one writes no second result."""
    ending = Ending(Terminal.DENIED, Reason.INVALID, letter.error)
    asked = Asked.by_what_is_left(letter)
    fields = result_fields(asked, ending, by=of.consumer, now_ms=now_ms, fee_rate=None)
    return Answer(
        NO_ENTRY,
        of.results,
        of.results_kept,
        f"unread:{letter.entry_id}",
        _KEPT_MS + 2 * rested_ms,
        dict(fields.items()),
        then=buried(letter, of),
    )
