"""The page's picture and table are the table that the import test holds."""

from __future__ import annotations

import re
from pathlib import Path

from tests.house.test_rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def table() -> dict[str, set[str]]:
    section = PAGE.partition("## The rooms")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\S+) \| [^|]+ \|([^|]*)\|$", section, re.MULTILINE)
    return {room: {each.strip() for each in below.split(",") if each.strip()} for room, below in rows if room != "room"}


def picture() -> dict[str, int]:
    """The floor on which each room is drawn."""
    floors = re.findall(r"^floor (\d+) +(.+)$", PAGE, re.MULTILINE)
    return {room: int(floor) for floor, rooms in floors for room in rooms.split()}


def test_the_table_is_the_one_that_the_imports_are_held_to() -> None:
    assert table() == ROOMS


def test_each_room_is_drawn_one_floor_above_the_highest_that_it_imports() -> None:
    drawn = picture()
    floors: dict[str, int] = {}
    for room, below in ROOMS.items():  # from the ground up
        floors[room] = 1 + max((floors[each] for each in below), default=0)
    assert drawn == floors


def test_every_file_on_an_intents_way_is_there() -> None:
    way = PAGE.partition("## An intent's way")[2]
    named = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|lua))`", way))
    assert named
    assert [path for path in sorted(named) if not ((ROOT / "gate" / path).is_file() or (ROOT / path).is_file())] == []
