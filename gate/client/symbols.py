"""Where are the keys of an account's symbols? A server of few keys is looked through. On one of many, the symbols are
known: each caller that settles notes its symbol, once a minute. So a few trips tell what stands, on any server."""

from __future__ import annotations

import re
import time
from enum import StrEnum
from typing import Final

from gate.client.scanning import scan
from gate.protocol.scripts import Pipeline
from gate.protocol.texts import LONGEST_NAME
from gate.store.failures import Forbidden
from gate.store.wire import Dialogue
from gate.values.errors import StoreError, StoreFailure

AT_MOST: Final = 1_000
"""Symbols that are remembered, those of late. The exchange has some six hundred."""
FEW_KEYS: Final = 20_000
"""Up to so many keys of the server are looked through, of all accounts. That takes it 2 ms, in two or three pages."""
_PAGE: Final = 10_000
_MOST_PAGES: Final = 4
_KEYS: Final = re.compile(rb"\ndb\d+:keys=(\d{1,15})\b")
_EVERY_S: Final = 60
_KEPT_MS: Final = 90 * 24 * 3600 * 1000


class NotingSymbols:
    """What one caller has noted of the symbols that it settles."""

    def __init__(self, key: str) -> None:
        self._key: Final = key
        self._next_s: dict[str, float] = {}

    def note(self, symbol: str) -> Dialogue[None]:
        """Notes a symbol, unless that was done of late. A settlement must not fail because of it."""
        now_s = time.monotonic()
        if now_s < self._next_s.get(symbol, 0.0):
            return
        if len(self._next_s) >= AT_MOST:
            self._next_s.clear()
        self._next_s[symbol] = now_s + _EVERY_S
        try:
            yield Pipeline(
                (
                    ("ZADD", self._key, time.time_ns() // 1_000_000, symbol),
                    ("ZREMRANGEBYRANK", self._key, 0, -AT_MOST - 1),
                    ("PEXPIRE", self._key, _KEPT_MS),
                )
            )
        except StoreFailure:
            return


def known_symbols(key: str) -> Dialogue[list[str]]:
    """The symbols that were noted, the latest first. Empty where their key is damaged."""
    try:
        found = yield ("ZRANGE", key, 0, AT_MOST - 1, "REV")
    except StoreError:
        return []
    return [each.decode(errors="replace") for each in found[:AT_MOST] if len(each) <= LONGEST_NAME]


class Unseen(StrEnum):
    """Why a server wasn't looked through."""

    MANY = "the server has too many keys to look through"
    UNTOLD = "the server doesn't say how many keys it has"
    FORBIDDEN = "this user has no right to SCAN, or to INFO"


def keys_of_few(pattern: str) -> Dialogue[list[str] | Unseen]:
    """The keys that match a pattern, on a server of few keys; else why it wasn't looked through.

    Raises StoreUnavailable.
    """
    try:
        info = yield ("INFO", "keyspace")
        if sum(map(int, _KEYS.findall(info))) > FEW_KEYS:
            return Unseen.MANY
        cursor, found = b"0", set[str]()
        for _ in range(_MOST_PAGES):
            cursor, keys = yield from scan(cursor, pattern, _PAGE)
            found.update(key.decode(errors="replace") for key in keys if len(key) <= LONGEST_NAME)
            if cursor == b"0":
                return sorted(found)
    except Forbidden:
        return Unseen.FORBIDDEN
    except StoreError:
        return Unseen.UNTOLD
    return Unseen.MANY
