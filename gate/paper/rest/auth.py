"""Authenticates a request: API key, signature, timestamp. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

from msgspec import Struct

from gate.paper.market.errors import Code, refuse
from gate.paper.trading.params import Params

DEFAULT_RECV_WINDOW_MS = 5_000
MAX_RECV_WINDOW_MS = 60_000
_AHEAD_MS = 1_000  # a timestamp may run this far ahead of the server

KEY_FORMAT = re.compile(r"[A-Za-z0-9_-]+")
_SIGNATURE = "signature="


class Credentials(Struct, frozen=True):
    """An API key pair and the name of its account. No repr shows the secret."""

    key: str
    secret: str
    account: str

    def __repr__(self) -> str:
        return f"Credentials(account={self.account!r})"


def find_account(keys: Mapping[str, Credentials], sent: str | None) -> Credentials:
    """The credentials of an API key; -2014 for a missing or malformed key, -2015 for an unknown key."""
    if not sent or not KEY_FORMAT.fullmatch(sent):
        raise refuse(Code.BAD_API_KEY_FORMAT)
    try:
        return keys[sent]
    except KeyError:
        raise refuse(Code.REJECTED_API_KEY) from None


def check_signed(credentials: Credentials, query: str, body: str, params: Params, now_ms: int) -> None:
    """Checks a signed request: mandatory parameters (-1102), then the signature (-1022), then the time (-1021)."""
    timestamp_ms = params.need_integer("timestamp")
    params.need_text("signature")
    check_signature(credentials.secret, query, body)
    window_ms = params.integer("recvWindow")
    check_timestamp(timestamp_ms, DEFAULT_RECV_WINDOW_MS if window_ms is None else window_ms, now_ms)


def check_signature(secret: str, query: str, body: str) -> None:
    """HMAC-SHA256 over the raw query and body, joined without a separator; the signature is the last parameter."""
    signed, sent = _split_signature(query, body)
    expected = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, sent.lower()):
        raise refuse(Code.INVALID_SIGNATURE)


def _split_signature(query: str, body: str) -> tuple[str, str]:
    """The signed text, and the signature.

    The text is raw: a client that signs `:` and sends `%3A` must fail here, as it does on the live exchange.
    """
    if _SIGNATURE in body:
        rest, _, sent = body.rpartition(_SIGNATURE)
        return query + rest.removesuffix("&"), sent
    rest, _, sent = query.rpartition(_SIGNATURE)
    return rest.removesuffix("&") + body, sent


def check_timestamp(timestamp_ms: int, recv_window_ms: int, now_ms: int) -> None:
    """Checks a timestamp: less than a second ahead of the server, and not older than the window (-1021)."""
    if not 0 < recv_window_ms <= MAX_RECV_WINDOW_MS:
        raise refuse(Code.INVALID_PARAMETER, "recvWindow")
    if timestamp_ms >= now_ms + _AHEAD_MS:
        raise refuse(Code.INVALID_TIMESTAMP, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - timestamp_ms > recv_window_ms:
        raise refuse(Code.INVALID_TIMESTAMP, "Timestamp for this request is outside of the recvWindow.")
