"""The streams of an account bring what an entry's checks need, without a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from binance import Client

from gate.exchange.binance import BinanceFutures
from gate.exchange.streams.account import LiveAccount
from gate.paper import Fault, FaultKind, PaperExchange
from tests.exchange.streams.conftest import (
    EVER,
    SYMBOL,
    OpenExchange,
    figures,
    figures_when,
    free,
    hits,
    inside,
    key,
    place,
    really_free,
    until,
    without_figures,
)


async def test_the_figures_are_those_of_the_readings(client: Client, exchange: BinanceFutures) -> None:
    place(client)
    name = place(client, "0.02", "SELL", type="LIMIT", price="101000", timeInForce="GTC")
    await until(lambda: exchange.has_seen(name))
    account = await exchange.account()
    live = await figures_when(exchange, lambda live: free(live) == really_free(client))
    assert live.account.available["USDT"] == account.available["USDT"]
    assert live.account.notional == account.notional
    assert live.positions == await exchange.positions(SYMBOL)
    assert live.config == await exchange.symbol_config(SYMBOL)
    assert live.mark_price == await exchange.mark_price(SYMBOL)
    assert live.hedge_mode is await exchange.hedge_mode()


async def test_no_figure_costs_a_request(paper: PaperExchange, exchange: BinanceFutures) -> None:
    paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method="*", path="*", probability=EVER))
    assert await figures(exchange)
    assert hits(paper) == 0


async def test_what_is_free_is_reckoned_once_until_something_comes(
    exchange: BinanceFutures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry asks several times, about every position. Between these questions nothing can come: nobody waits."""
    monkeypatch.undo()  # what compares each answer with one that is reckoned anew
    reckon, reckoned = LiveAccount.available, list[str]()

    def noted(account: LiveAccount, asset: str, *parts: Any) -> Any:
        reckoned.append(asset)
        return reckon(account, asset, *parts)

    monkeypatch.setattr(LiveAccount, "available", noted)
    inside(exchange)._figures._free_margin._last = None
    said = [free(exchange.live(SYMBOL)) for _ in range(3)]
    assert (said, reckoned) == ([10_000] * 3, ["USDT"])


