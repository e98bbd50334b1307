"""python-binance's client, signing by a moment that its caller has taken."""

from __future__ import annotations

from typing import Any

from binance import AsyncClient

from gate.exchange.bounded import ACCEPTED


class TimedClient(AsyncClient):  # type: ignore[misc]  # the library has no types
    """Signs the next request by `signed_ms`, if it is set, instead of by the moment of signing.

    A process may be stopped anywhere, for any time. A moment that is taken before the last look at a permit lets the
    exchange refuse whatever is delayed after that look; the library's own moment would make it fresh again.
    """

    signed_ms: int | None = None
    """The exchange's clock, epoch ms; for one request. The library signs before it first waits, so no other request can
    take it."""

    def _get_headers(self) -> dict[str, str]:
        return {**super()._get_headers(), "Accept-Encoding": ACCEPTED}

    def _generate_signature(self, data: dict[str, Any], *arguments: Any, **named: Any) -> str:
        if self.signed_ms is not None:
            data["timestamp"] = self.signed_ms  # replaces the library's own; it sends what `data` holds
            self.signed_ms = None
        signature: str = super()._generate_signature(data, *arguments, **named)
        return signature
