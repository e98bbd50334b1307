"""Opens the envelopes of stream entries: a JSON text in `payload`, one in `data`, or flat fields. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from gate.values.errors import InvalidIntent, cut
from gate.values.stream_words import LETTERS_OF, letters

_TWICE: Final = "stands there twice; which one is meant?"
_LONGEST_PROBLEM: Final = 200
MOST_FIELDS: Final = 1_000
"""Of an entry. Each unknown name is compared with those that are known: a million of them would hold up a worker for
minutes, and then the one that takes over from it."""
_LONGEST_PAYLOAD: Final = 1_000_000
"""Characters."""
NOT_JSON: Final = (ValueError, ArithmeticError, RecursionError)


def opened(mapping: Mapping[Any, object]) -> dict[Any, Any]:
    """A stream entry's fields out of their envelope, as texts. Raises InvalidIntent."""
    _bounded(mapping)
    entry = _open_envelope(_as_texts(mapping))
    _bounded(entry)
    return entry


def _bounded(fields: Mapping[Any, object]) -> None:
    if len(fields) > MOST_FIELDS:
        raise InvalidIntent("entry", len(fields), f"fields are too many; {MOST_FIELDS} are read")


def visible_id(mapping: Mapping[Any, object]) -> object:
    """What stands where an entry's id should, or the id that is made of its symbol and time; None where neither is
    there. Never raises."""
    said = {letters(name): value for name, value in islice(mapping.items(), MOST_FIELDS) if isinstance(name, str)}

    def first(term: str) -> object:
        """What a reading takes: the first that isn't blank."""
        return next((value for word in LETTERS_OF[term] if not blank(value := said.get(word))), None)

    if (own := first("id")) is not None:
        return _as_id(own)
    symbol, time = _as_id(first("symbol")), _as_id(first("timestamp"))
    return made_id(symbol, time) if symbol and time else None


def _as_id(value: object) -> str | None:
    """A text or a whole number, as an id has it; None for all else."""
    if isinstance(value, int) and not isinstance(value, bool):
        with suppress(ValueError):  # Python prints no more than some 4,300 digits
            return str(value)
    return value if isinstance(value, str) else None


def made_id(symbol: str, time: str) -> str:
    """The id of an intent that has none of its own, of its symbol and its time as they stand there."""
    return f"{symbol}_{time.strip()}".replace(" ", "T")


def read_json(text: str, constant: Callable[[str], object] | None = None) -> Any:
    """A JSON text. Raises InvalidIntent for a field that stands twice in one object: nobody can tell which is meant.
    Raises ValueError, ArithmeticError, RecursionError for what can't be read. `constant` reads NaN and Infinity, which
    are no JSON."""
    return json.loads(text, parse_float=Decimal, parse_constant=constant or _refuse_constant, object_pairs_hook=_object)


def blank(value: object) -> bool:
    """Whether a value is absent, or text without a letter."""
    return value is None or (isinstance(value, str) and not value.strip())


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        seen = set[str]()
        for name, value in fields:
            if name in seen:
                raise InvalidIntent(name, value, _TWICE)
            seen.add(name)
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no figure")


def _text(value: Any) -> Any:
    """The text of a value. Redis clients give bytes by default."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidIntent("entry", value, "is not UTF-8 text") from None


def _as_texts(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    entry: dict[Any, Any] = {}
    for key, value in mapping.items():
        name = _text(key)
        if name in entry:  # as text and as bytes
            raise InvalidIntent(str(name), _text(value), _TWICE)
        entry[name] = _text(value)
    return entry


def _open_envelope(entry: dict[Any, Any]) -> dict[Any, Any]:
    for name in ("payload", "data"):
        content = entry.get(name)
        if content is None or any(_letters_or_name(each) == "symbol" for each in entry):
            continue
        if isinstance(content, str):
            if len(content) > _LONGEST_PAYLOAD:
                raise InvalidIntent(name, content, f"has {len(content)} characters; {_LONGEST_PAYLOAD} are read")
            try:
                content = read_json(content)
            except InvalidIntent:
                raise
            except NOT_JSON as error:
                raise InvalidIntent(name, content, f"is not JSON ({cut(str(error), _LONGEST_PROBLEM)})") from None
        if not isinstance(content, dict):
            raise InvalidIntent(name, content, "is not a JSON object")
        inside = {_letters_or_name(key) for key, value in content.items() if not blank(value)}
        around = {key: value for key, value in entry.items() if key != name and _letters_or_name(key) not in inside}
        return {**content, **around}  # of the same field, a blank one inside gives way to the one outside
    return entry


def _letters_or_name(name: object) -> object:
    return letters(name) if isinstance(name, str) else name
