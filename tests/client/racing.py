"""The work of each process of the race, in its own module, since a process imports it by name."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier

from gate import Gate, Outcome, Policy
from tests.client import account as at

POLICY = Policy(
    rate_symbol_limit=8,
    rate_symbol_window_ms=200,
    rate_global_limit=25,
    rate_global_window_ms=200,
    cooldown_global_ms=1,
    lock_ttl_ms=20_000,
    max_in_flight=6,
    failure_limit=100_000,
)
SLOTS = [(symbol, side) for symbol in at.SYMBOLS[:4] for side in ("BUY", "SELL")]
_ATTEMPTS = 6
_start: Barrier


@dataclass
class Told:
    """The verdicts that one process got."""

    admissions: list[tuple[str, str, str, int]] = field(default_factory=list)
    """Id, token, outcome and fence, in the order of admission."""
    denials: Counter[str] = field(default_factory=Counter)
    settlements: Counter[str] = field(default_factory=Counter)


def get_ready(start: Barrier) -> None:
    global _start
    _start = start


def race(url: str, seed: int, numbers: list[int]) -> Told:
    """Delivers each intent; on a denial that may pass, a few times more."""
    told, chance = Told(), random.Random(seed)
    with Gate.from_url(url, policy=POLICY, timeout_ms=10_000) as gate:
        gate.lookup("nothing")  # connected before the race begins
        _start.wait(60)
        for number in numbers:
            symbol, side = SLOTS[number % len(SLOTS)]
            intent = at.entry(f"sig-{number}", symbol, side)
            for _ in range(_ATTEMPTS):
                verdict = gate.evaluate(intent)
                if verdict.permit is not None:
                    permit = verdict.permit
                    outcome = chance.choice(
                        [*[Outcome.placed(number)] * 6, Outcome.rejected(-1), Outcome.unsent("X", retryable=False)]
                    )
                    told.settlements[gate.settle(permit, outcome).status] += 1
                    told.admissions.append((intent.id, permit.token, outcome.kind, permit.fence))
                    break
                told.denials[verdict.reason] += 1
                if not verdict.retryable:
                    break
    return told
