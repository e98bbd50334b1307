"""A stream's fields for an order's type become its terms; a doubt is an error, never a guess."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from gate import Intent, InvalidIntent
from gate.values.stream_words import TERMS, Term, letters

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


MARKET: dict[str, Any] = {"order_type": "MARKET"}
STRAY: dict[str, Any] = {
    "trigger_price": (1.43, "STOP_MARKET and TAKE_PROFIT_MARKET"),
    "stopPrice": ("1.42", "STOP_MARKET and TAKE_PROFIT_MARKET"),
    "limit-price": (1.46, "LIMIT"),
    "timeInForce": ("GTX", "LIMIT"),
    "tif": ("FOK", "LIMIT"),
}


@pytest.mark.parametrize("terms", [{}, MARKET, LIMIT, STOP], ids=["none", "MARKET", "LIMIT", "STOP_MARKET"])
@pytest.mark.parametrize("name", STRAY)
def test_a_term_of_another_order_type_is_an_error_that_names_it(terms: dict[str, Any], name: str) -> None:
    """It was put aside: a stop without a type that is understood sold at the market at once."""
    value, takers = STRAY[name]
    order_type = terms.get("order_type", "MARKET")
    if order_type in takers:
        return
    for exit_ in ({}, {"side": "SELL", "reduce_only": True}):
        with pytest.raises(InvalidIntent) as caught:
            read(**terms, **exit_, **{name: value})
        assert str(caught.value) == (
            f"{name}: {value!r} is for {takers} orders; leave it out, or give order_type, which is {order_type} here"
        )


@pytest.mark.parametrize("value", ["", " ", None, 0, "0", "0.00", 0.0, "none", "NULL", float("nan"), False], ids=str)
@pytest.mark.parametrize("terms", [MARKET, LIMIT, STOP], ids=["MARKET", "LIMIT", "STOP_MARKET"])
def test_a_term_of_another_order_type_that_says_nothing_changes_nothing(terms: dict[str, Any], value: object) -> None:
    """The exchange itself writes stopPrice 0 beside a market order."""
    strays = {"stopPrice": value, "limitPrice": value, "callbackRate": value, "priceMatch": value}
    if terms is LIMIT:
        del strays["limitPrice"]
    if terms is STOP:
        del strays["stopPrice"]
    assert read(**terms, **strays) == read(**terms)


@pytest.mark.parametrize("word", ["GTC", "ioc"])
def test_a_market_order_may_say_that_it_does_not_wait(word: str) -> None:
    assert read(**MARKET, time_in_force=word) == read()
    assert read(time_in_force=word) == read(), "without a price it can't be a limit order"


def test_a_price_and_a_duration_without_a_type_are_no_market_order() -> None:
    with pytest.raises(InvalidIntent, match="time_in_force: 'GTC' beside a price means a LIMIT order; say which"):
        read(price=1.46, time_in_force="GTC")


def test_what_triggers_is_told_where_nothing_waits_for_a_trigger() -> None:
    intent = read(workingType="MARK_PRICE")
    assert intent.notes == ("workingType MARK_PRICE changes nothing in a MARKET order",)
    assert "workingType" not in intent.aside


SPELLED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "stop-market", "stopPrice": 1.43}, STOP),
    ({"type": "Stop Market", "STOP_PRICE": 1.43}, STOP),
    ({"type": "stopMarket", "stop-price": 1.43}, STOP),
    ({"Type": "STOP_MARKET", "StopPrice": 1.43}, STOP),
    ({"ORDERTYPE": "take-profit market", "trigger price": 1.43}, {**STOP, "order_type": "TAKE_PROFIT_MARKET"}),
    ({"order-type": "limit order", "Limit-Price": 1.46, "time-in-force": "Ioc"}, {**LIMIT, "time_in_force": "IOC"}),
    ({"type": "LIMIT_MAKER", "price": 1.46}, {**LIMIT, "time_in_force": "GTX"}),
    ({"type": "limit-maker", "price": 1.46, "timeInForce": "GTX"}, {**LIMIT, "time_in_force": "GTX"}),
    ({"side": "SELL", "reduceonly": True}, {"side": "SELL", "reduce_only": True}),
    ({"side": "SELL", "reduce-only": "True"}, {"side": "SELL", "reduce_only": True}),
    ({"side": "SELL", "REDUCE_ONLY": 1}, {"side": "SELL", "reduce_only": True}),
    ({"side": "SELL", "isExit": "true"}, {"side": "SELL", "reduce_only": True}),
    ({"order_kind": "limit", "limit": 1.46}, LIMIT),
    ({"type": "stop-market", "trigger": "1.43"}, STOP),
    ({"side": "SELL", "exit_only": "yes"}, {"side": "SELL", "reduce_only": True}),
    ({"side": "SELL", "close": True}, {"side": "SELL", "reduce_only": True}),
    ({"position_size_usd": ..., "qty": 5}, {"position_size_usd": ..., "quantity": 5}),
    ({"position_size_usd": ..., "Qty": "5"}, {"position_size_usd": ..., "quantity": 5}),
    ({"position_size_usd": ..., "origQty": 5}, {"position_size_usd": ..., "quantity": 5}),
    ({"position_size_usd": ..., "positionSizeUsd": 200}, {}),
    ({"side": ..., "Side": "long"}, {}),
    ({"position-side": "long"}, {"position_side": "LONG"}),
    ({"leverage": ..., "Leverage": 1}, {}),
    ({**STOP, "working type": "mark price"}, {**STOP, "working_type": "MARK_PRICE"}),
    ({"symbol": ..., "Symbol": "NEARUSDT"}, {}),
    ({"intentId": "sig-1"}, {"intent_id": "sig-1"}),
]


@pytest.mark.parametrize(("said", "means"), SPELLED, ids=str)
def test_a_term_is_understood_in_every_spelling(said: dict[str, Any], means: dict[str, Any]) -> None:
    intent = read(**said)
    assert intent == read(**means)
    assert not {name for name, value in said.items() if value is not ...} & set(intent.aside)


@pytest.mark.parametrize("term", [each for each in TERMS if each.name != "expected price"], ids=lambda term: term.name)
def test_no_word_of_the_table_is_put_aside(term: Term) -> None:
    """Whatever stands there: it is read, or an error that names it."""
    for word in term.words:
        for spelling in {word, word.upper(), word.replace("_", "-"), word.replace("_", " ").title(), letters(word)}:
            value = {"type": "STOP_MARKET", "limit": 7, "trigger": 7, "force": "fok"}.get(word, True)
            entry = {name: said for name, said in PAYLOAD.items() if letters(name) != letters(word)}
            try:
                named = spelling not in Intent.from_mapping({**entry, spelling: value}).aside
            except InvalidIntent as invalid:
                # Of a conditional order it is the trigger price that is missing.
                named = invalid.field == spelling or invalid.missing
            assert named, spelling


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"callbackRate": 1}, "callbackRate: 1 asks for a trailing stop, which the gate doesn't place"),
        ({"activate_price": "1.4"}, "activate_price: '1.4' asks for a trailing stop, which the gate doesn't place"),
        ({"postOnly": True}, "postOnly: True asks for a post-only order: write order_type LIMIT, time_in_force GTX"),
        ({"goodTillDate": 1_766_550_734_062}, "goodTillDate: 1766550734062 asks for an order that ends by itself"),
        ({"type": "LIMIT_MAKER", "price": 1.4, "tif": "GTC"}, "tif: 'GTC' contradicts LIMIT_MAKER, which is LIMIT"),
        ({"type": "stop"}, "type: 'stop' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET"),
        ({"type": "sl"}, "type: 'sl' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET"),
        ({"type": "OCO"}, "type: 'OCO' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET"),
        ({"order-type": "signal"}, "order-type: 'signal' is not one of MARKET, LIMIT, STOP_MARKET"),
        ({"params": {"reduceOnly": True}}, "holds reduceOnly; put terms of the order beside symbol"),
        ({"params": '{"reduceOnly": true}'}, "holds reduceOnly; put terms of the order beside symbol"),
        ({"extra": '{"reduceOnly": true}'}, "holds reduceOnly; put terms of the order beside symbol"),
        ({"order.reduceOnly": "perhaps"}, "isn't a name that is known; give reduce_only or action CLOSE for an exit"),
        ({"exit": "1"}, "exit: '1' may be a flag or a figure; give reduce_only or action CLOSE for an exit"),
        ({"close": 1}, "close: 1 may be a flag or a figure; give reduce_only or action CLOSE for an exit"),
        (
            {"is_close": True},
            "is_close: True may say that the order closes; give reduce_only or action CLOSE",
        ),
        ({"limit": 1.4}, "limit: 1.4 is for LIMIT orders; leave it out, or give order_type, which is MARKET here"),
        ({"trigger": "1.4"}, "trigger: '1.4' is for STOP_MARKET and TAKE_PROFIT_MARKET orders; leave it out"),
        ({"is_close": 1.0}, "is_close: 1.0 may say that the order closes; give reduce_only or action CLOSE"),
        ({"is_entry": False}, "is_entry: False may say that the order closes; give reduce_only or action CLOSE"),
        ({"flatten": "yes"}, "flatten: 'yes' may say that the order closes; give reduce_only or action CLOSE"),
        ({"position_effect": "close"}, "position_effect: 'close' says exit, and nothing else does"),
        ({"offset": "CLOSE"}, "offset: 'CLOSE' says exit, and nothing else does"),
        ({"execInst": "ReduceOnly,LastPrice"}, "execInst: 'ReduceOnly,LastPrice' says exit, and nothing else does"),
        ({"flags": ["post", "reduce_only"]}, "says exit, and nothing else does"),
        ({"limit": "1,400"}, "limit: '1,400' is for LIMIT orders; leave it out"),
        ({"trigger": "<60000"}, "trigger: '<60000' is for STOP_MARKET and TAKE_PROFIT_MARKET orders"),
        ({"limit": {"price": 1.4}}, "holds price; put terms of the order beside symbol"),
        ({"is_exit": "Y"}, "is_exit: 'Y' is not true or false"),
        ({"type": "exit"}, "type: 'exit' says exit, and nothing else does; give reduce_only or action CLOSE"),
        ({"signal_type": "CLOSE_LONG"}, "says exit, and nothing else does; give reduce_only or action CLOSE"),
        ({"type": "BUY_LIMIT"}, "type: 'BUY_LIMIT' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET"),
        ({"type": "FOK"}, "type: 'FOK' is not one of MARKET, LIMIT, STOP_MARKET, TAKE_PROFIT_MARKET"),
        ({"reduceonly": "perhaps"}, "reduceonly: 'perhaps' is not true or false"),
        ({"qty": 5, "quantity": 6}, "qty: 5 contradicts quantity 6"),
        ({"notional": 199}, "notional: 199 contradicts position_size_usd 200.0"),
    ],
    ids=str,
)
def test_a_term_that_is_not_understood_is_an_error_that_names_it(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        read(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    {
        "reduce_onyl": "reduce_only",
        "redueOnly": "reduce_only",
        "order_typ": "order_type",
        "levrage": "leverage",
        "quantityy": "quantity",
        "trigger-prize": "trigger_price",
        "position_size_usdt": "position_size_usd",
    }.items(),
)
def test_a_name_that_is_one_slip_from_a_term_is_an_error_that_names_it(name: str, meant: str) -> None:
    with pytest.raises(InvalidIntent, match=f"^{name}: .* is one slip from {meant}; write that"):
        read(**{name: "7"})
    assert read(**{name: 0}).aside[name] == 0, "it says nothing"
    an_exit = {name: "7", "reduce_only": True, "side": "SELL", "action": ...}
    if meant == "trigger_price":
        with pytest.raises(InvalidIntent, match=f"is one slip from {meant}"):
            read(**an_exit)
    else:
        assert read(**an_exit).is_exit, "an exit isn't denied for it"


def test_names_of_a_strategys_own_are_no_slips() -> None:
    own = {
        "position_id": "7",
        "exit_price": 1.5,
        "position_type": "swing",
        "avg_price": 1,
        "max_quantity": 3,
        "prices": 2,
        "triggers": "rsi",
        "is_closed": True,
        "confidence_pct": 70,
        "stop_loss_pct": 2,
        "win_ratio": 0.6,
        "price_source": "close",
        "regime": "flat",
        "is_open": False,
        "candle_closed": True,
        "exit_strategy": "trailing",
        "close_price": 1.4,
        "exit_type": "stop_loss",
        "reason": "take_profit",
        "mode": "live",
        "trailing_stop": 0.5,
        "volume": 12.5,
        "base_asset": "NEAR",
        "quote": "USDT",
        "post": True,
        "strategy_type": "limit",
    }
    assert read(**own).aside.keys() >= own.keys()


@pytest.mark.parametrize("value", ["1", 1, "true", True])
def test_is_exit_is_a_flag_whatever_it_holds(value: object) -> None:
    assert read(is_exit=value).is_exit


@pytest.mark.parametrize("value", ["rsi_cross", True, "", {"rsi": 70}], ids=str)
def test_the_name_of_a_rule_is_no_price(value: object) -> None:
    assert read(trigger=value, limit=value) == read()


def test_what_may_say_exit_does_not_deny_an_exit() -> None:
    assert read(reduce_only=True, side="SELL", action=..., exit="1", type="exit", is_close=1, max_leverage=3).is_exit


def test_an_entry_whose_only_leverage_has_another_name_is_an_error() -> None:
    """It would go out at whatever leverage the exchange has."""
    with pytest.raises(InvalidIntent, match="max_leverage: 3 is no name of the order's leverage; give leverage"):
        read(max_leverage=3, leverage=..., ai_leverage=...)
    assert read(max_leverage=3).aside["max_leverage"] == 3


@pytest.mark.parametrize(
    "name", ["size", "amount", "Amount", "size_usd", "pct_close", "reduce_by_pct", "close_half", "ratio"]
)
def test_a_size_without_a_unit_is_an_error_where_there_is_no_other(name: str) -> None:
    for what in ({}, {"side": "CLOSE"}):
        with pytest.raises(InvalidIntent, match=f"{name}: 5 has no unit that is known; give quantity or notional"):
            read(**{**what, name: 5}, position_size_usd=...)
    assert read(**{name: 5}).aside[name] == 5


@pytest.mark.parametrize("name", ["close", "exit", "reduce"])
@pytest.mark.parametrize("value", [1.465, 2, "2", {"rsi": 70}, "soon"], ids=str)
def test_what_a_producer_observed_is_no_term(name: str, value: object) -> None:
    assert read(**{name: value}) == read()
    assert read(**{name: value}).aside[name] == value


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


def test_a_market_order_that_closes_the_position_is_an_exit_too() -> None:
    intent = read(side="SELL", closePosition=True)

    assert (intent.reduce_only, intent.close_position, intent.notional) == (True, False, Decimal(200))
    assert "closePosition" not in intent.aside


@pytest.mark.parametrize(("said", "read"), [("stop_market", "STOP_MARKET"), ("MARKET", "MARKET")])
def test_the_exchanges_own_name_of_the_order_type_is_read_where_it_says_one(said: str, read: str) -> None:
    entry = _stop(type=said, trigger_price="60000" if read != "MARKET" else 0)
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
    del entry["order_type"], entry["trigger_price"]

    intent = Intent.from_mapping(entry)

    assert intent.order_type == "MARKET"
    assert intent.aside["type"] == said


def test_two_names_of_the_order_type_must_agree() -> None:
    with pytest.raises(InvalidIntent, match="contradicts"):
        Intent.from_mapping(_stop(type="LIMIT", price="60000"))
