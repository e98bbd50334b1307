"""Loopback ports on which nothing else listens."""

from __future__ import annotations

import random
import socket
from collections import deque
from functools import cache
from typing import Final

# Below the ranges from which kernels draw the ports of outgoing connections (Linux 32768 up, macOS 49152 up): while a
# server is down for a test, no client may be given its port, and no connection attempt may meet itself there.
_RANGE: Final = range(20_000, 32_000)
_OWN: Final = 750
"""Ports of one process of the tests."""

# A port is asked for before its server listens, and a node of a cluster asks for two: none is given a second time
# while the first who asked may still be on the way to it.
_given_lately: Final[deque[int]] = deque(maxlen=500)


@cache
def _own_ports() -> tuple[socket.socket, range]:
    """Those of this process: no other one, of this run or of another, may take the port of a server that is down for a
    moment. Whose the ports are is told by a socket that is bound to the first of them."""
    for first in random.sample(_RANGE[::_OWN], len(_RANGE[::_OWN])):
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", first))
        except OSError:
            claim.close()
            continue
        return claim, range(first + 1, first + _OWN)
    raise OSError(f"other tests have all ports from {_RANGE.start} to {_RANGE.stop}")


def free_port() -> int:
    _, own = _own_ports()
    for port in random.sample(own, len(own)):
        if port in _given_lately:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given_lately.append(port)
            return port
    raise OSError(f"no free port between {own.start} and {own.stop} on 127.0.0.1")
