"""Tells systemd how the service is: sd_notify's datagrams. Nothing where the service wasn't started by it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

_MOST_DIGITS: Final = 20
"""Of a time in µs, as systemd keeps one."""


class Systemd:
    """The socket of NOTIFY_SOCKET."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A name in the abstract namespace begins with @, for the zero byte that a variable can't hold.
        self._address: Final = "\0" + path[1:] if path.startswith("@") else path
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        spelled = environ.get("WATCHDOG_USEC", "")
        is_time = len(spelled) <= _MOST_DIGITS and spelled.isascii() and spelled.isdigit()
        self.watchdog_s: Final = int(spelled) / 1e6 if for_us and is_time and int(spelled) else None
        """Within which time systemd wants to hear that the service is alive; None: it doesn't ask."""

    def tell(self, *lines: str) -> None:
        """Sends `READY=1` and the like. What systemd doesn't take must not stop the service."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(1)
            out.connect(self._address)
            out.sendall("\n".join(lines).encode())
