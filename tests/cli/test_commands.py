"""Every listed command loads under its own name, and its help shows an example."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from gate.cli.program import COMMANDS, program

OURS = ("eval", "status", "show", "halt", "resume", "reset", "policy show", "policy apply")


def found(words: str) -> click.Command:
    group: click.Group = program
    *groups, last = words.split()
    for name in groups:
        inner = group.get_command(click.Context(group), name)
        assert isinstance(inner, click.Group)
        group = inner
    command = group.get_command(click.Context(group), last)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_loads(name: str) -> None:
    command = found(name)
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("words", OURS)
def test_every_command_answers_in_json_and_shows_an_example(words: str) -> None:
    command = found(words)
    assert any("--json" in parameter.opts for parameter in command.params)
    last = words.split()[-1]
    assert any(line.strip().startswith("gate ") and last in line for line in (command.help or "").splitlines())


def every(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield from every(command, (*words, name)) if isinstance(command, click.Group) else [(*words, name)]


@pytest.mark.parametrize("words", [(), *every(program)], ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(words: tuple[str, ...]) -> None:
    told = CliRunner().invoke(program, [*words, "--help"], terminal_width=80).output
    assert [line for line in told.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("words", ["halt", "resume", "reset", "policy apply"])
def test_a_command_that_changes_something_requires_a_name_and_a_reason(words: str) -> None:
    required = {parameter.name for parameter in found(words).params if parameter.required}
    assert {"by", "reason"} <= required
