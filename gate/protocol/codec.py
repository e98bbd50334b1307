"""Calls of the scripts encoded, replies decoded. Pure: no I/O, no clock. The scripts' headers are the other half."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal, InvalidOperation
from typing import Final

from gate.protocol.explain import explain_denial
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import SCRIPTS, Script, script
from gate.values.errors import InvalidIntent
from gate.values.fields import plain
from gate.values.intent import Intent
from gate.values.outcome import Outcome, Settled, Settlement
from gate.values.policy import Policy, mode_of
from gate.values.record import MILLIONTHS, Record, decode_record
from gate.values.reports import GuardReport, Inspection
from gate.values.verdict import Mode, Permit, Reason, Verdict

Command = tuple[str | int, ...]
"""A Redis command, word for word."""

# Sums of 64 such reserves stay exact in a double, which is what Lua counts with.
_LARGEST_RESERVE: Final = 100_000_000 * MILLIONTHS


class Protocol:
    """The calls of one account under one policy."""

    def __init__(self, keyspace: Keyspace, policy: Policy) -> None:
        self.keyspace: Final = keyspace
        self.policy: Final = policy
        self.policy_fingerprint: Final = policy.fingerprint
        for name in SCRIPTS:  # now, not at the first settlement, with an order out and the package perhaps gone
            script(name)
        self._mode: Final = Mode(policy.mode)
        # As text, once: they travel with every call.
        self._figures: Final = (
            self.policy_fingerprint,
            str(policy.rate_symbol_limit),
            str(policy.rate_symbol_window_ms),
            str(policy.rate_global_limit),
            str(policy.rate_global_window_ms),
            str(policy.lock_ttl_ms),
            str(policy.dedup_ttl_ms),
            str(policy.max_age_ms),
            str(policy.skew_ms),
            str(policy.failure_limit),
            str(policy.failure_window_ms),
            str(policy.safe_mode_ttl_ms),
            str(policy.cooldown_global_ms),
            str(policy.max_in_flight),
        )

    def reserve(self, intent: Intent) -> Decimal:
        """Margin that an intent will need with the policy's buffer, in the quote asset; 0 for an exit.

        Without a leverage it counts as 1, which reserves too much rather than too little. A quantity is worth what the
        intent's price makes it, else its trigger price. Without either nothing can be said of it: then it is 0, unless
        the caller of evaluate knows better.
        """
        if intent.is_exit:
            return Decimal(0)
        notional = intent.notional
        if notional is None:
            notional = (intent.quantity or Decimal(0)) * (intent.price or intent.trigger_price or Decimal(0))
        return notional / (intent.leverage or 1) * (1 + self.policy.margin_buffer)

    def evaluate(self, intent: Intent, token: str, fence_seen: int, reserve: Decimal) -> Command:
        """The call for a verdict that claims. Raises InvalidIntent for a reserve beyond 1e8."""
        evaluate = script("evaluate")
        return (*self._intent_call("EVALSHA", evaluate, intent, token, fence_seen, reserve), *self._figures)

    def inspect(self, intent: Intent) -> Command:
        """The call for what every guard says. Raises InvalidIntent where evaluate would."""
        inspect = script("inspect")
        return (*self._intent_call("EVALSHA_RO", inspect, intent, "-", 0, self.reserve(intent)), *self._figures)

    def _intent_call(
        self, verb: str, called: Script, intent: Intent, token: str, fence_seen: int, reserve: Decimal
    ) -> Command:
        if not reserve.is_finite() or reserve < 0:
            raise InvalidIntent("reserve", reserve, "is not a margin: a finite figure, 0 or more")
        millionths = (reserve * MILLIONTHS).to_integral_value(ROUND_UP)
        if millionths > _LARGEST_RESERVE:
            raise InvalidIntent("reserve", plain(reserve), "is more margin than 100,000,000; check size and leverage")
        return (
            verb,
            called.sha,
            12,
            *self.keyspace.of_intent(intent.id, intent.symbol, intent.side),
            intent.id,
            token,
            intent.fingerprint,
            intent.timestamp_ms,
            intent.symbol,
            intent.side,
            1 if intent.is_exit else 0,
            int(millionths),
            fence_seen,
        )

    def settle(self, permit: Permit, outcome: Outcome) -> Command:
        """The call that reports an outcome."""
        policy, penalty = self.policy, outcome.penalty
        return (
            "EVALSHA",
            script("settle").sha,
            12,
            *self.keyspace.of_intent(permit.intent_id, permit.symbol, permit.side),
            permit.intent_id,
            permit.token,
            outcome.kind.value,
            1 if outcome.retryable else 0,
            outcome.note,
            1 if penalty and penalty.count_failure else 0,
            penalty.cooldown_symbol_ms if penalty else 0,
            penalty.cooldown_global_ms if penalty else 0,
            1 if penalty and penalty.safe_mode else 0,
            policy.failure_limit,
            policy.failure_window_ms,
            policy.safe_mode_ttl_ms,
            policy.dedup_ttl_ms,
            penalty.reason if penalty else "",
        )

    def control(
        self, act: str, by: str, reason: str, token: str, what: str, cooldowns: tuple[str, ...] = ()
    ) -> Command:
        """The call for an operator's act."""
        keys = self.keyspace.of_control(cooldowns)
        return ("EVALSHA", script("control").sha, len(keys), *keys, act, by, reason, token, what)

    def decode_verdict(self, reply: bytes, intent: Intent, reserve: Decimal, started_ns: int) -> Verdict:
        """The verdict from evaluate's line. `started_ns`: the monotonic clock before the call."""
        text = reply.decode(errors="replace")  # a switch may hold what a person wrote, in any encoding
        word, _, rest = text.partition(" ")
        if word == "admitted":
            try:
                permit = self._permit(intent, text, reserve, started_ns)
            except (ValueError, InvalidOperation):  # a record damaged between an admission and its replay
                return Verdict(
                    False, Reason.STORE_ERROR, f"{self.keyspace.record(intent.id)} is damaged: {text[:80]!r}"
                )
            return Verdict(True, Reason.ADMITTED, permit=permit, mode=self._mode)
        observed = word == "OBSERVED"
        if observed:
            word, _, rest = rest.partition(" ")
        reason, (wait, _, detail) = Reason(word), rest.partition(" ")
        prior = None
        if reason in (Reason.DUPLICATE, Reason.CONFLICT):
            prior = decode_record(intent.id, detail)
        wait_ms = int(wait) if int(wait) >= 0 else None
        return Verdict(
            observed,
            reason,
            detail=self._explained(reason, detail, prior, wait_ms, intent),
            retry_after_ms=wait_ms,
            permit=self._observed_permit(intent, started_ns) if observed else None,
            prior=prior,
            mode=Mode.OBSERVE if observed else Mode.ENFORCE,
            age_ms=_age_ms(reason, detail),
        )

    def _permit(self, intent: Intent, line: str, reserve: Decimal, started_ns: int) -> Permit:
        """The permit of a record in phase admitted, straight from its line: a Record in between costs as much again."""
        _, token, fence, _, admitted_ms, symbol, side, span_ms, _, flags, note = line.split(" ", 10)
        ahead, _, memory_age_ms = note.partition(" ")
        span = int(span_ms)
        return Permit(
            intent_id=intent.id,
            symbol=symbol,
            side=side,
            token=token,
            fence=int(fence),
            client_order_id=self.keyspace.client_order_id(intent.id),
            deadline_ms=int(admitted_ms) + span,
            expires_ns=started_ns + span * 1_000_000,
            verify="v" in flags,
            memory_age_ms=int(memory_age_ms) if memory_age_ms else None,
            is_exit="x" in flags,
            reserved=reserve,
            reserved_ahead=Decimal(ahead) / MILLIONTHS,
        )

    def permit_of(self, record: Record) -> Permit:
        """The permit of a record that is in doubt, to settle it by. It has run out: nothing is sent with it."""
        return Permit(
            intent_id=record.intent_id,
            symbol=record.symbol,
            side=record.side,
            token=record.token,
            fence=record.fence,
            client_order_id=self.keyspace.client_order_id(record.intent_id),
            deadline_ms=record.deadline_ms or 0,
            expires_ns=0,
            verify=record.verify,
            is_exit=record.is_exit,
            reserved=record.reserved,
        )

    def _observed_permit(self, intent: Intent, started_ns: int) -> Permit:
        return Permit(
            intent_id=intent.id,
            symbol=intent.symbol,
            side=intent.side,
            token="",
            fence=0,
            client_order_id=self.keyspace.client_order_id(intent.id),
            deadline_ms=0,
            expires_ns=started_ns + self.policy.lock_ttl_ms * 1_000_000,
            is_exit=intent.is_exit,
            observed=True,
        )

    def decode_inspection(self, reply: list[object], intent: Intent) -> Inspection:
        """What every guard says, from inspect's rows."""
        now, in_force, *rows = reply
        keys = self.keyspace.guard_keys(intent.id, intent.symbol, intent.side)
        denials: dict[int, list[bytes]] = {row[0]: row[1:] for row in rows}  # type: ignore[index]  # a reply's rows
        reports = []
        known = in_force.decode(errors="replace") if isinstance(in_force, bytes) else ""
        mode = mode_of(known or self.policy_fingerprint)
        for number, (guard, key) in enumerate(keys.items(), start=1):
            if number not in denials:
                exempt = intent.is_exit and guard in EXEMPT_FOR_EXITS
                said = "exempt: reduce-only" if exempt else ""
                reports.append(GuardReport(guard, True, key, detail=said, exempt=exempt))
                continue
            word, wait, detail = (part.decode(errors="replace") for part in denials[number])
            reason = Reason(word)
            prior = decode_record(intent.id, detail) if guard in ("conflict", "duplicate") else None
            wait_ms = int(wait) if int(wait) >= 0 else None
            explained = self._explained(reason, detail, prior, wait_ms, intent)
            age_ms = _age_ms(reason, detail)
            reports.append(GuardReport(guard, False, key, reason, wait_ms, explained, age_ms=age_ms))
        return Inspection(tuple(reports), mode, int(now))  # type: ignore[call-overload]  # the server's clock as text

    def _explained(self, reason: Reason, detail: str, prior: Record | None, wait_ms: int | None, intent: Intent) -> str:
        # No permit makes a lock without a TTL: such a one has no wait.
        endless = self.keyspace.lock(intent.symbol, intent.side) if reason is Reason.LOCKED and wait_ms is None else ""
        return explain_denial(reason, detail, self.policy, self.keyspace, prior, endless)


EXEMPT_FOR_EXITS: Final = frozenset(
    {
        "policy",
        "safe_mode",
        "failures",
        "cooldown_global",
        "cooldown_symbol",
        "in_flight",
        "rate_symbol",
        "rate_global",
    }
)


def _age_ms(reason: Reason, detail: str) -> int | None:
    """The age that the scripts give as the detail of STALE."""
    return int(detail) if reason is Reason.STALE else None


def decode_settlement(reply: bytes, intent_id: str) -> Settlement:
    """The answer from settle's line."""
    word, _, rest = reply.decode(errors="replace").partition(" ")
    tripped = False
    if word == "SETTLED":
        trips, _, rest = rest.partition(" ")
        tripped = trips == "safe_mode"
    return Settlement(Settled(word), decode_record(intent_id, rest) if rest else None, tripped)
