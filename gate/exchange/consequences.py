"""From a failure to what the gate is told of it: outcome and penalty.

For a service that places its orders itself: it catches what python-binance raises, and settles what that means.
"""

from __future__ import annotations

from gate.exchange.failures import Consequence, Failure, failure_of
from gate.values.outcome import Outcome, Penalty
from gate.values.policy import LONGEST_MS, Policy


def outcome_of(error: BaseException | Failure, policy: Policy, *, sent: bool = True) -> Outcome:
    """What to settle after the order's own request has failed, or with `sent=False` after one made before it.

        except Exception as error:
            held.settle(outcome_of(error, gate.policy))
            raise

    Rejected where there is certainly no order; unknown where there may be one: ask for it by its client order id
    before anything else. Not for the exception of such a look-up: that one says nothing of the order.
    """
    failure = error if isinstance(error, Failure) else failure_of(error)
    penalty = penalty_of(failure, policy)
    if not sent:
        # Nothing can have come of it, so it may come again: but never by keys that don't work.
        again = failure.retryable or failure.consequence is not Consequence.STOP
        return Outcome.unsent(failure.code, failure.detail, retryable=again, penalty=penalty)
    if failure.may_exist:
        return Outcome.unknown(failure.detail, code=failure.code, penalty=Penalty.unknown_outcome(policy))
    return Outcome.rejected(failure.code, failure.detail, retryable=failure.retryable, penalty=penalty)


def penalty_of(failure: Failure, policy: Policy) -> Penalty | None:
    """What a refusal costs beyond itself. Rests last as long as the exchange or the table says, else as the policy."""
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
