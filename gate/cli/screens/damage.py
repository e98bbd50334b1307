"""What an account's damaged keys hold instead of what belongs there, and which figures nobody can know for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gate.client.dialogues import Dialogue
from gate.protocol.keyspace import Keyspace
from gate.values.reports import Standing, Status

_BELONGS: Final = {
    "state": "hash",
    "halt": "hash",
    "safe_mode": "string",
    "cooldown_global": "string",
    "cooldown_symbol": "string",
    "lock": "string",
    "failures": "list",
    "rate_global": "list",
    "rate_symbol": "list",
    "in_flight": "zset",
    "audit": "stream",
}


def with_types(keyspace: Keyspace, found: Status) -> Dialogue[Status]:
    """The status, its damaged keys with the types that they have; a damaged audit stream beside them. It denies
    nothing, but what is done from now on isn't written down.
    """
    standing = []
    for each in found.standing:
        if is_damaged(each):
            held = yield ("TYPE", each.key)
            standing.append(replace(each, detail=_detail(each, held.decode())))
        else:
            standing.append(each)
    held = (yield ("TYPE", keyspace.audit)).decode()
    if held not in ("none", "stream"):
        audit = Standing("audit", keyspace.audit, False, None, "")
        standing.append(replace(audit, detail=_detail(audit, held)))
    return replace(found, standing=tuple(standing))


def _detail(each: Standing, held: str) -> str:
    belongs = _BELONGS.get(each.name, held)
    return each.detail if held in (belongs, "none") else f"damaged: a {held}, where a {belongs} belongs"


def is_damaged(each: Standing) -> bool:
    """Whether a key holds what the gate can't read."""
    return each.detail.startswith("damaged")


def damaged(found: Status) -> dict[str, Standing]:
    """The damaged keys, by their names; of the names that stand per symbol one each."""
    return {each.name: each for each in found.standing if is_damaged(each)}
