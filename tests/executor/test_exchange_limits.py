"""Near the exchange's own limits the account rests, before the exchange bans it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure
from gate.exchange.usage import DEFAULT_LIMITS, RateLimit, Usage, decode_limits
from gate.executor import Executor
from gate.executor.execution import Terminal
from gate.paper import Account, Fault, FaultKind, PaperExchange, RateLimits
from tests.executor.conftest import Desk

MINUTE_MS = 60_000
NOON_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS
WEIGHT = "X-MBX-USED-WEIGHT-1M"


def _usage(used: int, header: str = WEIGHT, at_ms: int = NOON_MS) -> Usage:
    usage = Usage()
    usage.note({header: str(used)}, at_ms)
    return usage


@pytest.mark.parametrize(
    ("header", "used", "rest_ms"),
    [
        (WEIGHT, 1919, None),
        (WEIGHT, 1920, 60_000),
        ("X-MBX-ORDER-COUNT-10S", 239, None),
        ("X-MBX-ORDER-COUNT-10S", 240, 10_000),
        ("X-MBX-ORDER-COUNT-1M", 959, None),
        ("X-MBX-ORDER-COUNT-1M", 960, 60_000),
    ],
)
def test_entries_rest_from_four_fifths_of_a_limit_until_its_window_ends(
    header: str, used: int, rest_ms: int | None
) -> None:
    assert _usage(used, header).near_limit_ms(NOON_MS) == rest_ms


def test_a_new_window_starts_anew() -> None:
    usage = _usage(2400)

    assert usage.near_limit_ms(NOON_MS + MINUTE_MS - 1) == 1
    assert usage.near_limit_ms(NOON_MS + MINUTE_MS) is None


def test_the_longest_rest_of_several_limits_holds() -> None:
    usage = _usage(2400)
    usage.note({"X-MBX-ORDER-COUNT-10S": "300"}, NOON_MS)

    assert usage.near_limit_ms(NOON_MS) == MINUTE_MS


def test_headers_without_counts_or_with_nonsense_change_nothing() -> None:
    usage = _usage(2400)
    usage.note({"Content-Type": "text/html"}, NOON_MS)
    usage.note({WEIGHT: "many"}, NOON_MS)

    assert usage.near_limit_ms(NOON_MS) == MINUTE_MS


def test_limits_are_those_that_the_exchange_publishes() -> None:
    rows = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 6000},
        {"rateLimitType": "ORDERS", "interval": "FORTNIGHT", "intervalNum": 1, "limit": 1},
        "nonsense",
    ]

    assert decode_limits(rows) == DEFAULT_LIMITS
    assert decode_limits([{**rows[1], "limit": 50}]) == (RateLimit("X-MBX-ORDER-COUNT-10S", 50, 10_000),)  # type: ignore[dict-item]


def test_an_accounts_own_order_limits_outrank_the_published_ones() -> None:
    usage = _usage(1199, "X-MBX-ORDER-COUNT-1M")
    usage.own(decode_limits([{"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 7000}]))
    assert usage.near_limit_ms(NOON_MS) is None

    usage.published(DEFAULT_LIMITS)
    usage.note({WEIGHT: "2400"}, NOON_MS)

    assert {each.header: each.most for each in usage.limits}["X-MBX-ORDER-COUNT-1M"] == 7000
    assert usage.near_limit_ms(NOON_MS) == MINUTE_MS, "the weight is limited as before"


async def test_an_account_with_a_higher_limit_uses_it(desk: Desk) -> None:
    account = Account(key="key", secret="secret")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], limits=RateLimits(orders_per_minute=7000)) as paper:
        async with BinanceFutures(paper.key, paper.secret, base_url=paper.url) as exchange:
            await exchange.filters("BTCUSDT")
            assert exchange._rest._limits_reading is not None
            await exchange._rest._limits_reading

            assert {each.most for each in exchange._rest.usage.limits} == {2400, 300, 7000}


async def test_no_order_waits_for_the_account_s_limits(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/rateLimit/order"))

    execution = await desk.executor.execute(desk.intent())

    assert execution.state is Terminal.FILLED
    await asyncio.to_thread(desk.paper.wait_held)
    desk.paper.release_held()


async def test_too_many_orders_have_the_limits_read_again(desk: Desk) -> None:
    await desk.executor.execute(desk.intent())
    assert desk.exchange._rest._limits_reading is not None
    await desk.exchange._rest._limits_reading
    desk.paper.inject(
        Fault(kind=FaultKind.ERROR, status=429, code=-1015),
        Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/rateLimit/order"),
    )

    refused = await desk.executor.execute(desk.intent("ETHUSDT"))

    assert refused.reason == "-1015"
    await asyncio.to_thread(desk.paper.wait_held)
    desk.paper.release_held()


@pytest.mark.parametrize(
    "limits",
    [RateLimits(orders_per_minute=5), RateLimits(orders_per_ten_seconds=5)],
    ids=["a minute", "ten seconds"],
)
async def test_entries_rest_before_the_exchange_refuses_orders_and_exits_go_on(desk: Desk, limits: RateLimits) -> None:
    account = Account(key="key", secret="secret")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], limits=limits) as paper:
        paper.hold_clock(NOON_MS)  # far from the end of any window
        async with BinanceFutures(paper.key, paper.secret, base_url=paper.url, recv_window_ms=60_000) as exchange:
            await exchange._rest.set_clock(5)
            executor = Executor(desk.gate, exchange)

            placed = [await executor.execute(desk.intent(quantity="0.01")) for _ in range(4)]
            rested = await executor.execute(desk.intent(quantity="0.01"))
            closed = await executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

        assert [each.state for each in placed] == [Terminal.FILLED] * 4
        assert (rested.state, rested.reason) == (Terminal.DENIED, "COOLDOWN_GLOBAL")
        assert rested.detail == "near the exchange's own rate limits"
        assert rested.retry_after_ms is not None
        assert closed.state is Terminal.FILLED
        assert len(paper.ledger()) == 5


@asynccontextmanager
async def _near_its_limit(desk: Desk) -> AsyncIterator[Desk]:
    """A desk whose account is near its limit of orders, by orders of others: the gate knows nothing of them."""
    account = Account(key="key", secret="secret")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], limits=RateLimits(orders_per_minute=6)) as paper:
        paper.hold_clock(NOON_MS)  # far from the end of any window
        async with BinanceFutures(paper.key, paper.secret, base_url=paper.url, recv_window_ms=60_000) as exchange:
            await exchange._rest.set_clock(5)
            await exchange.filters("BTCUSDT")  # and with them the limits
            for _ in range(5):
                await exchange._rest.client.futures_create_order(
                    symbol="SOLUSDT", side="BUY", type="MARKET", quantity="1"
                )
            assert exchange.near_limit_ms() is not None
            yield Desk(desk.gate, exchange, Executor(desk.gate, exchange), paper)


@pytest.mark.parametrize(
    ("code", "its_own"),
    [(-2015, {"safe_mode"}), (-2019, {"failures", "cooldown_symbol"})],
    ids=["keys that don't work", "no margin"],
)
async def test_near_a_limit_a_refusal_costs_what_it_costs_anywhere(desk: Desk, code: int, its_own: set[str]) -> None:
    async with _near_its_limit(desk) as near:
        near.paper.inject(Fault(kind=FaultKind.ERROR, code=code))

        refused = await near.executor.execute(near.intent())

        on = {each.name for each in (await near.gate.status()).standing}
        assert refused.reason == str(code)
        assert {"cooldown_global"} | its_own <= on


async def test_used_weight_rests_entries_before_the_exchange_answers_429(desk: Desk) -> None:
    account = Account(key="key", secret="secret")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], limits=RateLimits(weight_per_minute=80)) as paper:
        paper.hold_clock(NOON_MS)  # far from the end of any window
        async with BinanceFutures(paper.key, paper.secret, base_url=paper.url, recv_window_ms=60_000) as exchange:
            await exchange._rest.set_clock(5)
            executor = Executor(desk.gate, exchange)
            reasons = [(await executor.execute(desk.intent(quantity="0.01"))).reason for _ in range(10)]

    assert reasons[-1] == "COOLDOWN_GLOBAL"
    assert set(reasons) == {"FILLED", "COOLDOWN_GLOBAL"}, "never HTTP_429 or -1003"


@pytest.mark.parametrize(
    ("used", "into_the_minute_ms", "apart_ms"),
    [(0, 0, 0), (1199, 0, 0), (1200, 0, 250), (1200, 30_000, 208), (1900, 0, 250), (1920, 0, 250)],
)
def test_from_half_of_the_weight_on_readings_are_spread_over_the_minute(
    used: int, into_the_minute_ms: int, apart_ms: int
) -> None:
    """So that they alone don't bring the account to rest."""
    now_ms = NOON_MS + into_the_minute_ms
    usage = _usage(used, at_ms=now_ms)
    usage.note({"X-MBX-ORDER-COUNT-1M": "1100"}, now_ms)

    assert usage.apart_ms(now_ms, weight=5) == apart_ms
    assert usage.apart_ms(now_ms + MINUTE_MS, weight=5) == 0


async def test_an_answered_request_counts_once_by_its_status(desk: Desk) -> None:
    await desk.exchange.mark_price("BTCUSDT")
    assert desk.exchange.requests() == {"200": 1}
    with pytest.raises(ExchangeFailure):
        await desk.exchange.mark_price("NOSUCHUSDT")
    assert desk.exchange.requests() == {"200": 1, "400": 1}
