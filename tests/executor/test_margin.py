"""The margin check: in doubt, nothing is sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from gate import Intent
from gate.exchange.answers import decode_account
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import AccountFigures, SymbolConfig
from gate.executor import preflight
from gate.executor.execution import Execution, Terminal
from gate.executor.margin import MarginCheck, margin_need
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk

# 1,000 USDT, reckoned at 0.15 % above the mark price: a twentieth of that and a quarter more; the 0.15 %, by which a
# buyer is under water at once; and the taker's 0.05 %.
NEED = Decimal("64.5945")
ACCOUNT = "/fapi/v3/account"
_AS_THE_EXCHANGE = replace(ROOMY, leverage="exchange")


def _rejected(execution: Execution, reason: str) -> None:
    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, reason)


async def test_the_margin_with_its_buffer_must_be_free_to_the_cent(desk: Desk) -> None:
    desk.balance(NEED - Decimal("0.01"))

    execution = await desk.executor.execute(desk.intent())

    _rejected(execution, "INSUFFICIENT_MARGIN")
    assert execution.detail == "need 64.5945, have 64.5845"
    assert execution.margin == MarginCheck(NEED, Decimal("64.5845"), Decimal(0))
    assert desk.orders() == []


async def test_margin_that_is_just_enough_sends_the_order(desk: Desk) -> None:
    desk.balance(NEED)

    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED


async def test_a_figure_of_0_sends_nothing_and_says_so(desk: Desk) -> None:
    desk.balance("0")

    execution = await desk.executor.execute(desk.intent())

    _rejected(execution, "INSUFFICIENT_MARGIN")
    assert execution.detail == "need 64.5945, have 0"
    assert desk.orders() == []


async def test_margin_is_reckoned_at_the_leverage_that_the_exchange_has_set(open_desk: OpenDesk) -> None:
    desk = await open_desk(_AS_THE_EXCHANGE)
    desk.balance(NEED - 1)

    execution = await desk.executor.execute(desk.intent(leverage=125))

    _rejected(execution, "INSUFFICIENT_MARGIN")


async def test_a_margin_rejection_counts_as_a_failure_and_rests_the_symbol(desk: Desk) -> None:
    desk.balance("0")

    await desk.executor.execute(desk.intent())

    on = {each.name for each in (await desk.gate.status()).standing}
    assert {"failures", "cooldown_symbol"} <= on
    assert "cooldown_global" not in on, "other symbols' entries go on, and are counted"


async def test_an_intent_rejected_for_margin_may_come_again(desk: Desk) -> None:
    desk.balance("0")
    intent = desk.intent()
    execution = await desk.executor.execute(intent)
    desk.balance("10000")
    await desk.gate.reset("all", by="test", reason="balance is back")

    assert execution.retryable
    assert (await desk.executor.execute(intent)).state is Terminal.FILLED


async def test_the_exchange_has_the_last_word(desk: Desk) -> None:
    """The exchange uses the last price, which has moved away from the mark price, which the gate uses."""
    desk.balance(NEED)
    desk.paper.set_price("BTCUSDT", "105000", mark="100000")

    execution = await desk.executor.execute(desk.intent())

    _rejected(execution, "-2019")
    assert "failures" in {each.name for each in (await desk.gate.status()).standing}


@pytest.mark.parametrize("path", [ACCOUNT, "/fapi/v1/symbolConfig", "/fapi/v1/commissionRate"])
@pytest.mark.parametrize("kind", [FaultKind.INTERNAL_503, FaultKind.JSON_LIST, FaultKind.EMPTY_200, FaultKind.HTML_502])
async def test_a_margin_figure_that_can_not_be_read_sends_nothing(desk: Desk, path: str, kind: FaultKind) -> None:
    desk.paper.inject(Fault(kind=kind, method="GET", path=path))

    execution = await desk.executor.execute(desk.intent())

    _rejected(execution, "MARGIN_UNREADABLE")
    assert execution.retryable
    assert execution.detail.startswith("need 64.5945, have unknown:" if path == ACCOUNT else "need unknown")
    assert desk.orders() == []


async def test_too_many_requests_for_the_account_rest_it(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.RATE_LIMITED_429, method="GET", path=ACCOUNT, retry_after_s=77))

    await desk.executor.execute(desk.intent())

    assert "cooldown_global" in {each.name for each in (await desk.gate.status()).standing}


async def test_an_asset_that_the_account_does_not_have_sends_nothing(desk: Desk) -> None:
    account = await desk.exchange.account()
    available = {asset: figure for asset, figure in account.available.items() if asset != "USDT"}

    async def without_usdt() -> AccountFigures:
        return structs.replace(account, available=available)

    desk.exchange.account = without_usdt  # type: ignore[method-assign]
    execution = await desk.executor.execute(desk.intent())

    _rejected(execution, "MARGIN_UNREADABLE")
    assert execution.detail == "need 64.5945, have unknown: the account has no USDT"


async def test_a_stale_figure_sends_nothing_and_says_its_age(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "STALE_MS", -1)

    execution = await desk.executor.execute(desk.intent())

    _rejected(execution, "MARGIN_STALE")
    assert execution.retryable
    assert execution.detail.startswith("need 64.5945, have 10000: read ")
    assert desk.orders() == []


async def test_two_workers_with_room_for_one_order_send_exactly_one(open_desk: OpenDesk) -> None:
    first, second = await open_desk(), await open_desk()
    first.balance(NEED + 1)
    intents: list[Intent] = [first.intent("BTCUSDT"), first.intent("ETHUSDT")]

    executions = await asyncio.gather(first.executor.execute(intents[0]), second.executor.execute(intents[1]))

    assert sorted(each.state for each in executions) == [Terminal.FILLED, Terminal.REJECTED_MARGIN]
    assert len(first.orders()) == 1


@pytest.mark.parametrize(
    ("size", "balance"),
    [({"quantity": "0.01"}, "110"), ({"notional": "1000", "leverage": 125}, "110")],
    ids=["by quantity, of which nothing can be reserved", "at a leverage that the exchange hasn't set"],
)
async def test_a_worker_that_trades_a_symbol_first_reserves_what_the_order_takes_all_the_same(
    open_desk: OpenDesk, size: dict[str, Any], balance: str
) -> None:
    first, second = await open_desk(_AS_THE_EXCHANGE), await open_desk(_AS_THE_EXCHANGE)
    first.balance(balance)
    first.paper.inject(Fault(kind=FaultKind.DELAY, times=1))
    one = asyncio.create_task(first.executor.execute(first.intent(**size)))
    await asyncio.to_thread(first.paper.wait_held)

    other = await second.executor.execute(second.intent("ETHUSDT", id="other", notional="1000", leverage=125))
    first.paper.release_held()

    _rejected(other, "MARGIN_RESERVED")
    assert (await one).state is Terminal.FILLED
    assert len(first.orders()) == 1


async def test_a_permit_ahead_keeps_its_reserved_margin(desk: Desk) -> None:
    ahead = await desk.gate.evaluate(desk.intent("ETHUSDT", notional="1000", leverage=20))
    desk.balance(NEED + 1)

    execution = await desk.executor.execute(desk.intent())

    assert ahead.admitted
    _rejected(execution, "MARGIN_RESERVED")
    assert execution.detail == "need 64.5945, have 65.5945 less 62.5 reserved for others"
    assert "failures" not in {each.name for each in (await desk.gate.status()).standing}, "others' margin is no failure"


async def test_calls_made_together_share_one_reading_of_the_account(desk: Desk) -> None:
    asked = 0
    read = desk.exchange._rest.read

    async def counted(method: str, **parameters: object) -> object:
        nonlocal asked
        asked += method == "futures_account"
        return await read(method, **parameters)

    desk.exchange._rest.read = counted  # type: ignore[method-assign]
    await asyncio.gather(*(desk.exchange.account() for _ in range(50)))
    await asyncio.gather(*(desk.exchange.account() for _ in range(50)))

    assert asked == 2


async def test_a_reading_does_not_answer_a_caller_that_asks_after_it_began(desk: Desk) -> None:
    """Otherwise an order placed in between would count neither in the figure nor in the reserved margin."""
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=ACCOUNT, times=1))
    early = asyncio.create_task(desk.exchange.account())
    await asyncio.to_thread(desk.paper.wait_held)
    late = asyncio.create_task(desk.exchange.account())

    answered_late = await late
    desk.paper.release_held()

    assert answered_late.asked_ns > (await early).asked_ns


async def test_a_symbol_margined_in_usdc_is_covered_by_usdc_alone(desk: Desk) -> None:
    poor = await desk.executor.execute(desk.intent("BTCUSDC"))
    await desk.gate.reset("all", by="test", reason="go on")
    desk.paper.set_balance("1000", asset="USDC")
    rich = await desk.executor.execute(desk.intent("BTCUSDC"))

    _rejected(poor, "INSUFFICIENT_MARGIN")
    assert poor.detail.endswith("have 0")
    assert rich.state is Terminal.FILLED


async def test_in_multi_assets_mode_all_collateral_counts(desk: Desk) -> None:
    desk.balance("0")
    desk.paper.set_balance("1000", asset="USDC")
    single = await desk.executor.execute(desk.intent())
    await desk.gate.reset("all", by="test", reason="go on")
    await desk.exchange._rest.client.futures_change_multi_assets_mode(multiAssetsMargin="true")

    multi = await desk.executor.execute(desk.intent())

    _rejected(single, "INSUFFICIENT_MARGIN")
    assert multi.state is Terminal.FILLED


async def test_an_entry_beyond_its_leverage_bracket_is_refused_before_it_is_sent(desk: Desk) -> None:
    desk.balance("1000000")
    await desk.exchange._rest.client.futures_change_leverage(symbol="BTCUSDT", leverage=125)
    await desk.executor.execute(desk.intent(notional="30000"))

    execution = await desk.executor.execute(desk.intent(notional="30000"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, "MAX_NOTIONAL")
    assert "50000" in execution.detail
    assert len(desk.orders()) == 1


async def test_in_hedge_mode_the_bracket_counts_what_is_open_of_the_entrys_own_position(desk: Desk) -> None:
    desk.balance("1000000")
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    await desk.exchange._rest.client.futures_change_leverage(symbol="BTCUSDT", leverage=125)
    await desk.executor.execute(desk.intent(notional="30000"))

    execution = await desk.executor.execute(desk.intent(notional="30000"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_ORDER, "MAX_NOTIONAL")
    assert "50000" in execution.detail
    assert len(desk.orders()) == 1


@pytest.mark.parametrize("answer", [None, [], {}, {"assets": None}, {"assets": [{"asset": "USDT"}], "positions": [{}]}])
def test_an_account_that_can_not_be_read_is_none(answer: Any) -> None:
    with pytest.raises(ExchangeFailure, match="UNREADABLE"):
        decode_account(answer, 0)


@pytest.mark.parametrize("figure", [None, "", "NaN", "Infinity", "-Infinity", "many", True, 1.5, [], "1e400000000000"])
@pytest.mark.parametrize("place", ["top", "asset"])
def test_a_figure_that_is_not_a_number_is_unknown_wherever_it_stands(figure: object, place: str) -> None:
    top, asset = (figure, "100") if place == "top" else ("100", figure)

    account = decode_account(
        {"availableBalance": top, "assets": [{"asset": "USDT", "availableBalance": asset}], "positions": []}, 0
    )

    assert isinstance(account.available["USDT"], str)


@pytest.mark.parametrize(("top", "asset", "free"), [("90", "100", "90"), ("100", "90", "90"), ("-3", "5", "-3")])
def test_the_worse_of_two_figures_for_one_asset_holds(top: str, asset: str, free: str) -> None:
    account = decode_account({"availableBalance": top, "assets": [{"asset": "USDT", "availableBalance": asset}]}, 0)

    assert account.available["USDT"] == Decimal(free)


_CONFIG = SymbolConfig(leverage=10, max_notional=None, fee_rate=Decimal("0.0005"))


@pytest.mark.parametrize(
    ("asked", "reference", "need"),
    [
        # initial margin with a quarter more, open loss, fee; for one coin at a mark price of 1,000
        ({"side": "BUY"}, "1000", "125.1875 + 1.5 + 0.50075"),
        ({"side": "SELL"}, "1000", "125.1875 + 0 + 0.50075"),
        ({"side": "BUY", "order_type": "LIMIT", "price": "900"}, "900", "112.5 + 0 + 0.45"),
        ({"side": "BUY", "order_type": "LIMIT", "price": "1100"}, "1100", "137.5 + 100 + 0.55"),
        ({"side": "SELL", "order_type": "LIMIT", "price": "1100"}, "1100", "137.5 + 0 + 0.55"),
        ({"side": "SELL", "order_type": "LIMIT", "price": "900"}, "900", "125.1875 + 100 + 0.50075"),
        ({"side": "BUY", "order_type": "STOP_MARKET", "trigger_price": "1200"}, "1200", "150.225 + 1.8 + 0.6009"),
    ],
)
def test_what_an_order_needs_is_margin_with_its_buffer_open_loss_and_fee(
    asked: dict[str, Any], reference: str, need: str
) -> None:
    intent = Intent(id="x", symbol="XUSDT", quantity=1, timestamp=1_700_000_000_000, **asked)

    needed = margin_need(intent, Decimal(1), Decimal(reference), Decimal(1000), _CONFIG, Decimal("0.25"))

    assert needed == sum(map(Decimal, need.split(" + ")))


@pytest.mark.parametrize(
    ("closes", "need"),
    [
        # half of it closes: of one coin at a mark price of 1,000, 50 are free for the 62.59375 of the other half
        ("0.5", "12.59375 + 0.50075"),
        ("0.6", "0 + 0.50075"),
        ("1.5", "0 + 0.50075"),
    ],
)
def test_what_an_order_closes_first_frees_its_margin_for_the_rest(closes: str, need: str) -> None:
    intent = Intent(id="x", symbol="XUSDT", quantity=1, timestamp=1_700_000_000_000, side="SELL")
    figures = Decimal(1), Decimal(1000), Decimal(1000), _CONFIG, Decimal("0.25"), Decimal(closes)

    assert margin_need(intent, *figures) == sum(map(Decimal, need.split(" + ")))


@pytest.mark.parametrize(("wallet", "own"), [("0", False), ("0.00000000", False), ("12.5", True), (None, True)])
def test_a_position_has_a_margin_of_its_own_unless_the_exchange_says_none(wallet: str | None, own: bool) -> None:
    row = {"symbol": "BTCUSDT", "positionSide": "BOTH", "notional": "100", "isolatedWallet": wallet}
    account = decode_account({"availableBalance": "100", "assets": [], "positions": [row]}, 0)

    assert (("BTCUSDT", "BOTH") in account.isolated) is own


def test_the_check_is_exact_in_decimal() -> None:
    need = Decimal("0.11")
    assert MarginCheck(need, Decimal("0.11"), Decimal(0)).covered
    assert not MarginCheck(need, Decimal("0.11"), Decimal("1e-18")).covered
    assert not MarginCheck(need, None, Decimal(0)).covered


def test_margin_that_is_too_small_is_never_shown_as_enough() -> None:
    shown = str(MarginCheck(Decimal("64.000000001"), Decimal("64.000000009"), Decimal("1e-9")))

    assert shown == "need 64.00000001, have 64 less 0.00000001 reserved for others"
