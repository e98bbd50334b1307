"""What a service's log says of a denial that a person has to know of, at the default log level.

An exit that is denied leaves a position open, and an intent that can't be read may have been an exit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from gate.values.errors import InvalidIntent
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.log_words import log_of, names, pairs
from gate.values.record import Phase, Record
from gate.values.verdict import Verdict

_LONGEST: Final = 40
_CANT_JUDGE: Final = (Reason.STORE_UNAVAILABLE, Reason.STORE_ERROR)
_UNLESS: Final = "WITHOUT STORE follows: then an executor sends it all the same"
_log: Final = log_of("gate")


def denied(intent: Intent, verdict: Verdict) -> Verdict:
    """The verdict. Warns where it denies an exit, unless that exit's order was placed before, or is on its way. (Of a
    CONFLICT the order that is there is another one's.)"""
    if intent.is_exit and not (verdict.reason is Reason.DUPLICATE and _is_seen_to(verdict.prior)):
        unless = _UNLESS if verdict.reason in _CANT_JUDGE else ""
        _log.warning("EXIT DENIED %s", names(intent, reason=verdict.reason, detail=verdict.detail, unless=unless))
    return verdict


def _is_seen_to(prior: Record | None) -> bool:
    """Whether an earlier delivery has placed the order, or has a live permit for it. The record's deadline is by the
    server's clock: this process's is near enough for a line in the log."""
    if prior is None or prior.phase is not Phase.ADMITTED:
        return prior is not None and prior.phase is Phase.PLACED
    return prior.deadline_ms is not None and time.time_ns() // 1_000_000 < prior.deadline_ms


def unread(asked: object, invalid: InvalidIntent) -> None:
    """Warns of an intent that can't be read. What it says of itself is a stranger's text."""
    symbol, side = names_in(asked)
    # As text: a log record that is kept would keep the frames of the error.
    intent_id = asked.id if isinstance(asked, Intent) else invalid.intent_id
    _log.warning("INVALID %s", pairs(id=intent_id, symbol=symbol, side=side, detail=str(invalid)))


def names_in(asked: object) -> tuple[str, str]:
    """Symbol and side, as far as they are to be seen in what was handed in; `-` where they aren't."""
    if isinstance(asked, Intent):
        return asked.symbol, asked.side
    if not isinstance(asked, Mapping):
        return "-", "-"
    side = _word(asked.get("side"))
    return _word(asked.get("symbol")), side if side != "-" else _word(asked.get("action"))


def _word(value: object) -> str:
    fit = isinstance(value, str) and value.isprintable() and " " not in value
    return (str(value)[:_LONGEST] if fit else "") or "-"
