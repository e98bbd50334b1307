"""What a server says of itself on a new connection: who it is, whether it may lose keys, what its user may not do."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from gate.protocol.scripts import SERVER, Command, script
from gate.store.failures import Forbidden, ScriptMissing, Unauthenticated, one_line
from gate.store.wire import Reply
from gate.values.errors import StoreError, StoreFailure

_LONGEST: Final = 300


def ask_identity(identify: Command) -> Generator[Command, Reply, str]:
    """The commands to send on a new connection, and the server's word. Raises StoreUnavailable, Unauthenticated.

    A server that doesn't say who it is gets a `?`. The scripts admit no entry on it.
    """
    try:
        try:
            reply = yield identify
        except ScriptMissing:
            yield ("SCRIPT", "LOAD", script("identify").source)
            reply = yield identify
    except Unauthenticated:
        raise
    except StoreError as error:
        return f"? may not ask who the server is: {one_line(error)}"[:_LONGEST]
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    return text[:_LONGEST] or "? gets no answer to who the server is"


def named(failure: StoreFailure, server: str) -> StoreFailure:
    """The failure, with the right that the user lacks: the server's own error may not name it."""
    lacks = server.partition(" lacks ")[2]
    if isinstance(failure, Forbidden) and lacks:
        return Forbidden(f"the store's user lacks {lacks}; ACL SETUSER grants it")
    return failure


def addressed(command: Command, server: str) -> Command:
    """The command as it goes to a server: one that asks for the server's word gets it."""
    return (*command[:-1], server) if command[-1] is SERVER else command
