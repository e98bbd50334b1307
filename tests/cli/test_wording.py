"""Spans, moments, and texts that others wrote."""

from __future__ import annotations

import pytest

from gate.cli.screens.wording import ago, moment, one_line, printable, span


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (1, "0.1 s"),
        (1_500, "1.5 s"),
        (9_999, "10 s"),
        (10_000, "10 s"),
        (58_001, "59 s"),
        (59_001, "1m 0s"),
        (871_234, "14m 32s"),
        (3_599_000, "59m 59s"),
        (3_599_001, "1h 0m"),
        (11_040_001, "3h 5m"),
        (86_399_999, "1d 0h"),
        (187_200_000, "2d 4h"),
    ],
)
def test_a_wait_is_never_rounded_down(ms: int, text: str) -> None:
    assert span(ms) == text


def test_moments() -> None:
    assert moment(1_766_550_734_062) == "2025-12-24T04:32:14.062Z"
    assert ago(1_766_550_734_062, 1_766_550_736_062) == "2025-12-24T04:32:14.062Z (2 s ago)"
    assert ago(1_766_550_736_062, 1_766_550_734_062).endswith(" (in 2 s)")
    assert moment(10**20) == f"{10**20} ms"


def test_texts_from_others_can_not_steer_the_terminal() -> None:
    assert printable("ops: Ü, 5 %") == "ops: Ü, 5 %"
    assert printable("\x1b[31m\x07\u202e\udc80") == r"\x1b[31m\x07\u202e\udc80"
    assert one_line("two\n  lines\x1b") == r"two lines\x1b"
