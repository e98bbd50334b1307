"""python-binance's client, signing by a moment that its caller has taken; and with less work for each request.

After a request's round trip a process runs from cold caches: what takes microseconds while it is busy takes ten times
as long then, and what isn't executed at all takes none.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from binance import AsyncClient

from gate.exchange.bounded import ACCEPTED

_NEEDS_NO_QUOTES: Final = re.compile(r"[A-Za-z0-9_.-]*", re.ASCII)


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

    def _get_request_kwargs(self, method: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        made: dict[str, Any] = super()._get_request_kwargs(method, *arguments, **named)
        data = made.get("data")
        if isinstance(data, list):
            # What aiohttp makes of a list, by way of a form: that takes it longer than all the rest of a request.
            made["data"] = _form(data)
        return made

    async def _handle_response(self, response: Any) -> Any:
        """As the library's, which takes the text twice, and looks for its encoding each time."""
        usual = response.status == 200 and response.content_type == "application/json"
        if usual and (response.charset or "utf-8").lower() == "utf-8":
            body = await response.read()
            try:
                return msgspec.json.decode(body) if body else {}
            except msgspec.DecodeError:
                pass  # the library judges it
        return await super()._handle_response(response)

    def _generate_signature(self, data: dict[str, Any], *arguments: Any, **named: Any) -> str:
        if self.signed_ms is not None:
            data["timestamp"] = self.signed_ms  # replaces the library's own; it sends what `data` holds
            self.signed_ms = None
        signature: str = super()._generate_signature(data, *arguments, **named)
        return signature


def _form(data: list[tuple[str, str]]) -> bytes:
    if _NEEDS_NO_QUOTES.fullmatch("".join([name + value for name, value in data])):
        return "&".join([f"{name}={value}" for name, value in data]).encode()  # as mostly: a fifth of the time
    return urlencode(data).encode()
