"""An intent is checked whole on the way in, and every error names the field and the value."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate import Intent, InvalidIntent

NOW_MS = 1_766_550_734_062
GOOD: dict[str, Any] = {"id": "sig-81", "symbol": "BTCUSDT", "side": "BUY", "notional": "200", "timestamp": NOW_MS}


def intent(**changes: Any) -> Intent:
    return Intent(**{name: value for name, value in (GOOD | changes).items() if value is not ...})


BAD: list[tuple[str, object]] = [
    ("close_position", "yes"),
    ("close_position", 1),
    ("side", "HOLD"),
    ("side", "buy"),
    ("side", "LONG"),
    ("side", ""),
    ("side", None),
    ("notional", "0"),
    ("notional", 0),
    ("notional", "-1"),
    ("notional", -0.5),
    ("notional", "NaN"),
    ("notional", "nan"),
    ("notional", float("nan")),
    ("notional", Decimal("sNaN")),
    ("notional", "inf"),
    ("notional", "Infinity"),
    ("notional", float("inf")),
    ("notional", float("-inf")),
    ("notional", "two hundred"),
    ("notional", ""),
    ("notional", "1_000"),
    ("notional", "1,000"),
    ("notional", "٢٠٠"),
    ("notional", True),
    ("notional", [200]),
    ("notional", "1e400"),
    ("notional", "1e-400"),
    ("notional", 10**400),
    ("notional", "1.00000000000000000000000000001"),
    ("id", ""),
    ("id", "x" * 129),
    ("id", "sig 81"),
    ("id", "sig\t81"),
    ("id", "sig\n81"),
    ("id", "sig\x0081"),
    ("id", "sig\x7f"),
    ("id", "sig\u00a081"),
    ("id", "sig\ud800"),
    ("id", 81),
    ("id", None),
    ("symbol", ""),
    ("symbol", "B"),
    ("symbol", "btcusdt"),
    ("symbol", "BTC/USDT"),
    ("symbol", "BTCUSDT "),
    ("symbol", "BTCUSDT\n"),
    ("symbol", "BTC:USDT"),
    ("symbol", "X" * 31),
    ("symbol", "БТЦUSDT"),
    ("symbol", "ＢＴＣUSDT"),
    ("symbol", "币 安USDT"),
    ("symbol", "币安:USDT"),
    ("symbol", "\uf900USDT"),
    ("symbol", "币" * 31),
    ("symbol", None),
    ("timestamp", "2025-12-24T04:32:14.062679"),
    ("timestamp", datetime(2025, 12, 24, 4, 32)),  # noqa: DTZ001  # naive on purpose
    ("timestamp", "yesterday"),
    ("timestamp", ""),
    ("timestamp", None),
    ("timestamp", True),
    ("timestamp", 0),
    ("timestamp", -1),
    ("timestamp", float("nan")),
    ("timestamp", float("inf")),
    ("timestamp", 1e300),
    ("timestamp", "2025-13-01T00:00:00Z"),
    ("timestamp", "1999-12-31T23:59:59Z"),
    ("timestamp", "2100-01-01T00:00:00Z"),
    ("leverage", 0),
    ("leverage", -5),
    ("leverage", 126),
    ("leverage", 5.0),
    ("leverage", "5"),
    ("leverage", True),
    ("reduce_only", "true"),
    ("reduce_only", 1),
    ("reduce_only", None),
    ("position_side", "UP"),
    ("position_side", "long"),
    ("price", "0"),
    ("price", "NaN"),
    ("order_type", "limit"),
    ("order_type", "STOP"),
    ("order_type", "TAKE_PROFIT"),
    ("order_type", "TRAILING_STOP_MARKET"),
    ("order_type", ""),
    ("order_type", 1),
    ("order_type", None),
]


@pytest.mark.parametrize(("field", "value"), BAD, ids=lambda value: ascii(value)[:30])
def test_bad_input_is_an_error_that_names_field_and_value(field: str, value: object) -> None:
    with pytest.raises(InvalidIntent) as caught:
        intent(**{field: value})
    assert caught.value.field == field
    assert caught.value.value is value
    assert str(caught.value).startswith(f"{field}: ")
    said = str(value) if isinstance(value, Decimal) else repr(value)
    assert said[:40].rstrip("'") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("mapping", "field", "missing"),
    [
        ({"symbol": None}, "symbol", True),
        ({"symbol": 7}, "symbol", False),
        ({"timestamp": None}, "timestamp", True),
        ({"timestamp": ""}, "timestamp", True),
        ({"timestamp": "is missing"}, "timestamp", False),
        ({"notional": None}, "notional", True),
        ({"side": None}, "side", True),
        ({"order_type": "LIMIT"}, "price", True),
        ({"order_type": "STOP_MARKET"}, "trigger_price", True),
    ],
)
def test_an_error_tells_what_is_missing_from_what_is_wrong(
    mapping: dict[str, object], field: str, missing: bool
) -> None:
    asked = {"id": "sig-1", "symbol": "BTCUSDT", "side": "BUY", "notional": "200", "timestamp": 1_760_000_000_000}
    with pytest.raises(InvalidIntent) as caught:
        Intent.from_mapping(asked | mapping)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):  # noqa: S301  # its own bytes
        assert (error.field, error.missing) == (field, missing)
        assert str(error) == str(caught.value)


def test_a_size_is_given_once() -> None:
    with pytest.raises(InvalidIntent, match=r"^notional: is missing"):
        intent(notional=None)
    with pytest.raises(InvalidIntent, match=r"^quantity: '1' is given beside notional"):
        intent(quantity="1")
    assert intent(notional=None, quantity="1").quantity == 1


@pytest.mark.parametrize("id", ["x", "x" * 128, "NEARUSDT_2025-12-24T04:32:14.062679", "sig:81/β", "a-b_c.d{e}"])
def test_ids_may_be_long_and_free(id: str) -> None:
    assert intent(id=id).id == id


@pytest.mark.parametrize("symbol", ["AB", "1000PEPEUSDT", "BTCUSDT_260327", "X" * 30, "币安人生USDT", "龙USDT_260327"])
def test_symbols_as_the_exchange_has_them(symbol: str) -> None:
    assert intent(symbol=symbol).symbol == symbol


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        (datetime(2025, 12, 24, 4, 32, 14, 62_679, UTC), NOW_MS),
        (datetime(2025, 12, 24, 6, 32, 14, 62_000, timezone(timedelta(hours=2))), NOW_MS),
        ("2025-12-24T04:32:14.062Z", NOW_MS),
        ("2025-12-24T06:32:14.062+02:00", NOW_MS),
        ("2025-12-24 04:32:14.062679+00:00", NOW_MS),
        (NOW_MS, NOW_MS),
        (str(NOW_MS), NOW_MS),
        (1_766_550_734, 1_766_550_734_000),
        (NOW_MS * 1000, NOW_MS),
    ],
)
def test_times_with_a_zone_or_since_the_epoch(value: Any, expected_ms: int) -> None:
    made = intent(timestamp=value)
    assert made.timestamp_ms == expected_ms
    assert made.time.tzinfo is UTC


def test_the_fingerprint_is_the_same_for_every_notation() -> None:
    notations: list[Any] = ["200", "200.0", "2E2", "+200", " 200 ", "0200", 200, 200.0, Decimal("2.00E+2")]
    assert len({intent(notional=notation).fingerprint for notation in notations}) == 1
    assert len({intent(notional=notation) for notation in notations}) == 1
    small: list[Any] = ["0.1", 0.1, "1e-1", ".1"]
    assert len({intent(notional=notation).fingerprint for notation in small}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "ETHUSDT"},
        {"side": "SELL"},
        {"notional": "200.01"},
        {"notional": None, "quantity": "200"},
        {"reduce_only": True},
        {"position_side": "LONG"},
        {"leverage": 5},
    ],
    ids=lambda change: ",".join(change),
)
def test_the_fingerprint_tells_different_orders_apart(change: dict[str, Any]) -> None:
    assert intent(**change).fingerprint != intent().fingerprint


def test_the_fingerprint_ignores_fields_that_are_no_part_of_the_order() -> None:
    assert intent(timestamp=NOW_MS + 1, id="sig-82", price="9", aside={"model": "x"}).fingerprint == (
        intent().fingerprint
    )
    assert intent(position_side="BOTH").fingerprint == intent().fingerprint


def test_the_fingerprint_is_the_same_in_every_version() -> None:
    assert intent().fingerprint == "biorQjsXKREe"
    assert intent(leverage=5, reduce_only=True, position_side="SHORT").fingerprint == "gVTb1E_bMiaj"
    assert intent(notional=None, side="CLOSE").fingerprint == "aoffZN4vAZEB"
    stop = intent(
        notional=None, side="SELL", close_position=True, order_type="STOP_MARKET", trigger_price=60000, leverage=None
    )
    assert stop.fingerprint == "xbh7vMWmBE_2"


# From before there were other types of order: the records in production hold these.
MARKET_FINGERPRINTS: list[tuple[dict[str, Any], str]] = [
    ({}, "biorQjsXKREe"),
    ({"price": "60000"}, "biorQjsXKREe"),
    ({"notional": None, "quantity": "0.004", "price": "60000"}, "TZM5T3LY0oKp"),
    ({"notional": None, "quantity": "0.0040", "leverage": 5}, "D3ELHVRaOg8T"),
    ({"notional": None, "quantity": "0.004", "side": "SELL", "reduce_only": True}, "rwubVIshDIuh"),
    ({"notional": "99.5", "side": "SELL", "position_side": "LONG"}, "UBRoCyUx2Qeg"),
    ({"leverage": 5, "reduce_only": True, "position_side": "SHORT"}, "gVTb1E_bMiaj"),
    (
        {"symbol": "1000PEPEUSDT", "side": "SELL", "notional": None, "quantity": "1E+6", "leverage": 125},
        "vr4RzTaLf448",
    ),
]


@pytest.mark.parametrize(("fields", "fingerprint"), MARKET_FINGERPRINTS, ids=str)
def test_the_fingerprint_of_a_market_order_is_what_it_always_was(fields: dict[str, Any], fingerprint: str) -> None:
    assert intent(**fields).fingerprint == fingerprint
    assert intent(**fields, order_type="MARKET").fingerprint == fingerprint


@settings(deadline=None)
@given(st.integers(1, 10**15 - 1), st.integers(0, 13))
def test_a_figure_is_kept_exactly(digits: int, places: int) -> None:
    figure = Decimal(digits).scaleb(-places)
    made = intent(notional=figure)
    assert made.notional == figure
    assert made.fingerprint == intent(notional=f"{figure:f}").fingerprint == intent(notional=f"{figure:E}").fingerprint


def test_an_intent_is_a_value() -> None:
    made = intent(aside={"model": "ensemble"})
    with pytest.raises(AttributeError):
        made.side = "SELL"  # type: ignore[misc]
    assert made == intent()
    assert hash(made) == hash(intent())
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301  # its own bytes
    assert dict(made.aside) == {"model": "ensemble"}


def test_a_number_that_python_will_not_print_is_an_invalid_field_all_the_same() -> None:
    with pytest.raises(InvalidIntent, match="notional: <int>"):
        intent(notional=10**5000)


def test_an_exit_is_reduce_only_or_against_its_hedge_mode_position() -> None:
    assert intent(reduce_only=True).is_exit
    assert intent(position_side="SHORT").is_exit
    assert intent(side="SELL", position_side="LONG").is_exit
    assert not intent(side="SELL").is_exit
    assert not intent(position_side="LONG").is_exit
    assert not intent(position_side="BOTH").is_exit


@pytest.mark.parametrize(("side", "position_side"), [("BUY", "LONG"), ("SELL", "SHORT")])
def test_a_reduce_only_intent_that_would_open_its_hedge_mode_position_is_refused(side: str, position_side: str) -> None:
    with pytest.raises(InvalidIntent, match=f"side: '{side}' would open the {position_side} position"):
        intent(side=side, position_side=position_side, reduce_only=True)


@pytest.mark.parametrize("word", ["LONG", "SHORT"])
def test_a_position_as_side_beside_reduce_only_is_refused_as_ambiguous(word: str) -> None:
    fields = {"symbol": "BTCUSDT", "side": word, "reduce_only": True, "quantity": "1", "timestamp": 1766550734}
    with pytest.raises(InvalidIntent, match="ambiguous"):
        Intent.from_mapping(fields)


def test_an_intent_is_read_as_it_is_and_a_mapping_as_streams_carry_it() -> None:
    made = intent()
    assert Intent.read(made) is made
    assert Intent.read(GOOD) == made


@pytest.mark.parametrize(
    ("asked", "intent_id"),
    [
        (None, "?"),
        ("sig-1", "?"),
        ({1: 2}, "?"),
        ({"id": "two\nlines"}, "?"),
        ({"id": " ", "intent_id": 5, "trace_id": "t-1"}, "5"),
        ({"id": True, "trace_id": "t-1"}, "?"),
        ({"id": 10**70, "trace_id": "t-1"}, str(10**70)),
        ({"symbol": "BTCUSDT", "timestamp": 1_766_550_734_062}, "BTCUSDT_1766550734062"),
        ({"intent_id": "i-1", "trace_id": "t-1"}, "i-1"),
        ({"id": "x" * 500}, "x" * 128),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_an_unreadable_intent_is_named_by_the_id_that_can_be_read(asked: Any, intent_id: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        Intent.read(asked)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # its own bytes
    assert (caught.value.intent_id, copy.intent_id) == (intent_id, intent_id)
    assert str(copy) == str(caught.value)
