"""docs/words.md: every word is defined where the page says, and no public word is left out."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import gate
import gate.executor
from gate.exchange import failure_table, failures
from gate.values import outcome

PAGE = (Path(__file__).parents[2] / "docs" / "words.md").read_text("utf-8")
ROWS = re.findall(r"^\| (?!word|---)(.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
NAMES = [name for _, _, places in ROWS for name in re.findall(r"`([\w.]+)`", places)]


def defined(name: str) -> object:
    """The object of a dotted name: a class of a module, or a member of a class."""
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"no module of {name}")


def classes_of_what_came_of_it() -> set[type]:
    """The public classes for the result of an intent, of its request or of its report."""
    executor = [f"gate.executor.{each.name}" for each in pkgutil.iter_modules(gate.executor.__path__)]
    modules = [outcome, failure_table, failures, *map(importlib.import_module, executor)]
    return {
        member
        for module in modules
        for name, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and not name.startswith("_")
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_word_is_defined_where_the_page_says(name: str) -> None:
    assert defined(name) is not None


def test_every_row_is_a_word_with_one_meaning_and_its_place() -> None:
    assert len(ROWS) == len([line for line in PAGE.splitlines() if line.startswith("| ")]) - 4
    words = [word for word, _, _ in ROWS]
    assert len(set(words)) == len(words)
    assert all("`gate." in places for _, _, places in ROWS)


def public_classes() -> set[type]:
    """The public classes of `gate`, without its exceptions, whose names say what happened."""
    return {each for name in gate.__all__ if not issubclass(each := getattr(gate, name), Exception)}


@pytest.mark.parametrize("classes", [public_classes, classes_of_what_came_of_it])
def test_no_word_is_left_out(classes: Callable[[], set[type]]) -> None:
    on_the_page = {found for name in NAMES if isinstance(found := defined(name), type)}
    missing = classes() - on_the_page
    assert not missing, f"docs/words.md doesn't say what these mean: {sorted(each.__qualname__ for each in missing)}"


def test_it_is_one_screen() -> None:
    assert len(PAGE.splitlines()) <= 60
