"""Decodes a last look, and what a verdict tells in its place: whether the permit holds, and which entries were placed.

Pure. See also lua/last_look.lua and lua/include/placed_since.lua.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Final

from gate.protocol.texts import line_of, unreadable
from gate.values.errors import StoreError, cut
from gate.values.fields import read_whole
from gate.values.last_look import LastLook, PlacedOrder, PlacedOrders
from gate.values.record import MILLIONTHS

_LONGEST_LOOK: Final = 32_768
"""Of 39 lines, with ids of 128 characters of four bytes, and some to spare."""
_NO_LINE: Final = "?"
"""Stands for the newest line where the list is damaged or gone. A later look doesn't find it: an empty list doesn't
tell what was placed before somebody mended it."""
NONE_YET: Final = "-"
"""Stands for it in the call of a caller that hasn't looked yet."""
HOLDS: Final = LastLook(True, "HOLDS")
"""The answer to a caller that asks for no orders."""
_LOOKS: Final = frozenset({"HOLDS", "DEADLINE", "PERMIT_LOST", "LOCK_LOST", "HALTED", "SAFE_MODE"})


def decode_last_look(reply: bytes, placed_after: str | None = None, *, is_exit: bool = False) -> LastLook:
    """The answer from last_look's line. Nothing but its one word lets an order pass. Raises StoreError for others.

    `is_exit`: of an exit, which passes without orders where they can't be read.
    """
    if reply.startswith(b"HOLDS "):
        try:
            return LastLook(True, "HOLDS", placed=_placed_orders(reply[6:], placed_after))
        except StoreError:
            if not is_exit:
                raise
            return HOLDS
    word, _, detail = line_of(reply).partition(" ")
    if word not in _LOOKS:
        raise unreadable("a last look", reply)
    return LastLook(word == "HOLDS", word, cut(detail))


def look_of_a_verdict(told: bytes, placed_after: str) -> LastLook | None:
    """What a verdict tells in place of a last look. None: it doesn't, or not so that it could be read."""
    try:
        return LastLook(True, "HOLDS", placed=_placed_orders(told, placed_after)) if told else None
    except StoreError:
        return None


def _placed_orders(told: bytes, placed_after: str | None) -> PlacedOrders:
    if placed_after is None or len(told) > _LONGEST_LOOK:
        raise unreadable("a last look", told)
    now, *lines = told.decode(errors="replace").split("\n")
    try:
        if (end := lines.pop()) not in ("", "-"):
            raise ValueError("is no line")
        cut_off = end == "-"
        newest = lines[0] if lines else _NO_LINE if cut_off else ""
        known = bool(lines) and lines[-1] == placed_after
        orders = tuple(map(_placed_order, lines[:-1] if known else lines))
        return PlacedOrders(read_whole(now), orders, known or not cut_off, newest)
    except (IndexError, ValueError):
        raise unreadable("a last look", told) from None


@lru_cache(maxsize=256)  # of twenty that look at once, each is told of the orders of the others
def _placed_order(line: str) -> PlacedOrder:
    fence, settled, reserved, intent_id = line.split(" ", 3)
    read_whole(fence)
    return PlacedOrder(intent_id, read_whole(settled), Decimal(read_whole(reserved)) / MILLIONTHS)
