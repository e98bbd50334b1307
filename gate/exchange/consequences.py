"""Turns a failure of the exchange into the outcome and the penalty to settle.

Also for a service that places its orders itself: it settles the outcome of an exception from python-binance.
"""

from __future__ import annotations

from dataclasses import replace

from gate.exchange.failures import Consequence, Failure, failure_of, is_of_a_request, posted
from gate.values.outcome import Outcome, Penalty
from gate.values.policy import LONGEST_MS, Policy
from gate.values.verdict import Permit


def outcome_of(error: BaseException | Failure, policy: Policy, *, sent: bool = True) -> Outcome:
    """The outcome to settle after the order's request has failed; with `sent=False`, after a request before it.

        except Exception as error:
            held.settle(outcome_of(error, gate.policy))
            raise

    Rejected if there is certainly no order. Unknown if there may be one: then look it up by its client order id before
    anything else. Not for the exception of such a look-up, which says nothing about the order.
    """
    failure = error if isinstance(error, Failure) else failure_of(error)
    penalty = penalty_of(failure, policy)
    if not sent:
        # No order can exist, so a retry is safe, but not with keys that the exchange refuses.
        again = failure.retryable or failure.consequence is not Consequence.STOP
        return Outcome.unsent(failure.code, failure.told, retryable=again, penalty=penalty)
    if failure.may_exist:
        return Outcome.unknown(failure.detail, code=failure.code, penalty=Penalty.unknown_outcome(policy))
    return Outcome.rejected(failure.code, failure.told, retryable=failure.retryable, penalty=penalty)


def outcome_of_leaving(error: BaseException, permit: Permit, policy: Policy) -> Outcome:
    """The outcome of an intent whose block an exception has left before it reported one.

    By the table where the order's own request has failed. The failure of another request, such as a look-up or a second
    order, says nothing about this one, which may have been sent: unknown.

    An entry doesn't come again: the block may have sent its order before, with an answer that was unclear, and this is
    the refusal of its second try. An exit comes again where the table says so: two can't close more than there is.
    """
    doubt = Penalty.unknown_outcome(policy)
    if not is_of_a_request(error):
        return Outcome.unknown(f"left by {type(error).__name__}", penalty=doubt)
    failure, own = failure_of(error), posted(error, permit.client_order_id)
    if own is False:
        detail = f"left by the failure of another request: {failure.detail}"
        return Outcome.unknown(detail, code=failure.code, penalty=doubt.joined(penalty_of(failure, policy)))
    outcome = outcome_of(failure, policy)
    return outcome if own and permit.is_exit else replace(outcome, retryable=False)


def penalty_of(failure: Failure, policy: Policy) -> Penalty | None:
    """The penalty of a refusal. A rest's length is the exchange's or the table's, else the policy's."""
    match failure.consequence:
        case Consequence.MARGIN:
            return Penalty.margin_rejection(policy)
        case Consequence.REST_SYMBOL:
            return Penalty(cooldown_symbol_ms=_rest_ms(failure, policy.cooldown_symbol_ms))
        case Consequence.REST_ACCOUNT:
            return Penalty(cooldown_global_ms=_rest_ms(failure, policy.cooldown_global_ms))
        case Consequence.STOP:
            return Penalty(cooldown_global_ms=_rest_ms(failure, 0), safe_mode=True)
        case Consequence.NONE:
            return None


def _rest_ms(failure: Failure, otherwise_ms: int) -> int:
    return min(failure.rest_ms or otherwise_ms, LONGEST_MS)
