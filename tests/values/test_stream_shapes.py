"""Every shape of a stream becomes the same intent; an unreadable one is an error, never a guess."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate import Intent, InvalidIntent

TIME_MS = 1_766_550_734_062
PAYLOAD: dict[str, Any] = {
    "symbol": "NEARUSDT",
    "side": "BUY",
    "confidence": 0.72,
    "entry_price": 1.465,
    "stop_loss": 1.4357,
    "take_profit": 1.4943000000000002,
    "position_size_usd": 200.0,
    "leverage": 1,
    "timestamp": "2025-12-24T04:32:14.062679",
    "model": "ensemble",
    "reason": "AI signal",
    "atr_value": 0.02,
    "volatility_factor": 0.5513439007580968,
    "regime": "unknown",
}


def changed(**changes: Any) -> dict[str, Any]:
    """The payload with changes; a field set to ... is left out."""
    return {name: value for name, value in (PAYLOAD | changes).items() if value is not ...}


def read(**changes: Any) -> Intent:
    return Intent.from_mapping(changed(**changes))


def in_bytes(entry: dict[str, Any]) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in entry.items()}


ENVELOPES: dict[str, Any] = {
    "payload": {
        "event_type": "trade.intent",
        "payload": json.dumps(PAYLOAD),
        "timestamp": "2025-12-24T04:40:00",
        "source": "ai-engine",
    },
    "data": {"data": json.dumps(PAYLOAD)},
    "flat": {name: str(value) for name, value in PAYLOAD.items()},
    "flat with numbers": PAYLOAD,
    "payload already read": {"payload": PAYLOAD, "event_type": "trade.intent"},
}
ENVELOPES |= {f"{name} in bytes": in_bytes(ENVELOPES[name]) for name in ("payload", "data", "flat")}


@pytest.mark.parametrize("name", ENVELOPES)
def test_every_envelope_carries_the_same_intent(name: str) -> None:
    intent = Intent.from_mapping(ENVELOPES[name])
    assert intent == Intent(
        id="NEARUSDT_2025-12-24T04:32:14.062679",
        symbol="NEARUSDT",
        side="BUY",
        notional="200",
        leverage=1,
        timestamp=TIME_MS,
    )
    assert intent.aside["model"] == "ensemble"
    assert intent.aside["regime"] == "unknown"
    assert "symbol" not in intent.aside


def test_numbers_in_json_lose_no_digit() -> None:
    text = '{"symbol":"BTCUSDT","side":"BUY","quantity":0.1234567890123456789,"timestamp":1766550734062,"id":"x"}'
    assert Intent.from_mapping({"data": text}).quantity == Decimal("0.1234567890123456789")


@pytest.mark.parametrize(
    ("fields", "side", "closes"),
    [
        ({"side": "BUY"}, "BUY", False),
        ({"side": "SELL"}, "SELL", False),
        ({"side": "LONG"}, "BUY", False),
        ({"side": "SHORT"}, "SELL", False),
        ({"side": ..., "action": "BUY"}, "BUY", False),
        ({"side": ..., "action": "LONG"}, "BUY", False),
        ({"side": ..., "action": "SHORT"}, "SELL", False),
        ({"side": "buy"}, "BUY", False),
        ({"side": " Sell "}, "SELL", False),
        ({"side": "BUY", "action": "BUY"}, "BUY", False),
        ({"side": "BUY", "action": "LONG"}, "BUY", False),
        ({"side": "SELL", "action": "CLOSE"}, "SELL", True),
        ({"side": "BUY", "action": "CLOSE"}, "BUY", True),
        ({"side": "LONG", "action": "CLOSE"}, "SELL", True),
        ({"side": "SHORT", "action": "CLOSE"}, "BUY", True),
        ({"side": "CLOSE", "position_side": "LONG"}, "SELL", True),
        ({"side": "CLOSE", "positionSide": "SHORT"}, "BUY", True),
        ({"side": ..., "action": "close", "position_side": "short"}, "BUY", True),
        ({"side": "CLOSE"}, "CLOSE", True),
        ({"side": ..., "action": "CLOSE"}, "CLOSE", True),
        ({"side": "CLOSE", "position_side": "BOTH"}, "CLOSE", True),
        ({"side": ..., "close_position": True}, "CLOSE", True),
        ({"side": ..., "closePosition": "true", "positionSide": "LONG"}, "SELL", True),
        ({"side": "BUY", "closePosition": 1}, "BUY", True),
    ],
    ids=str,
)
def test_directions(fields: dict[str, Any], side: str, closes: bool) -> None:
    intent = read(**fields)
    assert (intent.side, intent.reduce_only) == (side, closes)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"side": ...}, "side"),
        ({"side": "", "action": " "}, "side"),
        ({"side": "HOLD"}, "side"),
        ({"side": ..., "action": "EXIT"}, "action"),
        ({"side": 1}, "side"),
        ({"side": "BUY", "action": "SELL"}, "action"),
        ({"side": "BUY", "action": "SHORT"}, "action"),
        ({"side": "BUY", "position_side": "UP"}, "position_side"),
        ({"side": "SELL", "action": "CLOSE", "reduce_only": "false"}, "reduce_only"),
        ({"symbol": ...}, "symbol"),
        ({"symbol": 5}, "symbol"),
        ({"symbol": "nearusdt"}, "symbol"),
        ({"reduce_only": "maybe"}, "reduce_only"),
        ({"reduce_only": "true", "reduceOnly": False}, "reduceOnly"),
        ({"leverage": 0.5}, "leverage"),
        ({"ai_leverage": 0.5}, "ai_leverage"),
        ({"side": "LONG", "closePosition": True}, "side"),
        ({"leverage": "x"}, "leverage"),
        ({"ai_leverage": 0}, "ai_leverage"),
        ({"leverage": 500}, "leverage"),
        ({"timestamp": "24.12.2025"}, "timestamp"),
        ({"timestamp": [1]}, "timestamp"),
        ({"trace_id": ["x"]}, "trace_id"),
        ({"id": "has space"}, "id"),
        ({"entry_price": "none", "quantity": 5}, "entry_price"),
    ],
    ids=str,
)
def test_what_can_not_be_read_is_an_error_that_names_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        read(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["position_size_usd", "notional", "ai_size_usd", "quantity"])
@pytest.mark.parametrize("value", ["0", "-1", "NaN", "inf", "-Infinity", "lots", True, [], {}])
def test_a_size_that_can_not_be_read_is_an_error_wherever_it_stands(field: str, value: object) -> None:
    with pytest.raises(InvalidIntent) as caught:
        read(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_an_error(token: str) -> None:
    text = f'{{"symbol":"BTCUSDT","side":"BUY","notional":{token},"timestamp":1766550734062}}'
    with pytest.raises(InvalidIntent, match="payload"):
        Intent.from_mapping({"payload": text})


def test_no_size_is_an_error() -> None:
    with pytest.raises(InvalidIntent, match="notional"):
        read(position_size_usd=...)
    with pytest.raises(InvalidIntent, match="notional"):
        read(position_size_usd="")


@pytest.mark.parametrize(
    ("sizes", "notional", "quantity"),
    [
        ({"position_size_usd": 200.0}, "200", None),
        ({"position_size_usd": 200.0, "ai_size_usd": 150}, "150", None),
        ({"position_size_usd": ..., "quantity": "0.004"}, None, "0.004"),
        ({"position_size_usd": 200.0, "quantity": "0.004"}, None, "0.004"),
        ({"quantity": "102", "ai_size_usd": "150"}, "150", None),
        ({"quantity": "102", "ai_size_usd": "9", "side": "SELL", "reduce_only": True}, None, "102"),
        ({"position_size_usd": ..., "notional": "99.5"}, "99.5", None),
        ({"position_size_usd": 200.0, "ai_size_usd": ""}, "200", None),
        ({"position_size_usd": 200.0, "quantity": None}, "200", None),
    ],
    ids=str,
)
def test_sizes_and_their_precedence(sizes: dict[str, Any], notional: str | None, quantity: str | None) -> None:
    intent = read(**sizes)
    assert intent.notional == (None if notional is None else Decimal(notional))
    assert intent.quantity == (None if quantity is None else Decimal(quantity))


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({}, ()),
        ({"ai_size_usd": 200, "ai_leverage": 1}, ()),
        ({"ai_size_usd": 150}, ("ai_size_usd 150 goes before position_size_usd 200",)),
        ({"aiLeverage": 3}, ("aiLeverage 3 goes before leverage 1",)),
        ({"quantity": 5}, ("quantity 5 goes before position_size_usd 200",)),
        ({"qty": 102, "ai_size_usd": 150}, ("ai_size_usd 150 goes before qty 102",)),
        ({"leverage": "7.5"}, ("leverage 7.5 is rounded down to 7",)),
        (
            {"quantity": 5, "ai_size_usd": 150, "action": "CLOSE"},
            ("quantity 5 goes before ai_size_usd 150: an exit closes by quantity",),
        ),
    ],
    ids=str,
)
def test_what_reading_has_decided_is_told(fields: dict[str, Any], notes: tuple[str, ...]) -> None:
    assert read(**fields).notes == notes


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({}, "quantity: '5' doesn't agree with ai_size_usd 150: at 1.465 it comes to 7.325"),
        ({"entry_price": ...}, "quantity: '5' stands beside ai_size_usd 150, and no price says whether they agree"),
    ],
    ids=["another size", "no price"],
)
def test_a_size_of_the_ai_that_does_not_agree_with_the_quantity_is_an_error(
    prices: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidIntent) as caught:
        read(quantity=5, ai_size_usd=150, **prices)
    assert str(caught.value) == message


@pytest.mark.parametrize("exit_", [{"reduce_only": True}, {"action": "CLOSE"}, {"position_side": "LONG"}], ids=str)
@pytest.mark.parametrize("leverage", [7.5, 0, -1, "lots", 500, True, [], 10**5000], ids=type)
def test_no_leverage_can_deny_an_exit(exit_: dict[str, Any], leverage: object) -> None:
    for name in ("leverage", "ai_leverage"):
        intent = read(side="SELL", **exit_, **{name: leverage})
        assert intent.is_exit
        assert intent.leverage is None
    assert Intent(**AT, side="SELL", notional=1, leverage=leverage, reduce_only=True).leverage is None  # type: ignore[arg-type]


@pytest.mark.parametrize("price", [0, "none", -1])
def test_no_expected_price_can_deny_an_exit(price: object) -> None:
    assert read(side="SELL", reduce_only=True, quantity=5, entry_price=price).price is None


AT: dict[str, Any] = {"id": "sig-1", "symbol": "NEARUSDT", "timestamp": TIME_MS}


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "CLOSE"},
        {"side": "close"},
        {"closePosition": True},
        {"close_position": "true", "reduce_only": "true"},
        {"action": "CLOSE", "close-position": "1"},
    ],
    ids=str,
)
def test_a_close_without_side_and_size_is_all_that_is_open(fields: dict[str, Any]) -> None:
    intent = Intent.from_mapping({**AT, **fields})
    assert intent == Intent(**AT, side="CLOSE") == Intent(**AT, side="CLOSE", close_position=True)
    assert (intent.close_position, intent.reduce_only, intent.is_exit, intent.wants_position) == (
        True,
        True,
        True,
        True,
    )


@pytest.mark.parametrize("size", ["quantity", "qty", "position_size_usd", "ai_size_usd"])
@pytest.mark.parametrize("nothing", [0, "0.0", 0.0])
def test_a_size_of_nothing_beside_close_position_is_none(size: str, nothing: object) -> None:
    """The exchange itself wants quantity 0 there. Beside CLOSE alone it may be a share that was rounded away."""
    assert Intent.from_mapping({**AT, "closePosition": True, size: nothing}) == Intent(**AT, side="CLOSE")
    with pytest.raises(InvalidIntent, match=f"{size}: .* must be above zero"):
        Intent.from_mapping({**AT, "action": "CLOSE", size: nothing})


def test_a_close_with_a_side_needs_no_size_either() -> None:
    intent = Intent.from_mapping({**AT, "action": "CLOSE", "side": "SELL"})
    assert intent == Intent(**AT, side="SELL", close_position=True)
    assert intent == Intent.from_mapping({**AT, "side": "SELL", "closePosition": True})
    assert intent.wants_position


def test_a_close_with_a_size_closes_no_more() -> None:
    intent = Intent.from_mapping({**AT, "action": "CLOSE", "quantity": 5})
    assert (intent.side, intent.quantity, intent.close_position) == ("CLOSE", Decimal(5), False)
    intent = Intent.from_mapping({**AT, "closePosition": True, "side": "SELL", "quantity": 5})
    assert (intent.side, intent.quantity, intent.close_position, intent.wants_position) == (
        "SELL",
        Decimal(5),
        False,
        False,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"side": "SELL", "quantity": 1, "reduce_only": True},
        {"side": "BUY", "notional": 1},
        {"side": "SELL", "close_position": True, "order_type": "STOP_MARKET", "trigger_price": 1},
    ],
    ids=str,
)
def test_an_order_that_is_whole_wants_no_position(fields: dict[str, Any]) -> None:
    """Who places orders of their own asks this before they take side and quantity from the intent."""
    assert not Intent(**AT, **fields).wants_position


def test_closes_of_different_parts_have_different_fingerprints() -> None:
    orders = [
        Intent(**AT, side="CLOSE"),
        Intent(**AT, side="SELL", close_position=True),
        Intent(**AT, side="CLOSE", position_side="LONG"),
        Intent(**AT, side="CLOSE", quantity=1),
        Intent(**AT, side="SELL", quantity=1, reduce_only=True),
    ]
    assert len({intent.fingerprint for intent in orders}) == len(orders)


def test_a_close_of_all_has_no_size() -> None:
    with pytest.raises(InvalidIntent, match="quantity: 5 is given beside close_position, which closes all there is"):
        Intent(**AT, side="SELL", close_position=True, quantity=5)


@pytest.mark.parametrize(
    ("leverages", "leverage"),
    [
        ({"leverage": 5}, 5),
        ({"leverage": "5"}, 5),
        ({"leverage": 5.0}, 5),
        ({"leverage": 7.5}, 7),
        ({"leverage": "7.999"}, 7),
        ({"leverage": 5, "ai_leverage": 3}, 3),
        ({"leverage": ..., "ai_leverage": "3"}, 3),
        ({"leverage": 5, "ai_leverage": ""}, 5),
        ({"leverage": ...}, None),
    ],
    ids=str,
)
def test_leverage_and_its_precedence(leverages: dict[str, Any], leverage: int | None) -> None:
    assert read(**leverages).leverage == leverage


@pytest.mark.parametrize("name", ["reduce_only", "reduceOnly"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        ("true", True),
        ("True", True),
        ("1", True),
        (1, True),
        (False, False),
        ("false", False),
        ("", False),
    ],
)
def test_reduce_only_in_every_notation(name: str, value: object, expected: bool) -> None:
    assert read(**{name: value}).reduce_only is expected


def test_reduce_only_that_is_not_there_is_an_entry() -> None:
    assert not read().reduce_only


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        ("2025-12-24T04:32:14.062679", TIME_MS),
        ("2025-12-24 04:32:14.062679", TIME_MS),
        ("2025-12-24T04:32:14.062679Z", TIME_MS),
        ("2025-12-24T06:32:14.062679+02:00", TIME_MS),
        ("2025-12-23T23:32:14.062-05:00", TIME_MS),
        (1_766_550_734, 1_766_550_734_000),
        (1_766_550_734.062, TIME_MS),
        ("1766550734.062", TIME_MS),
        (TIME_MS, TIME_MS),
        (str(TIME_MS), TIME_MS),
        (float(TIME_MS), TIME_MS),
    ],
)
def test_times_in_every_notation(value: object, expected_ms: int) -> None:
    assert read(timestamp=value).timestamp_ms == expected_ms


@pytest.mark.parametrize("value", ["", "  ", None, ...], ids=str)
def test_a_time_that_is_not_there_is_an_error_unless_the_caller_knows_when_it_came(value: object) -> None:
    with pytest.raises(InvalidIntent, match="timestamp"):
        read(timestamp=value, id="sig-1")
    entry = changed(timestamp=value, id="sig-1")
    assert Intent.from_mapping(entry, received_ms=TIME_MS).timestamp_ms == TIME_MS
    with pytest.raises(InvalidIntent, match="id"):
        Intent.from_mapping(changed(timestamp=value), received_ms=TIME_MS)


def test_the_time_of_the_envelope_stands_in_for_an_empty_one_inside() -> None:
    entry = {"payload": json.dumps(changed(timestamp="")), "timestamp": "2025-12-24T04:32:14.062Z"}
    assert Intent.from_mapping(entry).timestamp_ms == TIME_MS


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"id": "a", "intent_id": "b", "trace_id": "c"}, "a"),
        ({"intent_id": "b", "trace_id": "c"}, "b"),
        ({"trace_id": "c"}, "c"),
        ({"id": "", "trace_id": "c"}, "c"),
        ({"id": 81}, "81"),
        ({}, "NEARUSDT_2025-12-24T04:32:14.062679"),
        ({"timestamp": "2025-12-24 04:32:14"}, "NEARUSDT_2025-12-24T04:32:14"),
        ({"timestamp": TIME_MS}, f"NEARUSDT_{TIME_MS}"),
    ],
    ids=str,
)
def test_the_id_and_what_stands_in_for_it(ids: dict[str, Any], expected: str) -> None:
    assert read(**ids).id == expected


@pytest.mark.parametrize(
    "entry",
    [{"payload": "{"}, {"data": "[]"}, {"data": "null"}, {"payload": 5}, {"data": b"\xff"}, {}, {b"\xff": b""}],
    ids=repr,
)
def test_an_envelope_that_can_not_be_opened_is_an_error(entry: dict[Any, Any]) -> None:
    with pytest.raises(InvalidIntent):
        Intent.from_mapping(entry)


_names = st.sampled_from(
    [
        *(*PAYLOAD, "action", "quantity", "ai_size_usd", "ai_leverage", "reduceOnly", "positionSide", "id", "payload"),
        *("ts", "order_type", "price", "timeInForce", "stop_price", "workingType"),
        *("type", "close", "closePosition", "qty", "params", "amount", "callbackRate", "post-only"),
    ]
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.datetimes(),
    st.sampled_from(
        [
            "BUY",
            "CLOSE",
            "LONG",
            "LIMIT",
            "STOP_MARKET",
            "GTC",
            "NaN",
            "1e9999",
            "0001-01-01T00:00+23:59",
            "9999-12-31T23:59-23:59",
        ]
    ),
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=5
)


def read_or_refused(entry: dict[Any, Any]) -> Intent | None:
    """The intent, or None for InvalidIntent. Any other exception goes through."""
    try:
        return Intent.from_mapping(entry)
    except InvalidIntent:
        return None


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_names, _values, max_size=8))
def test_whatever_a_stream_carries_it_is_an_intent_or_an_invalid_intent(changes: dict[str, Any]) -> None:
    intent = read_or_refused(PAYLOAD | changes)
    assert intent is None or (intent.notional is None) != (intent.quantity is None)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.one_of(st.text(max_size=8), st.binary(max_size=8)), _values, max_size=8))
def test_whatever_else_a_stream_carries_it_is_no_other_error(entry: dict[Any, Any]) -> None:
    read_or_refused(entry)


@pytest.mark.parametrize("field", ["id", "timestamp", "position_size_usd", "leverage", "reduce_only", "side", "model"])
def test_a_number_of_thousands_of_digits_is_no_other_error(field: str) -> None:
    for digits in (20, 400, 4_000, 5_000):
        read_or_refused({"data": json.dumps(changed(**{field: "HERE"})).replace('"HERE"', "9" * digits)})


@pytest.mark.parametrize("field", ["id", "timestamp", "position_size_usd", "leverage", "reduce_only", "side", "symbol"])
def test_a_number_that_python_can_not_print_is_no_other_error(field: str) -> None:
    read_or_refused(changed(**{field: 10**5000}))
