"""Which streams are down, since when and why; and what a person reads of it in the log."""

from __future__ import annotations

import time
from typing import Final

from gate.values.log_words import log_of, pairs

_log: Final = log_of("gate.exchange")


class Health:
    """The streams of one account that are down. Each is told once when it goes down, and once when it is up again."""

    def __init__(self) -> None:
        self._down: Final[dict[str, tuple[int, str]]] = {}

    @property
    def told(self) -> str:
        """What is down and why; empty where all is well."""
        return "; ".join(f"{stream}: {why}" for stream, (_, why) in self._down.items())

    def down(self, stream: str, why: str) -> None:
        """A stream is down, perhaps still."""
        since = self._down.get(stream)
        self._down[stream] = time.monotonic_ns() if since is None else since[0], why
        if since is None:
            _log.warning("STREAMS DOWN %s", pairs(stream=stream, detail=why, until="readings decide"))

    def up(self, stream: str) -> None:
        """A stream is well, perhaps as before."""
        down = self._down.pop(stream, None)
        if down is not None:
            _log.info("STREAMS UP %s", pairs(stream=stream, after_ms=(time.monotonic_ns() - down[0]) // 1_000_000))
