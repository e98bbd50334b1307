"""The exchange has symbols with Chinese characters since October 2025: from the stream to keys, URLs and signatures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import redis

from gate.executor.execution import Terminal
from gate.executor.reconcile import Finding, reconcile
from gate.paper import Account, Fault, FaultKind, PaperExchange
from gate.paper.market.market_data import built_in
from tests.executor.conftest import Desk, abandoned

SYMBOL = "币安人生USDT"


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperExchange]:
    """A paper exchange with one symbol."""
    near = built_in().symbols["NEARUSDT"].published
    capture = tmp_path / "info.json"
    capture.write_text(json.dumps({"symbols": [{**near, "symbol": SYMBOL, "baseAsset": "币安人生"}]}), encoding="utf-8")
    account = Account(key="key-of-the-test", secret="secret-of-the-test")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], exchange_info=capture) as paper:
        yield paper


async def test_an_entry_is_placed_and_closed(desk: Desk) -> None:
    entry = await desk.executor.execute(
        {
            "trace_id": "sig-1",
            "symbol": SYMBOL,
            "side": "BUY",
            "position_size_usd": "200",
            "timestamp": time.time(),
        }
    )
    held = entry.filled_quantity
    exit_ = await desk.executor.execute(desk.intent(SYMBOL, "SELL", quantity=held, reduce_only=True))
    record = await desk.gate.lookup("sig-1")

    assert (entry.state, exit_.state) == (Terminal.FILLED, Terminal.FILLED)
    assert [row["symbol"] for row in desk.orders()] == [SYMBOL, SYMBOL]
    assert record is not None
    assert (record.symbol, record.order_id) == (SYMBOL, entry.order_id)


async def test_a_lost_answer_is_looked_up_under_the_symbol(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))
    intent = desk.intent(SYMBOL, notional="200")

    execution = await desk.executor.execute(intent)

    assert execution.state is Terminal.FILLED
    assert len(desk.orders(intent)) == 1


async def test_what_is_in_doubt_is_reconciled(desk: Desk, redis_client: redis.Redis) -> None:
    intent = await abandoned(desk, redis_client, sent=True, symbol=SYMBOL, quantity="100")

    [found] = await reconcile(desk.gate, desk.exchange)

    assert (found.intent_id, found.finding) == (intent.id, Finding.PLACED)


async def test_its_guards_its_status_and_its_reset_know_it(desk: Desk) -> None:
    desk.balance("0")

    await desk.executor.execute(desk.intent(SYMBOL, notional="200"))
    denied = await desk.executor.execute(desk.intent(SYMBOL, notional="200"))
    standing = {each.key for each in (await desk.gate.status()).standing}
    await desk.gate.reset("cooldowns", by="test", reason="go on")
    desk.balance("10000")
    placed = await desk.executor.execute(desk.intent(SYMBOL, notional="200"))

    assert denied.reason in ("COOLDOWN_GLOBAL", "COOLDOWN_SYMBOL")
    assert f"quantum:safety:cooldown_symbol:{SYMBOL}" in standing
    assert (placed.state, placed.filled_quantity > Decimal(0)) == (Terminal.FILLED, True)
