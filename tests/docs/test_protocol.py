"""The page lists the keys and arguments of each script as the script's own header does, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import SCRIPTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")
LISTS = [
    ("evaluate", "KEYS"),
    ("evaluate", "ARGV"),
    ("settle", "ARGV"),
    ("control", "KEYS"),
    ("control", "ARGV"),
]


def in_header(script: str, word: str) -> list[tuple[str, str]]:
    """Position and first word of every entry under KEYS or ARGV: `1 P:exec:state`, `17 max_age`, `2 token, made by`."""
    text = (ROOT / "lua" / f"{script}.lua").read_text("utf-8")
    found = re.search(rf"^-- {word}\b(.*?)(?=^--\s*$)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{script}.lua: its header doesn't list {word}"
    return re.findall(r"(?:^|\s{2,}|--\s+)(\d+…?) ([\w:{}]+)", found[1], re.MULTILINE)


def on_page(script: str, word: str) -> list[tuple[str, str]]:
    """Position and text of every row."""
    section = PAGE.partition(f"\n## {script}\n")[2].partition("\n## ")[0]
    rows = section.partition(f"| {word} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| (\d+…?) \| (.+) \|$", rows, re.MULTILINE)


@pytest.mark.parametrize(("script", "word"), LISTS)
def test_every_entry_of_a_header_is_on_the_page_in_order(script: str, word: str) -> None:
    header, page = in_header(script, word), on_page(script, word)
    assert [number for number, _ in page] == [number for number, _ in header]
    for (number, entry), (_, told) in zip(header, page, strict=True):
        assert re.search(rf"\b{re.escape(entry)}", told), f"{script} {word} {number} is {entry}, the page says {told}"


def test_every_script_has_a_section() -> None:
    assert [script for script in SCRIPTS if f"\n## {script}\n" not in PAGE] == []


def test_every_key_of_an_account_is_on_the_page() -> None:
    keys = {
        *Keyspace("P").of_intent("{intent_id}", "{symbol}", "{side}"),
        *Keyspace("P").of_control((Keyspace("P").cooldown_symbol("{symbol}"),)),
    }
    section = PAGE.partition("\n## Keys\n")[2].partition("\n## ")[0]
    assert {*re.findall(r"^\| `(P:\S+)` \|", section, re.MULTILINE)} == keys
