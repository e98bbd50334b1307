"""A wire carries one message to the store and brings its reply, in bounded time."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from gate.protocol.scripts import Message

Reply: TypeAlias = Any  # any RESP value; gate.protocol decodes it. Of a pipeline: one for each command, in a list

T = TypeVar("T")
Dialogue: TypeAlias = Generator[Message, Reply, T]
"""Talks with the store: yields a message, gets its reply or failure, and so on; its value is the result. No I/O."""

DEFAULT_TIMEOUT_MS: Final = 250


class Wire(Protocol):
    """Carries messages to the store."""

    def round_trip(self, message: Message) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError.

        A pipeline raises only what concerns it as a whole: its first reply is a StoreUnavailable or doesn't come. Any
        other failure stands in the list, in the place of the reply: a StoreError, and ReplyLost for what didn't come.
        """

    def close(self) -> None:
        """Closes every connection."""


class AsyncWire(Protocol):
    """Wire for asyncio."""

    async def round_trip(self, message: Message) -> Reply:
        """As Wire.round_trip."""

    async def close(self) -> None:
        """Closes every connection."""
