"""A clock that is off is told in the log of whoever executes, with the remedy."""

from __future__ import annotations

import asyncio
import time

import pytest

from gate.executor.clock_watch import ClockWatch
from gate.values.clocks import clock_check
from gate.values.diagnosis import Grade
from tests.executor.conftest import Desk

SKEW_MS = 5_000


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in caplog.records if each.getMessage().startswith("CLOCK OFF ")]
    caplog.clear()
    return found


def test_it_is_told_once_and_again_when_it_has_doubled(caplog: pytest.LogCaptureFixture) -> None:
    watch = ClockWatch()
    for off_ms, lines in ((900, 0), (1_200, 1), (1_300, 0), (2_399, 0), (2_400, 1), (-20_000, 1), (-20_100, 0)):
        watch.sees(1_000_000 + off_ms, 1_000_000, 1_000_000, SKEW_MS)
        assert len(told(caplog)) == lines, off_ms


def test_it_is_told_anew_only_after_the_clocks_were_close(caplog: pytest.LogCaptureFixture) -> None:
    watch = ClockWatch()
    for off_ms, lines in ((1_001, 1), (999, 0), (1_001, 0), (500, 0), (1_001, 1)):
        watch.sees(1_000_000 + off_ms, 1_000_000, 1_000_000, SKEW_MS)
        assert len(told(caplog)) == lines, off_ms


def test_a_strict_policy_makes_less_than_a_second_matter_where_the_host_is_ahead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its entries are denied as from the future."""
    watch = ClockWatch()
    for off_ms, lines in ((-199, 0), (-201, 1), (-220, 0), (-101, 0), (-201, 0), (-99, 0), (-201, 1), (900, 0)):
        watch.sees(1_000_000 + off_ms, 1_000_000, 1_000_000, 200)
        assert len(told(caplog)) == lines, off_ms
    assert clock_check(-90, 0).grade is Grade.OK
    assert clock_check(-900, 200).grade is Grade.WRONG
    assert clock_check(900, 200).grade is Grade.OK


def test_it_names_the_remedy_and_what_follows(caplog: pytest.LogCaptureFixture) -> None:
    ClockWatch().sees(1_003_000, 1_000_000, 1_000_000, SKEW_MS)
    assert told(caplog) == [
        "CLOCK OFF detail=\"the store's is +3000 ms from this host's; set both by NTP, with chrony or the like\""
    ]
    ClockWatch().sees(980_000, 1_000_000, 1_000_000, SKEW_MS)
    [line] = told(caplog)
    assert "-20000 ms" in line
    assert "intents are too old or too early; set both by NTP" in line


def test_what_the_question_took_is_no_distance(caplog: pytest.LogCaptureFixture) -> None:
    watch = ClockWatch()
    for store_ms in (1_000_000, 1_005_000, 1_010_000, 1_010_900, 999_100):
        watch.sees(store_ms, 1_000_000, 1_010_000, SKEW_MS)
    assert told(caplog) == []


@pytest.mark.parametrize(("off_ms", "lines"), [(0, 0), (3_000, 1), (-3_000, 1)])
async def test_an_executor_tells_it_at_its_start(
    off_ms: int, lines: int, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - off_ms * 1_000_000)
    rounds = 0
    give_back = desk.gate.give_back

    async def counted() -> None:
        nonlocal rounds
        await give_back()
        rounds += 1

    monkeypatch.setattr(desk.gate, "give_back", counted)
    monkeypatch.setattr("gate.executor.reconcile.RECONCILE_EVERY_S", 0.01)
    async with desk.executor, asyncio.timeout(60):
        while rounds < 3:  # noqa: ASYNC110  # the executor's own task is at it
            await asyncio.sleep(0.01)
    assert len(told(caplog)) == lines
