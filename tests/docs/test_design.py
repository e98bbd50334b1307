"""The page's table of guards is the code's table."""

from __future__ import annotations

import re
from pathlib import Path

from gate.values.guards import GUARDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "design.md").read_text("utf-8")


def test_the_guards_are_those_of_the_code_in_their_order() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| ([A-Z_]+) \| .+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (str(number), guard.name, guard.reason.value, guard.exits.value) for number, guard in enumerate(GUARDS, 1)
    ]
