"""What an entry's checks need is put together once, and again when something has come."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gate.exchange.port import LiveFigures, SymbolConfig
from gate.exchange.streams.account import LiveAccount
from gate.exchange.streams.free_margin import FreeMargin
from gate.exchange.streams.prices import Marked, MarkPrices
from gate.exchange.streams.settings import Reading, Settings
from gate.exchange.streams.snapshot import decode_snapshot
from gate.exchange.streams.symbol_figures import Known, SymbolFigures
from tests.exchange.streams.test_account import FROM_MS, UNTIL_MS, account

SYMBOL, OTHER = "AUSDT", "BUSDT"
CONFIG = SymbolConfig(10, None, Decimal("0.0005"))
KNOWN = Known("USDT", Marked(Decimal(100), 300), CONFIG, False, 200)


@pytest.fixture
def prices() -> MarkPrices:
    prices = MarkPrices()
    prices.heard(SYMBOL, Decimal(100), 0)
    return prices


@pytest.fixture
def live(prices: MarkPrices) -> LiveAccount:
    return LiveAccount(prices.latest)


Tell = Callable[..., LiveFigures | None]


@pytest.fixture
def tell(prices: MarkPrices, live: LiveAccount, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """The figures of a symbol, by what is known of it, with nothing older than a moment."""
    monkeypatch.undo()  # what compares each answer with one that is put together anew
    settings = Settings()
    settings.take(Reading({SYMBOL: (10, None)}, hedge_mode=False, multi_assets=False, changes={}))
    figures = SymbolFigures(live, FreeMargin(live, prices, settings, lambda _: "USDT"))
    snapshot = decode_snapshot(account("1"), 50, FROM_MS, UNTIL_MS)
    live.rest_on(snapshot)
    return lambda known=KNOWN, since_ns=0, symbol=SYMBOL: figures.of(symbol, known, snapshot, since_ns)


def test_what_was_told_is_told_again(tell: Tell) -> None:
    first, other = tell(), tell(symbol=OTHER)
    assert first is not None
    assert (tell(), tell(symbol=OTHER)) == (first, other)
    assert tell() is first


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(replace(KNOWN, config=SymbolConfig(10, None, Decimal("0.0004"))), id="another fee"),
        pytest.param(replace(KNOWN, hedge_mode=True), id="another position mode"),
    ],
)
def test_it_is_not_where_what_is_known_of_the_symbol_has_changed(tell: Tell, known: Known) -> None:
    tell()
    told = tell(known)
    assert told is not None
    assert (told.config, told.hedge_mode) == (known.config, known.hedge_mode)


def test_it_is_not_where_something_has_come(tell: Tell, prices: MarkPrices, live: LiveAccount) -> None:
    first = tell()
    prices.heard(OTHER, Decimal(7), 0)
    second = tell()
    live.changes += 1
    assert first is not second is not tell()


def test_it_is_not_where_it_has_grown_too_old(tell: Tell) -> None:
    first = tell()
    assert first is not None
    assert tell(since_ns=200) is first
    anew = tell(replace(KNOWN, proof_ns=250), since_ns=201)
    assert anew is not None
    assert anew.account.asked_ns == 250


@pytest.mark.parametrize("moments", [(100, 200), (200, 100)])
def test_it_stands_for_the_oldest_of_its_moments(tell: Tell, moments: tuple[int, int]) -> None:
    proof_ns, marked_ns = moments
    told = tell(replace(KNOWN, proof_ns=proof_ns, marked=Marked(Decimal(100), marked_ns)))
    assert told is not None
    assert told.account.asked_ns == 100


def test_it_stands_for_the_oldest_price_that_what_is_free_rests_on(tell: Tell, prices: MarkPrices) -> None:
    marked = prices.of(SYMBOL, 0)
    assert marked is not None
    later = replace(KNOWN, proof_ns=marked.at_ns + 1, marked=Marked(Decimal(100), marked.at_ns + 2))
    told = tell(later)
    assert told is not None
    assert told.account.asked_ns == marked.at_ns
