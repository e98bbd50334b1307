"""The settings of an account at the exchange: leverage of each symbol, position mode, asset mode, fees. Pure.

Events tell a symbol's new leverage, but not what it allows, and nothing of the position mode. So an event that says
something new makes what was known count no more, and the settings are read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from gate.exchange.answers import decode_leverage, text, unreadable
from gate.exchange.port import SymbolConfig


class Reading(Struct, frozen=True):
    """What was read, asked for at a moment when so many changes were known."""

    leverages: Mapping[str, tuple[int, Decimal | None]]
    hedge_mode: bool
    multi_assets: bool
    changes: Mapping[str, int]


class Settings:
    """What is known. A reading that was asked for before a change doesn't count for what has changed."""

    def __init__(self) -> None:
        self._leverages: dict[str, tuple[int, Decimal | None]] = {}
        self._changes: dict[str, int] = {}
        self._modes: tuple[bool, bool] | None = None
        self.fee_rates: dict[str, Decimal] = {}
        self.leverages_set = 0
        """How often a leverage may have become another."""

    @property
    def hedge_mode(self) -> bool | None:
        """None where it isn't known."""
        return None if self._modes is None else self._modes[0]

    @property
    def multi_assets(self) -> bool:
        """Whether all assets are one margin. True where it isn't known: then no asset's margin can be told."""
        return self._modes is None or self._modes[1]

    def leverage(self, symbol: str) -> int | None:
        """None where it isn't known."""
        known = self._leverages.get(symbol)
        return None if known is None else known[0]

    def config(self, symbol: str) -> SymbolConfig | None:
        """None where it isn't known, or the fee isn't."""
        known, fee_rate = self._leverages.get(symbol), self.fee_rates.get(symbol)
        return None if known is None or fee_rate is None else SymbolConfig(*known, fee_rate)

    @property
    def changes(self) -> Mapping[str, int]:
        """How often each symbol has changed so far; under the empty name, the modes. For the next reading."""
        return dict(self._changes)

    def differs(self, reading: Reading) -> tuple[str, ...]:
        """The symbols whose leverage will be another than is known. Its event may still be on its way, or lost."""
        kept = {name for name in self._changes if self._changes[name] != reading.changes.get(name, 0)}
        return tuple(s for s, each in reading.leverages.items() if s not in kept and self.leverage(s) != each[0])

    def take(self, reading: Reading) -> bool:
        """Takes what hasn't changed since it was asked for. False if something has: read again."""
        now = self._changes
        changed = {name for name in now if now[name] != reading.changes.get(name, 0)}
        kept = {symbol: each for symbol, each in self._leverages.items() if symbol in changed}
        self.leverages_set += 1
        self._leverages = {**{s: each for s, each in reading.leverages.items() if s not in changed}, **kept}
        if "" not in changed:
            self._modes = reading.hedge_mode, reading.multi_assets
        return not changed

    def told(self, symbol: str, leverage: int) -> bool:
        """Takes an event. Whether it says something new."""
        if self.leverage(symbol) == leverage:
            return False
        self._leverages.pop(symbol, None)
        self.leverages_set += 1
        self._change(symbol)
        return True

    def set_to(self, symbol: str, config: SymbolConfig) -> bool:
        """Takes the answer to a change of our own. Whether it says something new."""
        new = self.leverage(symbol) != config.leverage
        self._leverages[symbol] = config.leverage, config.max_notional
        self.leverages_set += 1
        self._change(symbol)
        return new

    def forget_modes(self) -> None:
        """Position and asset mode are read anew."""
        self._modes = None
        self._change("")

    def forget(self) -> None:
        """Changes may have been missed."""
        self._leverages.clear()
        self.leverages_set += 1
        self._modes = None

    def _change(self, name: str) -> None:
        self._changes[name] = self._changes.get(name, 0) + 1


def decode_settings(symbols: Any, account: Any, changes: Mapping[str, int]) -> Reading:
    """The answers of symbolConfig (of all symbols) and accountConfig."""
    try:
        leverages = {text(row["symbol"]): decode_leverage(row) for row in symbols}
        modes = account["dualSidePosition"], account["multiAssetsMargin"]
    except (KeyError, TypeError, AttributeError) as error:
        raise unreadable("settings", error) from None
    if not all(isinstance(each, bool) for each in modes):
        raise unreadable("accountConfig", modes)
    return Reading(leverages, *modes, changes)
