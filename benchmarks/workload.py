"""Intents as the streams carry them, and calls of the scripts as the gate sends them."""

from __future__ import annotations

import itertools
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Command
from gate.values.intent import Intent
from gate.values.policy import Policy
from gate.values.record import MILLIONTHS

WITHOUT_LIMITS: Final = Policy(
    rate_symbol_limit=100_000, rate_global_limit=100_000, max_in_flight=1_000, lock_ttl_ms=300_000
)
"""Admits whatever comes. A permit outlives every round, so a lock that is held stays held."""

_NOTIONAL: Final = "200"
_LEVERAGE: Final = 5


def symbol(number: int) -> str:
    """AAAAUSDT, AAABUSDT, …: 456,976 of them."""
    letters = ""
    for _ in range(4):
        number, letter = divmod(number, 26)
        letters = chr(ord("A") + letter) + letters
    return letters + "USDT"


@dataclass(frozen=True, slots=True)
class Step:
    """One call in a batch, what its reply begins with, and what puts the account back as it was."""

    call: Command
    expected: bytes
    clean_up: tuple[Command, ...] = ()


class Account:
    """The calls of one account. Every intent is a new one, on a new symbol unless one is named."""

    def __init__(self, prefix: str = "quantum", policy: Policy = WITHOUT_LIMITS) -> None:
        self.policy: Final = policy
        self.keyspace: Final = Keyspace(prefix)
        self.protocol: Final = Protocol(self.keyspace, policy)
        self._numbers = itertools.count()
        self._begin = datetime.now(UTC).replace(tzinfo=None)

    def intent(self, on_symbol: str | None = None) -> Intent:
        """A new intent, decided just now. Its id is the streams' own: NEARUSDT_2025-12-24T04:32:14.062679."""
        number = next(self._numbers)
        of = on_symbol or symbol(number)
        moment = (self._begin + timedelta(microseconds=number)).isoformat(timespec="microseconds")
        return Intent(
            id=f"{of}_{moment}",
            symbol=of,
            side="BUY",
            notional=_NOTIONAL,
            leverage=_LEVERAGE,
            timestamp=time.time_ns() // 1_000_000,
        )

    def evaluate(self, intent: Intent, token: str | None = None) -> Command:
        """The call that Gate.evaluate makes."""
        return self.protocol.evaluate(intent, token or secrets.token_urlsafe(12), 0, self.protocol.reserve(intent))

    def forget_permit(self, intent: Intent) -> Command:
        """What settling does to the state, likewise."""
        return ("HDEL", self.keyspace.state, self.keyspace.permit_field(intent.id))

    def leave_in_flight(self, intent: Intent) -> Command:
        """What settling does to the in-flight set, as a plain command: it must not count as a script."""
        reserved = int(self.protocol.reserve(intent) * MILLIONTHS)
        return ("ZREM", self.keyspace.inflight, f"{reserved}:{intent.id}")

    def admission(self, on_symbol: str | None = None) -> Step:
        """Admitted while nothing is on: by default policy, the state that every admission finds but for failures.

        It forgets the symbol, whose window would have lapsed, and the record, so that memory stays as it was, and
        keeps the account's window as short as the default limit of five keeps it.
        """
        intent = self.intent(on_symbol)
        keyspace = self.keyspace
        forget = (
            "DEL",
            keyspace.record(intent.id),
            keyspace.lock(intent.symbol, intent.side),
            keyspace.rate_symbol(intent.symbol),
        )
        shorten = ("LTRIM", keyspace.rate_global, 0, 3)
        return Step(
            self.evaluate(intent),
            b"admitted ",
            (self.leave_in_flight(intent), self.forget_permit(intent), forget, shorten),
        )

    def admission_beside_windows(self, on_symbol: str) -> Step:
        """Admitted while both windows hold `limit` entries, the oldest just out of the window.

        The new entries are made old ones afterwards, so that the next call finds the same.
        """
        intent = self.intent(on_symbol)
        keyspace = self.keyspace
        old = time.time_ns() // 1_000_000 - 10 * self.policy.rate_global_window_ms
        clean_up = (
            self.leave_in_flight(intent),
            self.forget_permit(intent),
            ("DEL", keyspace.record(intent.id), keyspace.lock(intent.symbol, intent.side)),
            ("LSET", keyspace.rate_symbol(intent.symbol), 0, old),
            ("LSET", keyspace.rate_global, 0, old),
        )
        return Step(self.evaluate(intent), b"admitted ", clean_up)
