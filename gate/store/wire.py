"""What carries one command to the store and brings its reply, in bounded time."""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeAlias

from gate.protocol.scripts import Command

Reply: TypeAlias = Any  # what RESP can carry; the protocol module gives it its types

DEFAULT_TIMEOUT_MS: Final = 250


class Wire(Protocol):
    """Carries commands."""

    def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""

    def close(self) -> None:
        """Closes every connection."""


class AsyncWire(Protocol):
    """Carries commands, for asyncio."""

    async def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""

    async def close(self) -> None:
        """Closes every connection."""
