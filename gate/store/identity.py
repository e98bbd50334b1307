"""What a server says of itself on a new connection: who it is, whether it may lose keys, what its user may not do."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from typing import Final

from gate.protocol.scripts import SERVER, Command, script
from gate.store.failures import Forbidden, ScriptMissing, Unauthenticated, one_line
from gate.store.wire import Reply
from gate.values.errors import StoreError, StoreFailure
from gate.values.log_words import log_of, pairs
from gate.values.server import OLDEST_REDIS, ServerFacts, server_facts

_LONGEST: Final = 300
_MOST_SAID: Final = 65_536
"""The most bytes that are read of what a server says of itself."""
_MOST_TOLD: Final = 1000
_REFUSED: Final = re.compile(r"run the '([^'|]+)")
_log: Final = log_of("gate.store")
_told: Final = set[tuple[str, str]]()
"""The servers that this process's log knows, each by its word and what it says of itself."""


def ask_identity(identify: Command) -> Generator[Command, Reply, str]:
    """The commands to send on a new connection, and the server's word.

    A server that doesn't say who it is gets a `?`. The scripts admit no entry on it. The first connection of a process
    to a server puts a line about it into the log. Raises StoreUnavailable, Unauthenticated, and StoreError for a Redis
    that is too old for the scripts.
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
        if "unknown command" in str(error):
            yield from _insist_on_new_enough()
        return f"? may not ask who the server is: {one_line(error)}"[:_LONGEST]
    text = reply[:_MOST_SAID].decode(errors="replace") if isinstance(reply, bytes) else ""
    word, _, info = text.partition("\n")
    word = word[:_LONGEST] or "? gets no answer to who the server is"
    _tell(word, server_facts(info))
    return word


def _insist_on_new_enough() -> Generator[Command, Reply, None]:
    """Raises StoreError for a Redis before 7.0: it has no EVALSHA_RO, and no script of the gate runs on it."""
    try:
        reply = yield ("INFO", "server")
    except StoreError:
        return
    facts = server_facts(reply[:_MOST_SAID].decode(errors="replace") if isinstance(reply, bytes) else "")
    if facts.too_old:
        raise StoreError(
            f"{facts.name} {facts.version} is too old: the gate needs Redis {OLDEST_REDIS}.0 or newer, or Valkey"
        )


def _tell(word: str, facts: ServerFacts) -> None:
    """Puts one line into the log: a warning where the server may lose what the gate must remember."""
    if (word, str(facts)) in _told or len(_told) >= _MOST_TOLD:
        return
    _told.add((word, str(facts)))
    level = logging.WARNING if facts.complaints else logging.INFO
    _log.log(level, "STORE %s", pairs(server=facts, warning="; ".join(facts.complaints)))


def named(failure: StoreFailure, server: str) -> StoreFailure:
    """The failure, with the right that the user lacks, unless the server's own error names another one."""
    lacks = server.partition(" lacks ")[2]
    told = _REFUSED.search(str(failure))
    if isinstance(failure, Forbidden) and lacks and (told is None or told[1].upper() == lacks.partition(" ")[0]):
        return Forbidden(f"the store's user lacks {lacks}; ACL SETUSER grants it")
    return failure


def addressed(command: Command, server: str) -> Command:
    """The command as it goes to a server: one that asks for the server's word gets it."""
    return (*command[:-1], server) if command[-1] is SERVER else command
