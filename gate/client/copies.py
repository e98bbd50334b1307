"""Where an operator's act is kept: what to ask a server about its replicas and disk, and what its replies mean.

WAIT and WAITAOF answer for what their own connection has written, so they go out behind the act in one pipeline.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Command, Pipeline
from gate.store.failures import Forbidden
from gate.store.wire import Reply
from gate.values.errors import StoreFailure
from gate.values.reports import Copies
from gate.values.server import NOT_REPLAYED, ServerFacts, server_facts

_MOST_DIGITS: Final = 9
_REPLICAS_MS: Final = 300
_LONGEST_USER: Final = 100
_DISK_MS: Final = 1200  # `appendfsync everysec` writes to disk once in a second


class Server(Struct, frozen=True):
    """A server before an act. None: unknown."""

    replicas: int | None = None
    append_only: bool | None = None
    doubt: str = ""
    user: str = ""
    """The ACL user of the connection; empty where it isn't known."""
    replays: bool | None = None
    """Whether a start reads all of its append-only file back."""
    replay_doubt: str = ""
    """Why that is unknown."""


def look_at(keyspace: Keyspace) -> Pipeline:
    """Asks a server for its replicas, for its append-only file, as whom it knows the caller, and whether a start reads
    that file back. An ACL may forbid each of these."""
    asks = (("INFO", "replication"), ("INFO", "persistence"), ("ACL", "WHOAMI"), ("INFO", "server"))
    return Pipeline((*asks, *(("ACL", "DRYRUN", "default", *words) for words in _writes(keyspace))))


def _writes(keyspace: Keyspace) -> tuple[tuple[str, ...], ...]:
    """A write of each kind that the scripts do, on the keys that a start must not lose."""
    return (
        ("HSET", keyspace.halt, "f", "v"),
        ("DEL", keyspace.halt),
        ("XADD", keyspace.audit, "*", "f", "v"),
        ("XADD", keyspace.journal, "*", "f", "v"),
        ("SET", keyspace.applied, "v"),
        ("HSET", keyspace.state, "f", "v"),
        ("HDEL", keyspace.state, "f"),
        ("SET", keyspace.record("i"), "v"),
        ("PEXPIRE", keyspace.record("i"), "1"),
        ("ZADD", keyspace.inflight, "1", "m"),
        ("ZREM", keyspace.inflight, "m"),
        ("LPUSH", keyspace.rate_symbol("S"), "v"),
    )


def server_of(replies: list[Reply]) -> Server:
    """The server that has answered look_at."""
    replication, persistence, user, server, *writes = replies
    replicas, append_only = _figure(replication, b"connected_slaves"), _figure(persistence, b"aof_enabled")
    doubt = _doubt([replication, persistence])
    facts = server_facts(server.decode(errors="replace")) if isinstance(server, bytes) else ServerFacts()
    kept = None if append_only is None else append_only == 1
    return Server(replicas, kept, doubt, _name(user), *_replays(facts, writes))


def _replays(facts: ServerFacts, writes: list[Reply]) -> tuple[bool | None, str]:
    """Whether a start reads the file back, by what `default` may write; and why it is unknown."""
    if facts.replays_as_nobody or all(each == b"OK" for each in writes):
        return True, ""
    unheard = [each for each in writes if not isinstance(each, bytes)]
    if all(each == b"OK" for each in writes if isinstance(each, bytes)):
        grants = "; an operator's user may ask (+acl|dryrun)" if isinstance(unheard[0], Forbidden) else ""
        return None, f"{unheard[0]}{grants}"
    if not facts.replays_as_default:
        return None, f"{NOT_REPLAYED}, on the servers that were tried; {facts.name} {facts.version} wasn't"
    return False, ""


def followed_by_waits(act: Command, server: Server) -> Pipeline:
    """The act, and the waits for what the server has. Without replicas or append-only file there is nothing to wait
    for; where they are unknown, the waits find out."""
    commands, allow_ms = [act], 0
    if server.replicas != 0:
        commands.append(("WAIT", server.replicas or 1, _REPLICAS_MS))
        allow_ms += _REPLICAS_MS
    if server.append_only is not False:
        commands.append(("WAITAOF", 1, 0, _DISK_MS))
        allow_ms += _DISK_MS
    return Pipeline(tuple(commands), allow_ms)


def copies_of(server: Server, pipeline: Pipeline, replies: list[Reply]) -> Copies:
    """Where the act is kept, by the replies to followed_by_waits."""
    answers = {command[0]: reply for command, reply in zip(pipeline.commands, replies, strict=True)}
    replicas, append_only, on_disk = server.replicas, server.append_only, None
    on_replicas, disk = answers.get("WAIT", 0), answers.get("WAITAOF")
    if isinstance(on_replicas, StoreFailure):
        on_replicas = None
    elif replicas is not None:
        replicas = max(replicas, on_replicas)  # one may have connected in between
    if isinstance(disk, list):
        append_only, on_disk = True, disk[0] == 1
    elif append_only is False or "appendonly is disabled" in str(disk):
        append_only, on_disk = False, False
    doubt = server.doubt or _doubt([*answers.values()])
    return Copies(replicas, on_replicas, append_only, on_disk, doubt, server.replays if append_only else None)


def _name(user: Reply) -> str:
    """A user's name, as the audit keeps it."""
    said = user.decode(errors="replace") if isinstance(user, bytes) else ""
    return "".join(sign if sign.isprintable() else "?" for sign in said[:_LONGEST_USER])


def _figure(info: Reply, name: bytes) -> int | None:
    """A figure of an INFO reply."""
    if isinstance(info, bytes):
        for line in info.splitlines():
            field, _, value = line.partition(b":")
            if field == name and value.isdigit() and len(value) <= _MOST_DIGITS:
                return int(value)
    return None


def _doubt(replies: list[Reply]) -> str:
    return next((str(each) for each in replies if isinstance(each, StoreFailure)), "")
