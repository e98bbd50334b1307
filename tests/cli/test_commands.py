"""Every listed command loads under its own name, and its help shows an example."""

from __future__ import annotations

import click
import pytest

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


@pytest.mark.parametrize("words", ["halt", "resume", "reset", "policy apply"])
def test_a_command_that_changes_something_requires_a_name_and_a_reason(words: str) -> None:
    required = {parameter.name for parameter in found(words).params if parameter.required}
    assert {"by", "reason"} <= required
