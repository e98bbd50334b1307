"""Loads the Lua scripts from lua/: pastes includes, replaces names by numbers, and builds calls by name.

The text of lua/include/NAME.lua replaces a line `--@include NAME`. An include that is missing, that is named twice or
that includes itself is an error, so a reader can trust that a script has each part exactly once.

A script's header gives each of its KEYS and ARGV a number and a name. `KEYS.halt`, in the script or in an include,
becomes `KEYS[9]` before the server sees it, so names cost nothing there. `KEYS.from.NAME` is the number of the first
key of an open list. `GUARDS.STALE` is the place of a guard in the order of gate.values.guards. Callers pass values by
the same names, so only the header counts positions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from gate.values.errors import GateError
from gate.values.guards import GUARDS

Command = tuple[str | int | bytes, ...]
"""A Redis command: its name and arguments."""


class Encoded(NamedTuple):
    """A call of a script in the bytes of the Redis protocol."""

    script: str
    packed: bytes
    asks_server: bool
    """Whether one more argument follows: what the connection's server has said of itself."""

    def words(self, server: str) -> Command:
        """The same word by word, for who sends it by another client. `server`: what the server has said of itself."""
        words, rest = [], self.packed.partition(b"\r\n")[2]
        while rest:
            length, _, rest = rest.partition(b"\r\n")
            end = int(length[1:])
            words.append(rest[:end])
            rest = rest[end + 2 :]
        return (*words, server.encode()) if self.asks_server else tuple(words)


class Pipeline(Struct, frozen=True):
    """Commands that go out in one send on one connection. Their replies come as a list, in the same order.

    WAIT and WAITAOF need this: they answer for what their own connection has written.
    """

    commands: tuple[Command | Encoded, ...]
    allow_ms: int = 0
    """How long commands behind the first may block, all together; comes on top of the wire's time-out."""


Message = Command | Encoded | Pipeline
"""What a wire carries in one round trip."""

ReadText = Callable[[str], str]
SCRIPTS: Final = (
    "evaluate",
    "settle",
    "inspect",
    "last_look",
    "still_out",
    "control",
    "identify",
    "leftovers",
    "takes_writes",
    "answer",
    "order_update",
    "mark_told",
)
SERVER: Final = "-server-"
"""The last word of a command whose script asks which server it runs on. The wire replaces this very object by what the
connection's server has said of itself."""

_INCLUDE: Final = re.compile(r"^[ \t]*--@include[ \t]*(\S*)[ \t]*$", re.MULTILINE)
_ENTRY: Final = re.compile(r"--(?: (?:KEYS|ARGV))? +(\d+)(…?) ([a-z_]+)\b")
_BORROWED: Final = re.compile(r"-- .* as in (\w+)\.lua")
_NAMED: Final = re.compile(r"(KEYS|ARGV|GUARDS)\.(from\.)?(\w+)")  # a \b before it would take 2 ms of each start


class ScriptError(GateError):
    """A script that can't be loaded, or a call that doesn't fit its header."""


class Entries(NamedTuple):
    """The names that a header lists under KEYS or ARGV, in order."""

    names: tuple[str, ...]
    open_list: str | None = None
    """The name of the list, of any length, that follows the names."""

    def number(self, name: str) -> int | None:
        """The place of a name, from 1 as in Lua; None for a name that isn't listed."""
        return self.names.index(name) + 1 if name in self.names else None


class Script(NamedTuple):
    """A loaded script: its name, its full text, the SHA-1 that EVALSHA takes, its keys and its arguments."""

    name: str
    source: str
    sha: str
    keys: Entries
    arguments: Entries


Value = str | int | bytes


def _listed(
    called: Script, fixed: Mapping[str, Value], open_list: tuple[str, ...] = ()
) -> list[tuple[str | None, Value]]:
    """A call's keys and arguments in order: each by its name, if it has one, with its value where that is fixed."""
    return [
        *((name, fixed.get(name, "")) for name in called.keys.names),
        *((None, key) for key in open_list),
        *((name, fixed.get(name, "")) for name in called.arguments.names),
    ]


