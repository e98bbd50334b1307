"""Who observes? Every caller that observes leaves its name beside its keys, once a minute, after a verdict."""

from __future__ import annotations

import os
import socket
import time
from typing import Final

from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Pipeline
from gate.protocol.texts import brief
from gate.store.wire import Dialogue
from gate.values.errors import StoreError, StoreFailure
from gate.values.reports import Observer

_EVERY_S: Final = 60
_DAY_MS: Final = 24 * 3600 * 1000
_AT_MOST: Final = 100


class Observing:
    """The name of one caller that observes."""

    def __init__(self, keyspace: Keyspace, fingerprint: str) -> None:
        self._key: Final = keyspace.observers
        self._fingerprint: Final = fingerprint
        self._due_s = 0.0

    def note(self) -> Dialogue[None]:
        """Leaves the name, when that is due. A verdict must not fail because of it."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + _EVERY_S
        now_ms, name = time.time_ns() // 1_000_000, f"{socket.gethostname()}:{os.getpid()} {self._fingerprint}"
        try:
            yield Pipeline(
                (
                    ("ZADD", self._key, now_ms, name),
                    ("ZREMRANGEBYRANK", self._key, 0, -_AT_MOST - 1),
                    ("PEXPIRE", self._key, _DAY_MS),
                )
            )
        except StoreFailure:
            return


def observers(key: str) -> Dialogue[tuple[Observer, ...]]:
    """The callers that have observed in the last day, the latest first. Empty where their key is damaged."""
    since_ms = time.time_ns() // 1_000_000 - _DAY_MS
    try:
        found = yield ("ZRANGE", key, "+inf", since_ms, "BYSCORE", "REV", "LIMIT", 0, _AT_MOST, "WITHSCORES")
    except StoreError:
        return ()
    flat = [part for each in found for part in (each if isinstance(each, list) else (each,))]  # RESP3 gives pairs
    return tuple(Observer(brief(name), int(float(seen))) for name, seen in zip(flat[::2], flat[1::2], strict=True))
