"""Which rights on the store a service lacks, beside those of verdicts. It asks by commands that can't succeed.

A server looks at the rights before it looks at what stands in a command. So who lacks a right hears that; who has it
hears what is wrong with the rest: a group that isn't there, a number that is none. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any, Final, NamedTuple

from redis.exceptions import NoPermissionError, ResponseError

from gate.client.services import SERVICES, account_key, prefix_key
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import script
from gate.service.settings import Settings
from gate.service.streams import OPEN
from gate.store.connect import load_script

_NONE: Final = "?"
"""No number, and no id of an entry."""
_UNKNOWN: Final = "unknown command"
"""What a server says of a command that an administrator has renamed away."""


class Lack(NamedTuple):
    """A right that is missing."""

    command: str
    key: str
    follows: str
    """What doesn't work without it."""
    needed: bool
    """Whether a service is of no use without it."""

    def __str__(self) -> str:
        return f"this user lacks {f'{self.command} {self.key}'.strip()}: {self.follows}"


class _Try(NamedTuple):
    words: tuple[str, ...]
    follows: str
    needed: bool = True

    @property
    def names(self) -> tuple[str, str]:
        """The command and its key."""
        command, *rest = self.words
        if command == "XGROUP":
            return f"{command} {rest[0]}", rest[1]
        return command, rest[2] if command == "EVALSHA" else rest[0]


async def lacks(client: Any, settings: Settings, keys: Keyspace, key_digest: str) -> list[Lack]:
    """All that are missing. `client`: redis-py's for asyncio. Raises one of STORE_FAILURES where the store fails."""
    of, found = settings, []
    # These two by functions that know the node of a cluster.
    if await _is_lacking(client.xreadgroup(of.group, of.consumer, {of.stream: _NONE}, count=1)):
        found.append(Lack("XREADGROUP", of.stream, "nothing is read", needed=True))
    if await _is_lacking(load_script(client, script("answer").source, of.stream)):
        found.append(Lack("SCRIPT LOAD", "", "no answer is written", needed=True))
    for each in _tries(of, keys, key_digest):
        if await _is_lacking(client.execute_command(*each.words)):
            found.append(Lack(*each.names, each.follows, each.needed))
    return found


async def _is_lacking(asked: Awaitable[object]) -> bool:
    try:
        await asked
    except NoPermissionError:
        return True
    except ResponseError as error:
        return _UNKNOWN in str(error)
    return False


def _tries(of: Settings, keys: Keyspace, key_digest: str) -> Iterator[_Try]:
    no_group = f"{of.group}:{_NONE}"
    unread, unknown = "entries aren't read", "lag isn't known"
    by_the_dead = "what a dead worker leaves isn't taken over"
    yield _Try(("XGROUP", "CREATE", of.stream, of.group, _NONE), unread)
    yield _Try(("EVALSHA", _NONE, "1", of.stream), "no answer is written")
    yield _Try(("EVALSHA", _NONE, "1", keys.state), "no intent is admitted")
    yield _Try(("XACK", of.stream, no_group, "0-1"), "no answer is written")
    yield _Try(("XPENDING", of.stream, no_group, "-", "+", "1"), "no answer is written")
    yield _Try(("XRANGE", of.stream, _NONE, "+"), unknown)
    yield _Try(("XLEN", of.stream), unknown)
    yield _Try(("XAUTOCLAIM", of.stream, no_group, of.consumer, "0", "0-0"), by_the_dead)
    yield _Try(("XCLAIM", of.stream, no_group, of.consumer, "0", "0-1"), by_the_dead)
    yield _Try(("XGROUP", "DELCONSUMER", of.stream, no_group, of.consumer), "it hands nothing over at its end")
    for answers, what in ((of.results, "no result is written"), (of.dead_letters, "no dead letter is written")):
        yield _Try(("XADD", answers, _NONE, "", ""), what)
    yield _Try(("SET", of.answered + _NONE, "", "PX", _NONE), "no answer is written")
    orders = "nothing is told of an order after its result"
    yield _Try(("SET", of.orders + _NONE, "", "PX", _NONE), orders)
    kept = _ADDED, _CUT, _EXPIRES
    yield from (
        _Try(_of(key, each), what)
        for key, each, what in (
            *((of.orders + OPEN, each, orders) for each in (*kept, _TAKEN_OUT, _READ)),
            *((keys.exits, each, "halt and status don't know which exits are out") for each in (_ADDED, _TAKEN_OUT)),
        )
    )
    shown, mistaken = "gate status may not find what rests by symbol", "a mistaken prefix isn't noticed"
    seen = _ADDED, ("ZREVRANGE", _NONE, _NONE), ("ZSCORE", ""), ("ZREMRANGEBYSCORE", _NONE, _NONE)
    claimed = ("GET",), ("SET", "", "PX", _NONE), ("EXPIRE", _NONE)
    yield from (
        _Try(_of(key, each), what, needed=False)
        for key, each, what in (
            *((keys.symbols, each, shown) for each in kept),
            *((SERVICES, each, mistaken) for each in seen),
            *((account_key(key_digest), each, mistaken) for each in claimed),
            *((prefix_key(keys.prefix), each, "a second account under the prefix isn't noticed") for each in claimed),
        )
    )


_Words = tuple[str, ...]
_ADDED: Final[_Words] = ("ZADD", _NONE, "")
_READ: Final[_Words] = ("ZRANGE", _NONE, _NONE)
_TAKEN_OUT: Final[_Words] = ("ZREM", "")
_CUT: Final[_Words] = ("ZREMRANGEBYRANK", _NONE, _NONE)
_EXPIRES: Final[_Words] = ("PEXPIRE", _NONE)


def _of(key: str, words: _Words) -> _Words:
    return words[0], key, *words[1:]
