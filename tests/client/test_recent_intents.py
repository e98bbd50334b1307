"""The intents of late: each that was admitted, with what became of it, the latest last."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

import gate.client.recent
from gate import InvalidField, Outcome, Phase, Policy, Record, StoreError, StoreUnavailable
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.session import declare_whole
from tests.servers.store import Store
from tests.servers.users import url_of_user

ROOMY = Policy(rate_symbol_limit=1_000, rate_global_limit=1_000, max_in_flight=1_000)


def admit(gate: AnyGate, *ids: str, symbol: str = "BTCUSDT") -> None:
    """Admits and settles them, one after the other."""
    for each in ids:
        permit = at.admitted(gate.evaluate(at.entry(each, symbol=symbol)))
        assert gate.settle(permit, Outcome.placed(f"of-{each}"))


def ids_of(gate: AnyGate, at_most: int = 100, symbol: str | None = None) -> list[str]:
    return [each.intent_id for each in gate.recent_intents(at_most, symbol=symbol).records]


def test_each_has_what_became_of_it_in_the_order_of_admissions(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate, "z", "a")
    unknown = at.admitted(gate.evaluate(at.entry("m", symbol="ETHUSDT")))
    assert gate.settle(unknown, Outcome.unknown("no answer"))
    at.admitted(gate.evaluate(at.exit_("b")))
    assert gate.evaluate(at.entry("z")).reason.value == "DUPLICATE"
    found = gate.recent_intents()
    assert [(each.intent_id, each.phase, each.is_exit) for each in found.records] == [
        ("z", Phase.PLACED, False),
        ("a", Phase.PLACED, False),
        ("m", Phase.UNKNOWN, False),
        ("b", Phase.ADMITTED, True),
    ]
    assert found.records[0].order_id == "of-z"
    assert not found.more
    assert abs(found.now_ms - found.records[0].admitted_ms) < 60_000


def test_the_latest_count_and_it_says_when_there_are_more(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    names = [f"sig-{number}" for number in range(12)]
    admit(gate, *names)
    assert ids_of(gate, 3) == names[-3:]
    assert gate.recent_intents(11).more
    assert ids_of(gate, 11) == names[1:]
    assert not gate.recent_intents(12).more
    assert ids_of(gate, 12) == names


def test_over_many_pages_none_is_lost_or_doubled(
    redis_client: redis.Redis, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate.client.recent, "_SCANNED", 3)
    client = open_gate(ROOMY)
    names = [f"sig-{number}" for number in range(40)]
    admit(client, *names)
    redis_client.mset({f"somebody:{number}": "1" for number in range(300)})
    told: list[int] = []
    assert [each.intent_id for each in client.recent_intents(5, looked=told.append).records] == names[-5:]
    assert told == sorted(told)
    assert 40 <= told[-1] < 80, "records alone; SCAN may show one twice"
    assert len(told) > 10


def test_of_one_symbol_alone(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate, "a", "b")
    admit(gate, "c", symbol="ETHUSDT")
    admit(gate, "d")
    assert ids_of(gate, symbol="BTCUSDT") == ["a", "b", "d"]
    assert ids_of(gate, 1, symbol="ETHUSDT") == ["c"]
    assert not gate.recent_intents(1, symbol="ETHUSDT").more
    assert ids_of(gate, symbol="XRPUSDT") == []


def test_a_permit_in_doubt_whose_record_has_lapsed_is_there_by_its_copy(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    at.admitted(gate.evaluate(at.entry("entry")))
    at.admitted(gate.evaluate(at.exit_("exit")))
    admit(gate, "placed", symbol="ETHUSDT")
    for name in ("entry", "exit", "placed"):
        redis_client.delete(f"quantum:exec:processed:{name}")
    assert ids_of(gate) == ["entry", "exit"]


def test_a_copy_does_not_hide_the_record(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    at.admitted(gate.evaluate(at.entry("sig-1")))
    redis_client.hset(at.STATE, "permit:sig-1", "unknown t 1 f 1 BTCUSDT BUY 30000 1 - TIMEOUT")
    assert [each.phase for each in gate.recent_intents().records] == [Phase.ADMITTED]


def test_of_many_no_more_are_kept_than_tell_of_older_ones() -> None:
    latest: dict[str, Record] = {}
    for number in range(100):
        record = Record(f"sig-{number}", Phase.PLACED, admitted_ms=number)
        gate.client.recent._add(latest, {record.intent_id: record}, 3, None)
        assert len(latest) <= 7
    gate.client.recent._add(latest, {f"x-{n}": Record(f"x-{n}", Phase.PLACED) for n in range(5)}, 3, None)
    assert sorted(latest) == ["sig-96", "sig-97", "sig-98", "sig-99"]


def test_who_may_not_read_a_record_is_told_that(store: Store, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    admit(open_gate(ROOMY), "a")
    redis_client.acl_setuser("short", enabled=True, reset=True, nopass=True, keys=["*"], categories=["+@all"])
    redis_client.execute_command("ACL", "SETUSER", "short", "-get")
    parts = urlsplit(store.url)
    url = urlunsplit(parts._replace(netloc=f"short:any@{parts.hostname}:{parts.port}"))
    try:
        with pytest.raises(StoreError, match=r"(?i)get"):
            open_gate(url=url).recent_intents()
    finally:
        redis_client.acl_deluser("short")


def test_the_right_that_is_named_is_the_one_that_is_missing(store: Store, open_sync_gate: OpenGate) -> None:
    """An operator may not write records either: that isn't what is missing here."""
    with pytest.raises(StoreError, match="run the 'scan' command"):
        open_sync_gate(url=url_of_user(store, "operator", more=("-scan",))).recent_intents()


