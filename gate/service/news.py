"""What the services of an account tell one another through the store: the audit's news, and which alerts are told.

The marks of what is told are `P:stream:alert:{kind}`: beside the streams, so that a worker's rights are enough.
"""

from __future__ import annotations

import time
from typing import Any, Final

import redis.asyncio
from redis.exceptions import NoPermissionError, ResponseError

from gate.protocol.keyspace import Keyspace
from gate.protocol.texts import as_text
from gate.service.alerts import OF_ACCOUNT, Alert, Turn
from gate.values.log_words import log_of

_log: Final = log_of("gate.service")

_AT_ONCE: Final = 500
_MOST_PAGES: Final = 30
"""More than a stream keeps of 10,000 entries."""
_FROM_BEFORE_MS: Final = 600_000
"""A service that starts reads the audit of the last ten minutes, by its host's clock: nobody may have been there."""
_MARK_MS: Final = 86_400_000
_KEPT: Final = 10_000


class News:
    """Raises what redis-py raises where the store fails."""

    def __init__(self, client: Any, prefix: str, *, observes: bool = False) -> None:
        """`observes`: whether this service does."""
        self._client: Final[redis.asyncio.Redis] = client
        self._marks: Final = f"{prefix}:stream:alert:"
        account, own = Keyspace(prefix), Keyspace(prefix, observing=observes)
        # People's acts and trips; what workers note whose users may not write there; and the same of who observes.
        self._after: Final = dict.fromkeys((account.audit, account.journal, own.audit, own.journal), "")
        self._writes: str = own.audit
        self._journal: Final = own.journal

    async def read(self) -> list[tuple[str, dict[str, str]]]:
        """What the audit and the journal have got since the last call."""
        found: list[tuple[str, dict[str, str]]] = []
        came_to: dict[str, str] = {}
        refused: ResponseError | None = None
        for key, after in self._after.items():
            after = after or f"{time.time_ns() // 1_000_000 - _FROM_BEFORE_MS}-0"
            try:
                rows = await self._since(key, after)
            except ResponseError as error:  # a damaged key hides not what stands in the others
                refused = error
                continue
            came_to[key] = as_text(rows[-1][0]) if rows else after
            for entry_id, fields in rows:
                found.append((as_text(entry_id), {as_text(name): as_text(value) for name, value in fields.items()}))
        self._after.update(came_to)  # only now: a store that goes away in between hides nothing
        if refused is not None and not found:
            raise refused
        return found

    async def _since(self, key: str, after: str) -> list[Any]:
        """All entries behind that one, the oldest first. From the newest back, for a worker may only read this way."""
        rows: list[Any] = []
        until = "+"
        for _ in range(_MOST_PAGES):
            page: Any = await self._client.xrevrange(key, max=until, min=f"({after}", count=_AT_ONCE)
            rows += page
            if len(page) < _AT_ONCE:
                break
            until = f"({as_text(page[-1][0])}"
        else:
            _log.warning("NEWS NOT READ key=%s after=%s before=%s", key, after, until[1:])
        return rows[::-1]

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
        """Writes it beside the acts and the trips; beside what workers note, where the user may not write there."""
        over = " over" if alert.turn is Turn.OVER else ""
        fields: dict[Any, Any] = {"what": f"alert {alert.kind}{over}", "by": by, "reason": alert.says[:500]}
        fields |= {"at": str(now_ms), "call": "", "user": ""}  # as lua/include/audit.lua writes them
        try:
            await self._client.xadd(self._writes, fields, maxlen=_KEPT, approximate=True)
        except NoPermissionError:
            if self._writes == self._journal:
                raise
            self._writes = self._journal  # from now on: each refusal is a line of the server's ACL LOG
            await self._client.xadd(self._writes, fields, maxlen=_KEPT, approximate=True)
