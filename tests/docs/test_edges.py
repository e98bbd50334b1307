"""Every edge that the page tells of has a test that exists."""

from __future__ import annotations

import re

import pytest

from tests.docs.test_promises import ROOT, defined_in

PAGE = (ROOT / "docs" / "edges.md").read_text("utf-8")
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| a user |", "| an operator |"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[:60])
def test_a_row_has_its_columns_and_a_test_that_exists(row: str) -> None:
    _, _, first, now, shown_by, _ = (cell.strip() for cell in row.split("|"))
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by)

    assert first
    assert now
    assert tests
    assert [f"{file}::{test}" for file, test in tests if test not in defined_in(file)] == []
