"""Whoever asks what stands needs a few trips, whatever number of keys the server has, and the account of permits."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from decimal import Decimal

import pytest
import redis

from gate import Gate, Outcome, Penalty, Policy
from gate.client import symbols
from gate.client.abreast import Part, abreast
from gate.protocol.scripts import Command, Message, Pipeline
from gate.store.wire import Reply, Wire
from gate.values.errors import StoreError, StoreUnavailable
from tests.client import account as at
from tests.client.gates import PATIENT_MS
from tests.servers.store import Store
from tests.servers.users import url_of_user

ROOMY = Policy(rate_symbol_limit=10_000, rate_global_limit=10_000, max_in_flight=20_000)
MOST = 10
PERMITS = 10_000
NOTED = "quantum:symbols"
COOLDOWN = "quantum:safety:cooldown_symbol:{}"


class Counting:
    """A wire that keeps what goes over it, one entry for each trip."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.trips: list[Message] = []

    def round_trip(self, message: Message) -> Reply:
        self.trips.append(message)
        return self._wire.round_trip(message)

    def close(self) -> None:
        self._wire.close()

    @property
    def words(self) -> list[str]:
        """The commands, by their first words."""
        return [str(each[0]) for message in self.trips for each in commands_of(message)]


def commands_of(message: Message) -> tuple[Command, ...]:
    return message.commands if isinstance(message, Pipeline) else (message,)


@pytest.fixture
def gate(redis_client: redis.Redis, store: Store) -> Iterator[Gate]:
    with Gate.from_url(store.url, policy=ROOMY, timeout_ms=PATIENT_MS) as opened:
        yield opened


@pytest.fixture
def counted(gate: Gate) -> Counting:
    """What goes over the gate's wire from now on."""
    counting = Counting(gate._wire)
    gate._wire = counting
    return counting


@pytest.fixture
def many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols, "FEW_KEYS", -1)


def stand(client: redis.Redis, permits: int) -> None:
    """Live permits of as many symbols, each with its record, copy, lock and window."""
    now_ms = at.server_ms(client)
    with client.pipeline(transaction=False) as pipeline:
        for number in range(permits):
            symbol, token = f"S{number}USDT", f"t{number}"
            record = f"admitted {token} {number + 1} fp {now_ms} {symbol} BUY 30000 50000000 - 0"
            pipeline.set(f"quantum:exec:processed:sig-{number}", record, px=60_000)
            pipeline.hset(at.STATE, f"permit:sig-{number}", record)
            pipeline.zadd(at.INFLIGHT, {f"50000000:sig-{number}": now_ms + 30_000})
            pipeline.set(f"quantum:exec:lock:{symbol}:BUY", token, px=30_000)
            pipeline.lpush(f"quantum:exec:rate:symbol:{symbol}", now_ms)
        pipeline.execute()


def test_ten_thousand_permits_are_told_in_ten_trips(redis_client: redis.Redis, gate: Gate, counted: Counting) -> None:
    gate.status()
    of_none = len(counted.trips)
    stand(redis_client, PERMITS)
    counted.trips.clear()

    status = gate.status()

    assert (status.in_flight, status.all_symbols) == (PERMITS, False)
    assert of_none <= len(counted.trips) <= MOST
    assert "SCAN" not in counted.words, f"{redis_client.dbsize()} keys"
    locks = [each for each in status.standing if each.name == "lock"]
    assert len(locks) == symbols.AT_MOST
    assert all(each.ttl_ms and each.ttl_ms <= 30_000 for each in locks)


def test_trips_and_commands_do_not_grow_with_the_keys_of_others(
    redis_client: redis.Redis, gate: Gate, counted: Counting
) -> None:
    stand(redis_client, 3)
    gate.status()
    beside_few = len(counted.trips), len(counted.words)
    redis_client.mset({f"other:{number}": 1 for number in range(symbols.FEW_KEYS)})
    counted.trips.clear()

    status = gate.status()

    assert len([each for each in status.standing if each.name == "lock"]) == 3
    assert len(counted.trips) <= beside_few[0]
    assert len(counted.words) <= beside_few[1] + 6, "both sides, and a cooldown, of each symbol"
    assert "SCAN" not in counted.words


