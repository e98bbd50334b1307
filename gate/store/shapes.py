"""What the store may reply to each command. Anything else is a StoreError, before anybody reads it.

A server behind the URL may be something else than a Redis with the gate's scripts, and a hostile one replies what it
likes. So each reply is checked here, once, for its type: nil, a number, `+OK`, a list that is too short. What a text
says is checked where it is decoded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Final

from gate.protocol.scripts import SCRIPTS, Command, Encoded, Message, Pipeline, script
from gate.store.wire import Reply
from gate.values.errors import StoreError, StoreFailure, shown

_Shape = Callable[[Reply, Command], bool]
_LONGEST_NUMBER: Final = 40
_ENTRY: Final = re.compile(rb"\d{1,20}-\d{1,20}")


def as_asked(message: Message, reply: Reply) -> Reply:
    """The reply, if it is one to that message. Raises StoreError, with `maybe_done`: the store may have done it.

    Of a pipeline, a StoreError stands in the place of each reply that is none.
    """
    if not isinstance(message, Pipeline):
        if not _is_reply(message, reply):
            raise _unreadable(message, reply)
        return reply
    return [
        each if isinstance(each, StoreFailure) or _is_reply(command, each) else _unreadable(command, each)
        for command, each in zip(message.commands, reply, strict=True)
    ]


def _is_reply(command: Command | Encoded, reply: Reply) -> bool:
    if isinstance(command, Encoded):
        return _OF_SCRIPTS[command.script](reply, ())
    word = _word(command, 0)
    shape = _scripts().get(_word(command, 1)) if word in ("EVALSHA", "EVALSHA_RO") else SHAPES.get(word)
    return shape is not None and shape(reply, command)


def _word(command: Command, place: int) -> str:
    part = command[place]
    return part.decode() if isinstance(part, bytes) else str(part)


def _unreadable(command: Command | Encoded, reply: Reply) -> StoreError:
    word = command.script if isinstance(command, Encoded) else _word(command, 0)
    error = StoreError(f"the store's reply to {word} can't be read: {shown(reply)}")
    error.maybe_done = True
    return error


def _text(reply: Reply, _: Command) -> bool:
    return isinstance(reply, bytes)


def _text_or_none(reply: Reply, _: Command) -> bool:
    return reply is None or isinstance(reply, bytes)


def _whole(reply: Reply, _: Command) -> bool:
    return type(reply) is int


def _texts(reply: Reply, command: Command) -> bool:
    if not isinstance(reply, list) or not all(isinstance(each, bytes) for each in reply):
        return False
    return command[-1:] != ("WITHSCORES",) or (len(reply) % 2 == 0 and all(map(_is_number, reply[1::2])))


def _fields(reply: Reply, command: Command) -> bool:
    return isinstance(reply, list) and len(reply) == len(command) - 2 and all(_text_or_none(e, command) for e in reply)


def _moment(reply: Reply, command: Command) -> bool:
    return _texts(reply, command) and len(reply) == 2 and all(map(_is_count, reply))


def _page(reply: Reply, command: Command) -> bool:
    return isinstance(reply, list) and len(reply) == 2 and _is_count(reply[0]) and _texts(reply[1], command)


def _entries(reply: Reply, command: Command) -> bool:
    """Of a stream: an id, and names with values."""
    if not isinstance(reply, list):
        return False
    return all(
        isinstance(each, list)
        and len(each) == 2
        and isinstance(each[0], bytes)
        and _ENTRY.fullmatch(each[0]) is not None
        and _texts(each[1], command)
        and len(each[1]) % 2 == 0
        for each in reply
    )


def _score(reply: Reply, _: Command) -> bool:
    return reply is None or _is_number(reply)


def _wholes(reply: Reply, _: Command) -> bool:
    return isinstance(reply, list) and len(reply) == 2 and all(type(each) is int for each in reply)


def _anything(_: Reply, __: Command) -> bool:
    return True


def _rows(reply: Reply, command: Command) -> bool:
    """Of inspect."""
    return (
        isinstance(reply, list)
        and len(reply) >= 2
        and _is_count(reply[0])
        and isinstance(reply[1], bytes)
        and all(_texts(row, command) and len(row) == 3 for row in reply[2:])
    )


def _lines(reply: Reply, command: Command) -> bool:
    """Of still_out."""
    return _texts(reply, command) and len(reply) > 0


def _act(reply: Reply, _: Command) -> bool:
    """Of control and leftovers."""
    if not isinstance(reply, list) or not reply or type(reply[0]) is not int:
        return False
    rest = reply[1:]
    return all(isinstance(each, bytes) for each in rest) or (reply[0] == 2 and len(rest) == 1 and type(rest[0]) is int)


def _is_count(reply: Reply) -> bool:
    return isinstance(reply, bytes) and reply.isdigit() and len(reply) <= _LONGEST_NUMBER


def _is_number(reply: Reply) -> bool:
    if not isinstance(reply, bytes) or len(reply) > _LONGEST_NUMBER:
        return False
    try:
        return math.isfinite(float(reply))
    except ValueError:
        return False


SHAPES: Final[dict[str, _Shape]] = {
    **dict.fromkeys(("GET", "HGET", "SET"), _text_or_none),
    **dict.fromkeys(("GETRANGE", "TYPE", "INFO", "ACL"), _text),
    **dict.fromkeys(("LRANGE", "ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "CONFIG"), _texts),
    **dict.fromkeys(("EXISTS", "PTTL", "PEXPIRETIME", "ZCOUNT", "WAIT"), _whole),
    **dict.fromkeys(
        ("ZADD", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "PEXPIRE", "EXPIRE", "DEL", "HSET", "LPUSH"), _whole
    ),
    "HMGET": _fields,
    "TIME": _moment,
    "SCAN": _page,
    "ZSCORE": _score,
    "XREVRANGE": _entries,
    "WAITAOF": _wholes,
    "SCRIPT": _anything,
}
"""Of every command that the gate sends, but for its scripts."""
_OF_SCRIPTS: Final[dict[str, _Shape]] = {
    **dict.fromkeys(("evaluate", "settle", "last_look", "identify", "mark_told"), _text),
    "inspect": _rows,
    "still_out": _lines,
    "control": _act,
    "leftovers": _act,
    **dict.fromkeys(("answer", "order_update", "takes_writes"), _whole),
}


@cache
def _scripts() -> dict[str | int, _Shape]:
    return {script(name).sha: _OF_SCRIPTS[name] for name in SCRIPTS}
