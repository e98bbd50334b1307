"""Takes alerts to where people see them: a line of the log, the audit, a webhook. Nothing waits for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from gate.service.alert_settings import AlertSettings
from gate.service.alerts import AUDITED_ANYWAY, UNWRITABLE, Alert, Turn
from gate.service.metrics import Metrics
from gate.service.news import News
from gate.service.streams import STORE_FAILURES
from gate.service.webhook import NotSent, Webhook, body_of
from gate.values.log_words import log_of

_log: Final = log_of("gate.alerts")

_KEPT: Final = 100
_LAST_WORDS_S: Final = 3.0


class Teller:
    """Tells alerts in their order, one after the other. Use it in an `async with` block."""

    def __init__(
        self,
        settings: AlertSettings,
        news: News,
        metrics: Metrics,
        *,
        prefix: str,
        by: str,
        webhook: Webhook | None = None,
    ) -> None:
        self._settings: Final = settings
        self._news: Final = news
        self._metrics: Final = metrics
        self._prefix: Final = prefix
        self._by: Final = by
        self._webhook: Final = (webhook or Webhook(settings)) if settings.url else None
        self._to_tell: Final[deque[tuple[Alert, int, Callable[[], None]]]] = deque()
        self._come: Final = asyncio.Event()
        self._idle: Final = asyncio.Event()
        self._stack: Final = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._webhook is not None:
            await self._stack.enter_async_context(self._webhook)
        self._task = asyncio.create_task(self._keep_telling(), name="telling")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("ALERTS LOST %d at the end", len(self._to_tell) + 1)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._stack.aclose()

    def tell(self, alert: Alert | None, *, elsewhere: Callable[[], None] = lambda: None) -> None:
        """Takes an alert; never waits. A hundred may wait, then the oldest goes. `elsewhere` is called where another
        service has told it."""
        if alert is None:
            return
        if len(self._to_tell) >= _KEPT:
            lost, _, _ = self._to_tell.popleft()
            _log.warning("ALERTS LOST kind=%s says=%s", lost.kind, lost.says)
        self._to_tell.append((alert, time.time_ns() // 1_000_000, elsewhere))
        self._idle.clear()
        self._come.set()

    async def _keep_telling(self) -> None:
        while True:
            if not self._to_tell:
                self._come.clear()
                self._idle.set()
                await self._come.wait()
            alert, at_ms, elsewhere = self._to_tell.popleft()
            try:
                await self._tell(alert, at_ms, elsewhere)
            except Exception:
                _log.exception("an alert wasn't told")  # a bug in one must not silence the others

    async def _tell(self, alert: Alert, at_ms: int, elsewhere: Callable[[], None]) -> None:
        try:
            if not await self._news.to_tell(alert):
                elsewhere()
                return
        except STORE_FAILURES:
            if alert.inherited:
                return
            # Twice is better than never.
        self._metrics.alerts.labels(alert.kind.value, alert.turn.value).inc()
        if alert.turn is Turn.OVER:
            _log.info("ALERT OVER kind=%s says=%s", alert.kind, alert.says)
        else:
            _log.warning("ALERT kind=%s says=%s", alert.kind, alert.says)
        await asyncio.gather(self._audit(alert, at_ms), self._post(alert, at_ms))

    async def _audit(self, alert: Alert, at_ms: int) -> None:
        if alert.kind in AUDITED_ANYWAY | UNWRITABLE:
            return
        try:
            await self._news.audit(alert, self._by, at_ms)
        except STORE_FAILURES as error:
            _log.debug("not audited: %s", str(error))

    async def _post(self, alert: Alert, at_ms: int) -> None:
        if self._webhook is None:
            return
        body = body_of(alert, self._settings, prefix=self._prefix, by=self._by, now_ms=at_ms)
        try:
            await self._webhook.post(body)
        except NotSent as failed:
            self._metrics.failures.labels("alert").inc()
            _log.error("ALERT NOT SENT kind=%s to the webhook: %s", alert.kind, str(failed))