def test_a_server_of_few_keys_is_looked_through_on_the_way(
    redis_client: redis.Redis, gate: Gate, counted: Counting
) -> None:
    redis_client.set(COOLDOWN.format("NEVERUSDT"), "by hand")
    status = gate.status()
    assert [(each.name, each.detail) for each in status.standing if each.on][-1] == ("cooldown_symbol", "by hand")
    assert status.all_symbols
    assert len(counted.trips) <= MOST


def test_no_more_than_four_thousand_keys_of_symbols_are_read(
    redis_client: redis.Redis, gate: Gate, counted: Counting
) -> None:
    redis_client.mset({COOLDOWN.format(f"S{number}USDT"): "1" for number in range(4 * symbols.AT_MOST + 1)})
    status = gate.status()
    assert len(status.standing) == 4 * symbols.AT_MOST
    assert not status.all_symbols
    assert len(counted.trips) <= MOST


def test_damage_to_every_key_costs_a_few_trips_more(
    redis_client: redis.Redis, gate: Gate, counted: Counting, many_keys: None
) -> None:
    stand(redis_client, 1)
    damaged = (at.SAFE_MODE, at.COOLDOWN_GLOBAL, at.FAILURES, at.RATE_GLOBAL, at.HALT, at.AUDIT)
    of_symbol = ("quantum:exec:lock:S0USDT:BUY", "quantum:exec:rate:symbol:S0USDT", COOLDOWN.format("S0USDT"))
    for key in (*damaged, *of_symbol):
        redis_client.delete(key)
        redis_client.zadd(key, {"x": 1})
    status = gate.status()
    assert {each.key for each in status.standing if each.damage} == {*damaged, *of_symbol}
    assert len(counted.trips) <= MOST


