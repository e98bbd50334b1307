"""What the service knows of itself: when it last did what, and what is in its way. /healthz tells it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

SILENT_AFTER_S: Final = 15.0
"""A service that hasn't read for so long isn't consuming. A read waits for a second, and its time-out is five."""


@dataclass(slots=True)
class Pulse:
    """Times are of the monotonic clock, in seconds; None for what was never done."""

    consumer: str
    prefix: str
    stream: str
    group: str
    phase: str = "starting"
    """starting, consuming, stopping."""
    read_s: float | None = None
    verdict_s: float | None = None
    verdict: str = ""
    """The reason of the last verdict."""
    result_s: float | None = None
    state: str = ""
    """The state of the last result."""
    store: str = "not asked yet"
    """`ok`, or what is wrong."""
    refuses: str | None = None
    """Why the store takes no writes though it answers, and what to do; empty where it takes them; None: unknown."""
    results: str = "ok"
    """`ok`, or why answers can't be written."""
    exchange: str = "not asked yet"
    streams: str = "not asked yet"
    """The exchange's streams: `off`, `ok`, or what is down."""
    lag: int | None = None
    pending: int | None = None
    in_doubt: int | None = None
    in_hand: int = 0
    held: int = 0
    at_work: int = 0
    unwritten: int = 0
    stopped_by: tuple[str, ...] = ()
    """What stops entries of the account now, in words."""
    turned_s: float = field(default_factory=time.monotonic)
    """When the reading loop was last alive, whether it could read or not."""

    @property
    def consuming(self) -> bool:
        """Whether it really reads."""
        return self.phase == "consuming" and self.read_s is not None and _since(self.read_s) < SILENT_AFTER_S

    @property
    def alive(self) -> bool:
        """Whether its loops turn. A store that is away doesn't stop them."""
        return self.phase == "stopping" or _since(self.turned_s) < SILENT_AFTER_S

    def told(self) -> dict[str, object]:
        """As /healthz tells it: ages in ms, null for what was never done."""
        why = ""
        if not self.consuming:
            why = self.phase if self.phase != "consuming" else f"nothing read: {self.store}"
        elif self.results != "ok":
            why = f"results can't be written: {self.results}"
        return {
            "ok": not why,
            "why": why,
            "phase": self.phase,
            "consumer": self.consumer,
            "prefix": self.prefix,
            "stream": self.stream,
            "group": self.group,
            "last_read_ms_ago": _ago(self.read_s),
            "last_verdict_ms_ago": _ago(self.verdict_s),
            "last_verdict": self.verdict or None,
            "last_result_ms_ago": _ago(self.result_s),
            "last_result": self.state or None,
            "lag": self.lag,
            "pending": self.pending,
            "in_hand": self.in_hand,
            "at_work": self.at_work,
            "held": self.held,
            "unwritten": self.unwritten,
            "in_doubt": self.in_doubt,
            "stopped_by": list(self.stopped_by),
            "store": (self.refuses or "ok") if self.store == "ok" else self.store,
            "exchange": self.exchange,
            "streams": self.streams,
        }


def _since(moment_s: float) -> float:
    return time.monotonic() - moment_s


def _ago(moment_s: float | None) -> int | None:
    return None if moment_s is None else int(_since(moment_s) * 1000)
