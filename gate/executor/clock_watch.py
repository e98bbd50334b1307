"""Warns in the log where this host's clock and the store's are apart: at the start, and again where that grows."""

from __future__ import annotations

from typing import Final

from gate.values.clocks import CLOSE_MS, apart_ms, bound_ms, clock_check
from gate.values.diagnosis import Grade
from gate.values.log_words import log_of, pairs

_log: Final = log_of("gate.executor")


class ClockWatch:
    """What one process has said of the clocks."""

    def __init__(self) -> None:
        self._told_ms = 0
        """How far apart they were when that was said last; 0 where nothing has to be."""

    def sees(self, store_ms: int, asked_ms: int, answered_ms: int, skew_ms: int) -> None:
        """`store_ms`: the store's clock, at some moment between `asked_ms` and `answered_ms` of this host's."""
        off_ms = apart_ms(store_ms, asked_ms, answered_ms)
        far_ms = abs(off_ms)
        if far_ms <= min(CLOSE_MS, bound_ms(skew_ms)) // 2:
            self._told_ms = 0  # not sooner: on the border it would be told again and again
        found = clock_check(off_ms, skew_ms)
        if found.grade is Grade.OK or (self._told_ms and far_ms < 2 * self._told_ms):
            return
        self._told_ms = far_ms
        _log.warning("CLOCK OFF %s", pairs(detail=found.says))
