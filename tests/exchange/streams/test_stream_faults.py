"""Nothing counts from a connection that is silent, broken or behind, and everything that was missed is read again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from binance import Client

from gate.exchange.binance import BinanceFutures
from gate.exchange.streams import listeners
from gate.exchange.streams import live as streams
from gate.exchange.streams.line import Line, LineEnded
from gate.paper import Fault, FaultKind, PaperExchange
from tests.exchange.streams.conftest import (
    EVER,
    SYMBOL,
    OpenExchange,
    figures,
    figures_when,
    free,
    hits,
    inside,
    key,
    place,
    really_free,
    until,
    without_figures,
)


def wallet_event(at_ms: int) -> str:
    wallet = '{"a":"USDT","wb":"10000","cw":"10000","bc":"0"}'
    return f'{{"e":"ACCOUNT_UPDATE","E":{at_ms},"T":{at_ms},"a":{{"m":"DEPOSIT","B":[{wallet}],"P":[]}}}}'


async def test_a_silent_connection_tells_nothing_after_two_seconds(
    paper: PaperExchange, exchange: BinanceFutures
) -> None:
    first = await figures(exchange)
    paper.inject(Fault(kind=FaultKind.SILENT_STREAM, event="ACCOUNT_UPDATE"))
    paper.set_balance(5_000)
    since_ns = time.monotonic_ns()
    while (live := exchange.live(SYMBOL)) is not None:
        assert live.account.age_ms <= streams.FRESH_MS
        await until(lambda: True)
    # It is given up, and the next one begins with a snapshot.
    live = await figures(exchange)
    assert free(live) == 5_000
    assert live.snapshot_ns > since_ns > first.snapshot_ns


async def test_silent_prices_tell_nothing(paper: PaperExchange, exchange: BinanceFutures) -> None:
    paper.inject(Fault(kind=FaultKind.SILENT_STREAM, event="markPriceUpdate"))
    await without_figures(exchange)
    paper.set_price(SYMBOL, 90_000)
    assert (await figures(exchange)).mark_price == 90_000


async def test_a_dropped_connection_leads_to_a_snapshot(
    paper: PaperExchange, client: Client, exchange: BinanceFutures
) -> None:
    gaps: list[int] = []
    exchange.on_gap(lambda: gaps.append(1))
    before = await figures(exchange)
    paper.inject(Fault(kind=FaultKind.DROP_STREAM, event="ORDER_TRADE_UPDATE"))
    name = place(client, "0.1", type="LIMIT", price="90000", timeInForce="GTC")
    await without_figures(exchange)
    assert not exchange.has_seen(name)
    after = await figures(exchange)
    assert free(after) == really_free(client) == 9_550
    assert after.snapshot_ns > before.snapshot_ns
    assert gaps == [1]


async def test_a_key_that_expires_leads_to_a_new_one(
    paper: PaperExchange, client: Client, exchange: BinanceFutures
) -> None:
    paper.inject(Fault(kind=FaultKind.EXPIRE_KEY, event="ORDER_TRADE_UPDATE"))
    place(client, "0.1", type="LIMIT", price="90000", timeInForce="GTC")
    await without_figures(exchange)
    assert free(await figures(exchange)) == 9_550
    name = place(client, type="LIMIT", price="90000", timeInForce="GTC")
    await until(lambda: exchange.has_seen(name))


async def test_a_key_that_somebody_has_ended_leads_to_a_new_one(
    monkeypatch: pytest.MonkeyPatch, paper: PaperExchange, client: Client, open_exchange: OpenExchange
) -> None:
    monkeypatch.setattr(streams, "_KEY_S", 0.1)
    exchange = await open_exchange()
    before = await figures(exchange)
    paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="listenKeyExpired"))
    assert key(paper, "DELETE") == 0
    await until(lambda: (live := exchange.live(SYMBOL)) is not None and live.snapshot_ns > before.snapshot_ns)
    name = place(client)
    await until(lambda: exchange.has_seen(name))


async def test_a_key_that_another_program_has_replaced_leads_to_a_new_connection(
    monkeypatch: pytest.MonkeyPatch, paper: PaperExchange, open_exchange: OpenExchange
) -> None:
    """It ends the key and makes one, as bots do when they restart. Ours is open then, answers pings, and is deaf."""
    monkeypatch.setattr(streams, "_KEY_S", 0.1)
    exchange = await open_exchange()
    await figures(exchange)
    paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="listenKeyExpired"))
    deaf = inside(exchange)._user
    assert (key(paper, "DELETE"), key(paper, "POST")) == (0, 0)  # this loop stands still, and asks nothing between
    await until(lambda: inside(exchange)._user is not deaf)
    await figures(exchange)
    paper.set_balance(5_000)
    await figures_when(exchange, lambda live: free(live) == 5_000)


async def test_a_snapshot_that_cannot_be_renewed_counts_no_more(
    monkeypatch: pytest.MonkeyPatch, paper: PaperExchange, exchange: BinanceFutures
) -> None:
    paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v3/account", probability=EVER))
    monkeypatch.setattr(streams, "_AUDIT_S", 0.1)
    monkeypatch.setattr(streams, "_BUSY_AUDIT_S", 0.1)
    inside(exchange)._wake.set()
    await without_figures(exchange)
    assert inside(exchange)._account.snapshot is not None
    paper.clear_faults()
    await figures(exchange)


async def test_a_leverage_that_a_reading_tells_before_its_event_leads_to_a_snapshot(
    paper: PaperExchange, client: Client, exchange: BinanceFutures
) -> None:
    """0.5 BTC at 100,000 hold 2,500 at leverage 20 and 5,000 at 10."""
    place(client, "0.5")
    await figures_when(exchange, lambda live: free(live) == really_free(client))
    paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ACCOUNT_CONFIG_UPDATE"))
    client.futures_change_leverage(symbol=SYMBOL, leverage=10)
    exchange.forget_hedge_mode()  # asks for a reading
    live = await figures_when(exchange, lambda live: live.config.leverage == 10)
    assert (free(live) or 0) <= really_free(client)


async def test_a_leverage_of_after_the_snapshot_leads_to_another_though_a_reading_has_told_it(
    client: Client, exchange: BinanceFutures
) -> None:
    place(client)
    live = await figures_when(exchange, lambda live: free(live) == really_free(client))
    told = '{"e":"ACCOUNT_CONFIG_UPDATE","E":%d,"T":%d,"ac":{"s":"BTCUSDT","l":20}}'
    inside(exchange)._hear_user(told % (1, live.snapshot_ms - 1))
    assert exchange.live(SYMBOL) is not None
    inside(exchange)._hear_user(told % (2, live.snapshot_ms))
    assert exchange.live(SYMBOL) is None


async def test_pings_that_one_answer_answers_are_not_kept(exchange: BinanceFutures) -> None:
    line = inside(exchange)._user
    assert line is not None
    line._asked |= {number.to_bytes(8, "big"): 0 for number in range(1 << 40, (1 << 40) + 100)}
    await until(lambda: len(line._asked) < 10)


async def test_a_doubled_event_counts_once(paper: PaperExchange, client: Client, exchange: BinanceFutures) -> None:
    paper.inject(Fault(kind=FaultKind.DOUBLE_EVENT, times=20))
    snapshot = (await figures(exchange)).snapshot_ns
    name = place(client, "0.1", type="LIMIT", price="90000", timeInForce="GTC")
    await until(lambda: exchange.has_seen(name))
    live = await figures(exchange)
    assert live.snapshot_ns == snapshot
    assert 9_540 <= (free(live) or 0) <= 9_550


async def test_what_comes_late_tells_nothing(paper: PaperExchange, exchange: BinanceFutures) -> None:
    before = await figures(exchange)
    paper.inject(Fault(kind=FaultKind.LAG_STREAM, event="ACCOUNT_UPDATE", delay_ms=3_000))
    paper.set_balance(5_000)
    while (live := exchange.live(SYMBOL)) is not None and live.snapshot_ns == before.snapshot_ns:
        assert live.account.age_ms <= streams.FRESH_MS
        await until(lambda: True)
    assert free(await figures(exchange)) == 5_000


async def test_what_comes_late_is_not_lost(exchange: BinanceFutures) -> None:
    """Listeners to orders ask about every order after a gap."""
    gaps: list[int] = []
    exchange.on_gap(lambda: gaps.append(1))
    late_ms = (await figures(exchange)).snapshot_ms - 10_000
    for number in range(20):
        inside(exchange)._hear_user(wallet_event(late_ms + number))
        assert inside(exchange)._account.snapshot is None
    assert gaps == []


async def test_gaps_are_told_some_time_apart_and_the_last_one_too(
    monkeypatch: pytest.MonkeyPatch, exchange: BinanceFutures
) -> None:
    monkeypatch.setattr(listeners, "_GAPS_APART_S", 0.3)
    told_ns: list[int] = []
    exchange.on_gap(lambda: told_ns.append(time.monotonic_ns()))
    for number in range(20):
        inside(exchange)._hear_user(f'{{"e":"ACCOUNT_UPDATE","T":"{number}"}}')
    assert len(told_ns) == 1
    await until(lambda: len(told_ns) == 2)
    assert told_ns[1] - told_ns[0] >= 0.29e9
    assert inside(exchange)._listeners._later is None


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"e":' * 100_000])
async def test_what_is_nested_too_deeply_cannot_be_read(
    exchange: BinanceFutures, caplog: pytest.LogCaptureFixture, nested: str
) -> None:
    inside(exchange)._hear_user(nested)
    assert exchange.live(SYMBOL) is None
    with pytest.raises(LineEnded):
        inside(exchange)._market._hear(nested)
    await figures(exchange)
    assert "STREAMS FAILED" not in caplog.text


async def test_a_fill_whose_position_is_not_told_stays_counted(
    paper: PaperExchange, client: Client, exchange: BinanceFutures
) -> None:
    paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ACCOUNT_UPDATE"))
    name = place(client, "0.1")
    await until(lambda: exchange.has_seen(name))
    while (live := exchange.live(SYMBOL)) is None or free(live) != really_free(client):
        assert live is None or (free(live) or 0) <= 10_000
        await until(lambda: True)
    assert hits(paper) == 1


async def test_a_fill_that_is_missing_leads_to_a_snapshot(
    paper: PaperExchange, client: Client, exchange: BinanceFutures
) -> None:
    told: list[Mapping[str, Any]] = []
    gaps: list[int] = []
    exchange.on_order(told.append)
    exchange.on_gap(lambda: gaps.append(1))
    before = await figures(exchange)
    paper.set_price(SYMBOL, 100_000, depth="0.05")
    name = place(client, "0.2", type="LIMIT", price="100100", timeInForce="GTC")
    await until(lambda: any(each["o"]["X"] == "PARTIALLY_FILLED" for each in told))
    paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ORDER_TRADE_UPDATE", client_order_id=name))
    paper.set_price(SYMBOL, 100_000, depth="0.05")
    paper.set_price(SYMBOL, 100_000, depth="0.05")
    await until(lambda: gaps)
    assert (await figures(exchange)).snapshot_ns > before.snapshot_ns


async def test_an_event_that_is_lost_without_a_sign_shows_in_the_next_snapshot(
    monkeypatch: pytest.MonkeyPatch, paper: PaperExchange, exchange: BinanceFutures
) -> None:
    """At first the change may still be on its way. Then the exchange's clock goes on, and nothing is told."""
    gaps: list[int] = []
    exchange.on_gap(lambda: gaps.append(1))
    paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ACCOUNT_UPDATE"))
    paper.set_balance(5_000)
    monkeypatch.setattr(streams, "_AUDIT_S", 0.1)
    monkeypatch.setattr(streams, "_BUSY_AUDIT_S", 0.1)
    inside(exchange)._wake.set()
    await figures_when(exchange, lambda live: free(live) == 5_000)
    assert gaps == []
    paper.move_clock(10_000)
    await until(lambda: gaps)


async def test_a_ban_silences_every_reading_of_the_streams(
    paper: PaperExchange, open_exchange: OpenExchange, caplog: pytest.LogCaptureFixture
) -> None:
    paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v3/account", retry_after_s=2))
    begun = time.monotonic()
    exchange = await open_exchange()
    await until(lambda: "IP banned" in caplog.text)
    # What was on its way before the ban was known may still get there.
    connector: Any = exchange._rest.client.session.connector
    await until(lambda: not connector._acquired)
    exchange.forget_hedge_mode()  # asks for a reading
    paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method="*", path="*"))
    await until(lambda: hits(paper) == 2)
    assert time.monotonic() - begun >= 2
    assert await figures(exchange)


async def test_no_other_server_is_told_the_listen_key(exchange: BinanceFutures) -> None:
    """A redirection would take it there, perhaps without TLS, and have it tell what the account holds."""
    asked: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    session = inside(exchange)._session
    assert session is not None
    async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(LineEnded, match="redirected"):
            await Line(session, f"ws://{host}:{port}/here", lambda _: None).run(lambda: None)
    assert asked == [b"GET /here HTTP/1.1\r\n"]
