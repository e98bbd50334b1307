"""The order plan holds its rules for any intent and any filters."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gate import Intent, OutcomeKind, Permit, Policy, Reason, Verdict
from gate.exchange.answers import decode_filters
from gate.exchange.failures import ExchangeFailure, Failure
from gate.exchange.port import Filters, LotSize, PriceRange, SymbolConfig
from gate.executor.attempt import Attempt
from gate.executor.execution import Terminal
from gate.executor.order_plan import (
    OrderPlan,
    PlanRefusal,
    check_bracket,
    check_position_side,
    needs_mark_price,
    plan_order,
)

_STEPS = st.sampled_from([Decimal(text) for text in ("0.001", "0.01", "0.1", "1", "10", "0.5", "0.003")])
_FIGURES = st.decimals(min_value="0.0001", max_value="1000000", places=4)
_LOT = LotSize(Decimal("0.001"), Decimal("0.001"), Decimal(1000))
FILTERS = Filters(
    symbol="BTCUSDT",
    margin_asset="USDT",
    trading=True,
    lot=_LOT,
    market_lot=replace(_LOT, max_quantity=Decimal(120)),
    prices=PriceRange(Decimal("0.10"), Decimal("261.10"), Decimal(809484), Decimal("1.10"), Decimal("0.90")),
    min_notional=Decimal(10),
)
MARK = Decimal(50_000)


def _intent(**asked: Any) -> Intent:
    if not asked.keys() & {"notional", "quantity"}:
        asked["quantity"] = "0.01"
    return Intent(**{"id": "x", "symbol": "BTCUSDT", "side": "BUY", "timestamp": 1_700_000_000_000, **asked})


def _plan(*, mark: Decimal = MARK, hedge_mode: bool = False, **asked: Any) -> OrderPlan:
    plan = plan_order(_intent(**asked), FILTERS, mark, hedge_mode=hedge_mode)
    assert isinstance(plan, OrderPlan), plan
    return plan


def _refusal(mark: Decimal = MARK, filters: Filters = FILTERS, **asked: Any) -> str:
    refusal = plan_order(_intent(**asked), filters, mark, hedge_mode=False)
    assert isinstance(refusal, PlanRefusal), refusal
    return refusal.code


@given(step=_STEPS, least=st.integers(1, 50), size=_FIGURES, price=_FIGURES, by_notional=st.booleans())
def test_a_planned_quantity_fits_the_lot_and_never_exceeds_the_intent(
    step: Decimal, least: int, size: Decimal, price: Decimal, by_notional: bool
) -> None:
    lot = LotSize(step, step * least, Decimal(500_000))
    filters = replace(FILTERS, lot=lot, market_lot=lot, min_notional=Decimal(5))
    intent = _intent(**{"notional" if by_notional else "quantity": size})

    plan = plan_order(intent, filters, price, hedge_mode=False)

    if isinstance(plan, OrderPlan):
        wanted = size / price if by_notional else size
        assert lot.min_quantity <= plan.quantity <= min(wanted, Decimal(500_000))
        assert (plan.quantity - lot.min_quantity) % step == 0
        assert wanted - plan.quantity < step, "not smaller than it has to be"
        assert plan.notional == plan.quantity * price >= 5


@given(price=st.decimals(min_value=46_000, max_value=54_000, places=3), side=st.sampled_from(["BUY", "SELL"]))
def test_a_limit_lies_on_the_tick_and_is_never_worse_than_the_intent(price: Decimal, side: str) -> None:
    plan = _plan(side=side, order_type="LIMIT", price=price)

    assert plan.price is not None
    assert (plan.price - FILTERS.prices.lowest) % Decimal("0.10") == 0
    assert 0 <= (price - plan.price if side == "BUY" else plan.price - price) < Decimal("0.10")


@given(
    trigger=st.decimals(min_value=46_000, max_value=54_000, places=3),
    side=st.sampled_from(["BUY", "SELL"]),
    order_type=st.sampled_from(["STOP_MARKET", "TAKE_PROFIT_MARKET"]),
)
def test_a_stop_never_triggers_later_and_a_profit_is_never_taken_at_less(
    trigger: Decimal, side: str, order_type: str
) -> None:
    planned = _plan(side=side, order_type=order_type, trigger_price=trigger).trigger_price

    assert planned is not None
    assert (planned - FILTERS.prices.lowest) % Decimal("0.10") == 0
    # A stop that buys waits for a rise, one that sells for a fall; a profit is taken the other way round.
    assert 0 <= (trigger - planned if side == "BUY" else planned - trigger) < Decimal("0.10")


@pytest.mark.parametrize(
    ("asked", "quantity"),
    [
        ({"side": "BUY", "price": "40000"}, "0.025"),
        ({"side": "SELL", "price": "62500"}, "0.016"),
        ({"side": "SELL", "price": "45000"}, "0.020"),
    ],
    ids=["a buyer by its price", "a seller above the market by its price", "one below it by the market"],
)
def test_a_limit_by_notional_is_sized_so_that_its_fill_does_not_exceed_it(asked: dict[str, Any], quantity: str) -> None:
    assert _plan(order_type="LIMIT", notional="1000", mark=MARK, **asked).quantity == Decimal(quantity)


@pytest.mark.parametrize(
    ("asked", "largest"),
    [
        ({"quantity": "121"}, 120),
        ({"notional": "12500000", "mark": Decimal(100_000)}, 120),
        ({"quantity": "1001", "order_type": "LIMIT", "price": "50000"}, 1000),
        ({"quantity": "121", "order_type": "STOP_MARKET", "trigger_price": "50000"}, 120),
    ],
)
def test_an_exit_that_is_too_large_for_one_order_becomes_the_largest(asked: dict[str, Any], largest: int) -> None:
    plan = _plan(side="SELL", reduce_only=True, **asked)
    wanted = Decimal(asked.get("quantity", 125))
    assert (plan.quantity, plan.cut_from) == (Decimal(largest), wanted)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"quantity": "0.0009"}, "MIN_QUANTITY"),
        ({"quantity": "121"}, "MAX_QUANTITY"),
        ({"quantity": "1001", "order_type": "LIMIT", "price": "50000"}, "MAX_QUANTITY"),
        ({"quantity": "0.001", "mark": Decimal("9999.9")}, "MIN_NOTIONAL"),
        ({"quantity": "0.001", "order_type": "LIMIT", "price": "9999.9", "mark": Decimal(10_000)}, "MIN_NOTIONAL"),
        ({"order_type": "LIMIT", "price": "55000.1"}, "PERCENT_PRICE"),
        ({"order_type": "LIMIT", "price": "44999.9", "side": "SELL"}, "PERCENT_PRICE"),
        ({"order_type": "LIMIT", "price": "261.0"}, "MIN_PRICE"),
        ({"order_type": "LIMIT", "price": "809484.1", "mark": Decimal(800_000)}, "MAX_PRICE"),
        ({"order_type": "STOP_MARKET", "trigger_price": "809484.1"}, "MAX_TRIGGER_PRICE"),
        ({"order_type": "STOP_MARKET", "trigger_price": "1", "side": "SELL"}, "MIN_TRIGGER_PRICE"),
    ],
)
def test_each_filter_refuses_with_its_own_reason(asked: dict[str, Any], code: str) -> None:
    assert _refusal(**asked) == code


@pytest.mark.parametrize(
    "asked",
    [
        {"order_type": "LIMIT", "price": "55000"},
        {"order_type": "LIMIT", "price": "45000", "side": "SELL"},
        {"order_type": "LIMIT", "price": "20000"},
        {"quantity": "120"},
        {"quantity": "1000", "order_type": "LIMIT", "price": "50000"},
        {"quantity": "0.001", "mark": Decimal(10_000)},
    ],
)
def test_what_just_fits_is_planned(asked: dict[str, Any]) -> None:
    _plan(**asked)


def test_a_symbol_that_does_not_trade_is_refused() -> None:
    assert _refusal(filters=replace(FILTERS, trading=False)) == "SYMBOL_OFF"


@pytest.mark.parametrize("size", [{"notional": "1000"}, {"quantity": "10"}])
def test_no_entry_goes_into_a_symbol_that_is_not_quoted_in_dollars(size: dict[str, Any]) -> None:
    """A size of a thousand dollars would be a thousand bitcoin."""
    in_bitcoin = replace(FILTERS, margin_asset="BTC")
    entry = Intent(id="x", symbol="ETHBTC", side="BUY", timestamp=1_700_000_000_000, **size)
    closes = Intent(id="y", symbol="ETHBTC", side="SELL", timestamp=1_700_000_000_000, reduce_only=True, **size)

    refusal = plan_order(entry, in_bitcoin, MARK, hedge_mode=False)

    assert isinstance(refusal, PlanRefusal)
    assert (refusal.code, "margined in BTC" in refusal.detail) == ("MARGIN_ASSET", True)
    assert isinstance(plan_order(closes, in_bitcoin, MARK, hedge_mode=False), OrderPlan)
    for asset in ("USDT", "USDC", "FDUSD", "USD1"):
        in_dollars = replace(FILTERS, margin_asset=asset)
        assert isinstance(plan_order(entry, in_dollars, MARK, hedge_mode=False), OrderPlan)


@pytest.mark.parametrize(
    ("side", "position_side", "held", "refused"),
    [
        ("SELL", "SHORT", "100", True),
        ("BUY", "LONG", "-100", True),
        ("BUY", "LONG", "100", False),
        ("SELL", "SHORT", "-100", False),
        ("SELL", "SHORT", "0", False),
        ("SELL", None, "100", False),
    ],
)
def test_an_entry_for_one_side_does_not_close_the_other(
    side: str, position_side: str | None, held: str, refused: bool
) -> None:
    intent = _intent(side=side, position_side=position_side)
    one_way, hedge = (plan_order(intent, FILTERS, MARK, hedge_mode=mode) for mode in (False, True))
    assert isinstance(one_way, OrderPlan)
    assert isinstance(hedge, OrderPlan)

    refusal = check_position_side(intent, one_way, Decimal(held))

    assert (refusal is not None and refusal.code == "POSITION_SIDE") is refused
    assert check_position_side(intent, hedge, Decimal(held)) is None


def test_filters_without_bounds_bind_nothing() -> None:
    unbounded = replace(
        FILTERS,
        lot=replace(_LOT, max_quantity=None),
        prices=PriceRange(None, Decimal(0), None, None, None),
        min_notional=None,
    )

    plan = plan_order(_intent(quantity="99999", order_type="LIMIT", price="0.00001"), unbounded, MARK, hedge_mode=False)

    assert isinstance(plan, OrderPlan)
    assert (plan.quantity, plan.price) == (Decimal(99999), Decimal("0.00001"))


@pytest.mark.parametrize(
    ("asked", "hedge_mode", "sent"),
    [
        ({"side": "BUY"}, False, (None, False)),
        ({"side": "SELL", "reduce_only": True}, False, (None, True)),
        ({"side": "BUY", "position_side": "LONG"}, False, (None, False)),
        ({"side": "SELL", "position_side": "LONG"}, False, (None, True)),
        ({"side": "BUY"}, True, ("LONG", False)),
        ({"side": "SELL"}, True, ("SHORT", False)),
        ({"side": "SELL", "reduce_only": True}, True, ("LONG", False)),
        ({"side": "BUY", "reduce_only": True}, True, ("SHORT", False)),
        ({"side": "SELL", "position_side": "LONG"}, True, ("LONG", False)),
        ({"side": "BUY", "position_side": "SHORT", "reduce_only": True}, True, ("SHORT", False)),
    ],
)
def test_position_side_and_reduce_only_are_what_the_accounts_mode_wants(
    asked: dict[str, Any], hedge_mode: bool, sent: tuple[str | None, bool]
) -> None:
    plan = _plan(hedge_mode=hedge_mode, **asked)

    assert (plan.position_side, plan.reduce_only) == sent


def test_an_exit_needs_no_price_but_to_size_an_order_at_market() -> None:
    closing: dict[str, Any] = {"side": "SELL", "reduce_only": True}

    assert not needs_mark_price(_intent(**closing))
    assert not needs_mark_price(_intent(**closing, order_type="LIMIT", price="1"))
    assert not needs_mark_price(_intent(**closing, order_type="LIMIT", price="60000", notional="500"))
    assert needs_mark_price(_intent(**closing, notional="500"))
    assert needs_mark_price(_intent())
    limit = _plan(**closing, order_type="LIMIT", price="45000", mark=Decimal(0), notional="900")
    assert (limit.quantity, limit.reduce_only) == (Decimal("0.020"), True)


def test_an_exit_need_not_reach_the_least_notional() -> None:
    assert _plan(quantity="0.001", mark=Decimal(1), side="SELL", reduce_only=True).quantity == Decimal("0.001")


@pytest.mark.parametrize(
    ("side", "held", "most", "refused"),
    [
        ("BUY", "0", "500", False),
        ("BUY", "0", "499.99", True),
        ("BUY", "100", "599.99", True),
        ("BUY", "-100", "400", False),
        ("SELL", "0", "499.99", True),
        ("SELL", "-100", "599.99", True),
        ("SELL", "1000", "10", False),
    ],
)
def test_an_entry_that_outgrows_its_leverage_bracket_is_refused(side: str, held: str, most: str, refused: bool) -> None:
    intent = _intent(side=side)
    plan = plan_order(intent, FILTERS, MARK, hedge_mode=False)
    assert isinstance(plan, OrderPlan)

    refusal = check_bracket(intent, plan, Decimal(held), SymbolConfig(20, Decimal(most), Decimal(0)))

    assert (refusal is not None and refusal.code == "MAX_NOTIONAL") is refused
    assert check_bracket(intent, plan, Decimal(held), SymbolConfig(20, None, Decimal(0))) is None


def test_the_percent_price_is_no_reason_against_an_exit() -> None:
    assert _plan(side="SELL", reduce_only=True, notional="500", order_type="LIMIT", price="40000").price == 40_000


def test_an_order_at_market_satisfies_both_lot_sizes_and_zero_is_no_bound() -> None:
    lot = {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"}
    market = {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.010", "minQty": "0.002", "maxQty": "120"}
    price = {"filterType": "PRICE_FILTER", "tickSize": "0.1", "minPrice": "0", "maxPrice": "0"}

    filters = decode_filters({"symbol": "X", "status": "TRADING", "filters": [lot, market, price]})

    assert filters.lot == LotSize(Decimal("0.001"), Decimal("0.001"), Decimal(1000))
    assert filters.market_lot == LotSize(Decimal("0.010"), Decimal("0.002"), Decimal(120))
    assert filters.prices == PriceRange(Decimal("0.1"), Decimal(0), None, None, None)


@pytest.mark.parametrize(
    "filters", [None, [], [{}], [{"filterType": "LOT_SIZE", "stepSize": "0"}], [{"filterType": "LOT_SIZE"}]]
)
def test_filters_without_a_lot_size_can_not_be_read(filters: Any) -> None:
    with pytest.raises(ExchangeFailure, match="UNREADABLE"):
        decode_filters({"symbol": "X", "status": "TRADING", "filters": filters})


def test_a_failure_that_leaves_the_order_open_ends_as_unknown() -> None:
    intent = Intent(id="a", symbol="BTCUSDT", side="BUY", notional=1, timestamp=1_766_550_734_062)
    permit = Permit("a", "BTCUSDT", "BUY", "token", 1, "client-order-id", deadline_ms=0, expires_ns=0)
    attempt = Attempt(intent, Verdict(True, Reason.ADMITTED, permit=permit), permit, Policy())
    attempt.may_exist = True

    execution = attempt.refused(Failure(may_exist=True, code="X", detail="who knows"))

    assert execution.outcome
    assert (execution.state, execution.outcome.kind) == (Terminal.UNKNOWN, OutcomeKind.UNKNOWN)
