"""What an entry's checks need of a symbol, put together from what the streams tell. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from gate.exchange.port import AccountFigures, LiveFigures, SymbolConfig
from gate.exchange.streams.account import LiveAccount
from gate.exchange.streams.free_margin import Free, FreeMargin
from gate.exchange.streams.prices import Marked
from gate.exchange.streams.snapshot import Snapshot


class Known(Struct, frozen=True):
    """What is known of a symbol beside the account: all of it is fresh."""

    asset: str
    """Its margin asset."""
    marked: Marked
    config: SymbolConfig
    hedge_mode: bool
    proof_ns: int
    """When the account's connection last proved that it lives, on the monotonic clock."""


class SymbolFigures:
    """Keeps what it told of each symbol until something comes: of an entry it is asked at its start, for its plan, and
    right before it is sent."""

    def __init__(self, account: LiveAccount, free_margin: FreeMargin) -> None:
        self._account: Final = account
        self._free_margin: Final = free_margin
        self._free: Free | None = None
        self._told: Final[dict[str, LiveFigures]] = {}
        """By symbol, as long as that much is free."""

    def of(self, symbol: str, known: Known, snapshot: Snapshot, since_ns: int) -> LiveFigures | None:
        """The figures; None where what is free can't be told, or rests on a price older than that moment."""
        free = self._free_margin.of(known.asset, since_ns)
        if free is None:
            return None
        if free is not self._free:
            # It is reckoned anew whenever an event, a price or a leverage has come: until then, neither this symbol's
            # price nor its position is another.
            self._free = free
            self._told.clear()
        told = self._told.get(symbol)
        if (
            told is not None
            and told.account.asked_ns >= since_ns
            and (told.config, told.hedge_mode) == (known.config, known.hedge_mode)
        ):
            return told
        marked, account = known.marked, self._account
        stands_ns = min(known.proof_ns, marked.at_ns, free.oldest_ns)
        figures = LiveFigures(
            marked.price,
            known.config,
            known.hedge_mode,
            account.positions(symbol),
            AccountFigures({known.asset: free.margin}, account.notional(symbol, marked.price), stands_ns),
            snapshot.asked_ns,
            snapshot_ms=snapshot.from_ms,
            awaits_position=account.awaits_position(symbol),
        )
        self._told[symbol] = figures
        return figures
