"""The page lists the keys and arguments of each script as the script's own header does, in the same order."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path

import pytest

from gate import Policy
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import SCRIPTS
from gate.protocol.scripts import script as sends

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")
LISTS = [
    ("evaluate", "KEYS"),
    ("evaluate", "ARGV"),
    ("settle", "ARGV"),
    ("last_look", "KEYS"),
    ("last_look", "ARGV"),
    ("control", "KEYS"),
    ("control", "ARGV"),
    ("leftovers", "KEYS"),
    ("leftovers", "ARGV"),
    ("answer", "KEYS"),
    ("answer", "ARGV"),
    ("order_update", "KEYS"),
    ("order_update", "ARGV"),
    ("mark_told", "KEYS"),
    ("mark_told", "ARGV"),
]


def in_header(script: str, word: str) -> list[tuple[str, str]]:
    """Number and name of every entry under KEYS or ARGV, as the loader reads them."""
    entries = sends(script).keys if word == "KEYS" else sends(script).arguments
    listed = [(str(number), name) for number, name in enumerate(entries.names, 1)]
    return listed + ([(f"{len(listed) + 1}…", entries.open_list)] if entries.open_list else [])


def on_page(script: str, word: str) -> list[tuple[str, str, str]]:
    """Number, name and text of every row."""
    section = PAGE.partition(f"\n## {script}\n")[2].partition("\n## ")[0]
    rows = section.partition(f"| {word} | name |")[2].partition("\n\n")[0]
    return re.findall(r"^\| (\d+…?) \| `(\w+)` \| ?(.*)\|$", rows, re.MULTILINE)


@pytest.mark.parametrize(("script", "word"), LISTS)
def test_every_entry_of_a_header_is_on_the_page_in_order(script: str, word: str) -> None:
    assert [(number, name) for number, name, _ in on_page(script, word)] == in_header(script, word)


@pytest.mark.parametrize("script", ["evaluate", "last_look", "control"])
def test_every_key_is_told_as_its_header_has_it(script: str) -> None:
    header = (ROOT / "lua" / f"{script}.lua").read_text("utf-8")
    patterns = re.findall(r"^--(?: KEYS)? +\d+…? (\w+) +(P:\S+)", header, re.MULTILINE)
    told = [(name, text.split("`")[1]) for _, name, text in on_page(script, "KEYS")]
    assert told == patterns


def test_inspect_and_settle_take_what_the_page_says_they_take() -> None:
    evaluate = sends("evaluate")
    assert (sends("inspect").keys, sends("inspect").arguments) == (evaluate.keys, evaluate.arguments)
    assert sends("settle").keys.names == (*evaluate.keys.names, "exits", "placed")
    assert sends("identify").keys == sends("settle").keys


def test_the_fingerprint_of_a_policy_is_made_as_the_page_says() -> None:
    """A client in another language that makes another one stops the account: POLICY_MISMATCH for everybody else."""
    assert "base64url of BLAKE2b, 9 bytes, over `name=value` of every figure" in PAGE
    policy = Policy(mode="observe")
    figures = [each.name for each in fields(Policy) if each.name != "mode"]
    canonical = " ".join(f"{name}={getattr(policy, name)}" for name in figures)
    made = urlsafe_b64encode(blake2b(canonical.encode(), digest_size=9).digest()).decode()
    assert made == policy.fingerprint


def test_every_script_has_a_section() -> None:
    assert [script for script in SCRIPTS if f"\n## {script}\n" not in PAGE] == []


def test_every_key_of_an_account_is_on_the_page() -> None:
    keyspace = Keyspace("P")
    keys = keyspace.of_account() | keyspace.of_intent("{intent_id}", "{symbol}", "{side}")
    section = PAGE.partition("\n## Keys\n")[2].partition("\n## ")[0]
    assert {*re.findall(r"^\| `(P:\S+)` \|", section, re.MULTILINE)} == {*keys.values()}
