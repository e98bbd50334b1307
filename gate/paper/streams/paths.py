"""The paths of the streams: /ws and /stream, under /public, /market, /private, or none as before 2026. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from msgspec import Struct

CATEGORIES = ("public", "market", "private")


class Wanted(Struct, frozen=True):
    """What a connection's address asks for.

    `combined`: events come wrapped, with their stream's name. `category`: the only kind of streams that come, or None
    for every kind. `events`: the only events of the user stream that come, or all when empty.
    """

    combined: bool
    category: str | None
    streams: Sequence[str]
    events: frozenset[str] = frozenset()


def is_stream_path(path: str) -> bool:
    return _split(path)[1] in ("ws", "stream")


def wanted_by(path: str, query: str) -> Wanted:
    category, kind, rest = _split(path)
    streams = [part for part in rest.split("/") if part]
    events: set[str] = set()
    for name, value in parse_qsl(query):
        if name == "streams":
            streams += [part for part in value.split("/") if part]
        elif name == "listenKey":
            streams.append(value)
        elif name == "events":
            events.update(part for part in value.split("/") if part)
    return Wanted(kind == "stream", category, tuple(dict.fromkeys(streams)), frozenset(events))


def _split(path: str) -> tuple[str | None, str, str]:
    """Category, ws or stream, and what follows."""
    head, _, rest = path.strip("/").partition("/")
    category = head if head in CATEGORIES else None
    if category is not None:
        head, _, rest = rest.partition("/")
    return category, head, rest
