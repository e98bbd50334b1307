"""Encodes calls of the scripts. Pure: no I/O, no clock. See also the scripts' headers; replies.py decodes."""

from __future__ import annotations

import struct
from decimal import ROUND_UP, Decimal
from typing import Final

from gate.protocol.keyspace import Keyspace
from gate.protocol.last_look import NONE_YET
from gate.protocol.replies import Replies
from gate.protocol.scripts import SCRIPTS, SERVER, Call, Command, Encoded, EncodedCall, script
from gate.values.errors import InvalidIntent
from gate.values.intent import Intent
from gate.values.outcome import Outcome, Penalty
from gate.values.policy import Policy
from gate.values.record import MILLIONTHS
from gate.values.verdict import Permit

# Lua counts in doubles. The sum of 64 such reserves is still exact in a double.
_LARGEST_MARGIN: Final = Decimal(100_000_000)
_MILLIONTH: Final = Decimal("0.000001")
_NO_PENALTY: Final = Penalty()
_NUMBERS: Final = (
    *("rate_symbol_limit", "rate_symbol_window_ms", "rate_global_limit", "rate_global_window_ms"),
    *("lock_ttl_ms", "dedup_ttl_ms", "max_age_ms", "skew_ms", "max_in_flight"),
)
"""The figures that every verdict counts with, in the order of lua/include/question.lua."""
_ASKED: Final = struct.Struct(">2d")
"""What stands before them: the intent's time, and the highest fence that the caller has seen."""
_TEXTS: Final = ("rate_symbol_window_ms", "lock_ttl_ms", "dedup_ttl_ms")
"""The figures that go into a command as they are, in the order of lua/include/written.lua."""


