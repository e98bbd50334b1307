"""A field that no table knows is put aside only where it can't mean another order: money was lost by each of these."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gate import Intent, InvalidIntent
from gate.values import stream_doubts, stream_words

WHEN = {"symbol": "NEARUSDT", "timestamp": "2025-12-24T04:32:14.062679", "id": "sig-1"}
BUY: dict[str, Any] = {**WHEN, "side": "BUY", "position_size_usd": 200, "leverage": 1}
SELL: dict[str, Any] = {**BUY, "side": "SELL"}
REDUCE: dict[str, Any] = {**WHEN, "side": "SELL", "quantity": 5, "reduce_only": True}
CLOSE: dict[str, Any] = {**WHEN, "action": "CLOSE", "position_side": "LONG"}
LIMIT: dict[str, Any] = {"order_type": "LIMIT", "price": 1.46}
EVERY = {"buy": BUY, "sell": SELL, "reduce": REDUCE, "close": CLOSE}


def read(order: dict[str, Any], /, **more: Any) -> Intent:
    return Intent.from_mapping({**order, **more})


def refused(order: dict[str, Any], /, **more: Any) -> str:
    with pytest.raises(InvalidIntent) as caught:
        read(order, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "only_reduce",
            "decrease_only",
            "exit_position",
            "reduce_position",
            "is_exit_order",
            "close_order",
            "to_close",
        ),
        *("closeOnTrigger", "buy_to_cover", "close_long", "unwind", "force_exit", "emergency_close"),
        *(
            "should_exit",
            "close_current_position",
            "partial_close",
            "is_final_exit",
            "close_entire_position",
            "go_flat",
            "square_off",
            "reduction_only",
            "flashClose",
            "is_close",
        ),
    ],
)
def test_a_flag_that_may_say_exit_opens_nothing(name: str) -> None:
    for yes in (True, "true", 1, "yes", "on", "Y", "1.0"):
        assert refused(SELL, **{name: yes}).endswith(
            "may say that the order closes; give reduce_only or action CLOSE for an exit"
        )
    for no in ("rsi", False, "no", 0, None):
        assert read(SELL, **{name: no}).aside.get(name) == no
    assert read(REDUCE, **{name: True}).is_exit


@pytest.mark.parametrize(
    "said",
    [
        *({"signal": "exit"}, {"signal": "close_long"}, {"direction": "flat"}, {"dir": "Close Long"}),
        *(
            {"position": "CLOSE"},
            {"market_position": "flat"},
            {"role": "exit"},
            {"type": "CLOSE_FULL"},
            {"decision": "EXIT"},
        ),
        *({"position_intent": "sell_to_close"}, {"offset": "CLOSETODAY"}, {"offset": "Offset.CLOSE"}),
        *({"tradeSide": "reduce_close_long"}, {"signal_type": "long_exit"}, {"positionFill": "REDUCE_ONLY"}),
        {"type": "exit_fill"},
    ],
    ids=str,
)
def test_a_word_that_says_exit_opens_nothing(said: dict[str, Any]) -> None:
    assert "says exit, and nothing else does" in refused(SELL, **said)
    assert read(REDUCE, **said).is_exit


@pytest.mark.parametrize(
    "said",
    [{"exit_qty": 5}, {"close_quantity": "0.1"}, {"close_pct": 100}, {"exit_reason": "roi"}, {"exit_tag": "x"}],
    ids=str,
)
def test_what_only_an_exit_has_is_in_no_entry(said: dict[str, Any]) -> None:
    assert "may say that the order closes; give reduce_only or action CLOSE" in refused(SELL, **said)
    assert read(REDUCE, **said).is_exit


@pytest.mark.parametrize(
    "said",
    [
        *({"direction": "SHORT"}, {"signal": "sell"}, {"position": "SHORT"}, {"trade_side": "Sell"}),
        *({"holdSide": "short"}, {"market_position": "short"}, {"is_buy": False}, {"is_short": "true"}),
    ],
    ids=str,
)
def test_another_side_than_the_orders_is_a_contradiction(said: dict[str, Any]) -> None:
    assert "contradicts the order's side, BUY" in refused(BUY, **said)
    assert not read(SELL, **said).is_exit
    assert read(REDUCE, **{name: "LONG" for name in said if "is_" not in name}).is_exit, "the position that it closes"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"execution_type": "LIMIT"}, "names another type than MARKET; write it in order_type"),
        ({"order": "stop_market"}, "names another type than MARKET; write it in order_type"),
        ({"orderPriceType": "limit"}, "names another type than MARKET; write it in order_type"),
        ({"exit_order_type": "LIMIT"}, "names another type than MARKET; write it in order_type"),
        ({"ordre_type": "LIMIT"}, "is one slip from order_type|names another type than MARKET"),
        ({"px": "0.2", "tif": "GTX"}, "beside a price means a LIMIT order|is for LIMIT orders"),
        ({"lmt_price": 0.2}, "lmt_price: 0.2 is for LIMIT orders"),
        ({"stop_trigger": 1.0}, "stop_trigger: 1.0 is for STOP_MARKET and TAKE_PROFIT_MARKET orders"),
        ({"ordPx": 1.0}, "is of another order; say which with order_type and what belongs to it"),
        ({"trigger_level": "1.4"}, "is of another order"),
        ({"is_limit": True}, "is of another order"),
        ({"maker": "true"}, "is of another order"),
        ({"force": "post_only"}, "force: 'post_only' is for LIMIT orders"),
        ({"order_tif": "FOK"}, "order_tif: 'FOK' is for LIMIT orders"),
        ({"validity": "FOK"}, "validity: 'FOK' is how long a LIMIT order waits; write it in time_in_force"),
        ({"execInst": "ParticipateDoNotInitiate"}, "is how long a LIMIT order waits"),
        ({"fok": True}, "fok: True asks for a fill-or-kill order"),
        ({"maker_only": True}, "maker_only: True asks for a post-only order"),
        ({"iceberg": 5}, "iceberg: 5 asks for an iceberg order"),
        ({"trail_percent": 1}, "asks for a trailing stop"),
        ({"execution_type": ["LIMIT"]}, "names another type than MARKET"),
        ({"order_style": "iceberg"}, "names another type than MARKET"),
        ({"execution_type": "STOP"}, "names another type than MARKET"),
        ({"oflags": "post,fciq"}, "is how long a LIMIT order waits"),
        ({"instructions": ["POST_ONLY"]}, "is how long a LIMIT order waits"),
        ({"validity": "GTT"}, "is how long a LIMIT order waits"),
        ({"limit_at": 1}, "is of another order"),
        ({"use_limit": 1}, "is of another order"),
        ({"hidden": True}, "is of another order"),
        ({"trigger_prize": 1.4}, "is one slip from trigger_price"),
        ({"limit_prise": 1.4}, "is one slip from limit_price"),
        ({"simulate": "on"}, "says that no order is to be placed"),
        ({"cancel": True}, "says that no order is to be placed"),
        ({"approved": False}, "says that no order is to be placed"),
        ({"execute": "no"}, "says that no order is to be placed"),
        ({"dry_run": True}, "dry_run: True says that no order is to be placed"),
        ({"validate": "true"}, "says that no order is to be placed"),
        ({"orderDetails": {"reduceOnly": True}}, "holds reduceOnly; put terms of the order beside symbol"),
        ({"params": [{"stopPrice": 1}]}, "holds stopPrice; put terms of the order beside symbol"),
    ],
    ids=str,
)
def test_what_asks_for_another_order_does_not_go_at_market(said: dict[str, Any], message: str) -> None:
    for order in BUY, REDUCE, CLOSE:
        with pytest.raises(InvalidIntent, match=message):
            read(order, **said)


def test_an_entry_is_refused_for_its_own_kind_of_type_too() -> None:
    assert "names another type" in refused(BUY, entry_type="limit")
    assert "names another type than STOP_MARKET" in refused(
        BUY, order_type="STOP_MARKET", stop_price=1.4, execution_type="LIMIT"
    )
    assert "is of another order" in refused(BUY, entry_limit_price=1.0)
    assert "is of another order" in refused(BUY, entry_trigger=1.0)
    for more in {"trigger_level": 1.4}, {"hidden": True}, {"maker": True}:
        assert "is of another order" in refused(BUY, **LIMIT, **more)
    for more in {"stop_limit_price": 1.4}, {"is_limit": True}:
        wants = "is of another order" if "is_limit" in more else ""
        stop = {"order_type": "STOP_MARKET", "stop_price": 1.4}
        assert wants in (refused(BUY, **stop, **more) if wants else str(read(BUY, **stop, **more)))


@pytest.mark.parametrize("order", [BUY, REDUCE], ids=["entry", "exit"])
def test_what_says_the_same_twice_is_no_contradiction(order: dict[str, Any]) -> None:
    assert read(order, **LIMIT, tif="FOK", fok=True, validity="FOK").time_in_force == "FOK"
    assert read(order, **LIMIT, tif="GTX", post_only=True, exec_inst="post_only").time_in_force == "GTX"
    assert read(order, **LIMIT, force="ioc", order_tif="IOC").time_in_force == "IOC"
    assert read(order, **LIMIT, execution_type="LIMIT", exec_type="lmt", is_limit=True, limit_at=1.46).price
    assert read(order, order_type="LIMIT_MAKER", price=1.46, post_only=True, maker=True).time_in_force == "GTX"
    assert read(order, execution_type="MKT", order_style="market_sell", exec_mode="market_ioc").order_type == "MARKET"
    assert read(order, execution_type="market", validity="IOC", force=True).order_type == "MARKET"
    assert "is how long a LIMIT order waits" in refused(order, **LIMIT, validity="IOC")
    assert "asks for a fill-or-kill order" in refused(order, **LIMIT, tif="GTX", fok=True)


def test_px_is_a_price_as_price_is() -> None:
    limit = read(BUY, order_type="LIMIT", px="1.46")
    assert (limit.price, "px" in limit.aside) == (Decimal("1.46"), False)
    assert read(BUY, px="1.46") == read(BUY, price="1.46")


@pytest.mark.parametrize(
    "said",
    [
        *({name: "100"} for name in ("exit_qty", "base_qty", "amount_usdt", "reduce_qty", "notional_usdt", "quantiy")),
        *({name: "0.5"} for name in ("close_amt", "usdt", "qty_base", "qty_to_close", "order_contracts", "reduce_by")),
        *({"exit_qty": value} for value in ("-5", "0,5", "50%", "0.5 BTC", "1,400", ["1"], 3)),
        *({"exit_volume": 2}, {"num_contracts": 2}, {"half": True}, {"partial": "yes"}, {"is_partial": True}),
        *({"partial": "50%"}, {"half": 0.5}, {"close_type": "partial"}, {"full_close": False}, {"exit_all": "no"}),
        *(
            {"close_pct": 50},
            {"percent": "50%"},
            {"trim_pct": 10},
            {"scale_out_pct": 10},
            {"size": 0},
            {"close_pct": 0},
        ),
    ],
    ids=str,
)
def test_a_close_is_no_close_of_all_where_a_size_may_be_given(said: dict[str, Any]) -> None:
    assert refused(CLOSE, **said).endswith("has no unit that is known; give quantity or notional")
    assert read(CLOSE, quantity=7, **said).quantity == 7


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("quantity", {"quantityType": "dollar_amount"}),
        ("quantity", {"quantityType": "percent_of_equity"}),
        ("quantity", {"unit": "USDT"}),
        ("quantity", {"marketUnit": "quoteCoin"}),
        ("quantity", {"tgtCcy": "quote_ccy"}),
        ("quantity", {"in_usd": True}),
        ("notional", {"size_unit": "contracts"}),
        ("notional", {"unit": "NEAR"}),
        ("notional", {"qty_type": "percent"}),
    ],
    ids=str,
)
def test_a_size_whose_unit_is_another_is_refused(order: str, said: dict[str, Any]) -> None:
    sized = {**WHEN, "side": "BUY", "leverage": 1, order: 100}
    assert "names another unit for the size; give quantity (base) or notional (quote)" in refused(sized, **said)
    other = {"quantity": "notional", "notional": "quantity"}[order]
    sized = {**WHEN, "side": "BUY", "leverage": 1, other: 100}
    if "percent" not in str(said):
        assert read(sized, **said).side == "BUY"


def test_the_unit_of_a_quantity_says_nothing_of_a_notional() -> None:
    assert read(BUY, quantity_unit="NEAR", qty_type="base", amount_type="contracts").notional == 200
    assert read(REDUCE, unit="ms", size_type="percent", quantity_type="fixed", order_unit="NEAR").quantity == 5


def test_of_a_close_of_the_whole_position_a_size_of_zero_is_none() -> None:
    assert read(WHEN, close_position=True, quantity=0, exit_qty=0, size=0).close_position


OWN: dict[str, Any] = {
    "candle_closed": True,
    "close_price": 1.4,
    "close": 1.41,
    "volume": 12.5,
    "exit_strategy": "trailing",
    "mode": "live",
    "trailing_stop": 0.5,
    "base_asset": "NEAR",
    "quote": "USDT",
    "post": True,
    "maker": 0.0002,
    "strategy_type": "limit",
    "comment": "FOK",
    "strategy": "GTD",
    "tags": ["FOK"],
    "reason": "take_profit",
    "buySellRatio": 1.2,
    "close_sma_ratio": 0.9,
    "disclosed_fraction": 0.1,
    "contractSize": 0.001,
    "on_close": True,
    "is_flat": True,
    "now_flat": True,
    "positionAmt": "3",
    "stop_prices": [1, 2],
    "top_price": 3,
    "gpu": "GTX",
    "quarter": "Q4",
    "half": "H2",
    "partial": False,
    "partial_exit": "no",
    "half_position": 0,
    "unit_test": "x",
    "prev_market_position": "flat",
    "timeframe": "5m",
    "trade_count": 5,
    "exit_price": 1.5,
    "dry_run": False,
    "analysis": {"price": 1, "close_pct": 3},
    "trade_amount": 5,
    "pos_size": 3,
    "risk_pct": 2,
    "test": "ab",
}
OWN |= {"event": "close", "scale_out": True, "reduce_size": True, "total_size": 5, "reduce_qty": 0, "scale_out_plan": 3}
OWN |= {"position": "flat", "sentiment": "flat", "exit_size": "0", "aux_price": 0, "keep_pct": 0, "decreasing": True}
OWN |= {"notional_value": 600, "remaining": 5, "stake_amount": 50, "tp_qty": 1, "lot_size": 1, "close_vs_vwap_pct": 1}
OWN |= {"prev_close_pct": 1, "exit_slippage_pct": 1, "size_type": "kelly", "unit": "1h", "current_close": 1.0}
OWN |= {"is_quarter": 4.0, "is_maker": 1, "exit_reason": "n/a", "approved": 0, "market_close": True}
OWN |= {"options": {"leverage": 3}}
OF_EXITS: dict[str, Any] = {
    "kind": "stop_loss",
    "method": "trailing",
    "order": "take_profit",
    "entry_type": "limit",
    "entry_tif": "FOK",
    "exit_type": "stop_loss",
    "exit_reason": "take_profit",
    "signal": "exit",
    "original_tif": "GTX",
    "algo": "vwap",
    "limit_prices": {},
    "stop_price1": 3,
    "entry_order_type": "limit",
    "levrage": 7,
    "entry_limit_price": 6,
    "entry_trigger": 6,
    "stop_prise": [1, 2],
    "orig_type": "LIMIT",
    "max_leverage": 3,
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("order", EVERY)
def test_what_a_strategy_notes_for_itself_refuses_no_order(order: str, name: str) -> None:
    if order in ("buy", "sell") and name in ("stop_prices", "top_price", "pos_size"):
        assert " is one slip from " in refused(EVERY[order], **{name: OWN[name]})
    else:
        assert read(EVERY[order], **{name: OWN[name]}).aside[name] == OWN[name]


@pytest.mark.parametrize("name", OF_EXITS)
@pytest.mark.parametrize("order", ["reduce", "close"])
def test_what_tells_of_the_entry_or_of_the_reason_traps_no_exit(order: str, name: str) -> None:
    assert read(EVERY[order], **{name: OF_EXITS[name]}).aside[name] == OF_EXITS[name]


def test_hostile_names_are_kept_nowhere_and_cost_no_time() -> None:
    for number in range(200):
        read(CLOSE, **{f"{number}" + "close" * 20_000: 1, "reduce" * 10 + f"{number}": True})
    assert stream_doubts._senses.cache_info().currsize <= stream_words.MOST_NAMES
    before = stream_doubts._senses.cache_info()
    stream_doubts.senses("y" * 1_000)
    after = stream_doubts._senses.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits)


def test_a_nest_of_lists_is_no_figure() -> None:
    nest: Any = []
    for _ in range(900):
        nest = [nest]
    for name in "ord_px", "exit_qty", "execInst", "close_type", "unit":
        assert read(BUY, **{name: nest}).aside[name] == nest
        assert read(CLOSE, **{name: nest}).close_position
    assert "may say that the order closes" in refused(BUY, exit_reason=nest)


def test_a_note_can_be_written_whatever_the_field_held() -> None:
    """JSON may hold half of a surrogate pair. No stream takes that: a service that couldn't write its result ended."""
    noted = read(BUY, working_type="\ud800").notes
    assert "\n".join(noted).encode()
