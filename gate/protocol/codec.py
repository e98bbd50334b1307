"""Encodes calls of the scripts and decodes their replies. Pure: no I/O, no clock. See also the scripts' headers."""

from __future__ import annotations

import struct
from decimal import ROUND_UP, Decimal, InvalidOperation
from typing import Final

from gate.protocol.explain import explain_denial
from gate.protocol.keyspace import Keyspace
from gate.protocol.last_look import HOLDS, NONE_YET, look_of_a_verdict
from gate.protocol.scripts import SCRIPTS, SERVER, Call, Command, Encoded, EncodedCall, script
from gate.protocol.texts import line_of, unreadable
from gate.values.errors import InvalidIntent, cut, shown
from gate.values.fields import read_whole
from gate.values.guards import GUARDS, Reason
from gate.values.intent import Intent
from gate.values.last_look import LastLook
from gate.values.outcome import Outcome, Penalty, Settled, Settlement
from gate.values.policy import Policy
from gate.values.record import LONGEST_LINE, MILLIONTHS, Record, decode_record
from gate.values.reports import GuardReport, Inspection
from gate.values.verdict import Mode, Permit, Verdict

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
_LONGEST_DETAIL: Final = 1000
_LOCK_ASKED_AGAIN_MS: Final = 250
"""How soon to ask for a lock again that was taken just now. Most orders are settled by then."""


