"""Ends a connection without another word."""

from __future__ import annotations

import asyncio
import socket
import struct


def hang_up(transport: asyncio.Transport | None, *, reset: bool) -> None:
    """Close the connection without an answer; with a reset the client sees RST instead of an orderly end."""
    if transport is None:
        return
    if reset:
        raw: socket.socket = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
