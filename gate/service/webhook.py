"""Posts alerts to a person's chat, or to a program. It is slow, and may fail: nothing waits for it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final

from gate.service.alert_settings import AlertSettings
from gate.service.alerts import Alert, Kind, Turn

if TYPE_CHECKING:
    from aiohttp import ClientSession

TIMEOUT_S: Final = 5.0
AGAIN_AFTER_S: Final = (1.0, 5.0)
"""The pauses before the second and the third try."""
_LONGEST: Final = 1_000
_LONGEST_PAUSE_S: Final = 30.0
_TOO_MANY: Final = 429
_BROKEN: Final = 500
_SLACK: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class NotSent(Exception):
    """An alert that nobody has taken. The message doesn't name the URL, which may hold a token."""


def body_of(alert: Alert, settings: AlertSettings, *, prefix: str, by: str, now_ms: int) -> dict[str, object]:
    """What is posted, as JSON."""
    text = f"[{prefix}] {alert.text}"[:_LONGEST]
    match settings.webhook:
        case "slack":
            return {"text": text.translate(_SLACK)}  # <!channel> in somebody's reason must not call everybody
        case "telegram":
            return {"chat_id": settings.telegram_chat, "text": text, "disable_web_page_preview": True}
        case _:
            return {
                "kind": alert.kind.value,
                "turn": alert.turn.value,
                "text": text,
                "says": alert.says[:_LONGEST],
                "prefix": prefix,
                "by": by,
                "at_ms": now_ms,
            }


async def try_once(settings: AlertSettings, *, prefix: str, by: str, now_ms: int) -> None:
    """Posts an alert that says nothing is the matter. Raises NotSent."""
    alert = Alert(Kind.TRY, Turn.HAPPENED, "this is how alerts come; nothing is the matter", once=str(now_ms))
    async with Webhook(settings) as webhook:
        await webhook.post(body_of(alert, settings, prefix=prefix, by=by, now_ms=now_ms))


class Webhook:
    """One address that takes alerts. Use it in an `async with` block."""

    def __init__(self, settings: AlertSettings, *, again_after_s: tuple[float, ...] = AGAIN_AFTER_S) -> None:
        self._url: Final = settings.url
        self._again_after_s: Final = again_after_s
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Webhook:
        from aiohttp import ClientSession, ClientTimeout

        self._session = ClientSession(timeout=ClientTimeout(total=TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, body: dict[str, object]) -> None:
        """Three tries at most. Raises NotSent."""
        for pause_s in (*self._again_after_s, None):
            status, rest_s = await self._once(body)
            if not status:
                return
            if pause_s is None or status.startswith("refused"):
                raise NotSent(status)
            await asyncio.sleep(min(max(pause_s, rest_s), _LONGEST_PAUSE_S))

    async def _once(self, body: dict[str, object]) -> tuple[str, float]:
        """Why it wasn't taken, empty if it was; and how long it is to rest."""
        from aiohttp import ClientError

        assert self._session is not None  # in the block
        try:
            # No redirects: they would take the token elsewhere.
            async with self._session.post(self._url, json=body, allow_redirects=False) as answer:
                if answer.status < 300:  # 2xx
                    return "", 0
                asked = answer.headers.get("Retry-After", "")
                rest_s = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0.0
                if answer.status == _TOO_MANY or answer.status >= _BROKEN:
                    return f"answered {answer.status}", rest_s
                return f"refused with {answer.status}", 0
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s", 0
        except (ClientError, OSError, ValueError) as error:
            return type(error).__name__, 0  # its text may quote the URL
