"""Whatever may change what is free is counted: what was kept of the last answer counts no more then."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from gate.exchange.port import SymbolConfig
from gate.exchange.streams.account import LiveAccount
from gate.exchange.streams.events import AlgoChanged
from gate.exchange.streams.prices import MarkPrices
from gate.exchange.streams.settings import Reading, Settings


@pytest.mark.parametrize(
    "change",
    [
        lambda of: of.take(Reading({"BTCUSDT": (9, None)}, False, False, {})),
        lambda of: of.told("BTCUSDT", 9),
        lambda of: of.set_to("BTCUSDT", SymbolConfig(9, None, Decimal(0))),
        lambda of: of.forget(),
    ],
    ids=["read", "told", "set", "forgotten"],
)
def test_another_leverage(change: Callable[[Settings], object]) -> None:
    of = Settings()
    of.take(Reading({"BTCUSDT": (5, None)}, False, False, {}))
    before = of.leverage("BTCUSDT"), of.leverages_set
    change(of)
    assert of.leverage("BTCUSDT") != before[0]
    assert of.leverages_set > before[1]


def test_another_price_or_none() -> None:
    of = MarkPrices()
    counts = [of.changes]
    of.heard("BTCUSDT", Decimal(1), 0)
    counts.append(of.changes)
    of.forget()
    counts.append(of.changes)
    assert counts == sorted(set(counts))


def test_an_event_or_none_any_more() -> None:
    of = LiveAccount(lambda symbol: None)
    counts = [of.changes]
    of.apply(AlgoChanged(0, "g-1"))
    counts.append(of.changes)
    of.forget()
    counts.append(of.changes)
    assert counts == sorted(set(counts))