class TestOnAServerOfManyKeys:
    pytestmark = pytest.mark.usefixtures("many_keys")

    def test_what_a_permit_holds_stands_in_the_status(self, gate: Gate, redis_client: redis.Redis) -> None:
        at.admitted(gate.evaluate(at.entry()))
        redis_client.set(at.COOLDOWN_SYMBOL, "by hand", px=60_000)
        standing = {
            each.key for each in gate.status().standing if each.name in ("lock", "rate_symbol", "cooldown_symbol")
        }
        assert {at.LOCK, at.COOLDOWN_SYMBOL} <= {each.key for each in gate.status().standing if each.on}
        assert at.RATE_SYMBOL in standing

    def test_what_a_settled_one_has_left_does_too(self, gate: Gate) -> None:
        permit = at.admitted(gate.evaluate(at.entry()))
        gate.settle(permit, Outcome.rejected(-2019, penalty=Penalty(cooldown_symbol_ms=60_000)))
        shown = {each.key: each for each in gate.status().standing}
        assert shown[at.RATE_SYMBOL].detail.startswith("1 of ")
        assert shown[at.COOLDOWN_SYMBOL].on

    def test_reset_clears_the_cooldowns_of_both(self, gate: Gate, redis_client: redis.Redis, counted: Counting) -> None:
        settled = at.admitted(gate.evaluate(at.entry()))
        gate.settle(settled, Outcome.placed(1, penalty=Penalty(cooldown_symbol_ms=60_000)))
        at.admitted(gate.evaluate(at.entry("sig-2", "SOLUSDT")))
        redis_client.set(COOLDOWN.format("SOLUSDT"), "1")
        counted.trips.clear()

        act = gate.reset("cooldowns", by="ops", reason="looked into")

        assert set(act.changed) == {at.COOLDOWN_SYMBOL, COOLDOWN.format("SOLUSDT")}
        assert len(counted.trips) <= MOST
        assert "SCAN" not in counted.words

    def test_a_symbol_is_noted_once_a_minute_and_a_thousand_are_kept(
        self, gate: Gate, redis_client: redis.Redis, counted: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        redis_client.zadd(NOTED, {f"OLD{number}USDT": number for number in range(symbols.AT_MOST)})
        for number in range(3):
            gate.settle(at.admitted(gate.evaluate(at.entry(f"sig-{number}"))), Outcome.placed(number))
        assert counted.words.count("ZADD") == 1
        assert redis_client.zcard(NOTED) == symbols.AT_MOST
        assert redis_client.zrevrange(NOTED, 0, 0) == [b"BTCUSDT"]
        assert redis_client.pttl(NOTED) > 0
        monkeypatch.setattr(symbols, "_EVERY_S", 0)
        gate.settle(at.admitted(gate.evaluate(at.entry("sig-3", "SOLUSDT"))), Outcome.placed(3))
        gate.settle(at.admitted(gate.evaluate(at.entry("sig-4", "SOLUSDT"))), Outcome.placed(4))
        assert counted.words.count("ZADD") == 3


def test_a_worker_without_the_right_to_scan_knows_its_symbols(redis_client: redis.Redis, store: Store) -> None:
    with Gate.from_url(url_of_user(store, "worker", more=("-scan",)), policy=ROOMY, timeout_ms=PATIENT_MS) as worker:
        permit = at.admitted(worker.evaluate(at.entry()))
        assert worker.settle(permit, Outcome.placed(1))
        status = worker.status()
    assert at.RATE_SYMBOL in {each.key for each in status.standing}
    assert not status.all_symbols


def test_a_hundred_permits_in_doubt_are_told_in_a_few_trips(
    redis_client: redis.Redis, gate: Gate, counted: Counting
) -> None:
    stand(redis_client, 100)
    for number in range(100):
        redis_client.zadd(at.INFLIGHT, {f"50000000:sig-{number}": number})
    redis_client.delete(*(f"quantum:exec:processed:sig-{number}" for number in range(50)))
    redis_client.hdel(at.STATE, *(f"permit:sig-{number}" for number in range(25)))

    found = gate.in_doubt()

    assert list(found.lapsed) == [f"sig-{number}" for number in range(25)]
    assert [each.record.intent_id for each in found.permits] == [f"sig-{number}" for number in range(25, 100)]
    assert found.permits[0].permit.reserved == Decimal(50)
    assert len(counted.trips) <= 6


def asks(*words: str) -> Generator[Message, Reply, list[Reply]]:
    heard = []
    for word in words:
        try:
            heard.append((yield (word,)))
        except StoreError as error:
            heard.append(str(error))
    return heard


def asks_both(*words: str) -> Generator[Message, Reply, list[Reply]]:
    heard: list[Reply] = yield Pipeline(tuple((word,) for word in words))
    return heard


def test_dialogues_abreast_hear_their_own_replies_and_failures() -> None:
    short, long, both = Part(asks("a")), Part(asks("b", "bad", "c")), Part(asks_both("x", "y"))
    carried = abreast(short, long, both)
    trips = [commands_of(next(carried))]
    with suppress(StopIteration):
        while True:
            replies = [StoreError("no") if word == "bad" else f"<{word!s}>" for (word,) in trips[-1]]
            trips.append(commands_of(carried.send(replies)))
    assert trips == [(("a",), ("b",), ("x",), ("y",)), (("bad",),), (("c",),)]
    assert (short.result, long.result, both.result) == (["<a>"], ["<b>", "no", "<c>"], ["<x>", "<y>"])

    lost = abreast(Part(asks("a")), Part(asks("b")))
    next(lost)
    with pytest.raises(StoreUnavailable):
        lost.send(["<a>", StoreUnavailable("gone")])
