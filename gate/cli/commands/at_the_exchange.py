"""What several commands ask of the exchange: what rests there, and to cancel it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gate.cli.exchange_keys import ExchangeKeys
from gate.cli.screens.wording import one_line, span
from gate.values.errors import InvalidField
from gate.values.reports import Status

if TYPE_CHECKING:
    from gate.exchange.binance import BinanceFutures
    from gate.exchange.failures import Failure
    from gate.exchange.port import RestingOrder
    from gate.executor.flatten import Flattened


_WANT_SILENCE: Final = frozenset({"-1003", "HTTP_429", "HTTP_418", "HTTP_403", "HTTP_451"})
"""Answers after which whoever goes on asking is banned, or banned for longer."""
_BANS: Final = frozenset({"HTTP_418", "HTTP_403", "HTTP_451"})
_BANNED: Final = "banned until"
"""In the exchange's text of a ban."""


@dataclass(frozen=True, slots=True)
class Resting:
    """The resting orders of an account, or why they can't be read."""

    venue: str
    orders: tuple[RestingOrder, ...] | None
    problem: str = ""
    exits: str = ""
    """That exits don't get through, or may not, and why; empty where nothing speaks against it."""

    @property
    def as_json(self) -> dict[str, object]:
        """How many there are; null where that is unknown."""
        at = {"exchange": self.venue}
        if self.orders is None:
            return at | {"plain": None, "conditional": None, "problem": self.problem}
        conditional = sum(each.conditional for each in self.orders)
        return at | {"plain": len(self.orders) - conditional, "conditional": conditional, "problem": None}

    def __str__(self) -> str:
        if self.orders is None:
            return f"How many orders rest at {self.venue} is unknown: {self.problem}"
        if not self.orders:
            return f"No order rests at {self.venue}."
        conditional = sum(each.conditional for each in self.orders)
        plain, symbols = len(self.orders) - conditional, sorted({each.symbol for each in self.orders})
        kinds = [f"{plain} plain"] * bool(plain) + [f"{conditional} conditional"] * bool(conditional)
        orders = "1 order rests" if len(self.orders) == 1 else f"{len(self.orders)} orders rest"
        more = f" and {len(symbols) - 8} more" if len(symbols) > 8 else ""
        return f"{orders} at {self.venue} ({' and '.join(kinds)}) of {', '.join(symbols[:8])}{more}."


def opened(keys: ExchangeKeys) -> BinanceFutures:
    """The account, on the event loop that runs. Raises InvalidField."""
    from gate.exchange.binance import BinanceFutures

    return BinanceFutures(keys.key, keys.secret, base_url=keys.base_url, demo=keys.demo, streams=False)


def resting_unless_silenced(keys: ExchangeKeys, found: Status) -> Resting:
    """As resting_at. But where the account rests because the exchange wants no requests, it isn't asked."""
    rest = next((each for each in found.standing if each.name == "cooldown_global" and each.on), None)
    code = "" if rest is None else rest.detail.partition(" ")[0]
    if rest is None or rest.ttl_ms is None or code not in _WANT_SILENCE:
        return resting_at(keys)
    left, answers = span(rest.ttl_ms), f"the exchange answers {code}"
    # Of the answers that rest the account for a while, only a ban switches safe mode on, too.
    banned = code in _BANS or _BANNED in rest.detail
    banned |= any(each.name == "safe_mode" and each.detail.endswith(f": {rest.detail}") for each in found.standing)
    problem = f"not asked, since {answers}; whoever goes on asking waits longer. {left} left"
    return Resting(keys.venue, None, problem, f"{_passage(banned)}: {answers}, for {left} more")


def _passage(refused: bool) -> str:
    return "EXITS DON'T GET THROUGH" if refused else "EXITS MAY NOT GET THROUGH"


def _exits_after(failure: Failure) -> str:
    """What the refusal of a reading says of exits. Another host, or another key, may be answered otherwise."""
    from gate.exchange.failure_table import OVERLOADED, Consequence

    code = failure.code
    if code == OVERLOADED:
        return ""  # the exchange takes exits then
    if code.startswith(("-", "HTTP_")):
        return f"{_passage(failure.consequence is Consequence.STOP)} from here: the exchange answers {code}"
    return f"{_passage(refused=False)} from here: the exchange gives no usable answer ({code})"


def resting_at(keys: ExchangeKeys) -> Resting:
    """Asks once. Doesn't raise: what a command has done must not look undone because of it."""
    from gate.exchange.failures import ExchangeFailure

    async def ask() -> tuple[RestingOrder, ...]:
        async with opened(keys) as exchange:
            return await exchange.resting_orders()

    try:
        return Resting(keys.venue, asyncio.run(ask()))
    except ExchangeFailure as failed:
        failure = failed.failure
        return Resting(keys.venue, None, one_line(f"{failure.code}: {failure.told}"), _exits_after(failure))
    except InvalidField as invalid:
        return Resting(keys.venue, None, one_line(str(invalid)))


def interrupted(meanwhile: str) -> Flattened:
    """What is known when a person has ended it."""
    from gate.executor.flatten import Flattened

    said = f"interrupted while {meanwhile}: requests may be on their way; repeat it, and look at the exchange"
    return Flattened(problems=[said], interrupted=True)


def cancelled_at(keys: ExchangeKeys) -> Flattened:
    """Cancels every resting order, and asks again. Doesn't raise."""
    from gate.executor.flatten import Flattened, cancel_resting

    async def cancel() -> Flattened:
        async with opened(keys) as exchange:
            return await cancel_resting(exchange)

    try:
        return asyncio.run(cancel())
    except KeyboardInterrupt:
        return interrupted("orders were cancelled")
    except InvalidField as invalid:
        return Flattened(problems=[one_line(str(invalid))])
