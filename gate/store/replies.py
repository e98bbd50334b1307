"""The replies to a pipeline: as many as it has commands, whatever fails on the way."""

from __future__ import annotations

import time

from redis.exceptions import RedisError, ResponseError

from gate.protocol.scripts import Pipeline
from gate.store.failures import Forbidden, ScriptMissing, failure_of, lost
from gate.store.link import BlockingLink
from gate.store.wire import Reply
from gate.values.errors import StoreUnavailable


def read_replies(link: BlockingLink, pipeline: Pipeline, patience_s: float) -> list[Reply]:
    """Reads the replies. If the first one doesn't come, raises as receive does.

    `patience_s`: the wire's time-out.
    """
    try:
        replies = [link.receive()]
    except ResponseError as error:
        replies = [failure_of(error)]
    give_up = time.monotonic() + patience_s + pipeline.allow_ms / 1000
    while len(replies) < len(pipeline.commands):
        try:
            replies.append(link.receive())
        except ResponseError as error:
            replies.append(failure_of(error))
        except (RedisError, OSError) as error:
            # A command that blocks may outlast the time-out of one read. The connection has kept what had come by then.
            if not isinstance(error, TimeoutError) or time.monotonic() >= give_up:
                return _and_lost(replies, pipeline, error)
    return replies


def _and_lost(replies: list[Reply], pipeline: Pipeline, error: BaseException) -> list[Reply]:
    missing = lost(error, "no answer in time")
    return [*replies, *([missing] * (len(pipeline.commands) - len(replies)))]


def keeps_connection(replies: list[Reply]) -> bool:
    """Whether the connection serves further messages: not after a lost reply, nor when the server can't serve, nor when
    a right was missing, since a new connection asks for the rights."""
    return not any(
        isinstance(each, StoreUnavailable | Forbidden) and not isinstance(each, ScriptMissing) for each in replies
    )
