"""An order never goes out at a higher leverage than its intent names."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import requests

from gate.exchange.answers import decode_leverage_terms
from gate.exchange.port import LeverageTerms
from gate.executor.execution import Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk

AT_FIRST = 20
"""What the paper exchange has set for a symbol."""
OTHERS = [1, 2, 19, 21, 125]


def setting(kind: FaultKind = FaultKind.ERROR, **more: Any) -> Fault:
    return Fault(kind=kind, path="/fapi/v1/leverage", **more)


def hits(desk: Desk) -> int:
    """How often the faults have struck."""
    faults = requests.get(f"{desk.paper.url}/paper/faults", timeout=5).json()["faults"]
    return sum(each["hits"] for each in faults)


async def leverage_there(desk: Desk, symbol: str = "BTCUSDT") -> int:
    return (await desk.exchange.symbol_config(symbol)).leverage


async def isolated(desk: Desk, symbol: str = "BTCUSDT") -> None:
    await desk.exchange._rest.client.futures_change_margin_type(symbol=symbol, marginType="ISOLATED")


@pytest.mark.parametrize("named", OTHERS)
async def test_the_leverage_that_an_intent_names_is_set_before_its_order(desk: Desk, named: int) -> None:
    execution = await desk.executor.execute(desk.intent(leverage=named))

    [position] = await desk.exchange._rest.client.futures_position_information(symbol="BTCUSDT")
    assert execution.state is Terminal.FILLED
    assert await leverage_there(desk) == named
    # The margin that the position takes, of 1,000 USDT.
    assert round(Decimal(position["notional"]) / Decimal(position["initialMargin"]), 5) == named


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
@pytest.mark.parametrize(("named", "notional"), [(1, "9000"), (2, "12000"), (25, "300000")])
async def test_an_order_that_the_margin_does_not_cover_sets_no_leverage(
    open_desk: OpenDesk, watched: tuple[str, ...], named: int, notional: str
) -> None:
    """It would be another for the position that is open."""
    desk = await open_desk(ROOMY, None, *watched)
    assert (await desk.executor.execute(desk.intent(id="held", notional="20000"))).state is Terminal.FILLED

    execution = await desk.executor.execute(desk.intent(leverage=named, notional=notional))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert await leverage_there(desk) == AT_FIRST


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_an_order_beyond_the_bracket_of_its_leverage_does_not_set_it(
    open_desk: OpenDesk, watched: tuple[str, ...]
) -> None:
    """The next entry that names none would go out at it."""
    desk = await open_desk(ROOMY, None, *watched)

    refused = await desk.executor.execute(desk.intent(leverage=125, notional="400000"))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_ORDER, "MAX_NOTIONAL")
    assert "the most that leverage 125 allows" in refused.detail
    assert (await leverage_there(desk), desk.orders()) == (AT_FIRST, [])


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_a_higher_leverage_frees_nothing_of_an_isolated_position(
    open_desk: OpenDesk, watched: tuple[str, ...]
) -> None:
    desk = await open_desk(ROOMY, None, *watched)
    await isolated(desk)
    assert (await desk.executor.execute(desk.intent(id="held", notional="7500", leverage=1))).state is Terminal.FILLED

    refused = await desk.executor.execute(desk.intent(leverage=10, notional="30000"))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert await leverage_there(desk) == 1


@pytest.mark.parametrize(
    ("margin_type", "brackets", "most", "isolated_then"),
    [
        ("CROSSED", [(125, 50_000), (100, 250_000), (20, 5_000_000)], 250_000, False),
        ("ISOLATED", [(125, 50_000), (100, 250_000)], 250_000, True),
        (None, [(125, 50_000)], 50_000, True),
        ("CROSSED", [(20, 5_000_000)], None, False),
        ("CROSSED", [(125, 5e4)], None, False),
        ("CROSSED", None, None, False),
    ],
)
def test_what_is_not_said_of_another_leverage_is_not_taken_for_granted(
    margin_type: str | None, brackets: list[tuple[int, float]] | None, most: int | None, isolated_then: bool
) -> None:
    config = [{"symbol": "ETHUSDT", "marginType": "CROSSED"}, {"symbol": "BTCUSDT", "marginType": margin_type}]
    rows = None if brackets is None else [{"initialLeverage": at, "notionalCap": cap} for at, cap in brackets]

    terms = decode_leverage_terms(config, [{"symbol": "BTCUSDT", "brackets": rows}], "BTCUSDT", 50)

    assert terms == LeverageTerms(None if most is None else Decimal(most), isolated_then)


RESTS = {"order_type": "LIMIT", "price": "90000", "notional": "1000"}
WAITS = {"order_type": "STOP_MARKET", "trigger_price": "110000", "notional": "1000"}


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
@pytest.mark.parametrize("rests", [RESTS, WAITS], ids=["limit", "stop"])
async def test_no_leverage_is_raised_over_an_isolated_entry_that_rests(
    open_desk: OpenDesk, watched: tuple[str, ...], rests: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It would fill with a fraction of the margin that it was sent with, close to its liquidation."""
    desk = await open_desk(ROOMY, None, *watched)
    await isolated(desk)
    assert (await desk.executor.execute(desk.intent(id="rests", leverage=2, **rests))).state is Terminal.PLACED

    refused = await desk.executor.execute(desk.intent(leverage=50))
    (order,) = await desk.exchange.resting_orders("BTCUSDT")
    lower = await desk.executor.execute(desk.intent(leverage=1))
    await desk.exchange.cancel(order)
    raised = await desk.executor.execute(desk.intent("BTCUSDT", "BUY", leverage=50))

    assert (refused.state, refused.reason, refused.retryable) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_DIFFERS", True)
    assert f"at leverage 2, and {order} rests there: it would fill at 50" in refused.detail
    assert f'LEVERAGE id={refused.intent_id} symbol=BTCUSDT side=BUY detail="{refused.detail}"' in caplog.messages
    assert (lower.state, raised.state) == (Terminal.FILLED, Terminal.FILLED)


