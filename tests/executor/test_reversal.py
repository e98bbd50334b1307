"""An entry against the position in one-way mode: a reversal needs margin for what it opens, less what it frees first.
One that names a position side wants another position, and doesn't close this one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gate.executor.execution import Terminal
from gate.values.fields import plain
from tests.executor.conftest import ROOMY, Desk, OpenDesk

WATCHED = pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])


async def holding(open_desk: OpenDesk, watched: tuple[str, ...], side: str, **more: Any) -> Desk:
    """A desk with 15,000 USDT open at leverage 20, and about 350 free."""
    desk = await open_desk(ROOMY, None, *watched)
    desk.balance("1100")
    assert (await desk.executor.execute(desk.intent(side=side, notional="15000", **more))).state is Terminal.FILLED
    return desk


async def held(desk: Desk) -> Decimal:
    [position] = await desk.exchange.positions("BTCUSDT")
    return position.amount


@WATCHED
@pytest.mark.parametrize("side", ["BUY", "SELL"])
async def test_a_reversal_counts_what_its_closing_part_frees(
    open_desk: OpenDesk, watched: tuple[str, ...], side: str
) -> None:
    desk = await holding(open_desk, watched, side)
    before = await held(desk)

    turned = await desk.executor.execute(desk.intent(side="SELL" if side == "BUY" else "BUY", notional="30000"))

    assert turned.state is Terminal.FILLED, turned
    assert (await held(desk) > 0) is (before < 0)


@WATCHED
@pytest.mark.parametrize(("leverage", "notional"), [(None, "36000"), (21, "38000")])
async def test_a_reversal_that_opens_more_than_the_margin_covers_is_not_sent(
    open_desk: OpenDesk, watched: tuple[str, ...], leverage: int | None, notional: str
) -> None:
    desk = await holding(open_desk, watched, "BUY")

    refused = await desk.executor.execute(desk.intent(side="SELL", notional=notional, leverage=leverage))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert len(desk.orders()) == 1


@WATCHED
async def test_a_reversal_at_another_leverage_counts_it_too(open_desk: OpenDesk, watched: tuple[str, ...]) -> None:
    desk = await holding(open_desk, watched, "BUY")

    turned = await desk.executor.execute(desk.intent(side="SELL", notional="30000", leverage=21))

    assert turned.state is Terminal.FILLED, turned


@WATCHED
async def test_in_hedge_mode_the_other_side_frees_nothing(open_desk: OpenDesk, watched: tuple[str, ...]) -> None:
    desk = await open_desk(ROOMY)
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    desk = await holding(open_desk, watched, "BUY")

    refused = await desk.executor.execute(desk.intent(side="SELL", notional="15000"))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")


@WATCHED
async def test_an_entry_for_the_other_position_side_does_not_close_this_one(
    open_desk: OpenDesk, watched: tuple[str, ...]
) -> None:
    """As in hedge mode, where it would open a second position: the account may have been switched."""
    desk = await holding(open_desk, watched, "BUY", position_side="LONG")
    before = await held(desk)

    refused = await desk.executor.execute(desk.intent(side="SELL", position_side="SHORT"))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_EXCHANGE, "POSITION_SIDE")
    assert f"holds {plain(before * 100_000)} LONG of BTCUSDT, which an entry of SHORT would close" in refused.detail
    assert await held(desk) == before
    assert (await desk.executor.execute(desk.intent(position_side="LONG"))).state is Terminal.FILLED


async def test_once_the_other_side_is_closed_the_same_intent_goes(desk: Desk) -> None:
    """A strategy may send the exit and the entry together."""
    assert (await desk.executor.execute(desk.intent(quantity="0.01", position_side="LONG"))).state is Terminal.FILLED
    entry = desk.intent(side="SELL", position_side="SHORT")

    refused = await desk.executor.execute(entry)
    await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert (refused.reason, refused.retryable) == ("POSITION_SIDE", True)
    assert (await desk.executor.execute(entry)).state is Terminal.FILLED


@WATCHED
async def test_a_stop_that_would_reverse_counts_nothing_as_freed(open_desk: OpenDesk, watched: tuple[str, ...]) -> None:
    """It fires after the position's loss: the exchange would refuse it then, with the position open."""
    desk = await holding(open_desk, watched, "BUY")

    refused = await desk.executor.execute(
        desk.intent(side="SELL", quantity="0.3", order_type="STOP_MARKET", trigger_price="97000")
    )

    assert (refused.state, refused.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")


async def test_an_isolated_position_frees_nothing_for_sure(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    await desk.exchange._rest.client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    desk = await holding(open_desk, (), "BUY")

    refused = await desk.executor.execute(desk.intent(side="SELL", notional="30000"))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
