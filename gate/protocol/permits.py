"""The permits of intents: from an admission's line, from a record, and of what the store has no claim of. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gate.protocol.keyspace import Keyspace
from gate.values.fields import read_whole
from gate.values.intent import Intent
from gate.values.policy import Policy
from gate.values.record import LONGEST_LINE, MILLIONTHS, Record
from gate.values.verdict import Permit

UNCLAIMED: Final = ""
"""The token of a permit that has claimed nothing."""


def permit_of_line(keyspace: Keyspace, intent: Intent, line: str, reserve: Decimal, started_ns: int) -> Permit:
    """The permit of a record in phase admitted. Reads the line directly: a Record in between doubles the cost.

    `started_ns`: the monotonic clock before the call. Raises ValueError and InvalidOperation for a line that is none.
    """
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
        client_order_id=keyspace.client_order_id(intent.id),
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


def permit_of_record(keyspace: Keyspace, record: Record) -> Permit:
    """The permit of a record in doubt, to settle with. It has run out: send nothing with it."""
    return Permit(
        intent_id=record.intent_id,
        symbol=record.symbol,
        side=record.side,
        token=record.token,
        fence=record.fence,
        client_order_id=keyspace.client_order_id(record.intent_id),
        deadline_ms=record.deadline_ms or 0,
        expires_ns=0,
        verify=record.verify,
        is_exit=record.is_exit,
        reserved=record.reserved,
        admission=record.line,
        observed=record.observed,
    )


def permit_without_store(
    keyspace: Keyspace, policy: Policy, intent: Intent, token: str, now_ms: int, started_ns: int
) -> Permit:
    """The permit of an exit that the store can't judge, with what settling writes in place of its admission.

    `now_ms`: the caller's clock, epoch ms. `started_ns`: its monotonic clock.
    """
    span_ms = policy.lock_ttl_ms
    words = ("admitted", token, 0, intent.fingerprint, now_ms, intent.symbol, intent.side, span_ms, 0, "xs", 0)
    return Permit(
        intent_id=intent.id,
        symbol=intent.symbol,
        side=intent.side,
        token=token,
        fence=0,
        client_order_id=keyspace.client_order_id(intent.id),
        deadline_ms=now_ms + span_ms,
        expires_ns=started_ns + span_ms * 1_000_000,
        verify=True,
        is_exit=True,
        admission=" ".join(map(str, words)),
        without_store=True,
    )


def unclaimed_permit(keyspace: Keyspace, policy: Policy, intent: Intent, started_ns: int) -> Permit:
    """Of an intent that is claimed already, by the delivery before. Without a token: there is nothing to settle."""
    return Permit(
        intent_id=intent.id,
        symbol=intent.symbol,
        side=intent.side,
        token=UNCLAIMED,
        fence=0,
        client_order_id=keyspace.client_order_id(intent.id),
        deadline_ms=0,
        expires_ns=started_ns + policy.lock_ttl_ms * 1_000_000,
        is_exit=intent.is_exit,
        observed=True,
    )
