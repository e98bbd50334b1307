"""One stream entry: its fields by the words for them, and how single values are read. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, Final, TypeVar

from gate.values.errors import InvalidIntent, shown
from gate.values.order_terms import TIMES_IN_FORCE
from gate.values.stream_envelope import blank
from gate.values.stream_words import (
    FIGURES_OR_OTHER,
    FLAGS_OR_OTHER,
    LASTS_OR_OTHER,
    REFUSED_TERMS,
    TERMS_OF,
    Term,
    letters,
    names_an_order_type,
)

_Value = TypeVar("_Value")
_LIKE_A_NUMBER: Final = re.compile(r"[^\w]*\d")
PLAIN: Final = (str, float, Decimal)
"""Of these a text can be had, whatever they hold."""
YES: Final = frozenset({"true", "1", "yes"})
NO: Final = frozenset({"false", "0", "no"})
_LASTS: Final = frozenset(map(letters, (*TIMES_IN_FORCE, "GTD", "post_only")))
_NOTHING: Final = frozenset({"none", "null", "nan", "false", "no"})


class Entry:
    """One entry's fields by the words for them, and what reading them has decided."""

    def __init__(self, fields: Mapping[Any, Any]) -> None:
        self.aside: dict[str, object] = {}
        self.notes: list[str] = []
        self._by_term: dict[str, list[tuple[int, str, Any]]] = {}
        self._doubtful: list[tuple[str, str, Any]] | None = None
        for name, value in fields.items():
            terms = _means(name, value)
            if not terms:
                self.aside[name] = value
            elif not blank(value):
                for term, place in terms:
                    self._by_term.setdefault(term, []).append((place, name, value))

    def said(self, term: str) -> list[tuple[str, Any]]:
        """The fields of a term that say something, in the order of its words."""
        found = self._by_term.get(term)
        if found is None:
            return []
        if len(found) > 1:
            found = sorted(found, key=itemgetter(0))
        return [(name, value) for _, name, value in found]

    def refused(self) -> Iterator[Term]:
        """The terms of orders that the gate doesn't place, as far as there are fields of them."""
        return (REFUSED_TERMS[term] for term in self._by_term if term in REFUSED_TERMS)

    def first(self, term: str) -> tuple[str, Any]:
        """The first of them; None where none is there."""
        said = self.said(term)
        return said[0] if said else (term, None)

    def doubtful(self) -> list[tuple[str, str, Any]]:
        """What no table knows, under a name that is text: its letters, the name, the value."""
        if self._doubtful is None:
            self._doubtful = [
                (letters(name), name, value) for name, value in self.aside.items() if isinstance(name, str)
            ]
        return self._doubtful

    def drop_zeros(self, *terms: str) -> None:
        """Leaves out fields that say nothing, such as 0."""
        for term in terms:
            rows = [row for row in self._by_term.get(term, ()) if not says_nothing(row[2])]
            if rows:
                self._by_term[term] = rows
            else:
                self._by_term.pop(term, None)

    def agreed(self, term: str, read: Callable[[str, object], _Value]) -> _Value | None:
        """The value of a term. Two fields with different values are an error."""
        said = self.said(term)
        if not said:
            return None
        first, first_raw = said[0]
        value = read(first, first_raw)
        for name, raw in said[1:]:
            if read(name, raw) != value:
                raise InvalidIntent(name, raw, f"contradicts {first} {shown(first_raw)}")
        return value


def says_nothing(value: object) -> bool:
    """Whether a value is a way of writing that there is none: blank, zero, false, NONE."""
    if blank(value) or value is False:
        return True
    if isinstance(value, str) and value.strip().lower() in _NOTHING:
        return True
    if isinstance(value, float) and value != value:
        return True
    try:
        return not isinstance(value, bool) and isinstance(value, str | int | float | Decimal) and Decimal(value) == 0
    except (InvalidOperation, ValueError):
        return False


def is_one(value: object) -> bool:
    """Whether a value is 1, which may be a flag or a figure."""
    return value == 1 if isinstance(value, int) else isinstance(value, PLAIN) and str(value).strip() == "1"


def is_word(value: object, words: frozenset[str]) -> bool:
    """Whether a value is one of some words; 1 and 0 may be numbers."""
    if isinstance(value, Decimal) and not value.is_finite():
        return False  # a signalling NaN can't be compared
    if isinstance(value, int | float | Decimal):
        return value in (0, 1) and str(int(value)) in words
    return isinstance(value, str) and value.strip().lower() in words


def one_of(allowed: tuple[str, ...]) -> Callable[[str, object], str]:
    """A reader of one of some words, in any spelling. It raises InvalidIntent."""
    by_letters = {letters(word): word for word in allowed}

    def read(name: str, value: object) -> str:
        word = by_letters.get(letters(upper(value, name)))
        if word is None:
            raise InvalidIntent(name, value, f"is not one of {', '.join(allowed)}")
        return word

    return read


def upper(value: object, name: str) -> str:
    """A text in capitals. Raises InvalidIntent for what is no text."""
    if not isinstance(value, str):
        raise InvalidIntent(name, value, "is not text")
    return value.strip().upper()


def yes_or_no(name: str, value: object) -> bool:
    """A flag, in any spelling. Raises InvalidIntent."""
    text = digits(name, value) if isinstance(value, int) else str(value) if isinstance(value, PLAIN) else ""
    text = text.strip().lower()
    if text not in YES | NO:
        raise InvalidIntent(name, value, "is not true or false")
    return text in YES


def digits(name: str, value: int) -> str:
    """A number's text. Raises InvalidIntent where Python doesn't print it."""
    try:
        return str(value)
    except ValueError:  # Python prints no more than some 4,300 of them
        raise InvalidIntent(name, value, "has too many digits") from None


def told(value: object) -> str:
    """A value as a note tells it, without the quotes of an error."""
    said = shown(value)
    if not isinstance(value, PLAIN):
        return said
    # JSON may hold half of a surrogate pair, which no stream and no file takes.
    text = str(value)[:200].encode("utf-8", "backslashreplace").decode()
    return " ".join(text.split())[:40] or said


def _means(name: object, value: object) -> tuple[tuple[str, int], ...]:
    """The terms that a field is for, each with the name's place there. Empty where it is used for something else."""
    if not isinstance(name, str):
        return ()
    word = letters(name)
    if word == "type" and not names_an_order_type(value):
        return ()
    if (word in FLAGS_OR_OTHER and not _is_flag(value)) or (word in FIGURES_OR_OTHER and not _is_figure(value)):
        return ()
    if word in LASTS_OR_OTHER and not (isinstance(value, str) and letters(value) in _LASTS):
        return ()
    return TERMS_OF.get(word, ())


def _is_flag(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in (YES | NO) - {"1", "0"})


def _is_figure(value: object) -> bool:
    """Whether a value is a number, or begins like one: `1,400`, `< 60000`."""
    if isinstance(value, str) and _LIKE_A_NUMBER.match(value):
        return True
    try:
        return not isinstance(value, bool) and isinstance(value, str | int | float | Decimal) and bool(Decimal(value))
    except (InvalidOperation, ValueError):
        return False
