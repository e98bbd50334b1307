"""How an intent ends at the store: its outcome is reported, or what nobody has heard of is given back."""

from __future__ import annotations

import time
from typing import Final

from gate.client.caller import Caller
from gate.client.scripted import scripted
from gate.client.unheard import Unheard
from gate.protocol.explain import explain_error
from gate.protocol.permits import UNCLAIMED
from gate.protocol.replies import decode_settlement
from gate.store.wire import Dialogue
from gate.values.errors import InvalidField, StoreError, StoreFailure, StoreUnavailable
from gate.values.intent import Intent
from gate.values.log_words import log_of, names
from gate.values.outcome import Outcome, OutcomeKind, Settled, Settlement
from gate.values.record import decode_record
from gate.values.verdict import Permit

_GIVEN_BACK_AT_ONCE: Final = 64
_NOBODY_HEARD: Final = Outcome.unsent("UNHEARD", "the answer to the evaluation was lost")
_log: Final = log_of("gate")


def settle(caller: Caller, permit: Permit, outcome: Outcome) -> Dialogue[Settlement]:
    """Reports an outcome. A store failure is part of the answer; it is never raised."""
    if not isinstance(permit, Permit):  # a verdict is given easily, and None after a denial
        raise InvalidField("permit", permit, "is no Permit; give the permit of a verdict that admits")
    if permit.token == UNCLAIMED:
        return Settlement(Settled.OBSERVED)
    try:
        reply, replayed = yield from scripted("settle", caller.protocol.settle(permit, outcome))
        settlement = decode_settlement(reply, permit.intent_id)
    except StoreFailure as failure:
        if permit.without_store and outcome.retryable:
            return _nothing_without_store(caller, permit)
        away = isinstance(failure, StoreUnavailable)
        detail = str(failure) if away else explain_error(str(failure))
        _not_reported(permit, outcome, detail)
        return Settlement(Settled.STORE_UNAVAILABLE if away else Settled.STORE_ERROR, detail=detail)
    if settlement.record is not None:
        caller.saw(settlement.record.fence)
        if settlement.status is Settled.SETTLED and not permit.observed:
            yield from caller.symbols.note(permit.symbol)
    removes = outcome.retryable and outcome.kind in (OutcomeKind.REJECTED, OutcomeKind.UNSENT)
    if replayed and removes and settlement.status is Settled.FENCED:
        # The first call, whose reply was lost, has removed the record. Another permit may own a new one by now.
        return Settlement(Settled.ALREADY)
    return settlement


def give_back(caller: Caller) -> Dialogue[int]:
    """Settles as unsent what was admitted and nobody has heard of. Returns how many claims are gone.

    A store failure leaves the rest for later; it is never raised.
    """
    try:
        return (yield from try_to_give_back(caller))
    except StoreUnavailable:
        return 0


def try_to_give_back(caller: Caller, intent: Intent | None = None) -> Dialogue[int]:
    """As give_back, of one intent or of any. Raises StoreUnavailable."""
    given = 0
    for _ in range(_GIVEN_BACK_AT_ONCE):
        unheard = caller.unheard.next_due(intent)
        if unheard is None:
            break
        try:
            command = caller.protocol.settle(unheard.permit, _NOBODY_HEARD)
            reply, _ = yield from scripted("settle", command, late_is_final=intent is not None)
            settlement = decode_settlement(reply, unheard.intent_id)
        except StoreError:
            caller.unheard.keep_tried(unheard)
            continue
        except BaseException:
            caller.unheard.keep_settling(unheard)
            raise
        if settlement.status is Settled.FENCED and settlement.record is None:
            caller.unheard.keep_tried(unheard)  # the call may still reach a store that stood still
        elif settlement:
            given += 1
            _log.info("GIVEN BACK %s: its admission wasn't heard", names(unheard.permit))
    return given


def _nothing_without_store(caller: Caller, permit: Permit) -> Settlement:
    """The end of an exit that wasn't sent: the store may hold a claim of it, which nobody needs."""
    fingerprint = decode_record(permit.intent_id, permit.admission).fingerprint
    caller.unheard.keep(
        Unheard(
            intent_id=permit.intent_id,
            symbol=permit.symbol,
            side=permit.side,
            fingerprint=fingerprint,
            token=permit.token,
            started_ns=time.monotonic_ns(),  # from now on: a claim that has run out would use the intent up
            settling=True,
        )
    )
    return Settlement(Settled.ALREADY)


def _not_reported(permit: Permit, outcome: Outcome, why: str) -> None:
    told = names(permit, outcome=outcome.kind, detail=why)
    _log.warning("NOT REPORTED %s: the intent is in doubt until that is repeated, or it is reconciled", told)
