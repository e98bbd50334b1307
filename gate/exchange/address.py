"""The address of the exchange, which gets the API key with every request."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from gate.values.errors import InvalidField

_LONGEST: Final = 300
_NO_ADDRESS: Final = (
    "is not an address: give https://HOST, or http://127.0.0.1:PORT for a paper exchange on this machine"
)
_OWN_HOSTS: Final = ".binance.com"
_DEMO: Final = "demo"
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)
_FUTURES: Final = "/fapi"


def exchange_address(base_url: str) -> str:
    """The address without the path of the futures, `https://HOST[:PORT][/PATH]`, made of the parts that were looked at.

    HTTP alone is for this machine: elsewhere anybody on the way could read the key, and change an order's answer. A
    user name is refused: `https://fapi.binance.com@evil.example` is evil.example. Raises InvalidField.
    """
    if not isinstance(base_url, str) or len(base_url) > _LONGEST:
        raise InvalidField("base_url", "***", _NO_ADDRESS)
    # What can't be taken apart isn't quoted where it may hold a password.
    quoted = "***" if "@" in base_url or "?" in base_url else base_url
    try:
        parts = urlsplit(base_url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        raise InvalidField("base_url", quoted, _NO_ADDRESS) from None
    if scheme not in ("http", "https"):
        raise InvalidField("base_url", quoted, _NO_ADDRESS)
    if "@" in parts.netloc:
        raise InvalidField(
            "base_url", quoted, "names a user in front of the host: the host is what stands behind the @"
        )
    path = parts.path.rstrip("/").removesuffix(_FUTURES)
    address = _address(host)
    if address is None and not _NAME.fullmatch(host):
        raise InvalidField("base_url", quoted, _NO_ADDRESS)
    if parts.query or parts.fragment or not _PATH.fullmatch(path) or ".." in path:
        raise InvalidField("base_url", quoted, _NO_ADDRESS)
    if scheme == "http" and not (host == "localhost" or (address is not None and address.is_loopback)):
        raise InvalidField(
            "base_url", quoted, "would send the API key in plain text: http is for 127.0.0.1, ::1 and localhost alone"
        )
    shown = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else host
    made = f"{scheme}://{shown}{'' if port is None else f':{port}'}{path}"
    if made.lower() != base_url.rstrip("/").removesuffix(_FUTURES).lower():
        raise InvalidField("base_url", quoted, _NO_ADDRESS)  # there is more in it than was looked at
    return made


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if getattr(found, "scope_id", None) else found


def exchange_at(address: str | None, *, demo: bool) -> str:
    """Tells one exchange from another, however its address is written; what `exchange_address` has made, None for the
    exchange's own. A proxy of the exchange isn't known as such: it counts as another one."""
    if address is None:
        return _DEMO if demo else ""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if host.endswith(_OWN_HOSTS):
        return _DEMO if host.startswith(_DEMO) else ""
    found = _address(host)
    here = host == "localhost" or (found is not None and found.is_loopback)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{'127.0.0.1' if here else host}:{port}{parts.path}"


def socket_address(base_url: str) -> str:
    """The WebSocket of the same server, by an address that `exchange_address` has made: encrypted where that is."""
    return "ws" + base_url.removeprefix("http")