class Protocol:
    """The calls of one account under one policy."""

    def __init__(self, keyspace: Keyspace, policy: Policy, fingerprint: str | None = None) -> None:
        """`fingerprint`: the one in force, where another version's policy is followed; None: the policy's own."""
        self.keyspace: Final = keyspace
        self.policy: Final = policy
        self.policy_fingerprint: Final = fingerprint or policy.fingerprint
        # Load all scripts now: at the first settlement an order is out already, and the package's files may be gone.
        for name in SCRIPTS:
            script(name)
        self._mode: Final = Mode(policy.mode)
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
        # A halt is the account's, whoever calls it, and so is its entry in the audit.
        keyspace = Keyspace(self.keyspace.prefix) if act in ("halt", "resume") else self.keyspace
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

    def decode_verdict(
        self, reply: bytes, intent: Intent, reserve: Decimal, started_ns: int, placed_after: str | None = None
    ) -> Verdict:
        """The verdict from evaluate's line. Raises StoreError for a line that the script doesn't write.

        `started_ns`: the monotonic clock before the call. `placed_after`: as the call was made with.
        """
        look = HOLDS if placed_after is None else None
        if placed_after is not None and reply.startswith(b"admitted "):
            reply, _, told = reply.partition(b"\n")
            look = look_of_a_verdict(told, placed_after)
        text = line_of(reply)  # a person may have written a switch's text, in any encoding and of any length
        try:
            return self._verdict(text, intent, reserve, started_ns, look)
        except (ValueError, LookupError):
            raise unreadable("a verdict", text) from None

    def _verdict(self, text: str, intent: Intent, reserve: Decimal, started_ns: int, look: LastLook | None) -> Verdict:
        word, _, rest = text.partition(" ")
        if word == "admitted":
            try:
                permit = self._permit(intent, text, reserve, started_ns)
            except (ValueError, InvalidOperation):  # the record was damaged between an admission and its replay
                return Verdict(
                    False, Reason.STORE_ERROR, f"{self.keyspace.record(intent.id)} is damaged: {shown(text)}"
                )
            if not permit.observed:
                return Verdict(True, Reason.ADMITTED, permit=permit, mode=self._mode, look=look)
            word, _, rest = text.split(" ", 10)[10].partition(" ")
            return self._denial(word, rest, intent, permit)
        if word == "OBSERVED":
            word, _, rest = rest.partition(" ")
            return self._denial(word, rest, intent, self._unclaimed_permit(intent, started_ns))
        return self._denial(word, rest, intent)

    def _denial(self, word: str, rest: str, intent: Intent, permit: Permit | None = None) -> Verdict:
        """The verdict of the guard that denies; with a permit, of one that would deny, were this caller enforcing."""
        reason, (wait, _, detail) = _reason(word), rest.partition(" ")
        prior, waits_ms = None, read_whole(wait)
        if reason in (Reason.DUPLICATE, Reason.CONFLICT):
            prior = decode_record(intent.id, detail)
        wait_ms = waits_ms if waits_ms >= 0 else None
        return Verdict(
            permit is not None,
            reason,
            detail=self._explained(reason, detail, prior, wait_ms, intent),
            retry_after_ms=self._retry_after_ms(reason, wait_ms),
            permit=permit,
            prior=prior,
            mode=self._mode,
            age_ms=_age_ms(reason, detail),
        )

    def _permit(self, intent: Intent, line: str, reserve: Decimal, started_ns: int) -> Permit:
        """The permit of a record in phase admitted. Reads the line directly: a Record in between doubles the cost."""
        if len(line) > LONGEST_LINE:
            raise ValueError("is longer than any record")
        _, token, fence, _, admitted_ms, symbol, side, span_ms, _, flags, note = line.split(" ", 10)
        observed = "o" in flags
        ahead, _, memory_age_ms = ("0", "", "") if observed else note.partition(" ")
        span = read_whole(span_ms)
        return Permit(
            intent_id=intent.id,
            symbol=symbol,
            side=side,
            token=token,
            fence=read_whole(fence),
            client_order_id=self.keyspace.client_order_id(intent.id),
            deadline_ms=read_whole(admitted_ms) + span,
            expires_ns=started_ns + span * 1_000_000,
            verify="v" in flags,
            memory_age_ms=read_whole(memory_age_ms) if memory_age_ms else None,
            is_exit="x" in flags,
            reserved=Decimal(0) if observed else reserve,
            reserved_ahead=Decimal(read_whole(ahead)) / MILLIONTHS,
            admission=line,
            observed=observed,
        )

    def tells_of_another_policy(self, reply: bytes, intent: Intent) -> str | None:
        """From evaluate's reply: `fingerprint figures` of the policy in force, where it isn't this one. Empty where the
        reply tells only that there is one: an exit that passes under another."""
        if not intent.is_exit and reply.startswith(b"admitted "):
            return None
        words = line_of(reply).split(" ", 10)
        if words[0] == "POLICY_MISMATCH":
            return " ".join(words[2:])
        return "" if words[0] == "admitted" and "d" in "".join(words[9:10]) else None

    def permit_of(self, record: Record) -> Permit:
        """The permit of a record in doubt, to settle with. It has run out: send nothing with it."""
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
            admission=record.line,
            observed=record.observed,
        )

    def permit_without_store(self, intent: Intent, token: str, now_ms: int, started_ns: int) -> Permit:
        """The permit of an exit that the store can't judge, with what settling writes in place of its admission.

        `now_ms`: the caller's clock, epoch ms. `started_ns`: its monotonic clock.
        """
        span_ms = self.policy.lock_ttl_ms
        words = ("admitted", token, 0, intent.fingerprint, now_ms, intent.symbol, intent.side, span_ms, 0, "xs", 0)
        return Permit(
            intent_id=intent.id,
            symbol=intent.symbol,
            side=intent.side,
            token=token,
            fence=0,
            client_order_id=self.keyspace.client_order_id(intent.id),
            deadline_ms=now_ms + span_ms,
            expires_ns=started_ns + span_ms * 1_000_000,
            verify=True,
            is_exit=True,
            admission=" ".join(map(str, words)),
            without_store=True,
        )

    def _unclaimed_permit(self, intent: Intent, started_ns: int) -> Permit:
        """Of an intent that is claimed already, by the delivery before. Without a token: there is nothing to settle."""
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
        """Reads every guard's answer from inspect's rows. Raises StoreError for rows that it doesn't give."""
        try:
            return self._inspection(reply, intent)
        except ValueError:
            raise unreadable("the guards' answers", reply) from None

    def _inspection(self, reply: list[object], intent: Intent) -> Inspection:
        now, _, *rows = reply
        denials: dict[bytes, list[bytes]] = {row[0]: row for row in rows}  # type: ignore[index,misc]  # a reply's rows
        reports = []
        keys = {**self.keyspace.of_account(), **self.keyspace.of_intent(intent.id, intent.symbol, intent.side)}
        for guard in GUARDS:
            key = keys[guard.key] if guard.key else ""
            denial = denials.get(guard.reason.encode())
            if denial is None:
                exempt = intent.is_exit and guard.exempts_exits
                said = "exempt: reduce-only" if exempt else ""
                reports.append(GuardReport(guard.name, True, key, detail=said, exempt=exempt))
                continue
            word, wait, detail = map(line_of, denial)
            reason, waits_ms = _reason(word), read_whole(wait)
            prior = decode_record(intent.id, detail) if guard.key == "record" else None
            wait_ms = waits_ms if waits_ms >= 0 else None
            explained = self._explained(reason, detail, prior, wait_ms, intent)
            age_ms = _age_ms(reason, detail)
            again_ms = self._retry_after_ms(reason, wait_ms)
            reports.append(
                GuardReport(guard.name, False, key, reason, wait_ms, explained, age_ms=age_ms, retry_after_ms=again_ms)
            )
        return Inspection(tuple(reports), self._mode, int(now))  # type: ignore[call-overload]  # the server's clock as text

    def _retry_after_ms(self, reason: Reason, wait_ms: int | None) -> int | None:
        """When to ask again. A lock is released when its order is settled, mostly long before it lapses.

        The longer it is held already, the later: so whoever asks again does that a few times, not every moment.
        """
        if reason is not Reason.LOCKED or wait_ms is None:
            return wait_ms
        held_ms = self.policy.lock_ttl_ms - wait_ms
        return min(wait_ms, max(held_ms, _LOCK_ASKED_AGAIN_MS))

    def _explained(self, reason: Reason, detail: str, prior: Record | None, wait_ms: int | None, intent: Intent) -> str:
        # A permit's lock always has a TTL. A lock without a wait has none, so the gate didn't make it.
        endless = self.keyspace.lock(intent.symbol, intent.side) if reason is Reason.LOCKED and wait_ms is None else ""
        return cut(explain_denial(reason, detail, self.policy, self.keyspace, prior, endless, wait_ms), _LONGEST_DETAIL)


