"""Evaluations without an answer: whose token is used again, and whose is given back."""

from __future__ import annotations

import time

import pytest

from gate.client.unheard import Unheard, UnheardCalls
from tests.client.account import entry


def unheard(token: str, id: str = "sig-1") -> Unheard:
    intent = entry(id)
    return Unheard(id, intent.symbol, intent.side, intent.fingerprint, token, time.monotonic_ns())


def test_two_deliveries_at_once_that_got_no_answer_are_both_remembered() -> None:
    """One of them has the claim, and nobody knows which."""
    calls = UnheardCalls(30_000)
    calls.keep(unheard("first"))
    calls.keep(unheard("second"))
    taken = calls.take(entry())
    assert taken is not None
    assert taken.token == "first"  # noqa: S105  # of a permit
    due = calls.next_due(entry())
    assert due is not None
    assert due.token == "second"  # noqa: S105
    assert not calls


def test_a_token_that_may_be_settled_any_moment_is_not_used_again() -> None:
    calls = UnheardCalls(30_000)
    calls.keep_settling(unheard("t0ken"))
    assert calls.take(entry()) is None
    assert calls.next_due() is not None, "but given back as soon as the store answers"


def test_an_exit_gives_back_only_what_it_holds_itself() -> None:
    calls = UnheardCalls(30_000)
    calls.keep(unheard("of-another", "sig-2"))
    assert calls.next_due(entry()) is None
    assert calls.next_due() is not None


def test_after_a_fork_the_child_does_not_give_back_what_the_parent_claims(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The parent may be about to send by it."""
    calls = UnheardCalls(30_000)
    calls.keep(unheard("the-parents"))
    with monkeypatch.context() as in_child:
        in_child.setattr("gate.client.unheard.os.getpid", lambda: -1)
        assert calls.next_due() is None
    assert calls.next_due() is not None, "the parent gives it back"
