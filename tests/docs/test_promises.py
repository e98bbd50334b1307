"""Every promise quotes lines that are in the named files, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text("utf-8")
PROMISES = re.findall(r"^## (P\d): ", PAGE, re.MULTILINE)
KEPT_BY = re.compile(
    r"^- `(\S+)`: [^\n]+\n\n  ```\w+\n(.*?)\n  ```\n\n  Fails without it:((?:\s+`[^`]+`,?)+)",
    re.MULTILINE | re.DOTALL,
)


def section(promise: str) -> str:
    return PAGE.partition(f"## {promise}: ")[2].partition("\n## ")[0]


def lines() -> list[tuple[str, str, str]]:
    """Promise, file and quoted line."""
    return [(promise, file, quoted) for promise in PROMISES for file, quoted, _ in KEPT_BY.findall(section(promise))]


@cache
def defined_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def one_spaced(text: str) -> str:
    return " ".join(text.split())


def test_there_are_eight_and_each_has_its_lines() -> None:
    assert " ".join(PROMISES) == "P1 P2 P3 P4 P5 P6 P7 P8"
    assert {promise for promise, _, _ in lines()} == set(PROMISES)
    # The pattern has found every entry; an entry of another form would escape the tests below.
    assert len(lines()) == PAGE.count("Fails without it:") == PAGE.count("```") // 2


@pytest.mark.parametrize(("promise", "file", "quoted"), lines(), ids=lambda value: value.strip()[:60])
def test_a_quoted_line_stands_in_its_file(promise: str, file: str, quoted: str) -> None:
    assert one_spaced(quoted) in one_spaced((ROOT / file).read_text("utf-8")), f"{promise} quotes what {file} hasn't"


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) == PAGE.count("::")
    assert [f"{file}::{test}" for file, test in named if test not in defined_in(file)] == []
