"""Single values as people and streams write them, read into Decimal, epoch milliseconds and checked text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from gate.values.errors import InvalidField, InvalidIntent

_LONGEST_SENTENCE: Final = 200

_DECIMAL_TEXT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE: Final = re.compile(r"-?\d{1,16}", re.ASCII)
LARGEST_WHOLE: Final = 2**53
"""Up to it a double holds every whole number. Lua counts in doubles, and can't add 1 to this one."""
_MAX_DIGITS: Final = 28  # the default Decimal context; more would be rounded silently
_LARGEST: Final = Decimal("1e15")
_SMALLEST: Final = Decimal("1e-15")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_YEAR_2000_MS: Final = 946_684_800_000
_YEAR_2100_MS: Final = 4_102_444_800_000

DecimalLike = Decimal | int | float | str
"""A number in any type that callers use. A float is read through its shortest text, so 0.1 means 0.1."""

TimeLike = datetime | int | str
"""An aware datetime, epoch milliseconds (or seconds), or ISO 8601 text with a zone."""


def read_decimal(field: str, value: object) -> Decimal:
    """A number between 1e-15 and 1e15, with at most 28 digits. Raises InvalidIntent with the field's name."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        raise InvalidIntent(field, value, "is not a number")
    if isinstance(value, str):
        text = value.strip()
        if text.lower().lstrip("+-") in {"nan", "snan", "inf", "infinity"}:
            raise InvalidIntent(field, value, "is not finite")
        if not _DECIMAL_TEXT.fullmatch(text):
            raise InvalidIntent(field, value, "is not a number")
        figure = Decimal(text)
    elif isinstance(value, float):
        figure = Decimal(repr(value))
    else:
        figure = Decimal(value)
    if not figure.is_finite():
        raise InvalidIntent(field, value, "is not finite")
    if figure <= 0:
        raise InvalidIntent(field, value, "must be above zero")
    if not _SMALLEST <= figure <= _LARGEST:
        raise InvalidIntent(field, value, f"is not between {_SMALLEST} and {_LARGEST}")
    if len(figure.as_tuple().digits) > _MAX_DIGITS:
        raise InvalidIntent(field, value, f"has more than {_MAX_DIGITS} digits")
    return figure


def read_whole(text: str) -> int:
    """A whole number as the scripts write one: a double holds it exactly. Raises ValueError for anything else."""
    if len(text) < 16 and text.isdigit() and text.isascii():  # most of them: half the time of what tells the others
        return int(text)
    if not _WHOLE.fullmatch(text) or abs(number := int(text)) > LARGEST_WHOLE:
        raise ValueError("is not a whole number of at most 2^53")
    return number


def plain(figure: Decimal) -> str:
    """The canonical text of a number, without exponent and trailing zeros: 200, 200.0 and 2E+2 all give `200`."""
    text = f"{figure:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def read_time_ms(field: str, value: object, *, naive_is_utc: bool) -> int:
    """Epoch milliseconds of a time between the years 2000 and 2100.

    A number below 1e11 means seconds, below 1e14 milliseconds, and from 1e14 on microseconds. A text or datetime
    without a zone means UTC if `naive_is_utc`; else it is an error. Raises InvalidIntent with the field's name.
    """
    if isinstance(value, datetime):
        return _in_range(field, value, _datetime_ms(field, value, value, naive_is_utc=naive_is_utc))
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise InvalidIntent(field, value, "is not a time; give ISO 8601 text or epoch milliseconds")
    if isinstance(value, str):
        text = value.strip()
        if not _DECIMAL_TEXT.fullmatch(text):
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise InvalidIntent(
                    field, value, "is not a time; give ISO 8601 text with a zone, or epoch milliseconds"
                ) from None
            return _in_range(field, value, _datetime_ms(field, value, moment, naive_is_utc=naive_is_utc))
        number = Decimal(text)
    else:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    # Seconds of the year 2000 are 9.5e8. A tiny figure can't be multiplied where the caller's decimals trap that.
    if not number.is_finite() or not Decimal("1e8") < number < Decimal("1e17"):
        raise InvalidIntent(field, value, "is not a time")
    if number < Decimal("1e11"):
        number *= 1000
    elif number >= Decimal("1e14"):
        number /= 1000
    return _in_range(field, value, int(number))


def _datetime_ms(field: str, value: object, moment: datetime, *, naive_is_utc: bool) -> int:
    if moment.tzinfo is None:
        if not naive_is_utc:
            raise InvalidIntent(field, value, "has no zone; add one, for UTC a trailing Z or tzinfo=UTC")
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def _in_range(field: str, value: object, time_ms: int) -> int:
    if not _YEAR_2000_MS <= time_ms < _YEAR_2100_MS:
        raise InvalidIntent(field, value, "is not a time between the years 2000 and 2100")
    return time_ms


def check_sentence(field: str, value: object) -> None:
    """Whether a person's name or reason can be audited. Raises InvalidField."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidField(field, value, "is empty; it is needed for the audit")
    if len(value) > _LONGEST_SENTENCE or not value.isprintable():
        raise InvalidField(field, value, f"is not one line of at most {_LONGEST_SENTENCE} printable characters")
