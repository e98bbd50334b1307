"""Loopback ports on which nothing else listens."""

from __future__ import annotations

import os
import random
import socket
from collections import deque

# Below the ranges from which kernels draw the ports of outgoing connections (Linux 32768 up, macOS 49152 up): while a
# server is down for a test, no client may be given its port, and no connection attempt may meet itself there.
_RANGE = range(20_000, 32_000)

# A port is asked for before its server listens, and a node of a cluster asks for two: none is given a second time
# while the first who asked may still be on the way to it.
_given_lately: deque[int] = deque(maxlen=500)


def _own_ports() -> range:
    """Those of this worker of pytest-xdist: no other may take the port of a server that is down for a moment."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _RANGE[number :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]


def free_port() -> int:
    for port in random.sample(list(set(_own_ports()).difference(_given_lately)), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given_lately.append(port)
            return port
    raise OSError(f"no free port between {_RANGE.start} and {_RANGE.stop} on 127.0.0.1")
