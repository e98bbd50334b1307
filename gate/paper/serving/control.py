"""The control interface under /paper: prices, balances, clock, faults, ledger. Plain JSON, no signature."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from gate.paper.books.account import AccountBooks
from gate.paper.market.decimals import SATOSHI, eight, is_multiple, plain
from gate.paper.market.errors import ExchangeError
from gate.paper.market.prices import Quote, quote_at
from gate.paper.rest.answers import Answer
from gate.paper.serving.faults import FaultError, parse_faults
from gate.paper.serving.settings import LARGEST_BALANCE
from gate.paper.serving.venue import Venue

_ASSET = re.compile(r"[A-Z0-9]{1,20}")
_YEAR_2100_MS = 4_102_444_800_000
_LONGEST = 280
_LONGEST_VALUE = 60
_Change = TypeVar("_Change", bound=Struct)


class ControlError(ValueError):
    """A control request that can't be carried out; the text names what is wrong."""


class PriceMove(Struct, frozen=True, forbid_unknown_fields=True):
    """`price` moves last, bid and ask, and also the mark unless `mark` is given. `depth` is the quantity on offer at
    the best bid and at the best ask from now on, in base asset; without `depth` there is no limit."""

    symbol: str
    price: Decimal | None = None
    mark: Decimal | None = None
    depth: Decimal | None = None


class BalanceChange(Struct, frozen=True, forbid_unknown_fields=True):
    balance: Decimal
    asset: str = "USDT"
    account: str | None = None


class ClockChange(Struct, frozen=True, forbid_unknown_fields=True):
    """`hold`: true holds the clock now, a number holds it at that time (ms). `advance_ms` moves it. `release` lets it
    run from the held time on, `reset` at the machine's time."""

    hold: bool | int = False
    advance_ms: int = 0
    release: bool = False
    reset: bool = False


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """`at_least`: first wait until this many requests are held."""

    at_least: int = 0


def move_price(venue: Venue, change: PriceMove) -> Answer:
    if change.price is None and change.mark is None:
        raise ControlError("price or mark must be given")
    for name, value in (("price", change.price), ("mark", change.mark)):
        if value is not None and not (value.is_finite() and value > 0):
            raise ControlError(f"{name}: {_shown(value)} is not a positive figure")
    if change.depth is not None and not (change.depth.is_finite() and change.depth >= 0):
        raise ControlError(f"depth: {_shown(change.depth)} is not a figure of zero or more")
    symbol = venue.exchange.symbol(change.symbol)
    # A figure off the grid would fill at one value, but print rounded as another.
    _need_multiple("price", change.price, symbol.tick)
    _need_multiple("mark", change.mark, SATOSHI)
    _need_multiple("depth", change.depth, symbol.lot.step)
    now = venue.exchange.quotes[symbol.name]
    last = now.last if change.price is None else change.price
    venue.set_quote(symbol, quote_at(symbol, last, change.mark, change.depth))
    return show_quote(symbol.name, venue.exchange.quotes[symbol.name])


def _need_multiple(name: str, value: Decimal | None, grid: Decimal) -> None:
    if value is not None and not is_multiple(value, grid):
        raise ControlError(f"{name}: {_shown(value)} is not a multiple of {plain(grid)}")


def show_quote(symbol: str, quote: Quote) -> Answer:
    return {
        "symbol": symbol,
        "price": plain(quote.last),
        "mark": plain(quote.mark),
        "bid": plain(quote.bid),
        "ask": plain(quote.ask),
        "bid_depth": None if quote.bid_depth is None else plain(quote.bid_depth),
        "ask_depth": None if quote.ask_depth is None else plain(quote.ask_depth),
    }


def show_prices(venue: Venue) -> Answer:
    return {"prices": [show_quote(name, quote) for name, quote in venue.exchange.quotes.items()]}


def change_balance(venue: Venue, change: BalanceChange) -> Answer:
    """Set a wallet, by default of the first account."""
    if not change.balance.is_finite():
        raise ControlError(f"balance: {change.balance} is not a finite figure")
    if change.balance.copy_abs() > LARGEST_BALANCE:  # abs() can't hold every exponent
        raise ControlError(f"balance: {_shown(change.balance)} is more than {LARGEST_BALANCE}")
    if not _ASSET.fullmatch(change.asset):
        raise ControlError(f"asset: {_shown(change.asset)} is not a name of 1 to 20 of A-Z and 0-9")
    _need_multiple("balance", change.balance, SATOSHI)
    books = books_of(venue, change.account)
    books.set_wallet(change.asset, change.balance, venue.clock.now_ms())
    return {"account": books.name, "asset": change.asset, "balance": eight(change.balance)}


