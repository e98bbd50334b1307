"""The work under one permit, and what each of its ends means for the gate and for the caller. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from msgspec import structs

from gate.exchange.consequences import outcome_of, penalty_of
from gate.exchange.failure_table import COVERED, NO_SUCH_LEVERAGE, Consequence, Failure
from gate.exchange.port import AccountFigures, OrderAnswer, Position
from gate.executor.execution import Execution, Terminal
from gate.executor.margin import MarginCheck
from gate.executor.order_plan import PlanRefusal
from gate.executor.verdict_look import VerdictLook
from gate.values.fields import plain
from gate.values.intent import Intent
from gate.values.last_look import STORE_LOST
from gate.values.outcome import Outcome, OutcomeKind, Penalty
from gate.values.policy import Policy
from gate.values.verdict import Permit, Verdict

MARGIN_UNRESERVED: Final = "MARGIN_UNRESERVED"


@dataclass(slots=True)
class Attempt:
    """One admitted intent on its way to an order. Each method makes the execution of one end; it isn't settled yet."""

    intent: Intent
    """As it was asked for; of an intent to close, once the position is read, with the side and size that close it."""
    verdict: Verdict
    permit: Permit
    policy: Policy
    asked: Intent = field(init=False)
    """As it was asked for, always."""
    may_exist: bool = field(init=False)
    """Whether the exchange may have an order of the intent: its absence has to be proved then."""
    account: AccountFigures | None = None
    """What the margin was last checked against; None for an exit, whose margin isn't."""
    hedge_mode: bool | None = None
    """Whether the account is in hedge mode, as far as it is known."""
    told_open: tuple[Position, ...] | None = None
    """Of an intent to close: what the streams tell is open, where its size is by that. None: it is by a reading."""
    closes_all: bool = False
    """Whether the intent is to close all that is open, as far as one order can."""
    by_memory: bool = False
    """Of an intent to close: whether its size is by what was known before, since no reading came."""
    leaves_open: str = ""
    """What one order of that can't close, in words."""
    cut: str = ""
    """What it was cut to, because no more is open, in words."""
    sent: bool = False
    """Whether a request for the order has been sent under this permit."""
    sets_leverage: bool = False
    """Of an entry: whether a request has been sent that sets its symbol's leverage."""
    sent_ns: int = 0
    """When the last one was sent, on the monotonic clock."""
    sent_quantity: Decimal | None = None
    """The size of the last one; None where it closes the position."""
    cancelled: str = ""
    """The exits that were cancelled for it, in words."""
    stopped_by: Failure | None = None
    """The answer that ended the last look-up early: a ban, too many requests, or keys that don't work."""
    unanswered: Failure | None = None
    """Why the last look-up had no answer, if a question had none."""
    verdict_look: VerdictLook | None = None
    """What the verdict has told in place of a last look, if it has."""
    look_first: bool = False
    """Of an exit: whether another process may have sent it without the store, and not recorded it yet."""
    without_store: bool = field(init=False)
    """Of an exit: whether it goes though the store doesn't answer."""

    def __post_init__(self) -> None:
        self.asked = self.intent
        # An earlier delivery may have placed the order, and the store doesn't know of it.
        self.may_exist = self.permit.verify or self.permit.observed
        self.without_store = self.permit.without_store

    def placed(self, order: OrderAnswer) -> Execution:
        """The exchange has the order."""
        if order.filled:
            state = Terminal.FILLED
        elif order.ended_unfilled:
            state = Terminal.REJECTED_EXCHANGE
        else:
            state = Terminal.PLACED
        return structs.replace(
            self._end(state, Outcome.placed(order.order_id), order.status),
            order_id=order.order_id,
            actual_order_id=order.actual_order_id,
            filled_quantity=order.filled_quantity,
            average_price=order.average_price,
            side=order.side,
        )

    def unsent(self, code: str, detail: str) -> Execution:
        """Nothing was sent, and it may come again."""
        return self._end(Terminal.REJECTED_EXCHANGE, Outcome.unsent(code, detail), code, detail)

    def is_another(self, order: OrderAnswer) -> bool:
        """Whether an order under the intent's client order id is that of another intent: an entry and an exit have had
        one id."""
        sides = {order.side, self.intent.side} - {"", "CLOSE"}
        return bool(order.side) and (order.reduces is not self.intent.is_exit or len(sides) > 1)

    def unfit(self, refusal: PlanRefusal) -> Execution:
        """No order that the exchange would take can be made of the intent, for good or as things stand."""
        if refusal.retryable:
            return self.unsent(refusal.code, refusal.detail)
        outcome = Outcome.unsent(refusal.code, refusal.detail, retryable=False)
        return self._end(Terminal.REJECTED_ORDER, outcome, refusal.code, refusal.detail)

    def short_of_margin(self, check: MarginCheck) -> Execution:
        """The margin doesn't cover the order. If only the reservations of others are in the way, they may end soon."""
        if check.available is not None and check.available >= check.need:
            return self._without_margin("MARGIN_RESERVED", str(check), check)
        return self._without_margin("INSUFFICIENT_MARGIN", str(check), check, Penalty.margin_rejection(self.policy))

    def under_reserved(self, check: MarginCheck) -> Execution:
        """The permit reserves less margin than the order needs, so a later permit may count on the same margin."""
        reserved = f"only {plain(self.permit.reserved)} is reserved"
        detail = f"{check}: {reserved}; come again, what the symbol takes is known by now"
        return self._without_margin(MARGIN_UNRESERVED, detail, check)

    def margin_unknown(
        self, code: str, check: MarginCheck | None, why: str, penalty: Penalty | None = None
    ) -> Execution:
        """A margin figure can't be trusted, so nothing was sent."""
        return self._without_margin(code, f"{check or 'need unknown, have unknown'}: {why}", check, penalty)

    def leverage_not_set(self, failure: Failure, differ: str) -> Execution:
        """The exchange has another leverage than the intent names, and it couldn't be set. Nothing was sent."""
        detail = f"{differ}; it wasn't set: {failure.code} {failure.told}"
        outcome = replace(outcome_of(failure, self.policy, sent=False), code="LEVERAGE_NOT_SET", detail=detail)
        if failure.code in NO_SUCH_LEVERAGE:
            outcome = replace(outcome, retryable=False)  # else it holds later entries of its symbol up for nothing
        return self._end(Terminal.REJECTED_EXCHANGE, outcome, "LEVERAGE_NOT_SET", detail)

    def refused(self, failure: Failure) -> Execution:
        """The exchange refused the order, or a question that comes before it."""
        outcome = outcome_of(failure, self.policy, sent=self.may_exist)
        if self.by_memory and failure.code in COVERED and outcome.kind is OutcomeKind.REJECTED:
            outcome = replace(outcome, retryable=True)  # sized by a reading, it may close something
        if outcome.kind is OutcomeKind.UNKNOWN:
            state = Terminal.UNKNOWN
        elif failure.consequence is Consequence.MARGIN:
            state = Terminal.REJECTED_MARGIN
        else:
            state = Terminal.REJECTED_EXCHANGE
        execution = self._end(state, outcome, failure.code, failure.told)
        # An exit waits for what the exchange asks for. The rest that its penalty gives is for entries.
        return structs.replace(execution, retry_after_ms=failure.silence_ms) if self.intent.is_exit else execution

    def absent(self, unclear: Failure) -> Execution:
        """The request failed, and the exchange has no order and can accept none any more."""
        detail = f"{unclear.code}: the request failed, and the exchange has no such order"
        outcome = Outcome.not_placed(detail, penalty=self._rest_of_the_look_up())
        return self._end(Terminal.REJECTED_EXCHANGE, outcome, unclear.code, detail)

    def in_doubt(self, unclear: Failure) -> Execution:
        """Nobody can tell whether the order exists. Reconcile finds out later."""
        penalty = Penalty.unknown_outcome(self.policy).joined(self._rest_of_the_look_up())
        outcome = Outcome.unknown(unclear.detail, code=unclear.code, penalty=penalty)
        return self._end(Terminal.UNKNOWN, outcome, unclear.code, f"{unclear.code}: {unclear.detail}")

    def memory_lost(self) -> Execution:
        """Nothing was sent. But the store has lost memory, and an earlier delivery may have placed an order.

        An exit may come again: it says verify again then, as long as such an order can matter.
        """
        since = "that the store doesn't know of" if self.without_store else "from before the store's memory"
        if self.unanswered:
            said = f"{self.unanswered.code} {self.unanswered.told}; so the exchange doesn't say whether an order"
            detail = f"nothing was sent: {said} {since} exists"
        else:
            said = "the exchange has none, and the permit ended before that proves that none comes"
            detail = f"nothing was sent: an order {since} may be on its way; {said}; see lock_ttl_ms"
        # What stops the asking is the cause: keys that don't work, a ban. The memory is only why it was asked.
        lost = STORE_LOST if self.without_store else "MEMORY_LOST"
        code = self.stopped_by.code if self.stopped_by else lost
        penalty = self._rest_of_the_look_up()
        if self.intent.is_exit:
            return self._end(Terminal.REJECTED_EXCHANGE, Outcome.unsent(code, detail, penalty=penalty), code, detail)
        return self._end(Terminal.UNKNOWN, Outcome.unknown(detail, code=code, penalty=penalty), code, detail)

    def broken_off(self, error: BaseException) -> Execution:
        """The task was cancelled, or the executor has a bug. If an order may exist, the outcome is unknown."""
        word = type(error).__name__
        # What an earlier delivery of an exit may have sent is looked up again when it comes again.
        if not self.may_exist or (self.intent.is_exit and not self.sent):
            return self._end(Terminal.REJECTED_EXCHANGE, Outcome.unsent(word), word, "broken off before sending")
        detail = "broken off while an order may exist"
        outcome = Outcome.unknown(detail, code=word, penalty=Penalty.unknown_outcome(self.policy))
        return self._end(Terminal.UNKNOWN, outcome, word, detail)

    def _without_margin(
        self, code: str, detail: str, check: MarginCheck | None, penalty: Penalty | None = None
    ) -> Execution:
        outcome = Outcome.unsent(code, detail, penalty=penalty)
        return structs.replace(self._end(Terminal.REJECTED_MARGIN, outcome, code, detail), margin=check)

    def _rest_of_the_look_up(self) -> Penalty | None:
        return penalty_of(self.stopped_by, self.policy) if self.stopped_by else None

    def _end(self, state: Terminal, outcome: Outcome, reason: str, detail: str = "") -> Execution:
        return Execution(
            state=state,
            intent_id=self.intent.id,
            verdict=self.verdict,
            reason=reason,
            detail=detail,
            client_order_id=self.permit.client_order_id,
            outcome=outcome,
            without_store=self.without_store,
            notes=(*self.intent.notes, *filter(None, (self.leaves_open, self.cut, self.cancelled))),
        )