@pytest.mark.parametrize("rests", [{}, {"reduce_only": True, "side": "SELL", "price": "110000", "quantity": "0.005"}])
async def test_a_leverage_is_raised_over_what_rests_in_cross_margin_or_only_reduces(
    desk: Desk, rests: dict[str, Any]
) -> None:
    if rests:
        await isolated(desk)
        assert (await desk.executor.execute(desk.intent(id="held", leverage=2))).state is Terminal.FILLED
    resting = {**RESTS, **rests, "leverage": 2, "id": "rests"}
    if rests:
        del resting["notional"]
    assert (await desk.executor.execute(desk.intent(**resting))).state is Terminal.PLACED

    assert (await desk.executor.execute(desk.intent(leverage=50))).state is Terminal.FILLED


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_what_a_higher_leverage_frees_counts(open_desk: OpenDesk, watched: tuple[str, ...]) -> None:
    desk = await open_desk(ROOMY, None, *watched)
    assert (await desk.executor.execute(desk.intent(id="held", notional="7500", leverage=1))).state is Terminal.FILLED

    execution = await desk.executor.execute(desk.intent(leverage=10, notional="30000"))

    assert (execution.state, await leverage_there(desk)) == (Terminal.FILLED, 10)


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_a_position_of_another_symbol_frees_nothing(open_desk: OpenDesk, watched: tuple[str, ...]) -> None:
    desk = await open_desk(ROOMY, None, *watched)
    assert (await desk.executor.execute(desk.intent("ETHUSDT", id="held", notional="100000"))).state is Terminal.FILLED
    await desk.exchange.set_leverage("BTCUSDT", 1)

    execution = await desk.executor.execute(desk.intent(leverage=10, notional="60000"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert await leverage_there(desk) == 1


async def test_the_same_leverage_costs_no_request(desk: Desk) -> None:
    desk.paper.inject(setting())

    execution = await desk.executor.execute(desk.intent(leverage=AT_FIRST))

    assert (execution.state, hits(desk)) == (Terminal.FILLED, 0)


async def test_an_intent_without_a_leverage_takes_what_is_there(desk: Desk) -> None:
    desk.paper.inject(setting())

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, hits(desk)) == (Terminal.FILLED, 0)


@pytest.mark.parametrize("policy", ["set", "match", "exchange"])
async def test_an_exit_is_not_held_up_by_any_leverage(open_desk: OpenDesk, policy: str) -> None:
    desk = await open_desk(replace(ROOMY, leverage=policy))
    await desk.executor.execute(desk.intent(quantity="0.01"))
    desk.paper.inject(setting())

    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True, leverage=2))

    assert (closed.state, hits(desk)) == (Terminal.FILLED, 0)
    assert await leverage_there(desk) == AT_FIRST


@pytest.mark.parametrize("named", OTHERS)
async def test_match_sends_nothing_where_the_two_differ_and_says_so(
    open_desk: OpenDesk, named: int, caplog: pytest.LogCaptureFixture
) -> None:
    desk = await open_desk(replace(ROOMY, leverage="match"))

    refused = await desk.executor.execute(desk.intent(leverage=named))
    matches = await desk.executor.execute(desk.intent(leverage=AT_FIRST))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_DIFFERS")
    assert refused.detail.startswith(f"the exchange has leverage 20 for BTCUSDT, the intent names {named};")
    assert refused.retryable
    assert f'LEVERAGE id={refused.intent_id} symbol=BTCUSDT side=BUY detail="{refused.detail}"' in caplog.messages
    assert matches.state is Terminal.FILLED
    assert len(desk.orders()) == 1
    assert await leverage_there(desk) == AT_FIRST


