"""Order cost, open loss and positions, in worked figures."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gate.paper.books.margin import Exposure, assumed_price, open_loss, order_cost
from gate.paper.books.positions import Position, after_fill
from gate.paper.market.market_data import built_in
from gate.paper.market.prices import Quote
from gate.paper.market.terms import OrderType, PositionSide, Side

D = Decimal
QUOTE = Quote(bid=D("100"), ask=D("101"), last=D("100"), mark=D("100"))


@pytest.mark.parametrize(
    ("order_type", "side", "price", "mark", "expected"),
    [
        pytest.param(OrderType.MARKET, Side.BUY, "0", "100", "100.15", id="market long: last and 0.15 %"),
        pytest.param(OrderType.MARKET, Side.SELL, "0", "100", "100.15", id="market short: the same"),
        pytest.param(OrderType.LIMIT, Side.BUY, "90", "100", "90", id="limit long: its own price"),
        pytest.param(OrderType.LIMIT, Side.SELL, "90", "100", "100.15", id="limit short below the market"),
        pytest.param(OrderType.LIMIT, Side.SELL, "110", "100", "110", id="limit short above it: its own price"),
        pytest.param(OrderType.LIMIT, Side.SELL, "90", "120", "120", id="limit short under a high mark"),
    ],
)
def test_assumed_price(order_type: OrderType, side: Side, price: str, mark: str, expected: str) -> None:
    quote = Quote(QUOTE.bid, QUOTE.ask, QUOTE.last, D(mark))
    assert assumed_price(order_type, side, D(price), quote) == D(expected)


@pytest.mark.parametrize(
    ("side", "price", "expected"),
    [(Side.BUY, "105", "10"), (Side.BUY, "95", "0"), (Side.SELL, "95", "10"), (Side.SELL, "105", "0")],
)
def test_open_loss_is_what_is_under_water_at_once(side: Side, price: str, expected: str) -> None:
    assert open_loss(side, D(2), D(price), mark=D(100)) == D(expected)


def test_cost_without_a_position_is_notional_over_leverage_plus_open_loss() -> None:
    assert order_cost(Exposure(), Side.BUY, D(2), D(2), D(105), D(100), 5) == D(2) * 105 / 5 + 10


@pytest.mark.parametrize(
    ("now", "side", "notional", "expected"),
    [
        pytest.param(Exposure(D(1000)), Side.SELL, D(1000), D(0), id="closing"),
        pytest.param(Exposure(D(1000)), Side.SELL, D(2000), D(0), id="turning to the same size"),
        pytest.param(Exposure(D(1000)), Side.SELL, D(2500), D(50), id="turning to a larger one"),
        pytest.param(Exposure(D(1000)), Side.BUY, D(500), D(50), id="adding"),
        pytest.param(Exposure(D(0), D(0), D(800)), Side.BUY, D(500), D(0), id="a bid behind a larger ask"),
        pytest.param(Exposure(D(0), D(300), D(800)), Side.BUY, D(600), D(10), id="the larger side counts"),
        pytest.param(Exposure(D(-1000), D(0), D(100)), Side.SELL, D(100), D(10), id="adding to a short"),
    ],
)
def test_cost_is_the_growth_of_the_largest_exposure(
    now: Exposure, side: Side, notional: Decimal, expected: Decimal
) -> None:
    assert order_cost(now, side, D(1), D(0), notional, D(1), 10) == expected


def test_a_fill_against_the_position_realises_its_share_and_opens_the_other_way_with_the_rest() -> None:
    position, realized = after_fill(Position("BTCUSDT", PositionSide.BOTH), Side.BUY, D(2), D(100), 1)
    position, more = after_fill(position, Side.BUY, D(1), D(130), 2)
    assert (position.entry_price, realized, more) == (D(110), D(0), D(0))
    position, realized = after_fill(position, Side.SELL, D(1), D(120), 3)
    assert (position.quantity, position.entry_price, realized) == (D(2), D(110), D(10))
    position, realized = after_fill(position, Side.SELL, D(5), D(100), 4)
    assert (position.quantity, position.entry_price, realized) == (D(-3), D(100), D(-20))
    position, realized = after_fill(position, Side.BUY, D(3), D(90), 5)
    assert (position.quantity, position.cost, realized) == (D(0), D(0), D(30))


@pytest.mark.parametrize(
    ("symbol", "leverage", "cap"),
    [
        ("BTCUSDT", 125, 50_000), ("BTCUSDT", 101, 50_000), ("ETHUSDT", 100, 600_000), ("ETHUSDT", 75, 3_000_000),
        ("BTCUSDT", 50, 12_000_000), ("BNBUSDT", 75, 10_000), ("BNBUSDT", 50, 50_000), ("BNBUSDT", 40, 200_000),
        ("BNBUSDT", 25, 1_500_000), ("OPUSDT", 75, 10_000), ("OPUSDT", 50, 50_000), ("OPUSDT", 40, 80_000),
        ("OPUSDT", 25, 300_000), ("NEARUSDT", 75, 10_000), ("NEARUSDT", 50, 100_000), ("NEARUSDT", 25, 500_000),
    ],
)  # fmt: skip
def test_brackets_cap_the_notional_by_leverage(symbol: str, leverage: int, cap: int) -> None:
    assert built_in().symbols[symbol].max_notional(leverage) == cap


def test_maintenance_margin_has_no_step_between_brackets() -> None:
    symbol = built_in().symbols["BTCUSDT"]
    for bracket in symbol.brackets[:-1]:
        below = bracket.cap * bracket.maintenance_rate - bracket.cum
        assert symbol.maintenance_margin(bracket.cap) == below
