"""Failures of a command to the store, from redis-py's exceptions."""

from __future__ import annotations

from typing import Final, TypeAlias

import redis
import redis.asyncio
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from gate.values.errors import StoreError, StoreUnavailable, cut

NodeAddress: TypeAlias = tuple[str, int]
"""Host and port of a cluster's node."""


class ReplyLost(StoreUnavailable):
    """The command was sent, its reply is lost. The store may have run it."""


class ReplyLate(ReplyLost):
    """No reply came in time. Of a store that stands still, the next one takes as long."""


class ScriptMissing(StoreUnavailable):
    """The server doesn't have the script: it restarted, was flushed, or never got it."""


class Forbidden(StoreError):
    """The connection's user has no right to the command, or to a key."""


class Unauthenticated(StoreError):
    """The store wants a password, and closes the connection."""


class SlotMoved(StoreUnavailable):
    """Another node of the cluster holds the keys. This node ran nothing."""

    @property
    def holder(self) -> NodeAddress | None:
        """The node that this one has named, if it did: `MOVED 866 127.0.0.1:7001`, with or without the first word."""
        host, _, port = str(self).rpartition(" ")[2].rpartition(":")
        return (host, int(port)) if host and port.isdecimal() else None


_LONGEST: Final = 600
"""The most characters of a server's own words."""
_PASSING: Final = (BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_PASSING_CODES: Final = ("BUSY ", "MASTERDOWN", "NOREPLICAS", "UNKILLABLE", "LOADING", "CLUSTERDOWN", "NOGOODSLAVE")
UNREADABLE: Final = (InvalidResponse, MemoryError, SystemError, TypeError, ValueError)
"""What the parser raises for bytes that are no reply: no RESP, a list of four billion (hiredis 3.0: SystemError), a
list as the key of a map."""
_UNAUTHENTICATED: Final = "the store wants a password; put it into the URL, in front of the host"
_NOT_THIS_USER: Final = "the store refuses user or password of its URL (--url, GATE_URL, url in the config file)"


def lost(error: BaseException, otherwise: str = "") -> ReplyLost:
    """That a command's reply doesn't come any more, by the error that says so. `otherwise`: for an error without
    words."""
    late = isinstance(error, TimeoutError | redis.TimeoutError)
    return (ReplyLate if late else ReplyLost)(one_line(error) or otherwise)


def failure_of(error: ResponseError) -> StoreUnavailable | StoreError:
    """The failure that an error reply means."""
    text = cut(_without_echo(str(error)), _LONGEST)
    if isinstance(error, NoScriptError):
        return ScriptMissing(text)
    if isinstance(error, MovedError) or text.startswith("MOVED "):
        return SlotMoved(text)
    if isinstance(error, AskError):
        return StoreUnavailable("the cluster is moving the slot of this account to another node")
    # A script's own call is refused without the code of other refusals on Redis.
    if isinstance(error, NoPermissionError) or "The user executing the script" in text:
        return Forbidden(text)
    if isinstance(error, _PASSING) or text.startswith(_PASSING_CODES):
        return StoreUnavailable(text)
    if "unauthenticated" in text:  # the server's refusal of a long command before a password
        return Unauthenticated(_UNAUTHENTICATED)
    return StoreError(text)


def unreadable(error: BaseException) -> StoreError:
    """The error for bytes that are no reply: what answers isn't a Redis, or its connection is out of step. The server
    may have run the command."""
    failure = StoreError(f"what the store answers can't be read: {one_line(error) or type(error).__name__}")
    failure.maybe_done = True
    return failure


def refusal_of(error: redis.AuthenticationError) -> StoreError:
    """The error for a password that is wrong or missing."""
    text = one_line(error)
    if text.startswith(("NOAUTH", "Authentication required")):
        return StoreError(_UNAUTHENTICATED)
    return StoreError(f"{_NOT_THIS_USER}: {text}")


def one_line(error: BaseException) -> str:
    text = " ".join(cut(_without_echo(str(error)), _LONGEST).split())
    return text.partition(" : <")[0]  # redis-py appends the settings of every sentinel's client


def _without_echo(text: str) -> str:
    """A server that doesn't know a command repeats its arguments: of AUTH the password."""
    return text.partition(", with args beginning with")[0]
