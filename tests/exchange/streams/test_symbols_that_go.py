"""What the streams keep of symbols that make room for others, and of a connection without prices."""

from __future__ import annotations

from collections.abc import Set
from decimal import Decimal
from typing import Any

import pytest

from gate.exchange.answers import unreadable
from gate.exchange.binance import BinanceFutures
from gate.exchange.streams import market as market_module
from gate.exchange.streams.fees import Fees
from gate.exchange.streams.market import MarketStream
from gate.exchange.streams.prices import MarkPrices
from tests.exchange.streams.conftest import inside, until


class Forgets:
    """The exchange; while it is asked for a fee, the symbol makes room."""

    fees: Fees

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers

    async def until_it_may_ask(self) -> None:
        pass

    async def ask(self, method: str, **parameters: object) -> Any:
        raise NotImplementedError

    async def fee_rate(self, symbol: str) -> Decimal:
        self.fees.forget(symbol)
        if not self._answers:
            raise unreadable("a fee", None)
        return Decimal("0.0004")

    async def read_symbols_once(self) -> None:
        pass

    def margin_asset(self, symbol: str) -> str | None:
        return None

    def rest_ms(self, share: Decimal = Decimal(1)) -> int | None:
        return None


@pytest.mark.parametrize("answers", [True, False])
async def test_nothing_is_kept_of_a_symbol_that_goes_while_its_fee_is_read(*, answers: bool) -> None:
    rest, rates = Forgets(answers=answers), dict[str, Decimal]()
    fees = rest.fees = Fees(rest, rates)
    fees.want("ETHUSDT")
    assert await fees._read("ETHUSDT") == answers
    assert [rates, fees._due_ns, fees._failed] == [{}, {}, {}]


def stream(needed: Set[str]) -> MarketStream:
    return MarketStream(
        MarkPrices(), "ws://127.0.0.1:1", needed=lambda: needed, up=lambda _: None, down=lambda *_: None
    )


@pytest.mark.parametrize(
    ("needed", "stay"), [(["AUSDT"], ["AUSDT", "CUSDT"]), (["AUSDT", "BUSDT"], ["AUSDT", "BUSDT"])], ids=str
)
def test_a_symbol_that_is_needed_makes_no_room(
    monkeypatch: pytest.MonkeyPatch, needed: list[str], stay: list[str]
) -> None:
    monkeypatch.setattr(market_module, "MOST_WATCHED", 2)
    market = stream(set(needed))
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        market.watch(symbol)
    assert list(market._watched) == stay


async def test_the_prices_of_a_symbol_that_has_made_room_come_no_more(
    monkeypatch: pytest.MonkeyPatch, exchange: BinanceFutures
) -> None:
    monkeypatch.setattr(market_module, "MOST_WATCHED", 2)
    market, said = inside(exchange)._market, list[str]()
    line = market._line
    assert line is not None
    say = line.say

    async def say_and_note(text: str) -> None:
        said.append(text)
        await say(text)

    def heard(method: str) -> bool | None:
        return any(method in each and "ethusdt@markPrice" in each for each in said) or None

    monkeypatch.setattr(line, "say", say_and_note)
    market.watch("ETHUSDT")
    await until(lambda: heard('"SUBSCRIBE"'))
    market.watch("SOLUSDT")
    market.watch("BNBUSDT")
    await until(lambda: heard('"UNSUBSCRIBE"'))


async def test_a_connection_that_brings_no_prices_is_ended(
    monkeypatch: pytest.MonkeyPatch, exchange: BinanceFutures
) -> None:
    market = inside(exchange)._market
    line = market._line
    monkeypatch.setattr(market_module, "_PRICELESS_S", -1.0)
    market.watch("SOLUSDT")
    await until(lambda: market._line is not line or None)
