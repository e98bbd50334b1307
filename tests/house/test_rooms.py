"""The architecture: which room may import which. Imports run downward only, and no files import each other in a circle.

A room is a folder of the package, or a file that stands by itself. `docs/architecture.md` draws the same table.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import gate

PACKAGE = Path(gate.__file__).parent

# From the ground up. A room imports only what its line names; what is lower never knows what is above it.
ROOMS: dict[str, set[str]] = {
    # no I/O: plain values, and calls and replies as bytes
    "values": set(),
    "version": set(),
    "protocol": {"values"},
    # where the store is, which account, which policy
    "config": {"values", "protocol"},
    # what knows Binance
    "exchange": {"values"},
    # a connection, and the gate on it; what takes an intent through gate and exchange
    "store": {"values", "protocol"},
    "client": {"values", "protocol", "config", "store", "exchange"},
    "executor": {"values", "client", "exchange"},
    "blocking": {"values", "protocol", "store", "client", "exchange", "executor"},
    # a stream of intents
    "service": {"values", "protocol", "config", "store", "client", "exchange", "executor", "version"},
    # the paper exchange: nothing of the rest
    "paper.market": set(),
    "paper.books": {"paper.market"},
    "paper.trading": {"paper.market", "paper.books"},
    "paper.rest": {"paper.market", "paper.books", "paper.trading"},
    "paper.streams": {"paper.market", "paper.books", "paper.trading", "paper.rest"},
    "paper.serving": {"paper.market", "paper.books", "paper.trading", "paper.rest", "paper.streams"},
    "paper": {"paper.market", "paper.rest", "paper.serving"},
    # what a person starts
    "demo": {"values", "store", "client", "exchange", "executor", "paper"},
    "cli.screens": {"values"},
    "cli": {"values", "store", "client", "config", "version", "cli.screens"},
    "cli.commands": {
        *("values", "protocol", "store", "client", "exchange", "executor", "config", "service"),
        *("paper.market", "paper.serving", "demo", "cli", "cli.screens"),
    },
}
# `gate`, `gate.executor` and the like only re-export names of their rooms; `python -m gate` is the command line.
DOORS = {"gate", "gate.__main__", "gate.executor", "gate.paper"}


class Import(NamedTuple):
    importer: str
    imported: str


def module_of(file: Path) -> str:
    parts = ("gate", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The innermost room of the table that holds the module."""
    inside = module.removeprefix("gate.")
    rooms = [room for room in ROOMS if inside == room or inside.startswith(room + ".")]
    return max(rooms, key=len, default="")


def imported_by(module: str) -> Iterator[str]:
    """Every module of the package that a module imports, also in a function or for type checking only."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            named = {f"{node.module}.{each.name}" for each in node.names}
            inner = named & MODULES.keys()
            yield from inner
            if node.module in MODULES and len(inner) < len(named):
                yield node.module


@cache
def imports() -> tuple[Import, ...]:
    return tuple(Import(module, each) for module in MODULES for each in sorted(set(imported_by(module))))


def circle(start: str, edges: dict[str, list[str]]) -> list[str] | None:
    """The shortest path of imports from a module back to itself."""
    ways, seen = [[start]], set[str]()
    while ways:
        way = ways.pop(0)
        for following in edges.get(way[-1], []):
            if following == start:
                return [*way, start]
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return None


def test_every_module_lives_in_a_room() -> None:
    assert [module for module in MODULES if module not in DOORS and not room_of(module)] == []


def test_every_room_has_a_module_and_says_what_it_is_for() -> None:
    for room in ROOMS:
        assert ast.get_docstring(ast.parse(MODULES[f"gate.{room}"].read_text())), room


def test_the_table_itself_runs_downward() -> None:
    above = set(ROOMS)
    for room, below in ROOMS.items():
        assert not below & above, f"{room} names a room that the table has not laid yet: {below & above}"
        above.discard(room)


@pytest.mark.parametrize("room", [*ROOMS])
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    found = [each for each in imports() if room_of(each.importer) == room and each.importer not in DOORS]
    wrong = [
        f"{each.importer} imports {each.imported}: {room or 'gate'} may not know {room_of(each.imported) or 'gate'}"
        for each in found
        if room_of(each.imported) not in ROOMS[room] | {room}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_allowance_is_left_that_nobody_uses() -> None:
    used = {(room_of(each.importer), room_of(each.imported)) for each in imports()}
    assert [(room, lower) for room, below in ROOMS.items() for lower in below if (room, lower) not in used] == []


@pytest.mark.parametrize("module", [*MODULES])
def test_no_files_import_each_other_in_a_circle(module: str) -> None:
    edges: dict[str, list[str]] = {}
    for each in imports():
        # A package's __init__ re-exports its own modules, and they don't import it.
        if each.importer not in DOORS:
            edges.setdefault(each.importer, []).append(each.imported)
    found = circle(module, edges)
    assert found is None, " imports ".join(found or [])
