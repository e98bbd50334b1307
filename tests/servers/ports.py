"""Loopback ports on which nothing else listens."""

from __future__ import annotations

import os
import random
import socket

# Below the ranges from which kernels draw the ports of outgoing connections (Linux 32768 up, macOS 49152 up): while a
# server is down for a test, no client may be given its port, and no connection attempt may meet itself there.
_RANGE = range(20_000, 32_000)


def _own_ports() -> range:
    """Those of this worker of pytest-xdist: no other may take the port of a server that is down for a moment."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _RANGE[number :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]


def free_port() -> int:
    for port in random.sample(_own_ports(), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {_RANGE.start} and {_RANGE.stop} on 127.0.0.1")
