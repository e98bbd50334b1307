"""The margin that is free in an asset, by what the streams tell. Pure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from gate.exchange.streams.account import LiveAccount
from gate.exchange.streams.prices import MarkPrices
from gate.exchange.streams.settings import Settings

_NO_PRICE_NS: Final = 2**63


class Free(Struct, frozen=True):
    """The margin that is free in an asset."""

    said_by: tuple[str, int, int, int]
    """The asset, and how often the account, a price, a leverage had changed."""
    margin: Decimal
    oldest_ns: int
    """When the oldest price stood that it takes, on the monotonic clock; far ahead where it takes none."""


class FreeMargin:
    """Keeps the last answer until something comes: twenty entries at once ask eighty times, about every position."""

    def __init__(
        self,
        account: LiveAccount,
        prices: MarkPrices,
        settings: Settings,
        margin_asset: Callable[[str], str | None],
    ) -> None:
        self._account: Final = account
        self._prices: Final = prices
        self._settings: Final = settings
        self._margin_asset: Final = margin_asset
        self._last: Free | None = None

    def of(self, asset: str, since_ns: int) -> Free | None:
        """What is free in an asset; None where it can't be told, or a price that it needs is older than that moment."""
        said_by = asset, self._account.changes, self._prices.changes, self._settings.leverages_set
        last = self._last
        if last is not None and last.said_by == said_by and last.oldest_ns >= since_ns:
            return last
        oldest_ns = _NO_PRICE_NS

        def mark_of(name: str) -> Decimal | None:
            nonlocal oldest_ns
            marked = self._prices.of(name, since_ns)
            if marked is None:
                return None
            oldest_ns = min(oldest_ns, marked.at_ns)
            return marked.price

        margin = self._account.available(asset, self._margin_asset, mark_of, self._settings.leverage)
        self._last = None if margin is None else Free(said_by, margin, oldest_ns)
        return self._last
