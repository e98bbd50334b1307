"""One connection to the streams: it gets the events that it has subscribed to."""

from __future__ import annotations

from gate.paper.serving.socket_line import SocketLine
from gate.paper.streams.event import Event
from gate.paper.streams.hub import Hub
from gate.paper.streams.paths import Wanted
from gate.paper.streams.subscriptions import Subscriptions


class StreamTalk:
    def __init__(self, hub: Hub, line: SocketLine, wanted: Wanted) -> None:
        self._line = line
        self._events = wanted.events
        self._subscriptions = Subscriptions(hub, self._deliver, wanted)

    def hear(self, text: bytes) -> None:
        self._line.say(self._subscriptions.obey(text))

    def end(self) -> None:
        self._subscriptions.end()

    def _deliver(self, stream: str, event: Event) -> None:
        if self._events and self._subscriptions.is_user_stream(stream) and event.name not in self._events:
            return
        self._line.deliver(stream, event, event.combined(stream) if self._subscriptions.combined else event.body)
