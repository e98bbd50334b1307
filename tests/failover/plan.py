"""The figures of every run, and the intents, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from gate import Policy
from gate.exchange.port import CLOCK_LEAD_MS

PREFIX: Final = "{failover}"
RECV_WINDOW_MS: Final = 1_000
ACCEPTABLE_MS: Final = RECV_WINDOW_MS + CLOCK_LEAD_MS
"""How long absence proves nothing in a new memory: an exit waits for it."""
POLICY_FIGURES: Final[dict[str, Any]] = {
    "lock_ttl_ms": 5_000,
    "rate_symbol_limit": 3,
    "rate_symbol_window_ms": 2_000,
    "rate_global_limit": 40,
    "rate_global_window_ms": 2_000,
    "failure_limit": 1_000,
    "safe_mode_ttl_ms": 500,
    "cooldown_symbol_ms": 200,
    "cooldown_global_ms": 100,
    "unknown_cooldown_ms": 200,
    "max_age_ms": 300_000,
    "dedup_ttl_ms": 600_000,
    "max_in_flight": 200,
    # What the store holds is judged: several processes get an exit at the same moment.
    "exits_without_store": False,
}
POLICY: Final = Policy(**POLICY_FIGURES)
LONG: Final = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "NEARUSDT", "LTCUSDT")
SHORT: Final = ("XRPUSDT", "DOGEUSDT", "ADAUSDT", "LINKUSDT", "OPUSDT")
POSITION: Final = 60_000
"""The notional that each symbol's position begins with: exits never use it up."""
_SIZE: Final = "250"
_EXITS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Sent:
    """An intent, and when it is delivered: seconds from its own time."""

    intent: dict[str, Any]
    again_after_s: tuple[float, ...]


def draw(chance: random.Random, number: int) -> Sent:
    """An entry or an exit, delivered two or three times; often nearly at once."""
    symbol = chance.choice(LONG + SHORT)
    is_exit = chance.random() < _EXITS
    side = "BUY" if (symbol in LONG) != is_exit else "SELL"
    terms = {"reduce_only": True} if is_exit else {"leverage": 5}
    spans = (0.03, 0.3, 3.0, 8.0)
    again = tuple(chance.uniform(0, chance.choice(spans)) for _ in range(chance.choice((1, 2))))
    return Sent({"id": f"i{number}", "symbol": symbol, "side": side, "notional": _SIZE, **terms}, again)
