"""Checks the address to listen on: only loopback, because the control endpoints have no authentication. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII)
_LOCALHOST = "127.0.0.1"  # for the name localhost, which may resolve to several addresses with different free ports


def loopback_address(host: str) -> str:
    """The address to bind for a host; ValueError for an address that other machines can reach."""
    if host == "localhost":
        return _LOCALHOST
    try:
        address = ip_address(host)
    except ValueError:
        pass
    else:
        if address.is_loopback:
            return str(address)
    raise ValueError(
        f"host: {host!r} is not a loopback address (127.0.0.0/8, ::1 or localhost), "
        "and the control endpoints have no authentication"
    )


def is_loopback_host(header: str) -> bool:
    """Whether a request's Host names loopback. A page's own name may point to it too: then the page asks as itself."""
    found = _HOST.fullmatch(header)
    if found is None:
        return False
    name = found[1] or found[2]
    try:
        return name.lower() == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def url_of(address: str, port: int) -> str:
    """An address from `loopback_address` and a port, without a slash at the end."""
    shown = f"[{address}]" if isinstance(ip_address(address), IPv6Address) else address
    return f"http://{shown}:{port}"