class Call:
    """Builds calls of one script. Fixed values are filled in once; every call gives the others by name."""

    def __init__(
        self, verb: str, called: Script, fixed: Mapping[str, Value], *, open_list: tuple[str, ...] = ()
    ) -> None:
        """`verb` is EVALSHA or EVALSHA_RO. Names in `fixed` that the script doesn't have are ignored. `open_list`: the
        keys that follow the named ones, if the header has an open list."""
        listed = _listed(called, fixed, open_list)
        self._name: Final = called.name
        start = (verb, called.sha, len(called.keys.names) + len(open_list))
        self._words: Final[list[Value]] = [*start, *(value for _, value in listed)]
        self._places: Final = {
            name: place for place, (name, _) in enumerate(listed, len(start)) if name is not None and name not in fixed
        }

    def __call__(self, **given: Value) -> Command:
        """The command. Needs exactly the names that aren't fixed; raises ScriptError otherwise."""
        places, words = self._places, self._words.copy()
        if given.keys() != places.keys():
            raise _misfit(self._name, given, places)
        for name, value in given.items():
            words[places[name]] = value
        return tuple(words)


class EncodedCall:
    """As Call, for what is called with each order: it gives the call's bytes, of which those of the fixed values are
    made once. That takes a third of the time in which a client library encodes thirty words."""

    def __init__(
        self, verb: str, called: Script, fixed: Mapping[str, Value], *, open_list: tuple[str, ...] = ()
    ) -> None:
        """As Call's."""
        listed = _listed(called, fixed, open_list)
        self._name: Final = called.name
        self._given: Final = tuple(name for name, _ in listed if name is not None and name not in fixed)
        self._asks_server: Final = listed[-1] == ("server", SERVER)
        count = 3 + len(listed)
        if self._asks_server:
            listed.pop()
        keys = len(called.keys.names) + len(open_list)
        template = b"*%d\r\n" % count + _bulk(verb) + _bulk(called.sha) + _bulk(keys)
        for name, value in listed:
            given = name is not None and name not in fixed
            template += b"$%d\r\n%b\r\n" if given else _bulk(value).replace(b"%", b"%%")
        self._template: Final = template

    def __call__(self, **given: Value) -> Encoded:
        """The call. Needs exactly the names that aren't fixed; raises ScriptError otherwise."""
        values: list[int | bytes] = []
        try:
            for name in self._given:
                value = given[name]
                text = (
                    value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b"%d" % value
                )
                values.append(len(text))
                values.append(text)
        except KeyError:
            raise _misfit(self._name, given, self._given) from None
        if len(given) != len(self._given):
            raise _misfit(self._name, given, self._given)
        return Encoded(self._name, self._template % tuple(values), self._asks_server)


def _misfit(name: str, given: Collection[str], needed: Collection[str]) -> ScriptError:
    """The error of a call that is given other names than it needs."""
    if unknown := [each for each in given if each not in needed]:
        return ScriptError(f"a call of {name} takes no {', '.join(unknown)}")
    return ScriptError(f"a call of {name} lacks {', '.join(each for each in needed if each not in given)}")


def _bulk(value: Value) -> bytes:
    """A word of a command, as the Redis protocol has it."""
    text = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b"%d" % value
    return b"$%d\r\n%b\r\n" % (len(text), text)


def scripts_digest() -> str:
    """What tells one state of the scripts from another, of 40 characters."""
    return hashlib.sha1("".join(script(name).sha for name in SCRIPTS).encode(), usedforsecurity=False).hexdigest()


def packed_for(call: Encoded, server: str) -> bytes:
    """The bytes that go to a server. `server`: what it has said of itself."""
    return call.packed + _bulk(server) if call.asks_server else call.packed


