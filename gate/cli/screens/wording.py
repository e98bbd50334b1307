"""Writes spans, moments and foreign texts for a person. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_SECOND: Final = 1000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def span(ms: int) -> str:
    """A time to wait, never rounded down: `0.4 s`, `12 s`, `14m 31s`, `3h 5m`, `2d 4h`."""
    if ms < 10 * _SECOND:
        return f"{-(-max(ms, 0) // 100) / 10:g} s"
    if ms <= 59 * _SECOND:
        return f"{-(-ms // _SECOND)} s"
    if ms <= _HOUR - _SECOND:
        return "{}m {}s".format(*divmod(-(-ms // _SECOND), 60))
    if ms <= _DAY - _MINUTE:
        return "{}h {}m".format(*divmod(-(-ms // _MINUTE), 60))
    return "{}d {}h".format(*divmod(-(-ms // _HOUR), 24))


def moment(time_ms: int) -> str:
    """A time in UTC, ISO 8601, to the millisecond."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"  # somebody wrote it by hand: it is outside the calendar


def ago(time_ms: int, now_ms: int) -> str:
    """A moment, and its distance from now."""
    distance = now_ms - time_ms
    return f"{moment(time_ms)} ({span(distance)} ago)" if distance >= 0 else f"{moment(time_ms)} (in {span(-distance)})"


def printable(text: str) -> str:
    """A text without control characters: those in a text from Redis could change the terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def one_line(text: str) -> str:
    """A text on one line, without control characters."""
    return printable(" ".join(text.split()))