@pytest.mark.parametrize("named", OTHERS)
async def test_the_exchanges_own_is_taken_unless_it_is_higher(open_desk: OpenDesk, named: int) -> None:
    desk = await open_desk(replace(ROOMY, leverage="exchange"))

    execution = await desk.executor.execute(desk.intent(leverage=named))

    assert await leverage_there(desk) == AT_FIRST
    if named > AT_FIRST:
        assert execution.state is Terminal.FILLED
    else:
        assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_TOO_HIGH")
        assert desk.orders() == []


@pytest.mark.parametrize(
    "fault",
    [
        setting(code=-4161),
        setting(code=-9999),
        setting(FaultKind.RATE_LIMITED_429),
        setting(FaultKind.ACCEPT_THEN_DROP),
        setting(FaultKind.DROP_BEFORE_ACCEPT),
        setting(FaultKind.UNKNOWN_503),
        setting(FaultKind.EMPTY_200),
        setting(FaultKind.JSON_LIST),
    ],
    ids=lambda fault: f"{fault.kind.value} {fault.code}",
)
async def test_where_it_cannot_be_set_nothing_is_sent(desk: Desk, fault: Fault) -> None:
    desk.paper.inject(fault)

    execution = await desk.executor.execute(desk.intent(leverage=2))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_NOT_SET")
    assert "the exchange has leverage 20 for BTCUSDT, the intent names 2; it wasn't set: " in execution.detail
    assert desk.orders() == []


async def test_a_leverage_that_the_symbol_does_not_have_is_told_by_the_exchange(desk: Desk) -> None:
    execution = await desk.executor.execute(desk.intent("OPUSDT", leverage=125))
    other = await desk.executor.execute(desk.intent("OPUSDT", leverage=75))

    assert execution.reason == "LEVERAGE_NOT_SET"
    assert execution.detail.endswith(
        "-4028 Leverage 125 is not valid; symbol or account don't have this leverage: name a lower one"
    )
    assert not execution.retryable, "it would hold later entries of its symbol up"
    assert other.state is Terminal.FILLED, "the symbol doesn't rest: the next intent may name another"


async def test_a_limit_of_the_exchange_that_meets_the_setting_rests_the_account(desk: Desk) -> None:
    desk.paper.inject(setting(FaultKind.RATE_LIMITED_429))

    await desk.executor.execute(desk.intent(leverage=2))

    assert (await desk.executor.execute(desk.intent("ETHUSDT"))).reason == "COOLDOWN_GLOBAL"


async def test_an_answer_with_another_leverage_sends_nothing(desk: Desk) -> None:
    change = desk.exchange._rest.client.futures_change_leverage

    async def odd(**parameters: Any) -> Any:
        return {**await change(**parameters), "leverage": 20}

    desk.exchange._rest.client.futures_change_leverage = odd

    execution = await desk.executor.execute(desk.intent(leverage=2))

    assert execution.reason == "LEVERAGE_NOT_SET"
    assert desk.orders() == []


async def test_margin_and_bracket_are_those_of_the_leverage_that_was_set(desk: Desk) -> None:
    desk.balance("400")

    short = await desk.executor.execute(desk.intent(leverage=2))  # 1,000 at 2x is 500, and a quarter more
    await desk.gate.reset("all", by="test", reason="go on")
    fits = await desk.executor.execute(desk.intent(leverage=10))
    desk.balance("100000")
    too_large = await desk.executor.execute(desk.intent(notional="60000", leverage=125))

    assert short.reason == "INSUFFICIENT_MARGIN"
    assert fits.state is Terminal.FILLED
    assert (too_large.state, too_large.reason) == (Terminal.REJECTED_ORDER, "MAX_NOTIONAL")


async def test_what_is_reserved_is_reckoned_at_the_leverage_that_will_be_set(desk: Desk) -> None:
    first = (await desk.executor.execute(desk.intent(leverage=10))).verdict.permit

    execution = await desk.executor.execute(desk.intent(leverage=5))

    permit = execution.verdict.permit
    assert first is not None
    assert permit is not None
    assert permit.fence == first.fence + 1, "at once, not after a first permit that reserved too little"
    assert execution.margin is not None
    assert permit.reserved == execution.margin.need
