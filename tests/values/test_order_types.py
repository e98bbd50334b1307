"""The terms of an intent fit its order type, or the error says what to do."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from gate import Intent, InvalidIntent, Policy
from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace

GOOD: dict[str, Any] = {
    "id": "sig-81",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "notional": "200",
    "timestamp": 1_766_550_734_062,
}
LIMIT: dict[str, Any] = {"order_type": "LIMIT", "price": "60000"}
STOP: dict[str, Any] = {"order_type": "STOP_MARKET", "trigger_price": "60000"}
TAKE_PROFIT: dict[str, Any] = STOP | {"order_type": "TAKE_PROFIT_MARKET"}
CONDITIONAL = pytest.mark.parametrize("conditional", [STOP, TAKE_PROFIT], ids=lambda terms: terms["order_type"])


def intent(**changes: Any) -> Intent:
    return Intent(**(GOOD | changes))


def test_an_order_is_a_market_order_unless_said() -> None:
    made = intent()
    assert (made.order_type, made.time_in_force, made.trigger_price, made.working_type) == ("MARKET", None, None, None)
    assert not made.is_conditional
    assert made == intent(order_type="MARKET")


def test_an_unknown_order_type_is_told_the_known_ones() -> None:
    with pytest.raises(InvalidIntent) as caught:
        intent(order_type="STOP")
    assert str(caught.value) == "order_type: 'STOP' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET"


def test_a_limit_order_waits_until_cancelled_unless_said() -> None:
    made = intent(**LIMIT)
    assert (made.order_type, made.price, made.time_in_force) == ("LIMIT", Decimal(60000), "GTC")
    assert (made.trigger_price, made.working_type, made.is_conditional) == (None, None, False)
    assert made == intent(**LIMIT, time_in_force="GTC")
    assert made.fingerprint == intent(**LIMIT, time_in_force="GTC").fingerprint


@pytest.mark.parametrize("time_in_force", ["GTC", "IOC", "FOK", "GTX"])
def test_a_limit_order_has_a_time_in_force(time_in_force: str) -> None:
    assert intent(**LIMIT, time_in_force=time_in_force).time_in_force == time_in_force


@CONDITIONAL
def test_a_conditional_order_waits_for_the_last_price_unless_said(conditional: dict[str, Any]) -> None:
    made = intent(**conditional)
    assert (made.order_type, made.trigger_price) == (conditional["order_type"], Decimal(60000))
    assert (made.working_type, made.time_in_force, made.is_conditional) == ("CONTRACT_PRICE", None, True)
    assert made == intent(**conditional, working_type="CONTRACT_PRICE")
    assert made.fingerprint == intent(**conditional, working_type="CONTRACT_PRICE").fingerprint
    assert intent(**conditional, working_type="MARK_PRICE").working_type == "MARK_PRICE"


@CONDITIONAL
def test_a_conditional_order_may_have_a_price_that_is_expected(conditional: dict[str, Any]) -> None:
    made = intent(**conditional, price="61000")
    assert made.price == 61000
    assert made.fingerprint == intent(**conditional).fingerprint


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"order_type": "LIMIT"}, "price: is missing; a LIMIT order needs one, as its limit"),
        ({"order_type": "STOP_MARKET"}, "trigger_price: is missing; a STOP_MARKET order needs one"),
        ({"order_type": "TAKE_PROFIT_MARKET"}, "trigger_price: is missing; a TAKE_PROFIT_MARKET order needs one"),
        ({"order_type": "STOP_MARKET", "price": "60000"}, "trigger_price: is missing; a STOP_MARKET order needs one"),
        (LIMIT | {"price": "0"}, "price: '0' must be above zero"),
        (STOP | {"trigger_price": "NaN"}, "trigger_price: 'NaN' is not finite"),
        (STOP | {"trigger_price": -1}, "trigger_price: -1 must be above zero"),
        (LIMIT | {"time_in_force": "GTD"}, "time_in_force: 'GTD' is not one of GTC, IOC, FOK, GTX"),
        (LIMIT | {"time_in_force": "ioc"}, "time_in_force: 'ioc' is not one of GTC, IOC, FOK, GTX; write IOC"),
        (STOP | {"working_type": "LAST"}, "working_type: 'LAST' is not one of CONTRACT_PRICE, MARK_PRICE"),
        (
            {"time_in_force": "GTC"},
            "time_in_force: 'GTC' is for LIMIT orders; leave it out, or change order_type MARKET",
        ),
        (
            STOP | {"time_in_force": "GTC"},
            "time_in_force: 'GTC' is for LIMIT orders; leave it out, or change order_type STOP_MARKET",
        ),
        (
            {"trigger_price": "60000"},
            "trigger_price: '60000' is for STOP_MARKET and TAKE_PROFIT_MARKET orders; leave it out, "
            "or change order_type MARKET",
        ),
        (
            LIMIT | {"trigger_price": "60000"},
            "trigger_price: '60000' is for STOP_MARKET and TAKE_PROFIT_MARKET orders; leave it out, "
            "or change order_type LIMIT",
        ),
        (
            {"working_type": "MARK_PRICE"},
            "working_type: 'MARK_PRICE' is for STOP_MARKET and TAKE_PROFIT_MARKET orders; leave it out, "
            "or change order_type MARKET",
        ),
        (
            LIMIT | {"working_type": "MARK_PRICE"},
            "working_type: 'MARK_PRICE' is for STOP_MARKET and TAKE_PROFIT_MARKET orders; leave it out, "
            "or change order_type LIMIT",
        ),
    ],
    ids=str,
)
def test_terms_that_do_not_fit_the_order_type_are_errors_with_a_remedy(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        intent(**terms)
    assert str(caught.value) == message


def test_no_two_orders_of_different_terms_have_the_same_fingerprint() -> None:
    different = [
        {},
        LIMIT,
        LIMIT | {"price": "60000.1"},
        LIMIT | {"time_in_force": "IOC"},
        LIMIT | {"time_in_force": "GTX"},
        STOP,
        TAKE_PROFIT,
        STOP | {"trigger_price": "60000.1"},
        STOP | {"working_type": "MARK_PRICE"},
        LIMIT | {"reduce_only": True},
        STOP | {"reduce_only": True},
        LIMIT | {"notional": "201"},
        STOP | {"notional": "201"},
    ]
    assert len({intent(**terms).fingerprint for terms in different}) == len(different)


@pytest.mark.parametrize("notation", ["60000", "60000.0", "6E4", " +60000 ", 60000, 60000.0, Decimal("6.0E+4")])
def test_the_fingerprint_is_the_same_for_every_notation_of_a_price(notation: Any) -> None:
    assert intent(**LIMIT | {"price": notation}).fingerprint == intent(**LIMIT).fingerprint
    assert intent(**STOP | {"trigger_price": notation}).fingerprint == intent(**STOP).fingerprint


def test_the_fingerprints_of_the_other_types_are_the_same_in_every_version() -> None:
    assert intent(**LIMIT).fingerprint == "g8O1eKabtXTh"
    assert intent(**STOP, working_type="MARK_PRICE", reduce_only=True).fingerprint == "hZIcn2xv4U9i"


def test_an_order_of_any_type_is_a_value() -> None:
    for terms in (LIMIT, STOP):
        assert pickle.loads(pickle.dumps(intent(**terms))) == intent(**terms)  # noqa: S301  # its own bytes
        assert intent(**terms) != intent(price=terms.get("price"))


@CONDITIONAL
def test_a_conditional_order_is_an_exit_where_a_market_order_is(conditional: dict[str, Any]) -> None:
    assert not intent(**conditional).is_exit
    assert intent(**conditional, reduce_only=True).is_exit
    assert intent(**conditional, side="SELL", position_side="LONG").is_exit


BY_QUANTITY: dict[str, Any] = {"notional": None, "quantity": "0.01", "leverage": 5}


@pytest.mark.parametrize(
    ("fields", "reserve"),
    [
        ({"leverage": 5}, "50"),
        (BY_QUANTITY | {"price": "60000"}, "150"),
        (BY_QUANTITY, "0"),
        (BY_QUANTITY | LIMIT, "150"),
        (BY_QUANTITY | STOP, "150"),
        (BY_QUANTITY | TAKE_PROFIT, "150"),
        (BY_QUANTITY | STOP | {"price": "61000"}, "152.5"),
        (LIMIT | {"leverage": 5}, "50"),
        (STOP | {"leverage": 5}, "50"),
        (BY_QUANTITY | LIMIT | {"reduce_only": True}, "0"),
        (BY_QUANTITY | STOP | {"reduce_only": True}, "0"),
    ],
    ids=str,
)
def test_the_margin_to_reserve_with_a_quarter_more(fields: dict[str, Any], reserve: str) -> None:
    assert Protocol(Keyspace(), Policy()).reserve(intent(**fields)) == Decimal(reserve)