async def test_an_entry_s_later_questions_have_the_first_one_s_answer_until_something_comes(
    paper: PaperExchange, exchange: BinanceFutures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # what compares each answer with one that is put together anew
    inside(exchange)._figures._told.clear()
    first = await figures(exchange)
    assert exchange.live(SYMBOL) is first
    paper.set_price(SYMBOL, 99_000)
    assert await figures_when(exchange, lambda live: live.mark_price == 99_000) is not first


async def test_a_withdrawal_lowers_the_bound(paper: PaperExchange, exchange: BinanceFutures) -> None:
    paper.set_balance(7_000)
    await until(lambda: free(exchange.live(SYMBOL)) == 7_000)
    paper.set_balance(8_000)
    await until(lambda: free(exchange.live(SYMBOL)) == 8_000)


async def test_an_order_is_included_once_it_has_been_heard_of(client: Client, exchange: BinanceFutures) -> None:
    """0.1 BTC at 90,000 hold 450 at leverage 20."""
    assert not exchange.has_seen("nobody's")
    name = place(client, "0.1", type="LIMIT", price="90000", timeInForce="GTC")
    await until(lambda: exchange.has_seen(name))
    bound = free(await figures(exchange))
    assert bound is not None
    assert bound <= really_free(client) == 9_550
    assert bound >= 9_540  # a fee, which the fill may cost
    client.futures_cancel_order(symbol=SYMBOL, origClientOrderId=name)
    await until(lambda: free(exchange.live(SYMBOL)) == 10_000)


async def test_a_snapshot_gives_back_what_the_bound_has_lost(client: Client, exchange: BinanceFutures) -> None:
    place(client, "0.1")
    place(client, "0.1", "SELL")
    await until(lambda: free(exchange.live(SYMBOL)) == really_free(client))


async def test_a_loss_lowers_the_bound(paper: PaperExchange, client: Client, exchange: BinanceFutures) -> None:
    name = place(client, "0.1")
    await until(lambda: exchange.has_seen(name))
    paper.set_price(SYMBOL, 99_000)
    live = await figures_when(exchange, lambda live: live.mark_price == 99_000)
    bound = free(live)
    assert bound is not None
    assert really_free(client) - 25 <= bound <= really_free(client) < 9_500 - 90


async def test_a_margin_is_not_told_again_by_a_price_that_has_grown_too_old_since(
    client: Client, exchange: BinanceFutures
) -> None:
    """Another symbol's: that of the entry itself is looked at anyway."""
    name = place(client, "0.1")
    await until(lambda: exchange.has_seen(name))
    await figures(exchange)
    free_margin = inside(exchange)._figures._free_margin

    kept = free_margin.of("USDT", 0)

    assert kept is not None
    assert free_margin.of("USDT", kept.oldest_ns) == kept
    assert free_margin.of("USDT", kept.oldest_ns + 1) is None


async def test_a_leverage_that_has_changed_counts_only_when_it_has_been_read(
    paper: PaperExchange, client: Client, exchange: BinanceFutures
) -> None:
    paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/symbolConfig"))
    client.futures_change_leverage(symbol=SYMBOL, leverage=7)
    await without_figures(exchange)
    await asyncio.to_thread(paper.wait_held)
    assert exchange.live(SYMBOL) is None
    paper.release_held()
    live = await figures(exchange)
    assert live.config == await exchange.symbol_config(SYMBOL)
    assert live.config.leverage == 7


async def test_a_leverage_of_our_own_counts_at_once(exchange: BinanceFutures) -> None:
    config = await exchange.set_leverage(SYMBOL, 9)
    live = exchange.live(SYMBOL)
    assert live is not None
    assert live.config == config


async def test_the_position_mode_is_read_anew_when_an_answer_shows_that_it_changed(
    client: Client, exchange: BinanceFutures
) -> None:
    client.futures_change_position_mode(dualSidePosition="true")
    exchange.forget_hedge_mode()
    assert exchange.live(SYMBOL) is None
    assert (await figures(exchange)).hedge_mode is True


async def test_with_all_assets_as_one_margin_there_are_no_figures(client: Client, exchange: BinanceFutures) -> None:
    client.futures_change_multi_assets_mode(multiAssetsMargin=True)
    await without_figures(exchange)
    client.futures_change_multi_assets_mode(multiAssetsMargin=False)
    assert await figures(exchange)


async def test_orders_are_told_to_whoever_listens(
    paper: PaperExchange, client: Client, open_exchange: OpenExchange
) -> None:
    exchange = await open_exchange()
    told: list[Mapping[str, Any]] = []
    gaps: list[int] = []
    exchange.on_order(told.append)
    exchange.on_gap(lambda: gaps.append(len(told)))
    await figures(exchange)
    assert gaps == [0]  # before the streams were open anything may have happened
    paper.inject(Fault(kind=FaultKind.DOUBLE_EVENT, event="ORDER_TRADE_UPDATE", probability=EVER))
    name = place(client)
    await until(lambda: len(told) >= 2)
    await until(lambda: free(exchange.live(SYMBOL)) == really_free(client))
    assert [(each["o"]["c"], each["o"]["X"]) for each in told] == [(name, "NEW"), (name, "FILLED")]
    assert gaps == [0]


async def test_without_streams_everything_goes_by_readings(
    paper: PaperExchange, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "gate.exchange"):
        async with BinanceFutures(paper.key, paper.secret, base_url=paper.url, streams=False) as exchange:
            assert exchange.live(SYMBOL) is None
            assert (await exchange.account()).available["USDT"] == 10_000
    assert [each.getMessage() for each in caplog.records] == ["STREAMS OFF"]
    assert key(paper, "PUT") == -1125  # nobody has asked for one


async def test_an_outage_is_told_once_and_so_is_its_end(
    paper: PaperExchange, open_exchange: OpenExchange, caplog: pytest.LogCaptureFixture
) -> None:
    paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, path="/fapi/v1/listenKey", probability=EVER))
    with caplog.at_level(logging.INFO, "gate.exchange"):
        exchange = await open_exchange()
        await until(lambda: hits(paper) >= 2)
        assert exchange.live(SYMBOL) is None
        assert (await exchange.account()).available["USDT"] == 10_000  # nothing waits for the streams
        paper.clear_faults()
        await figures(exchange)
    told = [each.getMessage() for each in caplog.records]
    assert [each.split(" detail=")[0].split(" after_ms=")[0] for each in told] == [
        "STREAMS DOWN stream=user",
        "STREAMS UP stream=user",
    ]


async def test_closing_leaves_nothing_behind(paper: PaperExchange, open_exchange: OpenExchange) -> None:
    before = asyncio.all_tasks()
    async with BinanceFutures(paper.key, paper.secret, base_url=paper.url) as exchange:
        await figures(exchange)
    assert asyncio.all_tasks() == before
