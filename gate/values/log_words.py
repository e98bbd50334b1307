"""How a line of the log is made: what others wrote can't look like another line, or like another field of this one.

A line is words with one space between them: bare words, `name=value`, and texts in quotes. Whatever a call puts into
its line is made such a word here, by a filter on the logger: a text with spaces, quotes or `=` is quoted as in JSON,
what can't be printed is escaped, and what is too long is cut. docs/security.md tells how to read a line back.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping
from typing import Final

from gate.values.intent import Intent
from gate.values.verdict import Permit

LONGEST: Final = 1000
"""The most characters of one text, and of one line of a traceback."""
_MOST_LINES: Final = 100
_BARE: Final = re.compile(r'[^\s"=\\]+')


class Line(str):
    """A part of a line that is made of words already."""

    __slots__ = ()


def word(value: object) -> Line:
    """A value as one word: as it stands where that is plain, else in quotes, escaped and cut."""
    if isinstance(value, Line):
        return value
    try:
        text = str(value)
    except Exception:  # a value of a service, whose text can't be had
        text = f"<{type(value).__name__}>"
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}…"
    if _BARE.fullmatch(text) and text.isprintable():
        return Line(text)
    return Line(escaped(json.dumps(text, ensure_ascii=False)))


def escaped(text: str) -> str:
    """A text in which whatever can't be printed is escaped as JSON does it: control characters, line separators, marks
    that change the direction of writing, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def pairs(**values: object) -> Line:
    """Words `name=value`. What is None or empty is left out."""
    return Line(
        " ".join(f"{name}={word(value)}" for name, value in values.items() if value is not None and value != "")
    )


def names(of: Intent | Permit, **values: object) -> Line:
    """Id, symbol and side of an intent, then further pairs. Every line about an intent names it in these words."""
    intent_id = of.id if isinstance(of, Intent) else of.intent_id
    return pairs(id=intent_id, symbol=of.symbol, side=of.side, **values)


def inform(log: logging.Logger, what: str, of: Intent | Permit, **values: object) -> None:
    """Writes a line at INFO: what happens, then as `names`. For lines of every order: where nobody reads them, they
    cost nothing."""
    if log.isEnabledFor(logging.INFO):
        log.info("%s %s", Line(what), names(of, **values), stacklevel=2)


class _Words(logging.Filter):
    """Makes words of a record's arguments, and lines that can't be mistaken of its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_argument, record.args))
        elif isinstance(record.args, Mapping):
            record.args = {name: _argument(each) for name, each in record.args.items()}
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = _told(record.exc_info[1])
        return True


def _argument(value: object) -> object:
    return value if isinstance(value, int | float) else word(value)


def _told(error: BaseException) -> str:
    """A traceback of which no line can be mistaken for a line of the log."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # of an exception whose text can't be had
        text = type(error).__name__
    lines = text[-_MOST_LINES * LONGEST :].splitlines()[-_MOST_LINES:]
    return "\n".join(f"    | {escaped(line[:LONGEST])}" for line in lines)


_WORDS: Final = _Words()


def log_of(name: str) -> logging.Logger:
    """The logger of that name. Every module of the gate gets its logger here, so that none writes a line otherwise."""
    logger = logging.getLogger(name)
    logger.addFilter(_WORDS)  # once: the same filter isn't added again
    return logger
