"""The key to an account's user stream: one at a time, for sixty minutes after it was last asked for. Pure."""

from __future__ import annotations

import secrets

from gate.paper.market.errors import Code, refuse

LIFETIME_MS = 60 * 60_000


class ListenKey:
    def __init__(self) -> None:
        self.text: str | None = None
        self._until_ms = 0

    def open(self, now_ms: int) -> str:
        """A key that is valid for sixty minutes: the one there is, or a new one."""
        if self.text is None:
            self.text = secrets.token_hex(32)
        self._until_ms = now_ms + LIFETIME_MS
        return self.text

    def extend(self, now_ms: int) -> str:
        """Sixty minutes more for the key there is; -1125 if there is none."""
        if self.text is None:
            raise refuse(Code.NO_LISTEN_KEY)
        return self.open(now_ms)

    def close(self) -> str | None:
        """End the key now. Returns the key that has ended."""
        ended, self.text = self.text, None
        return ended

    def close_if_due(self, now_ms: int) -> str | None:
        return self.close() if self.text is not None and now_ms >= self._until_ms else None
