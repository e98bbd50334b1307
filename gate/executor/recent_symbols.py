"""Has the exchange's streams tell of the symbols that the account has traded of late, before their next entry comes.

The streams tell a symbol's price, and its fee is read, only where somebody has asked for it. Else the first entry of a
symbol pays for that with a round of readings: after each restart of a worker, the first entry of every symbol.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from gate.client.gates import AsyncGate
from gate.exchange.port import Exchange
from gate.values.errors import StoreFailure

AT_START: Final = 10
"""Symbols. The fee of each weighs 20 of 2,400 a minute, for each worker that starts."""


async def watch_recent_symbols(gate: AsyncGate, exchange: Exchange) -> None:
    """Once. Where the store doesn't answer, the first entries ask."""
    with suppress(StoreFailure):
        for symbol in (await gate.recent_symbols())[:AT_START]:
            exchange.live(symbol)
