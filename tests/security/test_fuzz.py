"""Every reader of what others write, with whatever hypothesis comes up with: documented errors alone, and answers of
bounded size. 50 examples of each reader; a longer run takes as many as it is told: `GATE_FUZZ=20000`.

The exchange's answers are in test_hostile_exchange.py, the paper exchange's control in test_paper_exchange.py.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gate import Intent, InvalidField, InvalidIntent, InvalidPolicy, Outcome, Policy, Reason, StoreFailure, Verdict
from gate.client import acts, doubtful
from gate.client.caller import Caller
from gate.client.leftovers import find
from gate.client.looks import inspect, last_look, lookup
from gate.client.observing import observers
from gate.client.policies import policy_in_force
from gate.client.settling import give_back, settle
from gate.client.status import status
from gate.client.verdicts import evaluate
from gate.config import Flags, InvalidConfig, read_config
from gate.protocol.scripts import Message, Pipeline
from gate.store.address import parse_url
from gate.store.failures import ReplyLost
from gate.store.shapes import as_asked
from gate.values.policy import policy_of_figures, read_setting
from gate.values.record import decode_record
from gate.values.server import server_facts
from gate.values.stream_words import TERMS
from gate.values.verdict import Permit
from tests.client import account as at
from tests.security.effort import EFFORT
from tests.security.monsters import MONSTERS, unmasked

MOST = 1200
"""Characters of an error, or of a text that is kept."""
NOW_MS = time.time_ns() // 1_000_000

figures = st.sampled_from(["NaN", "Infinity", "-1", "0", "x", "", "0.001", "200", *MONSTERS])
words = st.sampled_from(
    ["BUY", "SELL", "CLOSE", "LONG", "BTCUSDT", "LIMIT", "STOP_MARKET", "GTX", "true", "1", "sig-1"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | figures | words | st.text(max_size=8)
values = st.recursive(
    scalars | st.binary(max_size=8) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*(word for term in TERMS for word in term.words), "payload", "data", "params"])
entries = st.dictionaries(names | st.text(max_size=12) | st.binary(max_size=6) | st.integers(), values, max_size=8)
WHOLE: dict[str, Any] = {"id": "sig-1", "symbol": "BTCUSDT", "side": "BUY", "notional": "200", "timestamp": NOW_MS}


def refusal(kind: type[Exception], call: Callable[[], object]) -> Exception | None:
    """The documented error that a call comes to, if it does. Any other one is raised."""
    try:
        call()
    except kind as refused:
        return refused
    return None


def _as_json(value: object) -> str:
    return json.dumps(value, default=str)


@EFFORT
@given(entries, st.booleans(), st.sampled_from(["flat", "payload", "data"]))
@example({"close": "<992 lists>"}, True, "flat")
@example({"leverage": "<5,001 digits>"}, True, "flat")
def test_an_entry_of_a_stream_is_an_intent_or_invalid(entry: dict[Any, Any], whole: bool, shape: str) -> None:
    asked = unmasked({**WHOLE, **entry} if whole else entry)
    if shape != "flat":
        with suppress(TypeError, ValueError, RecursionError):  # what can't be written as JSON comes flat
            asked = {shape: _as_json(asked)}
    read: list[Intent] = []
    refused = refusal(InvalidIntent, lambda: read.append(Intent.from_mapping(asked)))
    if isinstance(refused, InvalidIntent):
        assert len(str(refused)) <= MOST
        assert str(refused).isprintable()
        assert refused.intent_id.isprintable()
        assert len(refused.intent_id) <= 128
    for intent in read:
        assert intent.id.isprintable()
        assert sum(map(len, intent.notes)) <= 10 * MOST
        assert len(repr(intent)) <= 10 * MOST


fragments = st.sampled_from(
    [
        *(reason.value for reason in Reason),
        *("admitted", "placed", "unknown", "OBSERVED", "SETTLED", "ALREADY", "FENCED", "CONFLICT", "HOLDS", "-", "-1"),
        *(
            "0",
            "1",
            str(NOW_MS),
            "BTCUSDT",
            "BUY",
            "vx",
            "o",
            "9" * 20,
            "9" * 5000,
            "1E999999999",
            "\n",
            "figures=1",
            "=1",
        ),
    ]
)
lines = st.lists(fragments | st.text(max_size=6), max_size=13).map(" ".join)
texts = (lines | st.text(max_size=9)).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=20)
atoms = texts | st.none() | st.integers() | st.floats() | st.booleans()
replies = st.recursive(atoms, lambda inner: st.lists(inner, max_size=5), max_leaves=12)


def told(dialogue: Generator[Message, Any, Any], said: Iterator[object]) -> Any:
    """Carries a dialogue as a gate does, with these replies. Returns what it comes to."""
    try:
        command = next(dialogue)
        for _ in range(3000):
            try:
                reply = next(said)
                if isinstance(command, Pipeline):
                    reply = [reply, *(next(said) for _ in command.commands[1:])]
                reply = as_asked(command, reply)
            except StopIteration:
                command = dialogue.throw(ReplyLost("no more"))
            except StoreFailure as failure:
                command = dialogue.throw(failure)
            else:
                command = dialogue.send(reply)
    except StopIteration as done:
        return done.value
    raise AssertionError("the dialogue has no end")


def _permit() -> Permit:
    return Permit("sig-1", "BTCUSDT", "BUY", "t", 1, "g-1", NOW_MS + 30_000, time.monotonic_ns() + 30_000_000_000)


DIALOGUES: list[Callable[[Caller], Generator[Message, Any, Any]]] = [
    lambda caller: inspect(caller, at.entry()),
    lambda caller: lookup(caller, "sig-1"),
    lambda caller: doubtful.in_doubt(caller, 100, 0),
    policy_in_force,
    lambda caller: acts.still_out(caller, acts.clearing(caller, "all")),
    lambda caller: acts.halt(caller, "ops", "a", "all"),
    lambda caller: acts.resume(caller, "ops", "a"),
    lambda caller: acts.reset(caller, "all", "ops", "a"),
    lambda caller: acts.apply_policy(caller, Policy(), "ops", "a", ""),
    lambda caller: find(caller.keyspace),
    lambda caller: observers(caller.keyspace.observers),
    lambda caller: doubtful.absences(caller, 60_000, ()),
    status,
]


@EFFORT
@given(st.lists(replies, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_replies_of_a_store_come_to_an_answer(said: list[object], exits: bool, follows: bool) -> None:
    def caller() -> Caller:
        return Caller("quantum", None if follows else Policy())

    verdict: Verdict = told(evaluate(caller(), at.intent(exits)), itertools.cycle(said))
    assert not verdict or verdict.permit is None or verdict.permit.token == ""
    assert len(verdict.detail) <= MOST
    settlement = told(settle(caller(), _permit(), Outcome.placed("1")), itertools.cycle(said))
    assert len(settlement.detail) <= MOST
    look = told(last_look(caller(), _permit(), 10), itertools.cycle(said))
    assert not look or b"HOLDS" in b" ".join(each for each in said if isinstance(each, bytes))
    told(give_back(caller()), itertools.cycle(said))


@EFFORT
@given(st.lists(replies, min_size=1, max_size=6), st.sampled_from(range(len(DIALOGUES))))
def test_replies_to_what_a_person_asks_come_to_an_answer_or_a_failure(said: list[object], which: int) -> None:
    found: list[object] = []
    dialogue = DIALOGUES[which](Caller("quantum", None))
    failure = refusal(StoreFailure, lambda: found.append(told(dialogue, itertools.chain(said * 50))))
    assert len(str(failure)) <= MOST
    assert len(repr(found)) <= 100 * MOST


@EFFORT
@given(lines | st.text(max_size=40), lines)
def test_the_texts_of_the_store_are_read(text: str, figures: str) -> None:
    record = decode_record("sig-1", text)
    assert len(str(record)) <= 5 * MOST
    assert record.reserved_ahead >= 0 or record.note.startswith("-")
    server_facts(f"redis_version:{text}\nmaxmemory:{figures}\n")
    assert len(str(refusal(InvalidPolicy, lambda: policy_of_figures(text, figures)))) <= MOST


schemes = st.sampled_from(
    ["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "embedded", "http", ""]
)
parts = st.sampled_from(
    ["://", ":", "/", "@", "?", "#", "[", "]", "::1", "127.0.0.1", "6379", "9" * 5000, "db=0", "user:pw", "%", "%2F"]
) | st.text(max_size=5)


@EFFORT
@given(schemes, st.lists(parts, max_size=8).map("".join))
@example("redis", "://[::1")
@example("redis+sentinel", "://h:" + "9" * 5000 + "/s")
@example("redis+sentinel", "://h/s/" + "²")
def test_a_url_is_an_address_or_invalid(scheme: str, rest: str) -> None:
    assert len(str(refusal(InvalidField, lambda: parse_url(f"{scheme}{rest}")))) <= MOST


settings = st.dictionaries(
    st.sampled_from([*Policy().texts(), "mode", "x", "a\nb"]) | st.text(max_size=5), scalars | st.decimals(), max_size=6
)


@EFFORT
@given(settings)
@example({"margin_buffer": "<tiny figure>"})
@example({"margin_buffer": "<5,001 digits>", "lock_ttl_ms": "<5,001 digits>", "mode": "<992 lists>"})
def test_a_policys_table_is_a_policy_or_invalid(table: dict[str, Any]) -> None:
    found: list[Policy] = []
    refused = refusal(InvalidPolicy, lambda: found.append(Policy.from_mapping(unmasked(table))))
    assert len(str(refused)) <= 30 * MOST
    for policy in found:
        assert sum(map(len, policy.texts().values())) <= MOST


@EFFORT
@given(st.text(max_size=20) | st.tuples(st.sampled_from([*Policy().texts()]), figures).map("=".join))
def test_a_setting_is_a_figure_or_invalid(setting: str) -> None:
    monster = "=".join(str(part) for part in map(unmasked, setting.split("=")) if isinstance(part, str | Decimal))
    for text in (setting, monster):
        refused = refusal(InvalidPolicy, partial(_set, text))
        assert len(str(refused)) <= MOST


def _set(text: str) -> Policy:
    return Policy.from_mapping(dict([read_setting(text)]))


toml_words = st.sampled_from(
    [
        *("[policy]\n", "url = ", "prefix = ", '"x"\n', "lock_ttl_ms = ", "9" * 5000, "1e999999999"),
        *("[" * 3000, "=", "\n"),
    ]
)


@EFFORT
@given(st.lists(toml_words | st.text(max_size=6), max_size=8).map("".join) | st.binary(max_size=40))
@example("[policy]\nmargin_buffer = 1e-999999999\n")
@example("url = " + "[" * 100_000)
def test_a_config_file_is_a_configuration_or_invalid(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    file = _file(tmp_path_factory)
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    for needs_policy in (True, False):
        refused = refusal(InvalidConfig, partial(read_config, Flags(config=str(file)), {}, needs_policy=needs_policy))
        assert len(str(refused)) <= 10 * MOST


def _file(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / f"config-{os.getpid()}.toml"