def resolve(name: str, read: ReadText) -> Script:
    """Loads a script. `read` gives the text of a path such as `evaluate.lua` or `include/read.lua`; raises OSError."""
    text = _with_includes(name, read)
    keys, arguments = (_entries(word, name, read) for word in ("KEYS", "ARGV"))
    source = _with_numbers(name, text, keys, arguments)
    if both := set(keys.names) & set(arguments.names):
        raise ScriptError(f"{name}.lua: a key and an argument have the same name: {', '.join(sorted(both))}")
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha, keys, arguments)


def _with_includes(name: str, read: ReadText) -> str:
    included: list[str] = []

    def text_of(path: str, inside: tuple[str, ...]) -> str:
        try:
            text = read(path)
        except OSError:
            raise ScriptError(f"{inside[-1] if inside else name}: there is no lua/{path}") from None

        def paste(match: re.Match[str]) -> str:
            include = f"include/{match[1]}.lua"
            if include in (*inside, path):
                raise ScriptError(f"{path}: includes itself by way of {include}")
            if include in included:
                raise ScriptError(f"{path}: {include} is included twice in {name}")
            included.append(include)
            return text_of(include, (*inside, path)).rstrip("\n")

        return _INCLUDE.sub(paste, text)

    return text_of(f"{name}.lua", ())


def _entries(word: str, name: str, read: ReadText) -> Entries:
    """The entries under KEYS or ARGV in a script's header: one on each line, until an empty comment line.

    A line `… as in NAME.lua` instead of entries takes them from that script's header.
    """
    names: list[str] = []
    open_list, listing = None, False
    for line in read(f"{name}.lua").splitlines():
        listing = listing or (line.startswith("-- ") and word in line.partition("  ")[0].replace(",", "").split())
        if not listing:
            continue
        if not line.startswith("-- "):
            break
        if borrowed := _BORROWED.match(line):
            return _entries(word, borrowed[1], read)
        if (entry := _ENTRY.match(line)) is None:
            continue
        if open_list or int(entry[1]) != len(names) + 1 or entry[3] in names:
            raise ScriptError(f"{name}.lua: {word} {entry[1]} {entry[3]} is out of order, or named twice")
        if entry[2]:
            open_list = entry[3]
        else:
            names.append(entry[3])
    return Entries(tuple(names), open_list)


def _with_numbers(name: str, text: str, keys: Entries, arguments: Entries) -> str:
    lists = {"KEYS": keys, "ARGV": arguments, "GUARDS": Entries(tuple(guard.reason.value for guard in GUARDS))}

    def numbered(match: re.Match[str]) -> str:
        word, is_open, named = match.groups()
        listed = lists[word]
        number = listed.number(named)
        if is_open and named == listed.open_list:
            return str(len(listed.names) + 1)
        if is_open or number is None:
            where = "gate.values.guards" if word == "GUARDS" else f"the header of {name}.lua"
            raise ScriptError(f"{name}.lua: {match[0]} isn't listed in {where}")
        return str(number) if word == "GUARDS" else f"{word}[{number}]"

    return _NAMED.sub(numbered, text)


@cache
def _directory() -> Path:
    """The folder of the scripts: inside the package in a wheel, beside the package in a checkout."""
    package = Path(__file__).parent.parent
    for directory in (package / "lua", package.parent / "lua"):
        if (directory / "evaluate.lua").is_file():
            return directory
    raise ScriptError(f"the Lua scripts are in neither {package / 'lua'} nor {package.parent / 'lua'}; reinstall gate")


@cache
def script(name: str) -> Script:
    """Loads an installed script by its name, one of SCRIPTS."""
    return resolve(name, _installed)


@cache
def _installed(path: str) -> str:
    """An installed text, read once: the scripts share most of what they include, and their headers name each other."""
    return (_directory() / path).read_text("utf-8")
