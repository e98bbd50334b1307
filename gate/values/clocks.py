"""How far the store's clock and a host's may be apart, and what to do where it is more. Pure."""

from __future__ import annotations

from typing import Final

from gate.values.diagnosis import Check, Grade

CLOSE_MS: Final = 1_000
"""Clocks that are kept by NTP are a few ms apart. The exchange takes a signer's clock that is ahead by a second."""
_NEAR_MS: Final = 100
"""Less than that isn't told, however strict the policy is: a question takes some of it."""
_REMEDY: Final = "set both by NTP, with chrony or the like"


def apart_ms(store_ms: int, asked_ms: int, answered_ms: int) -> int:
    """How far the store's clock is ahead at least. `store_ms`: its time, at some moment between `asked_ms` and
    `answered_ms` of this host's clock: what the question took is no distance."""
    return store_ms - min(max(store_ms, asked_ms), answered_ms)


def bound_ms(skew_ms: int) -> int:
    """How far a host's clock may be ahead before it matters."""
    return max(skew_ms, _NEAR_MS)


def clock_check(off_ms: int, skew_ms: int) -> Check:
    """`off_ms`: how far the store's clock is ahead of this host's. `skew_ms`: how far the policy lets the time of an
    entry lie ahead."""
    says = f"the store's is {off_ms:+d} ms from this host's"
    early = -off_ms > bound_ms(skew_ms)  # an entry of this host is denied as one from the future
    if early or (abs(off_ms) > skew_ms and abs(off_ms) > CLOSE_MS):
        follows = "by this host's time, intents are too old or too early"
        return Check("clock", Grade.WRONG, f"{says}: {follows}; {_REMEDY}")
    if abs(off_ms) > CLOSE_MS:
        return Check("clock", Grade.WARNING, f"{says}; {_REMEDY}")
    return Check("clock", Grade.OK, says)
