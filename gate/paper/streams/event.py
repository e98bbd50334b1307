"""One event of a stream."""

from __future__ import annotations

import msgspec
from msgspec import Struct

_ENCODER = msgspec.json.Encoder()


class Event(Struct, frozen=True):
    """An event as JSON text, with what a fault can match: its name (`e`), symbol and client order id."""

    name: str
    body: bytes
    symbol: str | None = None
    client_order_id: str | None = None

    def combined(self, stream: str) -> bytes:
        """The event as a combined stream wraps it."""
        return b'{"stream":' + _ENCODER.encode(stream) + b',"data":' + self.body + b"}"


def event(name: str, shape: dict[str, object], symbol: str | None = None, client_order_id: str | None = None) -> Event:
    return Event(name, _ENCODER.encode({"e": name, **shape}), symbol, client_order_id)


def events(name: str, shapes: list[dict[str, object]]) -> Event:
    """Many symbols' events in one, as the streams of all symbols send them."""
    return Event(name, _ENCODER.encode([{"e": name, **shape} for shape in shapes]))
