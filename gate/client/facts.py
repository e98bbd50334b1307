"""What the store's server says of itself when it is asked, as the gate's dialogues ask it."""

from __future__ import annotations

from typing import Final

from gate.protocol.scripts import Command
from gate.store.wire import Dialogue
from gate.values.errors import StoreError
from gate.values.server import ServerFacts, server_facts

_ASKED: Final[Command] = ("INFO", "server", "memory", "persistence")
_MOST_SAID: Final = 65_536
"""Bytes of it that are read."""


def server_now_ms() -> Dialogue[int]:
    """The server's time. Raises StoreFailure."""
    seconds, micros = yield ("TIME",)
    return int(seconds) * 1000 + int(micros) // 1000


def facts_of_server() -> Dialogue[ServerFacts]:
    """Asks the server. Empty facts where the user may not ask. Raises StoreUnavailable."""
    try:
        return (yield from facts_if_told())
    except StoreError:
        return ServerFacts()


def facts_if_told() -> Dialogue[ServerFacts]:
    """Asks the server. Raises StoreFailure, also where the user may not ask."""
    said = yield _ASKED
    return server_facts(said[:_MOST_SAID].decode(errors="replace") if isinstance(said, bytes) else "")
