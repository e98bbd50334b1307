"""What the services of an account tell one another through the store: the audit's news, and which alerts are told.

The marks of what is told are `P:stream:alert:{kind}`: beside the streams, so that a worker's rights are enough.
"""

from __future__ import annotations

import time
from typing import Any, Final

import redis.asyncio
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Call, script
from gate.protocol.texts import as_text
from gate.service.alerts import OF_ACCOUNT, Alert, Kind, Turn
from gate.service.streams import STORE_FAILURES
from gate.store.connect import load_script
from gate.values.log_words import log_of

_log: Final = log_of("gate.service")

_AT_ONCE: Final = 500
_MOST_PAGES: Final = 30
"""More than a stream keeps of 10,000 entries."""
_FROM_BEFORE_MS: Final = 600_000
"""A service that starts reads the audit of the last ten minutes, by its host's clock: nobody may have been there."""
_MARK_MS: Final = 86_400_000
_ON: Final = "1"
_OVER: Final = "0"
_NEVER: Final = "-"
"""What lua/mark_told.lua finds where nothing is marked."""
_KEPT: Final = 10_000


class News:
    """Raises what redis-py raises where the store fails."""

    def __init__(self, client: Any, prefix: str, *, observes: bool = False) -> None:
        """`observes`: whether this service does."""
        self._client: Final[redis.asyncio.Redis] = client
        self._marks: Final = f"{prefix}:stream:alert:"
        self._script: Final = script("mark_told")
        self._call: Final = Call("EVALSHA", self._script, {"keep_ms": _MARK_MS})
        account, own = Keyspace(prefix), Keyspace(prefix, observing=observes)
        # People's acts and trips; what workers note whose users may not write there; and the same of who observes.
        self._after: Final = dict.fromkeys((account.audit, account.journal, own.audit, own.journal), "")
        self._writes: str = own.audit
        self._journal: Final = own.journal
        self._unmarked: Final[set[Kind]] = set()
        """Of what this service has told the last turn without a mark: the mark that stands there is an older one."""

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
            before, _ = await self._mark(f"{alert.kind}:{alert.once}", _ON)
            return before == _NEVER
        if alert.kind not in OF_ACCOUNT:
            return True
        now_on = alert.turn is Turn.BEGINS
        try:
            before, age_s = await self._mark(alert.kind, _ON if now_on else _OVER)
        except STORE_FAILURES:
            if not alert.inherited:  # who calls tells it all the same
                self._unmarked.add(alert.kind)
            raise
        if alert.kind in self._unmarked:
            self._unmarked.discard(alert.kind)
            return True
        if before == _NEVER:
            return not alert.inherited
        # What is marked was otherwise since, as this service has seen: the store has gone back to that mark. The time
        # is taken after the reply, so that no delay makes a mark of now look older than that.
        gone_back = alert.otherwise_s is not None and age_s > time.monotonic() - alert.otherwise_s
        return gone_back or (before == _ON) != now_on

    async def _mark(self, what: str, turn: str) -> tuple[str, float]:
        """What was marked before, and how many seconds ago."""
        call = self._call(mark=self._marks + what, turn=turn)
        try:
            reply: Any = await self._client.execute_command(*call)
        except NoScriptError:
            await load_script(self._client, self._script.source, self._marks + what)
            reply = await self._client.execute_command(*call)
        before, _, age_ms = as_text(reply).rpartition(" ")
        return before, int(age_ms) / 1000

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
