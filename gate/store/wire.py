"""A wire carries one command to the store and brings its reply, in bounded time."""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeAlias

from gate.protocol.scripts import Command

Reply: TypeAlias = Any  # any RESP value; gate.protocol decodes it

DEFAULT_TIMEOUT_MS: Final = 250


class Wire(Protocol):
    """Carries commands to the store."""

    def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""

    def close(self) -> None:
        """Closes every connection."""


class AsyncWire(Protocol):
    """Wire for asyncio."""

    async def round_trip(self, command: Command) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""

    async def close(self) -> None:
        """Closes every connection."""
