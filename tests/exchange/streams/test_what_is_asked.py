"""What the streams ask the exchange for, and how seldom: over its limits, exits are refused too."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal

import pytest

from gate.exchange import fee_rates
from gate.exchange.binance import BinanceFutures
from gate.exchange.streams import fees as fees_module
from gate.exchange.streams import live as streams
from gate.exchange.streams import market as market_module
from gate.exchange.streams import pauses as pauses_module
from gate.exchange.streams import wanted_symbols
from gate.exchange.streams.pauses import Pause, longer_each_time
from gate.exchange.usage import NEAR
from gate.paper import Fault, FaultKind, PaperExchange
from tests.exchange.streams.conftest import EVER, SYMBOL, OpenExchange, figures, hits, inside, until

FEES = "/fapi/v1/commissionRate"


def fees(asked: list[str]) -> list[str]:
    return [each for each in asked if each.startswith("commissionRate")]


async def test_the_fee_of_a_symbol_that_there_is_not_is_never_asked_for(
    asked: list[str], exchange: BinanceFutures
) -> None:
    asked.clear()
    exchange.live("NOSUCHUSDT")
    await figures(exchange, "ETHUSDT")
    assert fees(asked) == ["commissionRate ETHUSDT"]


async def test_fees_are_asked_for_one_after_the_other(
    paper: PaperExchange, asked: list[str], exchange: BinanceFutures
) -> None:
    paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=FEES))
    asked.clear()
    for symbol in ("ETHUSDT", "SOLUSDT"):
        exchange.live(symbol)
    await asyncio.to_thread(paper.wait_held)
    assert len(fees(asked)) == 1
    paper.release_held()
    await until(lambda: len(fees(asked)) == 2)


async def test_a_fee_that_cannot_be_read_is_asked_for_less_and_less(
    monkeypatch: pytest.MonkeyPatch, paper: PaperExchange, exchange: BinanceFutures
) -> None:
    paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=FEES, probability=EVER))
    monkeypatch.setattr(fees_module, "_PAUSE_S", 0.02)
    exchange.live("ETHUSDT")
    await until(lambda: hits(paper) >= 5)
    failed = inside(exchange)._fees._failed["ETHUSDT"]
    due_ns = inside(exchange)._fees._due_ns["ETHUSDT"]
    await until(lambda: inside(exchange)._fees._failed["ETHUSDT"] > failed)
    assert inside(exchange)._fees._due_ns["ETHUSDT"] - due_ns > 0.02 * 2**failed * 1e9


async def test_after_a_ban_nothing_more_is_asked_for(
    paper: PaperExchange, asked: list[str], exchange: BinanceFutures
) -> None:
    paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path=FEES, retry_after_s=600))
    asked.clear()
    for symbol in ("ETHUSDT", "SOLUSDT", "BNBUSDT"):
        exchange.live(symbol)
    await until(lambda: inside(exchange)._fees._failed)
    assert (exchange.rest_ms() or 0) > 0
    # Whoever asks now waits for the end of the ban.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await inside(exchange)._fees._read("SOLUSDT")
    assert fees(asked) == ["commissionRate ETHUSDT"]


async def test_no_fee_is_asked_for_when_half_of_a_limit_is_used(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], exchange: BinanceFutures
) -> None:
    """Entries rest from four fifths on: what can wait must not use that up."""
    shares: list[Decimal] = []

    def rest_ms(share: Decimal = NEAR) -> int | None:
        shares.append(share)
        return 10 if share < NEAR else None

    asked.clear()
    with monkeypatch.context() as patched:
        patched.setattr(exchange._rest, "near_limit_ms", rest_ms)
        exchange.live("ETHUSDT")
        await until(lambda: shares.count(Decimal("0.5")) >= 3)
        assert fees(asked) == []
    await until(lambda: fees(asked))


async def test_a_fee_is_read_anew_when_it_is_old(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], open_exchange: OpenExchange
) -> None:
    monkeypatch.setattr(fees_module, "_AGE_S", 0.01)
    monkeypatch.setattr(fee_rates, "_FEE_AGE_S", 0.01)
    exchange = await open_exchange()
    await figures(exchange)
    inside(exchange)._settings.fee_rates[SYMBOL] = Decimal(1)
    await until(lambda: inside(exchange)._settings.fee_rates[SYMBOL] < 1)
    assert set(fees(asked)) == {f"commissionRate {SYMBOL}"}


@pytest.mark.parametrize("path", ["symbolConfig", "accountConfig", "account"])
async def test_what_cannot_be_read_is_asked_for_less_and_less(
    monkeypatch: pytest.MonkeyPatch, paper: PaperExchange, exchange: BinanceFutures, path: str
) -> None:
    pauses: list[int] = []
    longer = longer_each_time

    def noted(failures: int) -> float:
        pauses.append(failures)
        return 0.01

    monkeypatch.setattr(streams, "longer_each_time", noted)
    monkeypatch.setattr(streams, "_APART_S", 0.05)
    version = "v3" if path == "account" else "v1"
    paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=f"/fapi/{version}/{path}", times=4))
    exchange.forget_hedge_mode()
    inside(exchange)._doubt()
    await until(lambda: len(pauses) == 4)
    assert pauses == [1, 2, 3, 4]
    assert [longer(each) for each in (*pauses, 10_000)] == [1, 2, 4, 8, 30]
    await figures(exchange)  # and then the pauses are short again
    paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=f"/fapi/{version}/{path}"))
    exchange.forget_hedge_mode()
    inside(exchange)._doubt()
    await until(lambda: len(pauses) == 5)
    assert pauses[-1] == 1


async def test_snapshots_are_frequent_only_while_entries_count_on_them_and_there_is_weight(
    monkeypatch: pytest.MonkeyPatch, exchange: BinanceFutures
) -> None:
    live = inside(exchange)
    exchange.live(SYMBOL)

    def next_s(*, moved: bool) -> float:
        live._asked_ns = time.monotonic_ns()
        live._moved_ns = live._asked_ns if moved else None
        return live._until_snapshot_s()

    assert 4 < next_s(moved=False) <= 5
    assert 2 < next_s(moved=True) <= 3
    with monkeypatch.context() as patched:
        patched.setattr(exchange._rest, "near_limit_ms", lambda share=NEAR: 10 if share < NEAR else None)
        assert next_s(moved=False) > 14
        assert next_s(moved=True) > 14
    live._wanted_ns -= 15_000_000_000
    assert next_s(moved=False) > 14
    assert next_s(moved=True) > 14
    live._wake.clear()
    exchange.live(SYMBOL)
    assert live._wake.is_set()
    assert next_s(moved=False) <= 5


async def test_pauses_and_doubts_without_end_stay_numbers(
    monkeypatch: pytest.MonkeyPatch, exchange: BinanceFutures
) -> None:
    """2**1100 is no float: from then on every try would raise."""
    inside(exchange)._snapshots_in_doubt = 5_000
    inside(exchange)._account.snapshot = None
    assert inside(exchange)._until_snapshot_s() <= 3
    monkeypatch.setattr(pauses_module, "LONGEST_PAUSE_S", 0.001)
    pause = Pause()
    pause._failed = 5_000
    await pause.after(time.monotonic_ns())


async def test_names_that_no_symbol_has_take_no_room(exchange: BinanceFutures) -> None:
    for number in range(300):
        exchange.live(f"NOSUCH{number}USDT")
    assert await figures(exchange, "ETHUSDT")
    assert len(inside(exchange)._wanted._unknown) <= 200


async def test_the_symbol_that_was_not_asked_for_the_longest_makes_room(
    monkeypatch: pytest.MonkeyPatch, paper: PaperExchange, exchange: BinanceFutures
) -> None:
    for module in (wanted_symbols, market_module):
        monkeypatch.setattr(module, "MOST_WATCHED", 2)
    for symbol in ("ETHUSDT", "SOLUSDT", "ETHUSDT"):
        await figures(exchange, symbol)
    assert set(inside(exchange)._market._watched) == {"ETHUSDT", "SOLUSDT"}
    assert inside(exchange)._settings.config(SYMBOL) is None
    await figures(exchange)
    assert set(inside(exchange)._market._watched) == {"ETHUSDT", SYMBOL}


async def test_a_symbol_that_was_asked_for_too_early_is_at_hand_later(open_exchange: OpenExchange) -> None:
    exchange = await open_exchange()
    assert exchange.live(SYMBOL) is None
    await until(lambda: inside(exchange)._settings.config(SYMBOL) is not None)
    await until(lambda: inside(exchange)._prices.latest(SYMBOL) is not None)


async def test_a_subscription_that_was_lost_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, exchange: BinanceFutures
) -> None:
    monkeypatch.setattr(market_module, "_PRICELESS_S", 2.5)
    await figures(exchange, "ETHUSDT")
    market = inside(exchange)._market._line
    assert market is not None
    await market.say('{"method":"UNSUBSCRIBE","params":["ethusdt@markPrice@1s"],"id":9}')
    await until(lambda: exchange.live("ETHUSDT") is None)
    await figures(exchange, "ETHUSDT")
    assert inside(exchange)._market._line is market


@pytest.mark.parametrize("pause_s", [0, 0.01, 0.05, 0.2])
async def test_nothing_is_left_after_the_end_however_early_it_is(paper: PaperExchange, pause_s: float) -> None:
    before = asyncio.all_tasks()
    async with BinanceFutures(paper.key, paper.secret, base_url=paper.url) as exchange:
        paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=FEES, probability=EVER))
        exchange.live(SYMBOL)
        await asyncio.sleep(pause_s)
    assert [str(each.get_coro()) for each in asyncio.all_tasks() - before if "LiveStreams" in str(each)] == []
