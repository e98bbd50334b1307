"""The page lists what can still stop an exit: every reason and every code, and each says what to do."""

from __future__ import annotations

import re

from gate.exchange.failure_table import CODES, COVERED, STATUSES
from gate.values.guards import GUARDS, Exits, Reason
from tests.docs.test_promises import ROOT

PAGE = (ROOT / "docs" / "exits.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| reason", "| code"))]
OWN = (Reason.INVALID, Reason.STORE_UNAVAILABLE, Reason.STORE_ERROR)
OF_ENTRIES = {"MAX_QUANTITY", "LOCK_LOST", "SAFE_MODE", "SYMBOL_OFF", "MIN_NOTIONAL", "MAX_NOTIONAL", "PERCENT_PRICE"}
OF_ENTRIES |= {"MARGIN_ASSET", "POSITION_SIDE"}
"""Words of the executor and of the last look that an exit doesn't meet."""


def section(head: str) -> str:
    return PAGE.partition(f"## {head}\n")[2].partition("\n## ")[0]


def named(head: str) -> set[str]:
    """The words in the first column of a section's table."""
    cells = [row.split("|")[1] for row in section(head).splitlines() if row.startswith("| `")]
    return {word for cell in cells for word in re.findall(r"`([A-Z][A-Z_]+)`", cell)}


def test_the_reasons_are_those_by_which_the_gate_denies_exits() -> None:
    denying = {each.reason for each in GUARDS if each.exits in (Exits.APPLY, Exits.HALT_ALL)}
    assert named("The gate denies it") == {each.value for each in (*denying, *OWN)}


def test_the_executors_words_are_those_of_its_code() -> None:
    files = (ROOT / "gate" / "executor" / f"{name}.py" for name in ("order_plan", "closing", "placing"))
    source = "".join(file.read_text("utf-8") for file in files)
    said = set(re.findall(r'(?:_Refused|PlanRefusal|unsent)\(\s*"([A-Z_]+)"', source))
    for bound in re.findall(r'f"(MIN|MAX)_\{word\}"', source):
        said |= {f"{bound}_PRICE", f"{bound}_TRIGGER_PRICE"}
    look = (ROOT / "lua" / "last_look.lua").read_text("utf-8").partition("Reply")[2].partition("or an error")[0]
    said |= set(re.findall(r"^--   ([A-Z_]+) detail", look, re.MULTILINE)) | {"STORE_LOST", "MEMORY_LOST"}
    assert named("The executor doesn't send it") == said - OF_ENTRIES - {Reason.HALTED.value}


def test_the_codes_are_those_of_the_outcome_table() -> None:
    rows = [row.split("|")[1] for row in section("The exchange refuses it").splitlines() if row.startswith("| ")]
    codes = [int(found.replace("−", "-")) for cell in rows for found in re.findall(r"−\d{4}", cell)]
    assert sorted(codes) == sorted(CODES)
    statuses = {int(found) for cell in rows for found in re.findall(r"\b(4\d\d)\b", cell)}
    assert statuses == STATUSES.keys() - {408}
    assert sorted(COVERED) == ["-2022", "-4118"]


def test_every_row_says_when_and_what_to_do() -> None:
    assert len(ROWS) > 30
    for row in ROWS:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3, row
        assert all(cells), row
