"""The scripts are whole, say in their headers what they use, and read no key behind a caller's back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gate.protocol.scripts import ScriptError, resolve, script

LUA = Path(__file__).parents[2] / "lua"
NAMES = ("evaluate", "settle", "inspect", "control")
FLAGS = {"evaluate": "", "settle": "allow-oom", "inspect": "no-writes", "control": "allow-oom"}


def files(**texts: str) -> Callable[[str], str]:
    """A reader of made-up files: `main` is main.lua, others are includes."""
    paths = {("main.lua" if name == "main" else f"include/{name}.lua"): text for name, text in texts.items()}

    def read(path: str) -> str:
        if path not in paths:
            raise FileNotFoundError(path)
        return paths[path]

    return read


def test_includes_are_pasted_where_they_stand() -> None:
    read = files(main="#!lua\n--@include one\nreturn two()\n", one="--@include two\n-- one\n", two="local two = 2\n")
    assert resolve("main", read).source == "#!lua\nlocal two = 2\n-- one\nreturn two()\n"


def test_the_sha_is_that_of_the_text() -> None:
    assert resolve("main", files(main="return 1")).sha == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "there is no lua/main.lua"),
        ({"main": "--@include one"}, "there is no lua/include/one.lua"),
        ({"main": "--@include one", "one": "--@include two"}, "there is no lua/include/two.lua"),
        ({"main": "--@include one\n--@include one", "one": "x"}, "include/one.lua is included twice in main"),
        (
            {"main": "--@include one\n--@include two", "one": "--@include two", "two": "x"},
            "include/two.lua is included twice in main",
        ),
        ({"main": "--@include one", "one": "--@include one"}, "includes itself by way of include/one.lua"),
        (
            {"main": "--@include one", "one": "--@include two", "two": "--@include one"},
            "includes itself by way of include/one.lua",
        ),
        ({"main": "--@include"}, "there is no lua/include/.lua"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_missing_double_and_circular_includes_are_errors(texts: dict[str, str], message: str) -> None:
    with pytest.raises(ScriptError, match=re.escape(message)):
        resolve("main", files(**texts))


def header(name: str) -> str:
    """The comment that opens a script."""
    lines = (LUA / f"{name}.lua").read_text("utf-8").splitlines()
    end = next(number for number, line in enumerate(lines[1:], 1) if not line.startswith("--") or "@include" in line)
    return "\n".join(lines[1:end])


def code(name: str) -> str:
    return re.sub(r"--[^\n]*", "", script(name).source.partition("\n")[2])


def section(name: str, word: str) -> str:
    """What a header says of KEYS or ARGV; a header may refer to evaluate's."""
    found = re.search(rf"^-- (?:KEYS, )?{word}\b.*?(?=^--\s*$|\Z)", header(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name}.lua: its header doesn't list {word}"
    return found[0]


def listed(name: str, word: str) -> set[int]:
    text = section(name, word)
    numbers = {int(number) for number in re.findall(r"(?:^|\s{2,}|--\s+)(\d+)…? ", text, re.MULTILINE)}
    return numbers | (listed("evaluate", word) if "as in evaluate" in text else set())


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_with_its_flags(name: str) -> None:
    assert script(name).source.startswith(f"#!lua flags={FLAGS[name]}\n")


@pytest.mark.parametrize("word", ["KEYS", "ARGV"])
@pytest.mark.parametrize("name", NAMES)
def test_every_key_and_argument_that_a_script_uses_stands_in_its_header(name: str, word: str) -> None:
    used = {int(number) for number in re.findall(rf"{word}\[(\d+)\]", code(name))}
    assert used
    assert used <= listed(name, word)


@pytest.mark.parametrize("name", ["evaluate", "control"])
def test_every_key_stands_in_the_header_with_its_pattern(name: str) -> None:
    patterns = dict(re.findall(r"(\d+)…? (P:[a-z_:{}]+)", section(name, "KEYS")))
    assert {int(number) for number in patterns} == listed(name, "KEYS")


@pytest.mark.parametrize("name", ["evaluate", "settle", "control"])
def test_every_listed_argument_is_used(name: str) -> None:
    assert {int(number) for number in re.findall(r"ARGV\[(\d+)\]", code(name))} >= listed(name, "ARGV")


@pytest.mark.parametrize("name", NAMES)
def test_every_word_that_a_script_replies_stands_in_its_header(name: str) -> None:
    replies = set(re.findall(r"return '([A-Z]{4,})", code(name)))
    assert replies <= set(re.findall(r"[A-Z]{4,}", header(name)))
    assert "Reply" in header(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_asks_for_the_time_once_and_never_decodes_json(name: str) -> None:
    text = code(name)
    assert len(re.findall(r"redis\.p?call\('TIME'\)", text)) == 1
    assert "cjson" not in text
    assert "cmsgpack" not in text
    assert not re.search(r"'(MGET|KEYS|SCAN|SMEMBERS|HGETALL)'", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_touches_no_key_that_it_was_not_given(name: str) -> None:
    assert "P:exec" not in code(name)
    assert "quantum" not in code(name)
    assert not re.search(r"'(exec|safety):", code(name))


def test_every_include_is_used() -> None:
    used = set(re.findall(r"--@include (\S+)", "\n".join(path.read_text("utf-8") for path in LUA.rglob("*.lua"))))
    assert used == {path.stem for path in (LUA / "include").glob("*.lua")}
