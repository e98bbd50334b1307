"""Cancelling what rests and closing what is open, of all symbols, until the exchange says that it is so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from gate.exchange.binance import BinanceFutures
from gate.exchange.holdings import OpenPosition, closing_quantities
from gate.exchange.port import Filters, LotSize, PriceRange
from gate.executor.flatten import cancel_resting, flatten
from gate.paper import Fault, FaultKind, PaperExchange


@pytest.fixture
async def exchange(paper_exchange: PaperExchange) -> AsyncIterator[BinanceFutures]:
    key, secret = paper_exchange.key, paper_exchange.secret
    async with BinanceFutures(key, secret, base_url=paper_exchange.url) as exchange:
        yield exchange


async def order(exchange: BinanceFutures, symbol: str, side: str, quantity: str, **more: Any) -> None:
    """As another program of the account places it."""
    more = {"type": "MARKET", **more}
    await exchange._rest.client.futures_create_order(symbol=symbol, side=side, quantity=quantity, **more)


async def some_trade(exchange: BinanceFutures) -> None:
    """A long and a short position, with a limit order, a stop loss, and an entry that waits for its trigger."""
    await order(exchange, "BTCUSDT", "BUY", "0.02")
    await order(exchange, "ETHUSDT", "SELL", "0.5")
    mark = await exchange.mark_price("BTCUSDT")
    low = int(mark * 9 / 10)
    await order(exchange, "BTCUSDT", "BUY", "0.01", type="LIMIT", price=low, timeInForce="GTC")
    await order(exchange, "BTCUSDT", "SELL", "0.02", type="STOP_MARKET", stopPrice=low, reduceOnly="true")
    double = int(await exchange.mark_price("SOLUSDT")) * 2
    await order(exchange, "SOLUSDT", "BUY", "1", type="STOP_MARKET", stopPrice=double)


async def test_what_rests_is_of_all_symbols_and_of_both_kinds(exchange: BinanceFutures) -> None:
    await some_trade(exchange)
    resting = await exchange.resting_orders()
    assert sorted((each.symbol, each.order_type, each.conditional) for each in resting) == [
        ("BTCUSDT", "LIMIT", False),
        ("BTCUSDT", "STOP_MARKET", True),
        ("SOLUSDT", "STOP_MARKET", True),
    ]
    assert [str(each) for each in await exchange.holdings()] == ["BTCUSDT +0.020", "ETHUSDT -0.500"]


async def test_cancelling_leaves_no_order_and_every_position(exchange: BinanceFutures) -> None:
    await some_trade(exchange)

    done = await cancel_resting(exchange)

    assert (done.nothing_rests, len(done.cancelled), done.problems) == (True, 3, [])
    assert await exchange.resting_orders() == ()
    assert len(await exchange.holdings()) == 2


async def test_flattening_leaves_nothing(exchange: BinanceFutures, paper_exchange: PaperExchange) -> None:
    await some_trade(exchange)

    done = await flatten(exchange)

    assert (done.flat, len(done.cancelled), len(done.closed), done.problems) == (True, 3, 2, [])
    assert await exchange.holdings() == ()
    assert await exchange.resting_orders() == ()
    closing = paper_exchange.ledger()[-2:]
    assert {(row["symbol"], row["side"], row["reduceOnly"]) for row in closing} == {
        ("BTCUSDT", "SELL", True),
        ("ETHUSDT", "BUY", True),
    }


async def test_an_account_without_anything_is_flat_at_once(exchange: BinanceFutures) -> None:
    done = await flatten(exchange)
    assert (done.flat, done.cancelled, done.closed) == (True, [], [])


async def test_in_hedge_mode_both_sides_of_a_symbol_are_closed(exchange: BinanceFutures) -> None:
    await exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    await order(exchange, "BTCUSDT", "BUY", "0.02", positionSide="LONG")
    await order(exchange, "BTCUSDT", "SELL", "0.01", positionSide="SHORT")

    done = await flatten(exchange)

    assert done.flat
    assert sorted(str(each) for each in done.closed) == ["BTCUSDT LONG +0.020", "BTCUSDT SHORT -0.010"]


async def test_one_symbol_that_fails_does_not_hold_up_the_others(
    exchange: BinanceFutures, paper_exchange: PaperExchange
) -> None:
    await some_trade(exchange)
    paper_exchange.inject(
        Fault(
            kind=FaultKind.ERROR,
            symbol="BTCUSDT",
            method="POST",
            path="/fapi/v1/order",
            code=-4131,
            msg="no book",
            times=100,
        )
    )

    done = await flatten(exchange)

    assert (done.flat, done.nothing_rests) == (False, True)
    assert [str(each) for each in done.open or ()] == ["BTCUSDT +0.020"]
    assert [str(each) for each in done.closed] == ["ETHUSDT -0.500"]
    assert done.problems == ["BTCUSDT +0.020 isn't closed: -4131: no book"]


async def test_an_answer_that_is_lost_closes_nothing_twice(
    exchange: BinanceFutures, paper_exchange: PaperExchange
) -> None:
    await order(exchange, "BTCUSDT", "BUY", "0.02")
    paper_exchange.inject(Fault(kind=FaultKind.UNKNOWN_503, method="POST", path="/fapi/v1/order", times=1))

    done = await flatten(exchange)

    assert (done.flat, done.problems) == (True, [])
    assert await exchange.holdings() == ()


async def test_a_refusal_says_what_to_do(exchange: BinanceFutures, paper_exchange: PaperExchange) -> None:
    await some_trade(exchange)
    refused = Fault(kind=FaultKind.ERROR, code=-1022, method="GET", path="/fapi/v1/openOrders", times=100)
    paper_exchange.inject(refused)

    done = await flatten(exchange)

    assert "the API key is wrong here: check key and secret" in done.problems[0]


async def test_orders_that_cannot_be_read_do_not_keep_positions_open(
    exchange: BinanceFutures, paper_exchange: PaperExchange
) -> None:
    await some_trade(exchange)
    paper_exchange.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/openOrders", times=100))

    done = await flatten(exchange)

    assert (done.flat, done.open, done.resting) == (False, (), None)
    assert done.problems[0].startswith("open orders: ")


async def test_a_ban_ends_the_asking(exchange: BinanceFutures, paper_exchange: PaperExchange) -> None:
    await some_trade(exchange)
    paper_exchange.inject(Fault(kind=FaultKind.BANNED_418, method="DELETE", path="/fapi/v1/allOpenOrders"))

    done = await cancel_resting(exchange)

    assert [each.conditional for each in done.resting or ()] == [False], "a second request would have passed"
    assert len(done.problems) == 1


async def test_a_ban_met_while_reading_has_nothing_sent_any_more(
    exchange: BinanceFutures, paper_exchange: PaperExchange, asked: list[str]
) -> None:
    await some_trade(exchange)
    paper_exchange.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v3/positionRisk"))
    asked.clear()

    done = await flatten(exchange)

    assert (len(done.resting or ()), done.open, len(done.problems)) == (3, None, 1)
    assert "GET /fapi/v3/positionRisk" in asked
    assert {each.split()[0] for each in asked} == {"GET"}


@pytest.mark.parametrize("kind", [FaultKind.BANNED_418, FaultKind.TIMEOUT_1007])
async def test_after_an_order_that_fails_the_rest_of_its_position_waits_for_the_next_look(
    exchange: BinanceFutures, paper_exchange: PaperExchange, asked: list[str], kind: FaultKind
) -> None:
    """The largest market order of SOLUSDT is 5,000."""
    paper_exchange.set_balance("10000000")
    await exchange.set_leverage("SOLUSDT", 1)
    for _ in range(3):
        await order(exchange, "SOLUSDT", "BUY", "4500")
    paper_exchange.inject(Fault(kind=kind, accept=False, times=1))
    asked.clear()

    done = await flatten(exchange)

    until_the_next_look = asked[: asked.index("GET /fapi/v3/positionRisk", asked.index("POST /fapi/v1/order"))]
    assert until_the_next_look.count("POST /fapi/v1/order") == 1
    assert done.flat is (kind is not FaultKind.BANNED_418)


def test_a_position_larger_than_the_largest_market_order_takes_several() -> None:
    lot = LotSize(Decimal("0.1"), Decimal("0.1"), Decimal(50))
    filters = Filters("SOLUSDT", "USDT", True, lot, lot, PriceRange(None, Decimal(0), None, None, None), None)
    long = OpenPosition("SOLUSDT", "BOTH", Decimal("120.5"))
    assert list(closing_quantities(long, filters)) == [Decimal(50), Decimal(50), Decimal("20.5")]
    assert list(closing_quantities(long, None)) == [Decimal("120.5")]
    assert sum(closing_quantities(OpenPosition("SOLUSDT", "BOTH", Decimal(-100)), filters)) == 100
