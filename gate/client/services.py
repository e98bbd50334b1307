"""Which services are at work on a store, by their prefixes, and which prefix keeps which account of the exchange.

Both stand beside the accounts' own keys, for a person who has mistaken a prefix. A verdict reads neither. A service
leaves its trace at its start and once a minute. A user who has no right to these keys goes on without.
"""

from __future__ import annotations

import time
from typing import Final, TypeVar

from gate.protocol.texts import brief
from gate.store.wire import Dialogue
from gate.values.errors import StoreFailure, StoreUnavailable
from gate.values.log_words import log_of, pairs
from gate.values.reports import SeenService, SeenServices

T = TypeVar("T")

SERVICES: Final = "{gate}:services"
"""A sorted set: prefixes, by the time when a service was last seen under each, epoch ms. One for the whole store."""
SHARED: Final = (
    "the other prefix keeps this account, too, by another API key: limits, locks and reserved margin of the two don't "
    "know of each other. Put both under one prefix"
)
TRACE_EVERY_S: Final = 60
_CLAIM_S: Final = 300
_LEFT_S: Final = TRACE_EVERY_S + 10
"""A claim that one service leaves. Another one under the same prefix renews it before that."""
_KEPT_MS: Final = 30 * 86_400_000
_NAMED: Final = 20
_log: Final = log_of("gate")


def account_key(digest: str) -> str:
    """The key that holds the prefix of an account of the exchange, by a digest: of its API key, or of the exchange's
    own code of it, which its API keys have in common."""
    return f"{{gate}}:account:{digest}"


def prefix_key(prefix: str) -> str:
    """The key that holds which account of the exchange is kept under a prefix, by a digest of the exchange's own code
    of it: an account may have several API keys, and changes them."""
    return f"{{gate}}:prefix:{prefix}"


class Traces:
    """When this process has last left its trace."""

    def __init__(self, prefix: str) -> None:
        self._prefix: Final = prefix
        self._due_s = 0.0
        self._refused = False
        self._silent = False
        """Whether the store didn't answer the last claim. Nobody waits for it once more then."""
        self._shared: str | None = None
        """The other prefix that keeps the account by another API key, as was logged last."""
        self._made: Final[set[str]] = set()
        """The claims that this process has made, and didn't find."""

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() >= self._due_s

    def leave(self) -> Dialogue[None]:
        """Leaves one. A store failure is never raised."""
        self._due_s = time.monotonic() + TRACE_EVERY_S
        try:
            yield ("ZADD", SERVICES, time.time_ns() // 1_000_000, self._prefix)
        except StoreFailure as failure:
            self._note(failure)

    def claim_account(self, digest: str) -> Dialogue[str | None]:
        """Says that an account of the exchange is kept under this prefix, for five minutes. Returns the other prefix
        that keeps it; None: there is none, or it can't be known. A store failure is never raised."""
        return _other((yield from self._claim(account_key(digest), self._prefix)), self._prefix)

    def claim_prefix(self, account: str) -> Dialogue[bool]:
        """Says that this prefix keeps an account of the exchange, for five minutes. Returns False where it keeps
        another one; True also where that can't be known. A store failure is never raised."""
        return self._silent or _other((yield from self._claim(prefix_key(self._prefix), account)), account) is None

    def note_account(self, account: str) -> Dialogue[None]:
        """Says that this prefix keeps an account, by a digest of the exchange's own code of it. Where another prefix
        keeps it, too, by another API key, that is logged. It isn't refused: either may have positions to close. A store
        failure is never raised."""
        if self._silent:
            return
        holder = yield from self._claim(account_key(account), self._prefix)
        other = _other(holder, self._prefix)
        if other is not None and other != self._shared:
            _log.warning("ACCOUNT SHARED %s", pairs(prefix=self._prefix, other=other, detail=SHARED))
        if holder is not None:  # a store that fails says nothing of it
            self._shared = other

    def leave_account(self, digest: str, account: str | None, *, at_once: bool) -> Dialogue[None]:
        """Says that this service keeps the account no more, and its prefix. `at_once`: the claims that it has made
        itself end now, and those that it found stay as they are. A store failure is never raised."""
        claims = [(account_key(digest), self._prefix)]
        if account is not None:
            claims += [(account_key(account), self._prefix), (prefix_key(self._prefix), account)]
        for key, own in claims:
            if not at_once or key in self._made:
                yield from self._leave(key, own, 0 if at_once else _LEFT_S)
            if self._silent:
                return

    def _claim(self, key: str, own: str) -> Dialogue[str | None]:
        """What the key holds then; None where that isn't known."""
        try:
            held = yield ("SET", key, own, "EX", _CLAIM_S, "NX", "GET")
            self._silent = False
            if held is None:
                self._made.add(key)
                return own
            holder = brief(held)
            if holder == own:
                yield ("EXPIRE", key, _CLAIM_S)
            return holder
        except StoreFailure as failure:
            self._note(failure)
        return None

    def _leave(self, key: str, own: str, left_s: int) -> Dialogue[None]:
        self._made.discard(key)
        try:
            held = yield ("GET", key)
            self._silent = False
            if held == own.encode():
                yield ("EXPIRE", key, left_s)
        except StoreFailure as failure:
            self._note(failure)

    def _note(self, failure: StoreFailure) -> None:
        self._silent = isinstance(failure, StoreUnavailable)
        if not self._refused:
            self._refused = True
            _log.info("NO TRACE LEFT for others %s", pairs(prefix=self._prefix, detail=str(failure)))


def _other(holder: str | None, own: str) -> str | None:
    return None if holder == own else holder


def seen_services(prefix: str) -> Dialogue[SeenServices]:
    """The services that were seen of late. Raises StoreFailure."""
    now_ms = time.time_ns() // 1_000_000
    yield ("ZREMRANGEBYSCORE", SERVICES, "-inf", now_ms - _KEPT_MS)  # so that it doesn't grow without end
    own = yield ("ZSCORE", SERVICES, prefix)
    rows = yield ("ZREVRANGE", SERVICES, 0, _NAMED, "WITHSCORES")
    seen = [
        SeenService(brief(name), now_ms - int(float(score))) for name, score in zip(rows[::2], rows[1::2], strict=True)
    ]
    others = tuple(each for each in seen if each.prefix != prefix)[:_NAMED]
    return SeenServices(None if own is None else now_ms - int(float(own)), others)
