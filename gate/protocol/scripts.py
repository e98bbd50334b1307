"""The Lua scripts, read from lua/: includes pasted, names put into numbers, and calls built by name.

A line `--@include NAME` stands for lua/include/NAME.lua. A missing include, one named twice and one that includes
itself are errors: a reader of a script must be able to trust that its text is all there, once.

The header of a script numbers its KEYS and ARGV and names each: `KEYS.halt` in the code, its includes among it, becomes
`KEYS[9]` before the server sees it, and so costs nothing there. `KEYS.from.NAME` is the number of the first of an open
list. `GUARDS.STALE` is the place of a guard in the order of gate.values.guards. Callers give their values by the same
names, so that no position is counted a second time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from gate.values.errors import GateError
from gate.values.guards import GUARDS

Command = tuple[str | int, ...]
"""A Redis command, word for word."""

ReadText = Callable[[str], str]
SCRIPTS: Final = ("evaluate", "settle", "inspect", "control")

_INCLUDE: Final = re.compile(r"^[ \t]*--@include[ \t]*(\S*)[ \t]*$", re.MULTILINE)
_ENTRY: Final = re.compile(r"--(?: (?:KEYS|ARGV))? +(\d+)(…?) ([a-z_]+)\b")
_BORROWED: Final = re.compile(r"-- .* as in (\w+)\.lua")
_NAMED: Final = re.compile(r"\b(KEYS|ARGV|GUARDS)\.(from\.)?(\w+)")


class ScriptError(GateError):
    """A script that can't be put together, or called as it is asked for."""


@dataclass(frozen=True, slots=True)
class Entries:
    """What a header lists under KEYS or ARGV, in its order."""

    names: tuple[str, ...]
    open_list: str | None = None
    """The name of what may follow in any number."""

    def number(self, name: str) -> int | None:
        """The place of a name, counted from 1 as Lua does; None for one that isn't listed."""
        return self.names.index(name) + 1 if name in self.names else None


@dataclass(frozen=True, slots=True)
class Script:
    """One script, whole: its name, its text, the SHA-1 by which Redis knows it, and what it is called with."""

    name: str
    source: str
    sha: str
    keys: Entries
    arguments: Entries


class Call:
    """Calls of one script. What is the same every time is filled in once; the rest is given by name, each time."""

    def __init__(
        self, verb: str, called: Script, fixed: Mapping[str, str | int], *, open_list: tuple[str, ...] = ()
    ) -> None:
        """`verb` is EVALSHA or EVALSHA_RO. What `fixed` has beyond the script's names is left out. `open_list`: the
        keys that follow the named ones, where the header has such a list."""
        listed: list[tuple[str | None, str | int]] = [
            *((name, fixed.get(name, "")) for name in called.keys.names),
            *((None, key) for key in open_list),
            *((name, fixed.get(name, "")) for name in called.arguments.names),
        ]
        start = (verb, called.sha, len(called.keys.names) + len(open_list))
        self._words: Final[list[str | int]] = [*start, *(value for _, value in listed)]
        self._places: Final = {
            name: place for place, (name, _) in enumerate(listed, len(start)) if name is not None and name not in fixed
        }

    def __call__(self, **given: str | int) -> Command:
        """The command. Raises ScriptError unless exactly the names are given that aren't fixed."""
        places, words = self._places, self._words.copy()
        try:
            for name, value in given.items():
                words[places[name]] = value
        except KeyError:
            given = {}
        if len(given) != len(places):
            raise ScriptError(f"a call of {words[1]} takes {', '.join(places)}, each once")
        return tuple(words)


def resolve(name: str, read: ReadText) -> Script:
    """Puts a script together. `read` gives the text of `evaluate.lua` or `include/read.lua`, or raises OSError."""
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
    """What the header of a script lists under a word: one entry a line, up to an empty comment; or as another lists."""
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


def _directory() -> Path:
    """Inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    for directory in (package / "lua", package.parent / "lua"):
        if (directory / "evaluate.lua").is_file():
            return directory
    raise ScriptError(f"the Lua scripts are in neither {package / 'lua'} nor {package.parent / 'lua'}; reinstall gate")


@cache
def script(name: str) -> Script:
    """A script of this installation by its name: evaluate, settle, inspect or control."""
    directory = _directory()
    return resolve(name, lambda path: (directory / path).read_text("utf-8"))
