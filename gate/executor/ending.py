"""How an admitted intent ended: what is settled with the gate, and what is answered to the caller. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gate.exchange.consequences import outcome_of, penalty_of
from gate.exchange.failures import Consequence, Failure
from gate.exchange.port import OrderAnswer
from gate.executor.execution import Terminal
from gate.executor.look_up import LookUp
from gate.executor.margin import MarginCheck
from gate.executor.order_plan import PlanRefusal
from gate.values.outcome import Outcome, OutcomeKind, Penalty
from gate.values.policy import Policy

MARGIN_UNRESERVED: Final = "MARGIN_UNRESERVED"


@dataclass(frozen=True, slots=True)
class Ending:
    """An outcome for the gate, and a terminal state with its reason for the caller."""

    outcome: Outcome
    state: Terminal
    reason: str
    detail: str = ""
    order: OrderAnswer | None = None
    margin: MarginCheck | None = None


def placed(order: OrderAnswer) -> Ending:
    """The exchange has the order."""
    if order.filled:
        state = Terminal.FILLED
    elif order.ended_unfilled:
        state = Terminal.REJECTED_EXCHANGE
    else:
        state = Terminal.PLACED
    return Ending(Outcome.placed(order.order_id), state, order.status, order=order)


def unsent(code: str, detail: str) -> Ending:
    """Nothing was sent, and it may come again."""
    return Ending(Outcome.unsent(code, detail), Terminal.REJECTED_EXCHANGE, code, detail)


def unfit(refusal: PlanRefusal) -> Ending:
    """No order that the exchange would take can be made of the intent."""
    outcome = Outcome.unsent(refusal.code, refusal.detail, retryable=False)
    return Ending(outcome, Terminal.REJECTED_ORDER, refusal.code, refusal.detail)


def short_of_margin(check: MarginCheck, policy: Policy) -> Ending:
    """The margin doesn't cover it. Where it would but for what is reserved for others, that may be free in a moment."""
    alone = check.available is not None and check.available >= check.need
    code = "MARGIN_RESERVED" if alone else "INSUFFICIENT_MARGIN"
    penalty = None if alone else Penalty.margin_rejection(policy)
    outcome = Outcome.unsent(code, str(check), penalty=penalty)
    return Ending(outcome, Terminal.REJECTED_MARGIN, code, str(check), margin=check)


def under_reserved(check: MarginCheck, reserved: object) -> Ending:
    """The permit holds less margin than the order takes: a permit behind it counts on what this one would use."""
    detail = f"{check}: only {reserved} is reserved; come again, what the symbol takes is known by now"
    outcome = Outcome.unsent(MARGIN_UNRESERVED, detail)
    return Ending(outcome, Terminal.REJECTED_MARGIN, MARGIN_UNRESERVED, detail, margin=check)


def margin_unknown(code: str, check: MarginCheck | None, why: str, penalty: Penalty | None = None) -> Ending:
    """A margin figure that can't be relied on is no figure: nothing was sent."""
    detail = f"{check or 'need unknown, have unknown'}: {why}"
    outcome = Outcome.unsent(code, detail, penalty=penalty)
    return Ending(outcome, Terminal.REJECTED_MARGIN, code, detail, margin=check)


def refused(failure: Failure, policy: Policy, *, sent: bool) -> Ending:
    """The exchange refused the order itself, or, before anything was sent, to tell what is needed for one."""
    outcome = outcome_of(failure, policy, sent=sent)
    if outcome.kind is OutcomeKind.UNKNOWN:
        state = Terminal.UNKNOWN
    elif failure.consequence is Consequence.MARGIN:
        state = Terminal.REJECTED_MARGIN
    else:
        state = Terminal.REJECTED_EXCHANGE
    return Ending(outcome, state, failure.code, failure.detail)


def absent(unclear: Failure, policy: Policy, stopped_by: Failure | None) -> Ending:
    """The request failed, and by now it is certain that it brought no order."""
    rest = penalty_of(stopped_by, policy) if stopped_by else None
    outcome = Outcome.rejected(unclear.code, "looked up: no such order", retryable=True, penalty=rest)
    detail = "the request failed, and the exchange has no such order"
    return Ending(outcome, Terminal.REJECTED_EXCHANGE, unclear.code, detail)


def in_doubt(unclear: Failure, policy: Policy, stopped_by: Failure | None) -> Ending:
    """Nobody can tell whether the order exists: reconcile will."""
    penalty = Penalty.unknown_outcome(policy).joined(penalty_of(stopped_by, policy) if stopped_by else None)
    outcome = Outcome.unknown(unclear.detail, code=unclear.code, penalty=penalty)
    return Ending(outcome, Terminal.UNKNOWN, unclear.code, f"{unclear.code}: {unclear.detail}")


def forgotten(found: LookUp, policy: Policy) -> Ending:
    """Nothing was sent; but the store's memory is new, and an earlier delivery may have placed an order."""
    why = found.last_failure
    said = f": {why.code} {why.detail}" if why else ""
    detail = f"nothing was sent: the exchange doesn't say whether an order from before the store's memory exists{said}"
    penalty = penalty_of(found.stopped_by, policy) if found.stopped_by else None
    code = found.stopped_by.code if found.stopped_by else "MEMORY_LOST"
    return Ending(Outcome.unknown(detail, code=code, penalty=penalty), Terminal.UNKNOWN, "MEMORY_LOST", detail)


def broken_off(error: BaseException, policy: Policy, *, may_exist: bool) -> Ending:
    """Cancelled, or a fault of our own. Where an order may exist, nobody can tell any more."""
    word = type(error).__name__
    if not may_exist:
        return Ending(Outcome.unsent(word), Terminal.REJECTED_EXCHANGE, word, "broken off before sending")
    detail = "broken off while an order may exist"
    outcome = Outcome.unknown(detail, code=word, penalty=Penalty.unknown_outcome(policy))
    return Ending(outcome, Terminal.UNKNOWN, word, detail)