def identify(keyspace: Keyspace, *, halts: bool = False) -> Command:
    """The call that asks a server who it is, and what its user may not do. `halts`: also of what it takes to halt after
    a loss of memory."""
    call = Call("EVALSHA_RO", script("identify"), keyspace.of_account())
    return call(**keyspace.of_intent("-", "-", "-"), halts=int(halts))


def _age_ms(reason: Reason, detail: str) -> int | None:
    """The intent's age, which the scripts give as the detail of STALE."""
    return read_whole(detail) if reason is Reason.STALE else None


_SETTLED: Final = frozenset({Settled.SETTLED, Settled.ALREADY, Settled.CONFLICT, Settled.FENCED})
_DENIALS: Final = frozenset(guard.reason for guard in GUARDS)


def _reason(word: str) -> Reason:
    """The reason of a denial. Raises ValueError for a word that no guard has."""
    reason = Reason(word)
    if reason not in _DENIALS:
        raise ValueError(word)
    return reason


def decode_settlement(reply: bytes, intent_id: str) -> Settlement:
    """The answer from settle's line. Raises StoreError for others."""
    word, _, rest = line_of(reply).partition(" ")
    if word not in _SETTLED:
        raise unreadable("a settlement", reply)
    found: list[str] = []
    if word == "SETTLED":
        words, _, rest = rest.partition(" ")
        found = words.split(",")
    record = decode_record(intent_id, rest) if rest else None
    return Settlement(Settled(word), record, "safe_mode" in found, memory_lost="memory" in found, late="late" in found)
