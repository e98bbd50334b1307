"""How a command to the store fails, told from what redis-py raises."""

from __future__ import annotations

from typing import Final

import redis
import redis.asyncio
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from gate.values.errors import StoreError, StoreUnavailable


class ReplyLost(StoreUnavailable):
    """The command was sent and may have been carried out; its answer is lost."""


class ScriptMissing(StoreUnavailable):
    """The server doesn't know the script: it was restarted, flushed, or never had it."""


class SlotMoved(StoreUnavailable):
    """Another node of the cluster holds the keys. Nothing was carried out here."""


_PASSING: Final = (BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_PASSING_CODES: Final = ("BUSY ", "MASTERDOWN", "NOREPLICAS", "UNKILLABLE", "LOADING", "CLUSTERDOWN", "NOGOODSLAVE")
_UNAUTHENTICATED: Final = "the store wants a password; put it into the URL, in front of the host"


def failure_of(error: ResponseError) -> StoreUnavailable | StoreError:
    """The kind of an error reply."""
    text = str(error)
    if isinstance(error, NoScriptError):
        return ScriptMissing(text)
    if isinstance(error, MovedError) or text.startswith("MOVED "):
        return SlotMoved(text)
    if isinstance(error, AskError):
        return StoreUnavailable("the cluster is moving the slot of this account to another node")
    if isinstance(error, _PASSING) or text.startswith(_PASSING_CODES):
        return StoreUnavailable(text)
    if "unauthenticated" in text:  # how a long command is refused that comes without one
        return StoreError(_UNAUTHENTICATED)
    return StoreError(text)


def refusal_of(error: redis.AuthenticationError) -> StoreError:
    """What is wrong with the password, or that there is none."""
    text = one_line(error)
    return StoreError(_UNAUTHENTICATED if text.startswith(("NOAUTH", "Authentication required")) else text)


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text.partition(" : <")[0]  # redis-py appends the settings of every sentinel's client
