"""Makes intents like those of the streams, and script calls like those of the gate."""

from __future__ import annotations

import itertools
import secrets
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis

from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Command
from gate.values.intent import Intent
from gate.values.outcome import Outcome
from gate.values.policy import Policy
from gate.values.record import MILLIONTHS
from gate.values.verdict import Permit

WITHOUT_LIMITS: Final = Policy(
    rate_symbol_limit=100_000, rate_global_limit=100_000, max_in_flight=1_000, lock_ttl_ms=300_000
)
"""A policy that admits every intent. Permits outlive every round, so a held lock stays held."""

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
    """One call in a batch, the expected start of its reply, and the commands that restore the account afterwards."""

    call: Command
    expected: bytes
    clean_up: tuple[Command, ...] = ()


class Account:
    """The calls of one account. Every intent is new, with a new symbol by default."""

    def __init__(
        self, prefix: str = "quantum", policy: Policy = WITHOUT_LIMITS, *, on: redis.Redis | None = None
    ) -> None:
        """`on`: the server that gets its calls. The account's memory counts as whole there."""
        self.policy: Final = policy
        self.keyspace: Final = Keyspace(prefix)
        self.protocol: Final = Protocol(self.keyspace, policy)
        self._server = ""
        if on is not None:
            about: Any = on.info("server")
            self._server = about["run_id"]
            on.hset(self.keyspace.state, mapping={"fence": 0, "since": 1, "run_id": self._server})
        self._numbers = itertools.count()
        self._standing = 0
        self._begin = datetime.now(UTC).replace(tzinfo=None)

    def intent(self, on_symbol: str | None = None) -> Intent:
        """A new intent with the current time. Its id has the streams' form: NEARUSDT_2025-12-24T04:32:14.062679."""
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
        """The call of Gate.evaluate, as it goes over the wire."""
        call = self.protocol.evaluate(intent, token or secrets.token_urlsafe(12), 0, self.protocol.reserve(intent))
        return call.words(self._server)

    def settle(self, permit: Permit, outcome: Outcome) -> Command:
        """The call of Gate.settle."""
        return self.protocol.settle(permit, outcome).words(self._server)

    def stand(self, permits: int, on: redis.Redis) -> None:
        """Admits intents whose permits stay live."""
        for _ in range(permits):
            on.execute_command(*self.evaluate(self.intent()))
        self._standing += permits

    def count_what_stands(self) -> Command:
        """A settlement's effect on what the state keeps: its permit is gone, and an admission was just now."""
        now_ms, live = time.time_ns() // 1_000_000, self._standing
        reserved = live * int(self.protocol.reserve(self.intent()) * MILLIONTHS)
        lapses_ms = now_ms + self.policy.dedup_ttl_ms // 4
        earliest_ms = now_ms + self.policy.lock_ttl_ms // 2 if live else 2**53 - 1
        kept = struct.pack(">7d", live, live, reserved, 0, earliest_ms, now_ms, lapses_ms)
        return ("HSET", self.keyspace.state, "in_flight", kept)

    def forget_permit(self, intent: Intent) -> Command:
        """A settlement's effect on the state key, as a plain command too."""
        return ("HDEL", self.keyspace.state, self.keyspace.permit_field(intent.id))

    def leave_in_flight(self, intent: Intent) -> Command:
        """A settlement's effect on the in-flight set, as a plain command, since a script would count."""
        reserved = int(self.protocol.reserve(intent) * MILLIONTHS)
        return ("ZREM", self.keyspace.inflight, f"{reserved}:{intent.id}")

    def admission(self, on_symbol: str | None = None) -> Step:
        """An admission while no switch is on and no failure counts, under the default policy.

        Afterwards it deletes the symbol's window, which would have lapsed, and the record, so that memory doesn't grow.
        It trims the account's window to the length that the default limit of five allows.
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
            (self.leave_in_flight(intent), self.count_what_stands(), self.forget_permit(intent), forget, shorten),
        )

    def admission_beside_windows(self, on_symbol: str) -> Step:
        """An admission while both windows hold `limit` entries, of which the oldest is just too old to count.

        Afterwards the new entries become old ones, so that the next call finds the same windows.
        """
        intent = self.intent(on_symbol)
        keyspace = self.keyspace
        old = time.time_ns() // 1_000_000 - 10 * self.policy.rate_global_window_ms
        clean_up = (
            self.leave_in_flight(intent),
            self.count_what_stands(),
            self.forget_permit(intent),
            ("DEL", keyspace.record(intent.id), keyspace.lock(intent.symbol, intent.side)),
            ("LSET", keyspace.rate_symbol(intent.symbol), 0, old),
            ("LSET", keyspace.rate_global, 0, old),
        )
        return Step(self.evaluate(intent), b"admitted ", clean_up)
