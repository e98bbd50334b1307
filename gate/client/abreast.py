"""Dialogues that are carried on side by side: what all of them ask next goes out in one trip."""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

from gate.protocol.scripts import Command, Message, Pipeline
from gate.store.wire import Dialogue, Reply
from gate.values.errors import StoreUnavailable

T = TypeVar("T")
_AT_ONCE: Final = 5_000
"""Commands in one trip. A server answers as many in a tenth of the shortest time-out."""


class Part(Generic[T]):
    """One of the dialogues, and its result once they have ended."""

    def __init__(self, dialogue: Dialogue[T]) -> None:
        self._dialogue: Final = dialogue
        self._asks: Message | None = None
        self.result: T

    def begins(self) -> bool:
        """Whether it asks something."""
        return self._ends_or_asks(None)

    def asks(self) -> tuple[Command, ...]:
        """What it asks now."""
        if self._asks is None:
            return ()
        return self._asks.commands if isinstance(self._asks, Pipeline) else (self._asks,)

    def hears(self, replies: list[Reply]) -> bool:
        """Takes the replies. Whether it asks something more. Raises StoreFailure."""
        return self._ends_or_asks(replies)

    def _ends_or_asks(self, replies: list[Reply] | None) -> bool:
        try:
            if replies is None:
                self._asks = next(self._dialogue)
            elif lost := next((each for each in replies if isinstance(each, StoreUnavailable)), None):
                self._asks = self._dialogue.throw(lost)
            elif isinstance(self._asks, Pipeline):
                self._asks = self._dialogue.send(replies)
            elif isinstance(replies[0], Exception):
                self._asks = self._dialogue.throw(replies[0])
            else:
                self._asks = self._dialogue.send(replies[0])
        except StopIteration as done:
            self._asks, self.result = None, done.value
        return self._asks is not None


class _Carried(Protocol):
    """A Part with a result of any type."""

    def begins(self) -> bool: ...
    def asks(self) -> tuple[Command, ...]: ...
    def hears(self, replies: list[Reply]) -> bool: ...


def abreast(*parts: _Carried) -> Dialogue[None]:
    """Carries them on until all have their results. Raises StoreFailure."""
    asking = [part for part in parts if part.begins()]
    while asking:
        commands = [command for part in asking for command in part.asks()]
        replies: list[Reply] = []
        for start in range(0, len(commands), _AT_ONCE):
            replies += yield Pipeline(tuple(commands[start : start + _AT_ONCE]))
        heard, still = 0, []
        for part in asking:
            count = len(part.asks())
            if part.hears(replies[heard : heard + count]):
                still.append(part)
            heard += count
        asking = still
