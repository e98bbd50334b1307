"""What the streams ask for by REST."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Protocol

from gate.exchange.usage import NEAR

HALF: Final = Decimal("0.5")
"""What can wait longer than an entry's own readings asks for nothing from this share of a limit on."""


class Rest(Protocol):
    """What the streams need beside themselves. What asks raises ExchangeFailure."""

    async def until_it_may_ask(self) -> None:
        """Returns once the exchange wants no silence any more: whoever goes on during a ban is banned for longer."""

    async def ask(self, method: str, **parameters: object) -> Any:
        """A reading, by python-binance's name of it."""

    async def fee_rate(self, symbol: str) -> Decimal:
        """The taker's commission."""

    async def read_symbols_once(self) -> None:
        """Reads what symbols there are, unless that has been done."""

    def margin_asset(self, symbol: str) -> str | None:
        """What a symbol's margin is in; None where that isn't known."""

    def rest_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to ask nothing that can wait; None while less than `share` of each limit is used."""
