"""What a check finds where a part of it can't be tried. The store and the exchange are real."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest

from gate import AsyncGate, Policy
from gate.config import Config
from gate.exchange.binance import BinanceFutures
from gate.service.check import Finding, check
from gate.service.last_told import last_told
from gate.service.settings import read_settings
from gate.store.connect import plain_client
from tests.service.desk import RESULTS, STREAM, Desk

Check = Callable[..., Awaitable[dict[str, Finding]]]


@pytest.fixture
def checked(desk: Desk) -> Check:
    async def run(listen: str = "none", user: str = "", prefix: str = "quantun") -> dict[str, Finding]:
        config = Config(url=desk.url, prefix=prefix, policy=Policy(), file=None, figures_from_file=frozenset())
        settings = read_settings({}, {}, prefix, host="here", pid=1, listen=listen)
        client = plain_client(desk.url.replace("//", f"//{user}:any@") if user else desk.url, 1_500)
        try:
            async with (
                AsyncGate.from_url(desk.url, prefix=prefix) as gate,
                BinanceFutures("key", "secret", base_url=desk.paper.url, streams=False) as exchange,
            ):
                found = await check(config, settings, gate, exchange, client, venue="paper")
        finally:
            await client.aclose()
        return {each.what: each for each in found}

    return run


async def test_nobody_looks_for_other_accounts_among_many_keys(
    desk: Desk, checked: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.client.hset("acct7:exec:state", "fence", "7")
    assert "acct7" in (await checked())["prefix"].says
    monkeypatch.setattr("gate.client.status._KEYS_AT_MOST", -1)
    assert "prefix" not in await checked()


async def test_a_user_who_may_not_look_for_other_accounts_finds_everything_else(desk: Desk, checked: Check) -> None:
    desk.client.hset("acct7:exec:state", "fence", "7")
    desk.client.acl_setuser("narrow", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-scan", "-get"])
    try:
        found = await checked(user="narrow")
    finally:
        desk.client.acl_deluser("narrow")
    assert "prefix" not in found
    assert (found["streams"].ok, found["exchange"].ok) == (True, True)


@pytest.mark.parametrize("key", [STREAM, RESULTS])
async def test_a_key_that_is_no_stream_is_found(desk: Desk, checked: Check, key: str) -> None:
    desk.client.set(key, "no stream")
    streams = (await checked(prefix="quantum"))["streams"]
    assert not streams.ok
    assert "WRONGTYPE" in streams.says


async def test_an_address_that_is_not_here_stops_the_service_and_a_free_one_of_either_kind_does_not(
    checked: Check,
) -> None:
    assert not (await checked(listen="192.0.2.1:9109"))["listen"].ok
    for free in ["127.0.0.1:0", *(["[::1]:0"] if socket.has_dualstack_ipv6() else [])]:
        assert "listen" not in await checked(listen=free)


async def test_what_was_told_of_an_order_and_cannot_be_read_is_not_told(desk: Desk) -> None:
    desk.client.set("quantum:stream:order:g-1", "x")
    for url in (desk.url, "redis://127.0.0.1:1/0"):
        assert await last_told(url, "quantum", "g-1") is None