def test_what_the_gate_did_not_write_is_shown_as_that(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate, "ours")
    redis_client.set("quantum:exec:processed:old", "1")
    redis_client.lpush("quantum:exec:processed:odd", "1")
    records = gate.recent_intents().records
    assert [(each.intent_id, each.phase) for each in records] == [
        ("odd", Phase.FOREIGN),
        ("old", Phase.FOREIGN),
        ("ours", Phase.PLACED),
    ]


def test_another_accounts_intents_are_not_among_them(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    declare_whole(redis_client, "quantum2")
    admit(open_gate(ROOMY, prefix="quantum2"), "theirs")
    admit(open_gate(ROOMY), "ours")
    assert ids_of(open_gate(ROOMY)) == ["ours"]


def test_an_observer_sees_what_it_has_observed(open_gate: OpenGate) -> None:
    observer = open_gate(Policy(mode="observe"))
    observer.evaluate(at.entry("seen"))
    assert ids_of(observer) == ["seen"]
    assert ids_of(open_gate()) == []


def test_it_writes_nothing(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate, "a")
    at.admitted(gate.evaluate(at.entry("b")))
    held = at.contents(redis_client)
    gate.recent_intents()
    assert at.contents(redis_client) == held


@pytest.mark.parametrize("key", [at.INFLIGHT, at.EXITS])
def test_a_damaged_set_is_named_and_hides_no_record(key: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate, "a")
    redis_client.delete(key)
    redis_client.set(key, "1")
    found = gate.recent_intents()
    assert [each.intent_id for each in found.records] == ["a"]
    assert found.unread == (key,)
    assert not found


def test_a_name_of_any_bytes_is_read(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(b"quantum:exec:processed:\xff\xfe", "1")
    [record] = open_gate().recent_intents().records
    assert record.phase is Phase.FOREIGN


def test_without_a_store_it_raises(open_gate: OpenGate) -> None:
    with pytest.raises(StoreUnavailable):
        open_gate(url="redis://127.0.0.1:1/0").recent_intents()


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_count_that_means_nothing_is_refused(count: int, open_gate: OpenGate) -> None:
    with pytest.raises(InvalidField, match="at_most"):
        open_gate().recent_intents(count)
