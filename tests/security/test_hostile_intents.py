"""Whatever a producer writes, the answer is a verdict or an execution: nothing raises, and nothing is guessed."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
import redis

from gate import Intent, InvalidIntent, Reason
from gate.executor import Terminal
from gate.values import stream_doubts, stream_envelope, stream_words
from gate.values.log_words import LONGEST
from tests.client.gates import OpenGate, open_sync_gate
from tests.executor.conftest import Desk, desk, open_desk, paper
from tests.security.log_lines import read_back, written

__all__ = ["desk", "open_desk", "open_sync_gate", "paper"]

NOW_MS = time.time_ns() // 1_000_000
DIGITS = "9" * 5000


def nest(depth: int, inside: str = "1") -> str:
    return "[" * depth + inside + "]" * depth


def lists(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


ENTRY: dict[str, Any] = {
    "id": "sig-1",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "notional": "200",
    "leverage": "5",
    "timestamp": NOW_MS,
}
MONSTERS: dict[str, Any] = {
    "992 lists": lists(992),
    "100,000 lists": lists(100_000),
    "an int of 5,001 digits": 10**5000,
    "a text of 5,000 digits": DIGITS,
    "a huge exponent": "1E999999999",
    "a huge exponent, as a figure": Decimal("1E999999999"),
    "a tiny one": Decimal("1E-999999999"),
    "a signalling NaN": Decimal("sNaN"),
    "lone surrogates": "\ud800\udfff",
    "a NUL": "a\0b",
    "a line": "a\nTERMINAL STATE: FILLED",
    "1 MB": "x" * 1_000_000,
    "bytes": b"\xff\xfe",
    "a set": {1, 2},
}


@pytest.mark.parametrize("field", [*ENTRY, "close", "close_position", "reduce_only", "type", "params", "price", "exit"])
@pytest.mark.parametrize("what", MONSTERS)
def test_a_monster_in_any_field_gets_a_verdict(
    redis_client: redis.Redis, open_sync_gate: OpenGate, field: str, what: str
) -> None:
    with written() as lines:
        verdict = open_sync_gate().evaluate({**ENTRY, field: MONSTERS[what]})
    assert verdict.admitted or verdict.reason in (Reason.INVALID, Reason.STALE)
    assert len(verdict.detail) <= LONGEST
    assert verdict.detail.isprintable()
    for line in filter(None, lines):
        read_back(line)


@pytest.mark.parametrize("what", MONSTERS)
def test_a_monster_as_an_exits_field_gets_a_verdict(open_sync_gate: OpenGate, what: str) -> None:
    exit_ = {**ENTRY, "side": "SELL", "reduce_only": True}
    for field in ("leverage", "price", "entry_price", "close", "note", "ai_leverage"):
        verdict = open_sync_gate().evaluate({**exit_, "id": f"sig-{field}", field: MONSTERS[what]})
        assert verdict.admitted or verdict.reason is Reason.INVALID, field


@pytest.mark.parametrize("depth", [100, 960, 992, 1100, 100_000])
@pytest.mark.parametrize("envelope", ["payload", "data"])
async def test_json_of_any_depth_gets_an_execution(desk: Desk, depth: int, envelope: str) -> None:
    for inside in (nest(depth), '{"a":' * depth + "1" + "}" * depth, json.dumps({**ENTRY, "x": 1})[:-1] + ',"close":'):
        text = inside + (nest(depth) + "}" if inside.endswith(":") else "")
        execution = await desk.executor.execute({"event_type": "intent", envelope: text})
        assert execution.state in (Terminal.DENIED, Terminal.FILLED)
    as_list = await desk.executor.execute({envelope: lists(depth)})
    assert as_list.reason == "INVALID"


@pytest.mark.parametrize(
    "text",
    [
        f'{{"id": {DIGITS}}}',
        '{"notional": 1e999999999}',
        '{"notional": NaN}',
        '{"notional": -Infinity}',
        '{"id": "\\ud800"}',
        "\ufeff{}",
        '{"symbol": "BTCUSDT"',
        "9" * 5000,
        '"' + "x" * 1_000_000,
    ],
)
def test_json_that_no_producer_should_write_is_invalid(open_sync_gate: OpenGate, text: str) -> None:
    verdict = open_sync_gate().evaluate({"payload": text})
    assert verdict.reason is Reason.INVALID
    assert len(verdict.detail) <= LONGEST


@pytest.mark.parametrize("envelope", ["payload", "data"])
@pytest.mark.parametrize(
    ("doubled", "field"),
    [
        ('{"symbol":"BTCUSDT","side":"BUY","notional":"200","side":"SELL"}', "side"),
        ('{"symbol":"BTCUSDT","symbol":"ETHUSDT","side":"BUY","notional":"200"}', "symbol"),
        ('{"symbol":"BTCUSDT","side":"BUY","notional":"200","notional":"200000"}', "notional"),
        (
            '{"symbol":"BTCUSDT","side":"BUY","notional":"200","x":{"reduce_only":true,"reduce_only":false}}',
            "reduce_only",
        ),
        ('{"symbol":"BTCUSDT","side":"BUY","notional":"200","s\\u0069ze":1,"size":2}', "size"),
    ],
)
def test_a_field_that_stands_twice_in_json_is_an_error_that_names_it(envelope: str, doubled: str, field: str) -> None:
    with pytest.raises(InvalidIntent, match=f"^{field}: .* stands there twice") as raised:
        Intent.from_mapping({envelope: doubled, "timestamp": NOW_MS})
    assert raised.value.field == field


def test_a_field_that_stands_twice_inside_another_field_is_an_error() -> None:
    with pytest.raises(InvalidIntent, match=r"^reduceOnly: .* stands there twice"):
        Intent.from_mapping({**ENTRY, "params": '{"reduceOnly": true, "reduceOnly": false}'})


@pytest.mark.parametrize("other", [{"Symbol": "ETHUSDT"}, {b"symbol": "ETHUSDT"}, {"SYMBOL": "ETHUSDT"}])
def test_two_symbols_are_an_error(other: dict[Any, Any]) -> None:
    with pytest.raises(InvalidIntent, match="ETHUSDT"):
        Intent.from_mapping({**ENTRY, **other})


def test_long_names_of_fields_are_not_kept() -> None:
    """A producer that names each field anew would fill the memory of every worker."""
    for number in range(200):
        name = f"{number}-" + "x" * 100_000
        Intent.from_mapping({**ENTRY, name: 1, f"{number}leverag": 0})
    kept = stream_words._letters.cache_info().currsize, stream_doubts._one_slip_from.cache_info().currsize
    assert max(kept) <= stream_words.MOST_NAMES
    before = stream_words._letters.cache_info()
    stream_words.letters("y" * 1000)
    stream_doubts.one_slip_from("y" * 1000)
    after = stream_words._letters.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits)


@pytest.mark.parametrize("inside", [False, True], ids=["flat", "in a payload"])
def test_an_entry_of_more_fields_than_any_has_is_refused_before_they_are_looked_at(inside: bool) -> None:
    """A million unknown names would hold up each worker that takes the entry, for minutes."""

    def entry(count: int) -> dict[str, Any]:
        fields = {**ENTRY, **{f"note{number}q": 1 for number in range(count - len(ENTRY))}}
        return {"payload": json.dumps(fields)} if inside else fields

    most = stream_envelope.MOST_FIELDS
    assert Intent.from_mapping(entry(most)).id == ENTRY["id"]
    looked_at = stream_words._letters.cache_info()
    with pytest.raises(InvalidIntent, match=f"^entry: {most + 1} fields are too many; {most} are read$"):
        stream_envelope.opened(entry(most + 1))
    assert stream_words._letters.cache_info().misses - looked_at.misses <= 1


def test_nor_is_one_with_as_many_fields_around_a_payload() -> None:
    around = {f"around{number}q": 1 for number in range(stream_envelope.MOST_FIELDS)}
    looked_at = stream_words._letters.cache_info()
    with pytest.raises(InvalidIntent, match=r"^entry: 1001 fields are too many"):
        stream_envelope.opened({"payload": json.dumps(ENTRY), **around})
    assert stream_words._letters.cache_info().misses == looked_at.misses


def test_a_payload_that_is_longer_than_any_is_not_even_parsed() -> None:
    with pytest.raises(InvalidIntent, match=r"^payload: .* has 1000001 characters; 1000000 are read$"):
        Intent.from_mapping({"payload": "[" * 1_000_001})


def test_an_object_whose_text_cannot_be_had_is_invalid(open_sync_gate: OpenGate) -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no text")

        __str__ = __repr__

    for field in (*ENTRY, "reduce_only", "close"):
        assert open_sync_gate().evaluate({**ENTRY, "id": f"sig-{field}", field: Silent()}).detail.isprintable()
