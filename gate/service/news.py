"""What the services of an account tell one another through the store: the audit's news, and which alerts are told.

The marks of what is told are `P:stream:alert:{kind}`: beside the streams, so that a worker's rights are enough.
"""

from __future__ import annotations

import time
from typing import Any, Final

import redis.asyncio

from gate.service.alerts import OF_ACCOUNT, Alert, Turn

_AT_ONCE: Final = 100
_FROM_BEFORE_MS: Final = 600_000
"""A service that starts reads the audit of the last ten minutes, by its host's clock: nobody may have been there."""
_MARK_MS: Final = 86_400_000
_KEPT: Final = 10_000


class News:
    """Raises what redis-py raises where the store fails."""

    def __init__(self, client: Any, prefix: str, audits: tuple[str, ...]) -> None:
        """`audits`: the keys to read; what this service has to say goes into the last of them."""
        self._client: Final[redis.asyncio.Redis] = client
        self._marks: Final = f"{prefix}:stream:alert:"
        self._after: Final = dict.fromkeys(audits, "")
        self._own: Final = audits[-1]

    async def read(self) -> list[tuple[str, dict[str, str]]]:
        """What the audit has got since the last call."""
        found: list[tuple[str, dict[str, str]]] = []
        for key, after in self._after.items():
            if not after:
                after = f"{time.time_ns() // 1_000_000 - _FROM_BEFORE_MS}-0"
                self._after[key] = after
            rows: Any = await self._client.xrevrange(key, min=f"({after}", count=_AT_ONCE)
            for entry_id, fields in reversed(rows):
                self._after[key] = _text(entry_id)
                found.append((_text(entry_id), {_text(name): _text(value) for name, value in fields.items()}))
        return found

    async def to_tell(self, alert: Alert) -> bool:
        """Whether this service is the one to tell it: of an account's services, the first."""
        if alert.turn is Turn.HAPPENED:
            return bool(await self._client.set(f"{self._marks}{alert.kind}:{alert.once}", "1", nx=True, px=_MARK_MS))
        if alert.kind not in OF_ACCOUNT:
            return True
        now_on = alert.turn is Turn.BEGINS
        before: Any = await self._client.set(f"{self._marks}{alert.kind}", str(int(now_on)), get=True, px=_MARK_MS)
        if now_on:
            return bool(before != b"1")
        return bool(before == b"1" or (before is None and not alert.inherited))

    async def audit(self, alert: Alert, by: str, now_ms: int) -> None:
        """Writes it beside the acts and the trips."""
        over = " over" if alert.turn is Turn.OVER else ""
        fields: dict[Any, Any] = {"what": f"alert {alert.kind}{over}", "by": by, "reason": alert.says[:500]}
        fields |= {"at": str(now_ms), "call": "", "user": ""}  # as lua/include/audit.lua writes them
        await self._client.xadd(self._own, fields, maxlen=_KEPT, approximate=True)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
