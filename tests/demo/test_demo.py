"""The demo's report is true, also when the books differ."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gate.cli.commands.demo import demo
from gate.demo import books
from gate.demo import story as telling
from gate.demo.story import Promise, Story, tell


async def test_the_story_is_true_and_both_books_agree() -> None:
    promises: list[Promise] = []
    story = Story(on_scene=lambda _: None, on_promise=promises.append)

    await tell(story)

    assert [promise.said for promise in promises if not promise.kept] == []
    assert len(promises) == 9
    assert all(line.agrees for line in story.books)
    assert story.true


def test_the_command_prints_one_json_object_and_exits_0() -> None:
    result = CliRunner().invoke(demo, ["--json"])

    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["kept"] is True
    assert {line["intent_id"] for line in document["books"]} >= {"alice-1", "bob-4-exit"}


def test_the_screen_counts_checks_for_the_promises_of_the_documentation_are_others() -> None:
    result = CliRunner().invoke(demo, [])

    assert result.exit_code == 0
    assert "9 of 9 checks passed" in result.output
    assert "promise" not in result.output


def test_a_record_that_the_exchange_does_not_have_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last order is deleted from the ledger."""
    hold_together = books.hold_together
    monkeypatch.setattr(telling, "hold_together", lambda desk, ledger: hold_together(desk, ledger[:-1]))

    result = CliRunner().invoke(demo, [])

    assert result.exit_code == 1
    assert "DIFFER" in result.output
    assert "SOMETHING IS WRONG" in result.output


def test_an_order_that_no_intent_explains_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_together = books.hold_together
    stranger = {"account": "alice", "clientOrderId": "stranger", "orderId": 1, "status": "FILLED"}
    monkeypatch.setattr(telling, "hold_together", lambda desk, ledger: hold_together(desk, [*ledger, stranger]))

    assert CliRunner().invoke(demo, ["--json"]).exit_code == 1
