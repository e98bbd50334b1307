"""The executor goes by the policy in force, and its failures of margin trip safe mode as they are meant to."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest
import redis

from gate import Policy, Reason
from gate.executor import Terminal
from tests.client import account as at
from tests.executor.conftest import ROOMY, Desk, OpenDesk

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT")


async def without_margin(desk: Desk, symbol: str) -> None:
    execution = await desk.executor.execute(desk.intent(symbol))
    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")


@pytest.mark.parametrize("policy", [Policy(), None], ids=["pinned", "following"])
async def test_five_margin_failures_in_five_minutes_trip_safe_mode_for_fifteen(
    open_desk: OpenDesk, redis_client: redis.Redis, policy: Policy | None
) -> None:
    """With the defaults. Were the account to rest for five minutes after the first, the others could never meet it."""
    desk = await open_desk(policy)
    desk.balance("0")
    for symbol in SYMBOLS[:4]:
        await without_margin(desk, symbol)
    assert not redis_client.exists(at.SAFE_MODE)
    await without_margin(desk, SYMBOLS[4])
    assert 890_000 < redis_client.pttl(at.SAFE_MODE) <= 900_000
    denied = await desk.executor.execute(desk.intent("ADAUSDT"))
    assert denied.reason == Reason.SAFE_MODE
    [tripped] = [act for act in at.audit(redis_client) if act["what"] == "trip safe_mode"]
    assert tripped["reason"].startswith("5 failures in 300 s, the last on BNBUSDT: INSUFFICIENT_MARGIN")


async def test_a_verdict_that_trips_safe_mode_says_so_as_a_settlement_does(
    open_desk: OpenDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """A new policy has lowered the limit: no failure comes any more that could trip it."""
    desk = await open_desk(None)
    desk.balance("0")
    await without_margin(desk, "BTCUSDT")
    await desk.gate.apply_policy(Policy(failure_limit=1), by="ops", reason="too many")
    denied = await desk.executor.execute(desk.intent("ETHUSDT"))
    again = await desk.executor.execute(desk.intent("SOLUSDT"))
    assert (denied.reason, again.reason) == (Reason.FAILURE_LIMIT, Reason.SAFE_MODE)
    assert [line for line in caplog.messages if line.startswith("SAFE MODE TRIGGERED")] == [
        f"SAFE MODE TRIGGERED id={denied.intent_id} symbol=ETHUSDT side=BUY reason=FAILURE_LIMIT"
    ]


async def test_a_symbol_without_margin_rests_and_the_others_go_on(open_desk: OpenDesk) -> None:
    desk = await open_desk(Policy())
    desk.balance("0")
    await without_margin(desk, "BTCUSDT")
    again = await desk.executor.execute(desk.intent("BTCUSDT"))
    assert again.reason == Reason.COOLDOWN_SYMBOL
    desk.balance("10000")
    assert (await desk.executor.execute(desk.intent("ETHUSDT"))).state is Terminal.FILLED


async def test_a_pinned_executor_logs_the_figures_that_differ(
    open_desk: OpenDesk, caplog: pytest.LogCaptureFixture
) -> None:
    desk = await open_desk(Policy())
    await desk.gate.apply_policy(Policy(max_in_flight=8), by="ops", reason="test")
    with caplog.at_level(logging.INFO, logger="gate.executor"):
        denied = await desk.executor.execute(desk.intent())
    assert denied.reason == Reason.POLICY_MISMATCH
    assert "max_in_flight is 8, here 64" in caplog.records[-1].message


async def test_an_executor_whose_gate_follows_goes_by_each_new_policy(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """Its margin, what it does about leverage, and its penalties are those of the policy in force."""
    desk = await open_desk(None)
    await desk.gate.apply_policy(ROOMY, by="ops", reason="test")
    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED
    strict = Policy(rate_symbol_limit=100, rate_global_limit=1000, margin_buffer=Decimal(10), cooldown_symbol_ms=7_000)
    ops = await open_desk(strict)
    await ops.gate.apply_policy(by="ops", reason="test")
    desk.balance("100")  # 1,000 at 20x need 50, and eleven times that with the new buffer
    await without_margin(desk, "ETHUSDT")
    assert redis_client.pttl("quantum:safety:cooldown_symbol:ETHUSDT") <= 7_000
    assert desk.gate.policy == strict
