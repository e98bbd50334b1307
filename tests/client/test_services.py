"""Which services are seen on a store, and which prefix keeps an account of the exchange."""

from __future__ import annotations

import pytest
import redis

from gate import SeenService, SeenServices
from gate.client import services
from gate.client.services import SERVICES, account_key, prefix_key
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.store import Store


def seen(*prefixes: str, found: SeenServices) -> bool:
    return [each.prefix for each in found.others] == list(prefixes) and all(
        each.ago_ms < 60_000 for each in found.others
    )


def test_a_service_is_seen_by_its_prefix(open_gate: OpenGate) -> None:
    open_gate(prefix="acct7").leave_trace()
    found = open_gate().seen_services()
    assert found.own_ago_ms is None
    assert not found.own_lately
    assert seen("acct7", found=found)
    open_gate().leave_trace()
    assert open_gate().seen_services().own_lately


def test_a_trace_is_left_once_a_minute(
    redis_client: redis.Redis, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = open_gate()
    gate.leave_trace()
    redis_client.delete(SERVICES)
    gate.leave_trace()
    assert not redis_client.exists(SERVICES)
    monkeypatch.setattr(services, "TRACE_EVERY_S", -1)
    open_gate().leave_trace()
    assert redis_client.exists(SERVICES)


def test_one_that_was_seen_long_ago_is_not_seen_lately(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    now_ms = at.server_ms(redis_client)
    redis_client.zadd(SERVICES, {"quantum": now_ms - 3_700_000, "acct7": now_ms - 40 * 86_400_000})
    found = open_gate().seen_services()
    assert (found.own_lately, found.others) == (False, ())
    assert redis_client.zcard(SERVICES) == 1, "what is older than thirty days is forgotten"


def test_only_twenty_are_named(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    now_ms = at.server_ms(redis_client)
    redis_client.zadd(SERVICES, {f"acct{number}": now_ms - 1_000 * number for number in range(3_000)})
    found = open_gate().seen_services()
    assert len(found.others) == 20
    assert isinstance(found.others[0], SeenService)
    assert found.others[0].prefix == "acct0"


def test_a_block_leaves_a_trace(redis_client: redis.Redis, store: Store) -> None:
    from gate import Gate

    with Gate.from_url(store.url, timeout_ms=5_000) as gate:
        with gate.guard(at.entry()) as permit:
            permit.placed("81")
        assert gate.seen_services().own_lately


def test_an_account_is_kept_under_one_prefix(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    assert open_gate().claim_account("digest") is None
    assert open_gate().claim_account("digest") is None, "another worker of the service"
    assert open_gate(prefix="acct7").claim_account("digest") == "quantum"
    assert open_gate(prefix="acct7").claim_account("other digest") is None
    assert 0 < redis_client.ttl(account_key("digest")) <= 300


def test_a_claim_that_is_renewed_stays(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.claim_account("digest")
    redis_client.expire(account_key("digest"), 5)
    gate.claim_account("digest")
    assert redis_client.ttl(account_key("digest")) > 5


def test_an_account_whose_service_has_ended_is_free_after_a_while(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    open_gate(prefix="acct7").claim_account("digest")
    redis_client.pexpire(account_key("digest"), 0)
    assert open_gate().claim_account("digest") is None


def test_a_prefix_keeps_one_account(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    assert open_gate().claim_prefix("first")
    assert open_gate().claim_prefix("first"), "another worker of the service, or one with another key"
    assert not open_gate().claim_prefix("second")
    assert open_gate(prefix="acct7").claim_prefix("second")
    assert redis_client.get(prefix_key("quantum")) == b"first"
    redis_client.expire(prefix_key("quantum"), 5)
    assert open_gate().claim_prefix("first")
    assert 290 < redis_client.ttl(prefix_key("quantum")) <= 300


def test_only_who_holds_a_claim_leaves_it(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate, other = open_gate(), open_gate(prefix="acct7")
    gate.claim_account("digest")
    gate.claim_prefix("first")
    gate.leave_account("digest", "second", at_once=True)
    assert redis_client.exists(prefix_key("quantum"))
    assert not redis_client.exists(account_key("digest"))
    gate.claim_account("digest")
    other.leave_account("digest", "first", at_once=True)
    assert redis_client.exists(account_key("digest"), prefix_key("quantum")) == 2
    gate.leave_account("digest", "first")
    assert all(60 < redis_client.ttl(key) <= 70 for key in (account_key("digest"), prefix_key("quantum")))
    gate.leave_account("digest", "first", at_once=True)
    assert redis_client.exists(account_key("digest"), prefix_key("quantum")) == 2, "another service may hold them now"
    redis_client.delete(account_key("digest"), prefix_key("quantum"))
    gate.claim_account("digest")
    gate.claim_prefix("first")
    gate.leave_account("digest", "first", at_once=True)
    assert not redis_client.exists(account_key("digest"), prefix_key("quantum"))


def test_a_user_without_the_right_goes_on(redis_client: redis.Redis, store: Store, open_gate: OpenGate) -> None:
    redis_client.execute_command("ACL", "SETUSER", "narrow", "on", ">-", "~quantum:*", "+@all")
    try:
        gate = open_gate(url=store.url.replace("//", "//narrow:-@"))
        gate.leave_trace()
        assert gate.claim_account("digest") is None
        assert gate.claim_prefix("first")
        gate.leave_account("digest", "first")
        assert at.admitted(gate.evaluate(at.entry()))
    finally:
        redis_client.execute_command("ACL", "DELUSER", "narrow")


def test_a_damaged_key_stops_nobody(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(SERVICES, "in the way")
    redis_client.hset(account_key("digest"), "in the", "way")
    redis_client.hset(prefix_key("quantum"), "in the", "way")
    gate = open_gate()
    gate.leave_trace()
    assert gate.claim_account("digest") is None
    assert gate.claim_prefix("first")
