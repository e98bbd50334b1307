"""From an entry of the stream to an intent, or to a dead letter. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from string import Formatter
from typing import Any, Final

from gate.values.errors import InvalidIntent
from gate.values.fields import plain, read_decimal
from gate.values.intent import Intent, seen_id
from gate.values.stream_envelope import MOST_FIELDS, opened
from gate.values.stream_words import LETTERS_OF, letters

ENTRY_ID: Final = "entry_id"
"""In a template: the id of the entry in its stream, which no other entry has."""
_PRICE_NAMES: Final = ("entryprice", "price", "px")
_EMPTY: Final = ("", None)


@dataclass(frozen=True, slots=True)
class IdTemplate:
    """How an intent's id is made of its fields: `{trace_id}:{side}`. For producers that send several under one id."""

    parts: tuple[tuple[str, str | None], ...]
    """Texts, each with the name of the field that follows it."""

    @classmethod
    def read(cls, text: str) -> IdTemplate:
        """Raises ValueError, whose message says what is wrong."""
        parts = []
        try:
            pieces = list(Formatter().parse(text))
        except ValueError:
            raise ValueError(f"{text!r} has one brace of a pair; write {{{{ or }}}} for a plain one") from None
        for before, name, form, conversion in pieces:
            if name is not None and (form or conversion or not name.replace("_", "").isalnum()):
                raise ValueError(f"{text!r} has more in its braces than the name of a field")
            parts.append((before, name))
        if not any(name for _, name in parts):
            raise ValueError(f"{text!r} names no field: every intent would have the same id")
        return cls(tuple(parts))

    def made_of(self, fields: Mapping[Any, Any], entry_id: str) -> str:
        """The id. Raises InvalidIntent for a field that isn't there or that is empty."""
        by_letters = {letters(name): value for name, value in fields.items() if isinstance(name, str)}
        made = ""
        for before, name in self.parts:
            made += before
            if name is None:
                continue
            value = entry_id if name == ENTRY_ID else by_letters.get(letters(name))
            if value in _EMPTY or isinstance(value, dict | list):
                raise InvalidIntent(name, value, "is missing, and the id is made of it", missing=value is None)
            made += plain(value) if isinstance(value, Decimal) else str(value)
        return made.strip().replace(" ", "T")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that holds an intent."""

    entry_id: str
    """Its id in the stream: milliseconds, a hyphen, a number."""
    intent: Intent
    expected_price: Decimal | None
    """The price that the strategy has seen."""

    @property
    def order(self) -> tuple[int, int]:
        """Its place in the stream."""
        ms, _, number = self.entry_id.partition("-")
        return int(ms), int(number)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that holds nothing that can be read."""

    entry_id: str
    fields: Mapping[bytes, bytes]
    """As they came."""
    error: str
    intent_id: str
    """`?` where none is to be seen."""
    invalid: InvalidIntent
    symbol: str = ""
    """As it stands there; empty where it can't be read."""
    action: str = ""
    """The same."""


def read_entry(entry_id: str, fields: Mapping[bytes, bytes], template: IdTemplate | None = None) -> Entry | DeadLetter:
    """An intent without a time has the time of its entry; without that and an id, its id is made of the entry's."""
    content: Mapping[Any, Any] = {}
    try:
        content = opened(fields)
        if template is not None:
            content = {**_without_ids(content), "id": template.made_of(content, entry_id)}
        elif not _says(content, "id") and not _says(content, "timestamp"):
            content = _with_id_of(content, entry_id)
        intent = Intent.from_mapping(content, received_ms=int(entry_id.partition("-")[0]))
    except InvalidIntent as invalid:
        if not content and template is None:  # it can't be opened: what stands around it may say whose it is
            content = _as_far_as_seen(fields)
            invalid.intent_id = seen_id(content) or invalid.intent_id
        symbol, action = _text_of(content, "symbol"), _text_of(content, "side")
        return DeadLetter(entry_id, fields, str(invalid), invalid.intent_id, invalid, symbol, action)
    except Exception as broken:  # a bug here would end every worker that takes this entry, one after the other
        bug = InvalidIntent("entry", type(broken).__name__, "came of reading it; report it as a bug")
        return DeadLetter(entry_id, fields, str(bug), bug.intent_id, bug)
    return Entry(entry_id, intent, intent.price or _expected_price(content))


def _as_far_as_seen(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    seen = {}
    for name, value in islice(fields.items(), MOST_FIELDS):
        with suppress(UnicodeDecodeError):  # two ids would look alike
            seen[name.decode()] = value.decode()
    return seen


def _with_id_of(content: Mapping[Any, Any], entry_id: str) -> dict[Any, Any]:
    """With an id of symbol and entry. Without a symbol it has no intent, and its reading says so."""
    symbol = _text_of(content, "symbol")
    return {**content, "id": f"{symbol}_{entry_id}"} if symbol else dict(content)


def _text_of(content: Mapping[Any, Any], term: str) -> str:
    """The first text under a term's names; empty where there is none."""
    found = {letters(name): value for name, value in content.items() if isinstance(name, str)}
    return next((value for word in LETTERS_OF[term] if isinstance(value := found.get(word), str) and value), "")


def _says(content: Mapping[Any, Any], term: str) -> bool:
    words = LETTERS_OF[term]
    return any(
        isinstance(name, str) and letters(name) in words and not _blank(value) for name, value in content.items()
    )


def _without_ids(content: Mapping[Any, Any]) -> dict[Any, Any]:
    words = LETTERS_OF["id"]
    return {name: value for name, value in content.items() if not (isinstance(name, str) and letters(name) in words)}


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _expected_price(content: Mapping[Any, Any]) -> Decimal | None:
    by_letters = {letters(name): value for name, value in content.items() if isinstance(name, str)}
    for name in _PRICE_NAMES:
        try:
            return read_decimal(name, by_letters.get(name))
        except InvalidIntent:
            continue
    return None
