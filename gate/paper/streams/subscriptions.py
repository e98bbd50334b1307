"""What a connection listens to, and what it asks for: SUBSCRIBE and the like, in the exchange's words."""

from __future__ import annotations

import msgspec

from gate.paper.streams.hub import Deliver, Hub
from gate.paper.streams.paths import Wanted
from gate.paper.streams.topics import read_topic

Answer = dict[str, object]

_INVALID = 2  # the exchange's code for an order that it can't read


class _Order(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[object] = []


class Subscriptions:
    """The streams of one connection.

    A stream of another category than the address's is taken, like any name, but has no events.
    """

    def __init__(self, hub: Hub, deliver: Deliver, wanted: Wanted) -> None:
        self._hub = hub
        self._deliver = deliver
        self._category = wanted.category
        self.combined = wanted.combined
        self._streams: list[str] = []
        for stream in wanted.streams:
            self._add(stream)

    @staticmethod
    def is_user_stream(stream: str) -> bool:
        return read_topic(stream) is None

    def obey(self, text: bytes) -> bytes:
        """Do what a message asks. Returns the answer."""
        try:
            order = msgspec.json.decode(text, type=_Order)
        except msgspec.MsgspecError as problem:
            return _encode(_refusal(f"Invalid request: {problem}", None))
        return _encode(self._answer(order))

    def end(self) -> None:
        for stream in self._streams:
            self._hub.leave(stream, self._deliver)
        self._streams.clear()

    def _answer(self, order: _Order) -> Answer:
        names = [name for name in order.params if isinstance(name, str)]
        match order.method:
            case "SUBSCRIBE" | "UNSUBSCRIBE" if len(names) != len(order.params):
                return _refusal("Invalid request: params must be strings", order.id)
            case "SUBSCRIBE":
                for name in names:
                    self._add(name)
                return {"result": None, "id": order.id}
            case "UNSUBSCRIBE":
                for name in names:
                    self._remove(name)
                return {"result": None, "id": order.id}
            case "LIST_SUBSCRIPTIONS":
                return {"result": list(self._streams), "id": order.id}
            case "GET_PROPERTY" if order.params == ["combined"]:
                return {"result": self.combined, "id": order.id}
            case "SET_PROPERTY" if len(order.params) == 2 and order.params[0] == "combined":
                self.combined = bool(order.params[1])
                return {"result": None, "id": order.id}
        return _refusal(f"Invalid request: unknown method or params of {order.method}", order.id)

    def _add(self, stream: str) -> None:
        if stream in self._streams:
            return
        self._streams.append(stream)
        topic = read_topic(stream)
        category = "private" if topic is None else topic.category
        if self._category in (None, category):
            self._hub.join(stream, self._deliver)

    def _remove(self, stream: str) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._hub.leave(stream, self._deliver)


def _refusal(text: str, number: int | str | None) -> Answer:
    return {"error": {"code": _INVALID, "msg": text}, "id": number}


def _encode(answer: Answer) -> bytes:
    return msgspec.json.encode(answer)
