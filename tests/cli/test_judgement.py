"""The guards that stand beside a committed verdict never contradict it, whoever was faster in between."""

from __future__ import annotations

import pytest
from msgspec import structs

from gate import GuardReport, Verdict
from gate.cli.screens.judgement import GUARD_OF, agreeing
from gate.values.guards import GUARDS, Reason
from gate.values.verdict import Mode

NAMES = [guard.name for guard in GUARDS]


def reports(*denying: str) -> list[GuardReport]:
    reason_of = {guard: reason for reason, guard in GUARD_OF.items()}
    return [
        GuardReport(name, name not in denying, "key", reason_of[name] if name in denying else None, None, "as seen")
        for name in NAMES
    ]


def test_every_guard_has_its_reason() -> None:
    assert list(GUARD_OF.values()) == NAMES


def test_an_admission_has_passed_them_all() -> None:
    after = agreeing(reports("lock", "rate_symbol"), Verdict(True, Reason.ADMITTED))
    assert all(report.passed for report in after)


@pytest.mark.parametrize(("mode", "admitted"), [(Mode.ENFORCE, False), (Mode.OBSERVE, True)])
def test_a_denial_has_passed_what_is_ahead_of_it(mode: Mode, admitted: bool) -> None:
    verdict = Verdict(admitted, Reason.LOCKED, "held", 1234, mode=mode)
    after = agreeing(reports("safe_mode", "rate_symbol"), verdict)
    assert [report.guard for report in after if not report.passed] == ["lock", "rate_symbol"]
    lock = next(report for report in after if report.guard == "lock")
    assert (lock.reason, lock.wait_ms, lock.detail) == (Reason.LOCKED, 1234, "held")


def test_a_denying_guard_is_neither_exempt_nor_of_another_age() -> None:
    seen = [structs.replace(report, exempt=True) for report in reports()]
    denied = agreeing(seen, Verdict(False, Reason.STALE, "6.0 s in the future", age_ms=-6000))
    stale = next(report for report in denied if report.guard == "stale")
    assert (stale.passed, stale.exempt, stale.age_ms) == (False, False, -6000)


def test_what_was_seen_is_kept_where_it_agrees() -> None:
    seen = reports("lock")
    after = agreeing(seen, Verdict(False, Reason.LOCKED, "as seen", None))
    assert list(after) == seen
