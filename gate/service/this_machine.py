"""Whether a host is this machine, by its loopback. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_this_machine(host: str) -> bool:
    """Whether a host is `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_this_machine(header: str) -> bool:
    """The same of a request's Host, which may have a port behind it."""
    try:
        parts = urlsplit(f"//{header}")
        plain = parts.netloc == header and not {"@", "%"} & set(header)
        return plain and is_this_machine((parts.hostname or "").removesuffix("."))
    except ValueError:
        return False
