"""Before a block sends under a permit that says verify: has an earlier delivery placed the order already?

A dialogue with the exchange, in the manner of the dialogues with the store: Gate and AsyncGate only wait and ask.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Final

from gate.client.guarded import MEMORY_LOST
from gate.exchange.consequences import penalty_of
from gate.exchange.failures import Consequence, Failure, failure_of
from gate.exchange.port import CLOCK_LEAD_MS, LEAST_TO_SEND_MS
from gate.values.found_order import FoundOrder
from gate.values.last_look import STORE_LOST, LastLook
from gate.values.log_words import log_of, names
from gate.values.outcome import Outcome
from gate.values.policy import Policy
from gate.values.verdict import Permit

_log: Final = log_of("gate")

Search = Generator[float, object, FoundOrder | Outcome | None]
"""Yields how many seconds to wait before the next question. It is sent the answer, or the exception is thrown into it.

Returns the order; or the outcome to settle where nothing may be sent; or None: there is certainly no order.
"""

_RECV_WINDOW_MS: Final = 10_000  # python-binance's own
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 2.0


def recv_window_ms(find_order: object) -> int:
    """How long after signing the exchange may accept the service's orders: FindOrder tells where it says so."""
    window: int = getattr(find_order, "recv_window_ms", _RECV_WINDOW_MS)
    return window


def search(permit: Permit, decided_ms: int, window_ms: int, policy: Policy) -> Search:
    """Looks for the intent's order. `window_ms`: how long after signing the exchange may accept the service's orders.

    Absence counts once no request of before can be accepted any more. For an entry, that begins when no permit of the
    lost memory can be alive; an exit doesn't wait so long.
    """
    needed_ms = window_ms + CLOCK_LEAD_MS + (0 if permit.is_exit else policy.lock_ttl_ms)
    counts_ns = time.monotonic_ns() + max(0, needed_ms - (permit.memory_age_ms or 0)) * 1_000_000
    pause_s, wait_s, failure = _FIRST_PAUSE_S, 0.0, None
    while True:
        counts = time.monotonic_ns() + int(wait_s * 1e9) >= counts_ns
        try:
            answer = yield wait_s
            if not isinstance(answer, FoundOrder | None):
                raise TypeError(f"find_order gave a {type(answer).__name__}, not a FoundOrder or None")
            failure = None
        except Exception as error:  # whatever it is, the exchange hasn't told
            answer, failure = None, failure_of(error)
            _log.info("LOOK-UP FAILED %s", names(permit, code=failure.code, detail=failure.detail))
        if answer is not None and answer.is_of(decided_ms):
            return answer
        if failure is None and counts:
            return None
        wait_s, pause_s = pause_s, min(pause_s * 2, _LONGEST_PAUSE_S)
        if failure is None:
            wait_s = min(wait_s, max((counts_ns - time.monotonic_ns()) / 1e9, 0))
        elif failure.stops_asking:
            wait_s = max(wait_s, (failure.rest_ms or 0) / 1000)
        if _is_final(failure) or permit.remaining_ms - wait_s * 1000 < policy.order_timeout_ms:
            return _cannot_tell(failure, policy)


def stopped_by(look: LastLook, permit: Permit) -> Outcome | None:
    """What the last look after a search without an order stops. A halt may have come meanwhile.

    A store that is lost by now stops no exit: the exchange has said that there is no earlier order.
    """
    if look or (permit.is_exit and look.reason == STORE_LOST and permit.remaining_ms >= LEAST_TO_SEND_MS):
        return None
    return Outcome.unsent(look.reason, look.detail)


def _is_final(failure: Failure | None) -> bool:
    """Whether asking again is of no use: keys that the exchange refuses will be refused again."""
    return failure is not None and failure.consequence is Consequence.STOP and not failure.rest_ms


def _cannot_tell(failure: Failure | None, policy: Policy) -> Outcome:
    """Unknown, so that the order isn't lost from sight: reconciling finds it later."""
    detail = "nothing was sent: an order from before the store's memory may still be on its way"
    if failure is None:
        return Outcome.unknown(detail, code=MEMORY_LOST)
    detail = f"nothing was sent: {failure.code} {failure.told}; so the exchange doesn't tell of an earlier order"
    if not failure.stops_asking:
        return Outcome.unknown(detail, code=MEMORY_LOST)
    # The cause: keys that don't work, a ban. The memory is only why it was asked.
    return Outcome.unknown(detail, code=failure.code, penalty=penalty_of(failure, policy))
