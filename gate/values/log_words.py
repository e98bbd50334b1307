"""How a line of the log names the intent that it is about. Every line about one does it in these words."""

from __future__ import annotations

from gate.values.intent import Intent
from gate.values.verdict import Permit


def names(of: Intent | Permit) -> str:
    """Id, symbol and side."""
    intent_id = of.id if isinstance(of, Intent) else of.intent_id
    return f"id={intent_id} symbol={of.symbol} side={of.side}"
