"""The service's bench runs, and its report has every figure. No rate is judged here."""

from __future__ import annotations

import pytest

from benchmarks.service import REACH, as_table, measure


@pytest.mark.parametrize("what", [*REACH])
def test_every_kind_of_intent_is_answered_and_measured(what: str) -> None:
    rate = measure(what, 100)
    assert rate.intents == 100
    assert rate.a_second > 0
    assert rate.a_cpu_second > 0
    assert rate.first_mb > 0
    assert as_table([rate]).row_count == 1