class Protocol:
    """The calls of one account under one policy, and what reads their replies."""

    def __init__(self, keyspace: Keyspace, policy: Policy, fingerprint: str | None = None) -> None:
        """`fingerprint`: the one in force, where another version's policy is followed; None: the policy's own."""
        self.keyspace: Final = keyspace
        self.policy: Final = policy
        self.policy_fingerprint: Final = fingerprint or policy.fingerprint
        self.replies: Final = Replies(keyspace, policy)
        # Load all scripts now: at the first settlement an order is out already, and the package's files may be gone.
        for name in SCRIPTS:
            script(name)
        # Every call carries these keys and figures, so they become texts once. Their names are those of the headers.
        figures = policy.texts()
        if keyspace.observing:
            figures["after_memory_loss"] = "verify"  # what an observer has forgotten must not halt the account
        fixed: dict[str, str | int | bytes] = {
            **keyspace.of_account(),
            **figures,
            "observes": 1 if keyspace.observing else 0,
            "server": SERVER,
            "figures": "".join(f" {name}={text}" for name, text in figures.items()) + " ",  # as the state keeps them
        }
        self._numbers: Final = struct.pack(f">{len(_NUMBERS)}d", *(int(figures[name]) for name in _NUMBERS))
        # What a verdict's question begins with, for entries and for exits, and what it ends with.
        observes = "\1" if keyspace.observing else "\0"
        self._asked_begin: Final = ("\0" + observes, "\1" + observes)
        self._asked_end: Final = "\0".join((*(figures[name] for name in _TEXTS), ""))
        self._figures: Final = str(fixed["figures"])
        of_exits = {**fixed, "inflight": keyspace.exits}
        self._evaluate: Final = tuple(EncodedCall("EVALSHA", script("evaluate"), each) for each in (fixed, of_exits))
        self._evaluate_and_look: Final = tuple(
            EncodedCall("EVALSHA", script("evaluate"), each, open_list=(keyspace.placed,)) for each in (fixed, of_exits)
        )
        self._inspect: Final = tuple(Call("EVALSHA_RO", script("inspect"), each) for each in (fixed, of_exits))
        self._settle: Final = EncodedCall("EVALSHA", script("settle"), fixed)
        self._last_look: Final = EncodedCall("EVALSHA_RO", script("last_look"), fixed)

    def reserve(self, intent: Intent) -> Decimal:
        """The margin that an intent needs, with the policy's buffer, in the quote asset; 0 for an exit.

        A missing leverage counts as 1, which reserves too much rather than too little. A quantity is valued at the
        intent's price, else at its trigger price. Without either the margin is unknown and counts as 0; the caller of
        evaluate can give its own figure.
        """
        if intent.is_exit:
            return Decimal(0)
        notional = intent.notional
        if notional is None:
            notional = (intent.quantity or Decimal(0)) * (intent.price or intent.trigger_price or Decimal(0))
        return notional / (intent.leverage or 1) * (1 + self.policy.margin_buffer)

    def evaluate(
        self, intent: Intent, token: str, fence_seen: int, reserve: Decimal, placed_after: str | None = None
    ) -> Encoded:
        """The call of evaluate, which claims on admission. Raises InvalidIntent for a reserve beyond 1e8.

        `placed_after`: as of last_look.
        """
        after = b"" if placed_after is None else (placed_after or NONE_YET).encode(errors="replace")
        calls = self._evaluate if placed_after is None else self._evaluate_and_look
        return calls[intent.is_exit](**self._question(intent, token, fence_seen, reserve, after))

    def inspect(self, intent: Intent) -> Command:
        """The call for every guard's answer. Raises InvalidIntent where evaluate does."""
        return self._inspect[intent.is_exit](**self._question(intent, "-", 0, self.reserve(intent)))

    def _question(
        self, intent: Intent, token: str, fence_seen: int, reserve: Decimal, after: bytes = b""
    ) -> dict[str, str | bytes]:
        if not reserve.is_finite() or reserve < 0:
            raise InvalidIntent("reserve", reserve, "is not a margin: a finite figure, 0 or more")
        # The comparison first: a figure with a huge exponent can be neither multiplied nor printed.
        if reserve > _LARGEST_MARGIN:
            raise InvalidIntent("reserve", reserve, "is more margin than 100,000,000; check size and leverage")
        # A tiny figure can't be multiplied where the caller's decimals trap that, as ccxt sets them at its import.
        millionths = int((max(reserve, _MILLIONTH) * MILLIONTHS).to_integral_value(ROUND_UP)) if reserve else 0
        begin = self._asked_begin[intent.is_exit]
        parts = (
            f"{begin}{intent.id}\0{token}\0{intent.fingerprint}\0{self.policy_fingerprint}\0".encode(),
            _ASKED.pack(intent.timestamp_ms, fence_seen),
            self._numbers,
            f"{intent.symbol}\0{intent.side}\0{millionths}\0{self._asked_end}".encode(),
            after,
        )
        return {
            **self.keyspace.of_intent(intent.id, intent.symbol, intent.side),
            "asked": b"".join(parts),
        }

    def settle(self, permit: Permit, outcome: Outcome) -> Encoded:
        """The call that reports an outcome."""
        penalty = outcome.penalty or _NO_PENALTY
        return self._settle(
            **self.keyspace.of_intent(permit.intent_id, permit.symbol, permit.side),
            intent_id=permit.intent_id,
            token=permit.token,
            outcome=outcome.kind.value,
            retryable=1 if outcome.retryable else 0,
            note=outcome.note,
            counts_failure=1 if penalty.count_failure else 0,
            rest_symbol_ms=penalty.cooldown_symbol_ms,
            rest_global_ms=penalty.cooldown_global_ms,
            trips_safe_mode=1 if penalty.safe_mode else 0,
            penalty_reason=outcome.why if outcome.penalty else "",
            admission=permit.admission,
        )

    def last_look(self, permit: Permit, needed_ms: int, placed_after: str | None = None) -> Encoded:
        """The call that asks whether a permit still holds, for as long as its order can be accepted.

        `placed_after`: PlacedOrders.newest of the caller's last look, empty at its first; None asks for no orders.
        """
        return self._last_look(
            record=self.keyspace.record(permit.intent_id),
            lock=self.keyspace.lock(permit.symbol, permit.side),
            intent_id=permit.intent_id,
            token=permit.token,
            is_exit=1 if permit.is_exit else 0,
            needed_ms=needed_ms,
            placed_after="" if placed_after is None else placed_after or NONE_YET,
        )

    def still_out(self, since_ms: int, exits_too: bool, *, observing: bool = False) -> Command:
        """The call that asks which permits may still send an order: those of enforcing, or of observing callers."""
        keyspace = Keyspace(self.keyspace.prefix, observing=observing)
        call = Call("EVALSHA_RO", script("still_out"), keyspace.of_account())
        return call(since_ms=since_ms, exits_too=int(exits_too), server=SERVER)

    def takes_writes(self) -> Command:
        """The call that fails where the server takes no verdict, and does nothing."""
        return Call("EVALSHA", script("takes_writes"), self.keyspace.of_account())()

    def control(
        self,
        act: str,
        by: str,
        reason: str,
        token: str,
        what: str,
        cooldowns: tuple[str, ...] = (),
        expected: str = "",
        user: str = "",
    ) -> Command:
        """The call for an operator's act. `cooldowns`: the keys of symbols' cooldowns, for a reset. `user`: the ACL
        user of the connection."""
        # A halt and a flatten are the account's, whoever calls them, and so are their entries in the audit.
        keyspace = Keyspace(self.keyspace.prefix) if act in ("halt", "resume", "flatten") else self.keyspace
        call = Call("EVALSHA", script("control"), keyspace.of_account(), open_list=cooldowns)
        figures, server = self._figures if act == "policy" else "", SERVER if act == "init" else ""
        return call(
            act=act,
            by=by,
            reason=reason,
            token=token,
            what=what,
            figures=figures,
            expected=expected,
            user=user,
            server=server,
        )


def identify(keyspace: Keyspace, *, halts: bool = False) -> Command:
    """The call that asks a server who it is, and what its user may not do. `halts`: also of what it takes to halt after
    a loss of memory."""
    call = Call("EVALSHA_RO", script("identify"), keyspace.of_account())
    return call(**keyspace.of_intent("-", "-", "-"), halts=int(halts))
