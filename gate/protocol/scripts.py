"""The Lua scripts, read from lua/, with their includes resolved.

A line `--@include NAME` stands for lua/include/NAME.lua. A missing include, one named twice and one that includes
itself are errors: a reader of a script must be able to trust that its text is all there, once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from gate.values.errors import GateError

_INCLUDE: Final = re.compile(r"^[ \t]*--@include[ \t]*(\S*)[ \t]*$", re.MULTILINE)

ReadText = Callable[[str], str]
SCRIPTS: Final = ("evaluate", "settle", "inspect", "control")


class ScriptError(GateError):
    """A script that can't be put together."""


@dataclass(frozen=True, slots=True)
class Script:
    """One script, whole: its name, its text, and the SHA-1 by which Redis knows it."""

    name: str
    source: str
    sha: str


def resolve(name: str, read: ReadText) -> Script:
    """Puts a script together. `read` gives the text of `evaluate.lua` or `include/read.lua`, or raises OSError."""
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

    source = text_of(f"{name}.lua", ())
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


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