def books_of(venue: Venue, name: str | None) -> AccountBooks:
    accounts = venue.exchange.accounts
    if name is None:
        return next(iter(accounts.values()))
    try:
        return accounts[name]
    except KeyError:
        raise ControlError(f"account: no account {_shown(name)}; there are {', '.join(accounts)}") from None


def change_clock(venue: Venue, change: ClockChange) -> Answer:
    moved = change.advance_ms + (change.hold if type(change.hold) is int else venue.clock.now_ms())
    for name, at_ms in (("hold", change.hold), ("advance_ms", moved)):
        if type(at_ms) is int and not 0 <= at_ms < _YEAR_2100_MS:
            raise ControlError(f"{name}: the clock would be outside the years 1970 to 2100")
    if change.release:
        venue.clock.release()
    if change.reset:
        venue.clock.reset()
    if change.hold is not False:
        venue.clock.hold(None if change.hold is True else change.hold)
    venue.clock.advance(change.advance_ms)
    venue.tick()
    return show_clock(venue)


def show_clock(venue: Venue) -> Answer:
    return {"now_ms": venue.clock.now_ms(), "held": venue.clock.held}


class LedgerPage(Struct, frozen=True, forbid_unknown_fields=True):
    """The orders with an id above `after`, at most `limit` of them."""

    after: int = 0
    limit: Annotated[int, Meta(ge=1)] | None = None


def show_ledger(venue: Venue, page: LedgerPage) -> Answer:
    return {"orders": venue.ledger.rows(page.after, page.limit)}


def _page(query: bytes) -> LedgerPage:
    try:
        return msgspec.convert(dict(parse_qsl(query.decode())), LedgerPage, strict=False)
    except (msgspec.MsgspecError, ValueError) as problem:
        raise ControlError(str(problem)[:_LONGEST]) from None


def arm_faults(venue: Venue, body: bytes) -> Answer:
    venue.faults.arm(parse_faults(body))
    return show_faults(venue)


def show_faults(venue: Venue) -> Answer:
    return {"faults": venue.faults.report()}


def clear_faults(venue: Venue) -> Answer:
    venue.faults.clear()
    return show_faults(venue)


_CONTROLS: dict[tuple[str, str], Callable[[Venue, bytes], Answer]] = {
    ("GET", "/paper/ledger"): lambda venue, query: show_ledger(venue, _page(query)),
    ("GET", "/paper/price"): lambda venue, _: show_prices(venue),
    ("POST", "/paper/price"): lambda venue, body: move_price(venue, read(body, PriceMove)),
    ("POST", "/paper/balance"): lambda venue, body: change_balance(venue, read(body, BalanceChange)),
    ("GET", "/paper/clock"): lambda venue, _: show_clock(venue),
    ("POST", "/paper/clock"): lambda venue, body: change_clock(venue, read(body, ClockChange)),
    ("GET", "/paper/faults"): lambda venue, _: show_faults(venue),
    ("POST", "/paper/faults"): arm_faults,
    ("DELETE", "/paper/faults"): lambda venue, _: clear_faults(venue),
}


def control(venue: Venue, method: str, path: str, body: bytes) -> tuple[int, Answer]:
    """The HTTP status and answer of a control request. A GET's query stands in for its body."""
    handler = _CONTROLS.get((method, path))
    if handler is None:
        known = ", ".join(f"{verb} {route}" for verb, route in _CONTROLS)
        return 404, {"error": f"no {method} {path}; there are {known}, POST /paper/release"}
    try:
        return 200, handler(venue, body)
    except (ControlError, FaultError) as problem:
        return 400, {"error": str(problem)[:_LONGEST]}
    except ExchangeError as refusal:
        return 400, {"error": refusal.message}


def read(body: bytes, kind: type[_Change]) -> _Change:
    """A request's body. Raises ControlError."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as problem:
        raise ControlError(str(problem)[:_LONGEST]) from None


def _shown(value: Decimal | str | None) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
