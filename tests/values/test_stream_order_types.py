"""A stream's fields for an order's type become its terms; a doubt is an error, never a guess."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from gate import Intent, InvalidIntent

PAYLOAD: dict[str, Any] = {
    "symbol": "NEARUSDT",
    "side": "BUY",
    "entry_price": 1.465,
    "stop_loss": 1.4357,
    "take_profit": 1.4943000000000002,
    "position_size_usd": 200.0,
    "leverage": 1,
    "timestamp": "2025-12-24T04:32:14.062679",
    "model": "ensemble",
}
LIMIT: dict[str, Any] = {"order_type": "LIMIT", "price": 1.46}
STOP: dict[str, Any] = {"order_type": "STOP_MARKET", "trigger_price": 1.43}


def changed(**changes: Any) -> dict[str, Any]:
    """The payload with changes; a field set to ... is left out."""
    return {name: value for name, value in (PAYLOAD | changes).items() if value is not ...}


def read(**changes: Any) -> Intent:
    return Intent.from_mapping(changed(**changes))


@pytest.mark.parametrize("name", ["order_type", "orderType"])
@pytest.mark.parametrize("word", ["LIMIT", "limit", " Limit "])
def test_the_order_type_in_every_notation(name: str, word: str) -> None:
    intent = read(**{name: word}, price=1.46)
    assert (intent.order_type, intent.price, intent.time_in_force) == ("LIMIT", Decimal("1.46"), "GTC")
    assert name not in intent.aside


@pytest.mark.parametrize("word", [..., None, "", "  ", "MARKET", "market"])
def test_an_order_type_that_is_not_there_is_market(word: object) -> None:
    assert read(order_type=word) == read()
    assert read(order_type=word).order_type == "MARKET"


@pytest.mark.parametrize("name", ["trigger_price", "triggerPrice", "stop_price", "stopPrice"])
@pytest.mark.parametrize("order_type", ["stop_market", "TAKE_PROFIT_MARKET"])
def test_the_trigger_price_under_every_name(name: str, order_type: str) -> None:
    intent = read(**{name: "1.43"}, order_type=order_type)
    assert (intent.order_type, intent.trigger_price) == (order_type.upper(), Decimal("1.43"))
    assert intent.working_type == "CONTRACT_PRICE"
    assert name not in intent.aside


@pytest.mark.parametrize("name", ["working_type", "workingType"])
def test_the_working_type_under_every_name(name: str) -> None:
    assert read(**STOP, **{name: "mark_price"}).working_type == "MARK_PRICE"
    assert read(**STOP, **{name: ""}).working_type == "CONTRACT_PRICE"


@pytest.mark.parametrize("name", ["time_in_force", "timeInForce"])
def test_the_time_in_force_under_every_name(name: str) -> None:
    assert read(**LIMIT, **{name: "ioc"}).time_in_force == "IOC"
    assert read(**LIMIT, **{name: ""}).time_in_force == "GTC"


@pytest.mark.parametrize("size", [{}, {"position_size_usd": ..., "quantity": 5}], ids=["notional", "quantity"])
@pytest.mark.parametrize(
    "prices",
    [
        {"price": 1.46},
        {"limit_price": "1.46"},
        {"limitPrice": 1.46},
        {"limit_price": 1.46, "price": "1.460"},
        {"limit_price": 1.46, "price": ""},
    ],
    ids=str,
)
def test_the_price_of_a_limit_order_under_every_name(size: dict[str, Any], prices: dict[str, Any]) -> None:
    assert read(order_type="LIMIT", **size, **prices).price == Decimal("1.46")


def test_a_price_that_was_observed_is_no_limit() -> None:
    with pytest.raises(InvalidIntent) as caught:
        read(order_type="LIMIT")
    assert str(caught.value) == "price: is missing; a LIMIT order needs price or limit_price"
    assert read(**LIMIT).aside["entry_price"] == 1.465


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"order_type": "STOP"},
            "order_type: 'STOP' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET",
        ),
        (
            {"orderType": "TRAILING_STOP_MARKET"},
            "orderType: 'TRAILING_STOP_MARKET' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET",
        ),
        ({"order_type": 1}, "order_type: 1 is not text"),
        ({"order_type": "MARKET", "orderType": "LIMIT"}, "orderType: 'LIMIT' contradicts order_type 'MARKET'"),
        (LIMIT | {"timeInForce": "GTD"}, "timeInForce: 'GTD' is not one of GTC, IOC, FOK, GTX"),
        (
            LIMIT | {"time_in_force": "GTC", "timeInForce": "IOC"},
            "timeInForce: 'IOC' contradicts time_in_force 'GTC'",
        ),
        (LIMIT | {"limit_price": 1.45}, "price: 1.46 contradicts limit_price 1.45"),
        (LIMIT | {"limit_price": 1.45, "limitPrice": 1.46}, "limitPrice: 1.46 contradicts limit_price 1.45"),
        (LIMIT | {"limit_price": "none"}, "limit_price: 'none' is not a number"),
        (LIMIT | {"price": "nan"}, "price: 'nan' is not finite"),
        ({"order_type": "STOP_MARKET"}, "trigger_price: is missing; a STOP_MARKET order needs one"),
        (STOP | {"stop_price": 1.42}, "stop_price: 1.42 contradicts trigger_price 1.43"),
        (STOP | {"stopPrice": 0}, "stopPrice: 0 must be above zero"),
        (STOP | {"workingType": "LAST"}, "workingType: 'LAST' is not one of CONTRACT_PRICE, MARK_PRICE"),
        (
            STOP | {"working_type": "MARK_PRICE", "workingType": "CONTRACT_PRICE"},
            "workingType: 'CONTRACT_PRICE' contradicts working_type 'MARK_PRICE'",
        ),
    ],
    ids=str,
)
def test_terms_of_an_order_that_leave_a_doubt_are_an_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        read(**fields)
    assert str(caught.value) == message


STRAY: dict[str, Any] = {
    "trigger_price": 1.43,
    "triggerPrice": "none",
    "stop_price": 0,
    "stopPrice": "1.42",
    "working_type": "LAST",
    "workingType": "MARK_PRICE",
    "time_in_force": "GTC",
    "timeInForce": "GTD",
    "limit_price": 1.46,
    "limitPrice": "none",
}
USED_BY: dict[str, tuple[str, ...]] = {
    "MARKET": (),
    "LIMIT": ("time_in_force", "timeInForce", "limit_price", "limitPrice"),
    "STOP_MARKET": ("trigger_price", "triggerPrice", "stop_price", "stopPrice", "working_type", "workingType"),
    "TAKE_PROFIT_MARKET": ("trigger_price", "triggerPrice", "stop_price", "stopPrice", "working_type", "workingType"),
}


@pytest.mark.parametrize(
    ("order_type", "name"),
    [(order_type, name) for order_type, used in USED_BY.items() for name in STRAY if name not in used],
)
def test_a_term_of_another_order_type_is_ignored_unread(order_type: str, name: str) -> None:
    terms = {"MARKET": {}, "LIMIT": LIMIT}.get(order_type, STOP | {"order_type": order_type})
    without, stray = read(**terms), read(**terms, **{name: STRAY[name]})
    assert stray == without
    assert stray.fingerprint == without.fingerprint
    assert stray.aside == {**without.aside, name: STRAY[name]}


@pytest.mark.parametrize("terms", [{}, LIMIT, STOP], ids=["MARKET", "LIMIT", "STOP_MARKET"])
def test_a_plan_for_the_position_is_no_trigger(terms: dict[str, Any]) -> None:
    intent = read(**terms)
    assert (intent.aside["stop_loss"], intent.aside["take_profit"]) == (1.4357, 1.4943000000000002)


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"quantity": 5}, "1.465"),
        ({"quantity": 5, "price": 1.46}, "1.46"),
        ({"price": "none"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_price_that_is_expected_is_read_beside_a_quantity(fields: dict[str, Any], price: str | None) -> None:
    for terms in ({}, STOP):
        intent = read(**fields, **terms)
        assert intent.price == (None if price is None else Decimal(price))
        assert not {"price", "entry_price"} & set(intent.aside)


@pytest.mark.parametrize("envelope", ["payload", "data", "flat"])
def test_every_envelope_carries_the_terms_of_an_order(envelope: str) -> None:
    limit = changed(orderType="limit", limitPrice="1.46", timeInForce="GTX")
    stop = changed(orderType="stop_market", stopPrice="1.43", workingType="mark_price")
    for said, terms in (
        (limit, {"order_type": "LIMIT", "price": "1.46", "time_in_force": "GTX"}),
        (stop, {"order_type": "STOP_MARKET", "trigger_price": "1.43", "working_type": "MARK_PRICE"}),
    ):
        entry = said if envelope == "flat" else {envelope: json.dumps(said)}
        in_bytes: dict[Any, Any] = {name.encode(): str(value).encode() for name, value in entry.items()}
        assert Intent.from_mapping(in_bytes) == Intent(
            id="NEARUSDT_2025-12-24T04:32:14.062679",
            symbol="NEARUSDT",
            side="BUY",
            notional="200",
            leverage=1,
            timestamp=1_766_550_734_062,
            **terms,  # type: ignore[arg-type]
        )


def _stop(**more: object) -> dict[str, object]:
    terms = {"order_type": "STOP_MARKET", "trigger_price": "60000", "quantity": "0.01"}
    return {"id": "x", "symbol": "BTCUSDT", "side": "SELL", "timestamp": 1_700_000_000_000, **terms, **more}


@pytest.mark.parametrize("name", ["closePosition", "close_position"])
def test_a_conditional_order_that_closes_the_position_only_reduces(name: str) -> None:
    assert Intent.from_mapping(_stop(**{name: "true"})).reduce_only
    assert not Intent.from_mapping(_stop(**{name: False})).reduce_only
    with pytest.raises(InvalidIntent, match="close_position: True contradicts reduce_only False"):
        Intent.from_mapping(_stop(**{name: True}, reduce_only=False))


def test_beside_a_market_order_close_position_says_nothing_that_the_gate_reads() -> None:
    market = {**_stop(closePosition=True), "order_type": "MARKET"}

    assert not Intent.from_mapping(market).reduce_only
    assert Intent.from_mapping(market).aside["closePosition"] is True


@pytest.mark.parametrize(("said", "read"), [("stop_market", "STOP_MARKET"), ("MARKET", "MARKET")])
def test_the_exchanges_own_name_of_the_order_type_is_read_where_it_says_one(said: str, read: str) -> None:
    entry = _stop(type=said)
    del entry["order_type"]

    intent = Intent.from_mapping(entry)

    assert intent.order_type == read
    assert "type" not in intent.aside


@pytest.mark.parametrize("said", ["STOP", "take_profit", "TRAILING_STOP_MARKET"])
def test_an_order_type_of_the_exchanges_that_is_not_supported_is_no_market_order(said: str) -> None:
    entry = _stop(type=said)
    del entry["order_type"]

    with pytest.raises(InvalidIntent, match=r"type: .* is not one of MARKET, LIMIT"):
        Intent.from_mapping(entry)


@pytest.mark.parametrize("said", ["signal", "", 7, None])
def test_another_meaning_of_type_stays_aside(said: object) -> None:
    entry = _stop(type=said)
    del entry["order_type"]

    intent = Intent.from_mapping(entry)

    assert intent.order_type == "MARKET"
    assert intent.aside["type"] == said


def test_two_names_of_the_order_type_must_agree() -> None:
    with pytest.raises(InvalidIntent, match="contradicts"):
        Intent.from_mapping(_stop(type="LIMIT", price="60000"))
