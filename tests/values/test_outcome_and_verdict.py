"""Outcomes and verdicts check their figures, and say what a caller may do next."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gate import InvalidField, Outcome, OutcomeKind, Penalty, Phase, Reason, Record, Settled, Settlement, Verdict
from gate.values.record import decode_record


@pytest.mark.parametrize("code", ["", " ", "two words", "x" * 65, "line\nbreak"])
def test_codes_and_order_ids_are_one_word(code: str) -> None:
    with pytest.raises(InvalidField, match=r"^order_id: "):
        Outcome.placed(code)
    with pytest.raises(InvalidField, match=r"^code: "):
        Outcome.rejected(code)
    with pytest.raises(InvalidField, match=r"^code: "):
        Outcome.unsent(code)


def test_details_are_one_line_of_bounded_length() -> None:
    assert Outcome.rejected(-2019, "Margin\n is   insufficient.").note == "-2019 Margin is insufficient."
    assert len(Outcome.unknown("x" * 1000).note) < 200
    assert Outcome.placed(8_389_765).note == "8389765"


def test_what_it_trips_says_why_in_one_short_line() -> None:
    assert Outcome.rejected(-2019, "Margin is insufficient.").why == "-2019 Margin is insufficient."
    assert Outcome.unknown("timed out").why == "unknown whether an order exists: UNKNOWN timed out"
    assert Outcome.rejected(-2019, penalty=Penalty(reason="near the limits")).why == "near the limits"
    assert Outcome.rejected(-1, "\x1b[2J").why == "-1", "nothing that could change a terminal"
    long = Outcome.rejected(-1, "x" * 120).why
    assert (len(long), long[-1]) == (120, "…")


def test_what_may_be_tried_again_unless_told_otherwise() -> None:
    assert not Outcome.placed(1).retryable
    assert not Outcome.rejected(-2019).retryable
    assert Outcome.unsent("SHUTDOWN").retryable
    assert not Outcome.unknown().retryable
    assert [kind.value for kind in OutcomeKind] == ["placed", "rejected", "unsent", "unknown"]


@pytest.mark.parametrize("value", [-1, 1.5, "1", True, None])
def test_a_penalty_is_whole_milliseconds(value: Any) -> None:
    for name in ("cooldown_symbol_ms", "cooldown_global_ms"):
        with pytest.raises(InvalidField, match=name):
            Penalty(**{name: value})


def test_a_penalty_costs_only_what_it_names() -> None:
    assert Penalty() == Penalty(count_failure=False, cooldown_symbol_ms=0, cooldown_global_ms=0, safe_mode=False)


@pytest.mark.parametrize("reason", Reason)
def test_only_what_can_change_may_be_tried_again(reason: Reason) -> None:
    admitted = reason is Reason.ADMITTED
    verdict = Verdict(admitted, reason, retry_after_ms=1_500)
    never = {Reason.ADMITTED, Reason.CONFLICT, Reason.DUPLICATE, Reason.STALE, Reason.INVALID}
    assert verdict.retryable is (reason not in never)
    assert bool(verdict) is admitted
    assert verdict.retry_after == timedelta(seconds=1.5)
    assert Verdict(admitted, reason).retry_after is None


@pytest.mark.parametrize("status", Settled)
def test_a_settlement_is_true_when_the_outcome_stands(status: Settled) -> None:
    assert bool(Settlement(status)) is (status in ("SETTLED", "ALREADY", "OBSERVED"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "admitted",
        "placed a b c d e f g h i j",
        "settled tok 7 fp 1 BTCUSDT BUY 1 0 - x",
        "\ufffd" * 300,
        " " * 20,
    ],
)
def test_a_record_that_the_gate_did_not_write_is_foreign(text: str) -> None:
    record = decode_record("sig-1", text)
    assert record.phase is Phase.FOREIGN
    assert "denies" in str(record)


def test_a_record_is_read_as_it_was_written() -> None:
    text = "rejected tok 4503599627370497 fp 1766550734062 BTCUSDT BUY 25 0 vxpu -2019 Margin is insufficient."
    record = decode_record("sig-1", text)
    assert record == Record(
        intent_id="sig-1",
        phase=Phase.REJECTED,
        token="tok",  # noqa: S106  # of a permit, not a password
        fence=4_503_599_627_370_497,
        fingerprint="fp",
        admitted_ms=1_766_550_734_062,
        symbol="BTCUSDT",
        side="BUY",
        span_ms=25,
        verify=True,
        is_exit=True,
        penalised=True,
        unsent=True,
        note="-2019 Margin is insufficient.",
    )
    assert (record.code, record.settled_ms, record.deadline_ms) == ("-2019", 1_766_550_734_087, None)


def test_penalties_joined_keep_the_harder_of_each() -> None:
    first = Penalty(cooldown_symbol_ms=1, cooldown_global_ms=9, reason="first")
    second = Penalty(True, 5, 3, safe_mode=True)

    assert first.joined(second) == second.joined(first) == Penalty(True, 5, 9, safe_mode=True)
    assert first.joined(None) is first


@pytest.mark.parametrize("reason", ["x" * 65, "two\nlines"])
def test_a_penaltys_reason_is_one_short_line(reason: str) -> None:
    with pytest.raises(InvalidField, match="reason"):
        Penalty(reason=reason)


def test_an_answer_without_an_order_id_is_not_taken_for_a_placed_order() -> None:
    with pytest.raises(InvalidField, match="order_id: None is None; for a conditional order, give the answer's algoId"):
        Outcome.placed(None)  # type: ignore[arg-type]
