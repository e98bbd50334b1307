"""Texts and figures of the store's replies. Others may have written them: each is cut to what may belong there."""

from __future__ import annotations

from typing import Final

from gate.values.errors import StoreError, cut, shown
from gate.values.fields import read_whole
from gate.values.record import LONGEST_LINE

_LONGEST: Final = 400
"""The most characters of what a person wrote, such as a halt's reason. The gate itself takes 200."""
MOST_PAGES: Final = 500_000
"""How often SCAN is asked for more: for a billion keys."""
NO_END: Final = "the store doesn't come to the end of its keys"
LONGEST_NAME: Final = 1024
"""The most bytes of a key's name. No key of the gate has so many."""


def as_text(reply: bytes | str) -> str:
    """A name or a value, whole, whatever bytes a hand has given it."""
    return reply.decode(errors="replace") if isinstance(reply, bytes) else reply


def line_of(reply: bytes) -> str:
    """A line that a script wrote, or the figures of a policy. One byte too many shows that it is neither."""
    return reply[: LONGEST_LINE + 1].decode(errors="replace")


def brief(reply: bytes) -> str:
    """What a person wrote, or a program: a switch, a reason."""
    return cut(reply[: 4 * _LONGEST + 4].decode(errors="replace"), _LONGEST)


def intent_id_of(member: bytes) -> str:
    """Of a member of the permits in flight, or of the exits: `reserved:intent_id`."""
    return brief(member.partition(b":")[2])


def whole_or_none(text: str | None) -> int | None:
    """A whole number; None for anything else."""
    try:
        return None if text is None else read_whole(text)
    except ValueError:
        return None


def unreadable(what: str, reply: object) -> StoreError:
    """The failure of a reply that isn't what it should be."""
    return StoreError(f"the store's answer isn't {what}: {shown(reply)}")
