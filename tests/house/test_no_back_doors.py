"""Other rooms and their tests use only the public names of a gate."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gate
from gate import AsyncGate, Gate

PACKAGE = Path(gate.__file__).parent
SOURCES = sorted(
    file
    for folder in (PACKAGE, *(PACKAGE.parent / name for name in ("tests", "benchmarks", "scripts", "examples")))
    for file in folder.rglob("*.py")
    if not file.is_relative_to(PACKAGE / "client")
)
BACK_DOORS = {"_caller", "_carry"}
"""Who calls a gate's operations, and how the gate carries them."""


def back_doors(source: str) -> Iterator[str]:
    """The uses of the client's own names in a source, except on `self`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in BACK_DOORS and ast.unparse(node.value) != "self":
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_a_gate_shows_nothing_of_what_it_is_made_of(kind: type[Gate] | type[AsyncGate]) -> None:
    made = kind.from_url("redis://localhost")  # connects at the first call
    assert [name for name in vars(made) if not name.startswith("_")] == []
    assert set(dir(made)) >= BACK_DOORS, "a back door has another name by now"


def test_nobody_reaches_through_a_gate() -> None:
    found = {file.relative_to(PACKAGE.parent).as_posix(): [*back_doors(file.read_text())] for file in SOURCES}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "reaches"),
    [
        ("gate._caller.keyspace.state", True),
        ("desk.gate._carry(dialogue)", True),
        ("self.gate._caller", True),
        ("self._caller.saw(fence)", False),
        ("gate.client_order_id(intent.id)", False),
    ],
)
def test_a_back_door_is_known_when_it_is_seen(source: str, reaches: bool) -> None:
    assert bool([*back_doors(source)]) is reaches
