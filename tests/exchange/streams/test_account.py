"""The live account, event by event: what lowers the bound, what doesn't fit, and which orders it includes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from gate.exchange.failures import ExchangeFailure
from gate.exchange.streams.account import AccountInDoubt, LiveAccount
from gate.exchange.streams.events import Key, OrderChanged, decode_mark_price, decode_user_event
from gate.exchange.streams.snapshot import decode_snapshot

MARK, LEVERAGE = Decimal(100), 10
FROM_MS, UNTIL_MS = 1_000, 1_010
BEFORE_MS, BETWEEN_MS, AFTER_MS = 999, 1_005, 1_011
Json = dict[str, Any]


def account(amount: str = "0", available: str = "1000") -> Json:
    """The account by REST, in the middle of its reading. A position's entry price is the mark price."""
    notional = str(Decimal(amount) * MARK)
    held = {
        "symbol": "AUSDT",
        "positionSide": "BOTH",
        "positionAmt": amount,
        "notional": notional,
        "unrealizedProfit": "0",
        "isolatedWallet": "0",
        "updateTime": 1,
    }
    wallet = {"asset": "USDT", "availableBalance": available, "crossWalletBalance": "1000", "updateTime": 1}
    return {"availableBalance": available, "assets": [wallet], "positions": [held]}


def order(at_ms: int, status: str = "NEW", filled: str = "0", just: str = "0", **more: Any) -> Json:
    """An order to buy 10 at 100."""
    execution = {"NEW": "NEW", "CANCELED": "CANCELED"}.get(status, "TRADE")
    shape = {
        "c": "mine",
        "i": 7,
        "s": "AUSDT",
        "S": "BUY",
        "ps": "BOTH",
        "q": "10",
        "p": "100",
        "R": False,
        "cp": False,
    }
    shape |= {"X": status, "x": execution, "z": filled, "l": just}
    return {"e": "ORDER_TRADE_UPDATE", "E": at_ms, "T": at_ms, "o": {**shape, **more}}


def balances(at_ms: int, wallet: str | None = None, amount: str | None = None, **more: Any) -> Json:
    told: Json = {"m": "ORDER", "B": [], "P": []}
    if wallet is not None:
        told["B"] = [{"a": "USDT", "wb": wallet, "cw": wallet, "bc": "0"}]
    if amount is not None:
        told["P"] = [{"s": "AUSDT", "pa": amount, "ep": "100", "mt": "cross", "ps": "BOTH", **more}]
    return {"e": "ACCOUNT_UPDATE", "E": at_ms, "T": at_ms, "a": told}


class Book:
    """A live account at one mark price."""

    def __init__(self, answer: Json | None = None) -> None:
        self.mark: Decimal | None = MARK
        self.live = LiveAccount(lambda name: self.mark)
        self.rest(answer)

    def rest(self, answer: Json | None = None, from_ms: int = FROM_MS) -> None:
        self.live.rest_on(decode_snapshot(answer or account(), 0, from_ms, from_ms + UNTIL_MS - FROM_MS))

    def hear(self, *events: Mapping[str, Any]) -> None:
        for each in events:
            event = decode_user_event(each)
            assert event is not None
            self.live.apply(event)

    @property
    def free(self) -> Decimal | None:
        return self.live.available("USDT", lambda name: "USDT", lambda name: self.mark, lambda name: LEVERAGE)


HELD = Decimal(1000) / LEVERAGE + 1
"""What an order of 10 at 100 holds, with its fee."""


def test_without_an_event_the_bound_is_the_snapshot() -> None:
    assert Book().free == 1_000
    assert Book(account(amount="-30")).free == 1_000


def test_an_order_holds_its_margin_until_it_ends() -> None:
    book = Book()
    book.hear(order(AFTER_MS))
    assert book.free == 1_000 - HELD
    book.hear(order(AFTER_MS, "CANCELED"))
    assert book.free == 1_000


@pytest.mark.parametrize("flags", [{"R": True}, {"cp": True}, {"ps": "SHORT"}], ids=["reduceOnly", "close", "hedge"])
def test_an_order_that_only_reduces_holds_nothing(flags: Json) -> None:
    book = Book()
    book.hear(order(AFTER_MS, **flags))
    assert book.free == 1_000
    assert book.live.has_seen("mine")


def test_an_order_that_the_snapshot_has_is_not_counted_again() -> None:
    book = Book()
    book.hear(order(BEFORE_MS))
    assert book.free == 1_000
    assert book.live.has_seen("mine")


def test_an_order_that_the_snapshot_may_have_is_counted_again() -> None:
    book = Book()
    book.hear(order(BETWEEN_MS))
    assert book.free == 1_000 - HELD


def test_what_an_order_of_before_the_snapshot_held_comes_back_by_the_next_snapshot_only() -> None:
    book = Book()
    book.hear(order(BEFORE_MS), order(AFTER_MS, "CANCELED"))
    assert book.free == 1_000
    assert book.live.moved
    book.rest(account(available="1100"), from_ms=2_000)
    assert book.free == 1_100
    assert not book.live.moved


def test_a_fill_stays_held_until_its_position_is_told() -> None:
    book = Book()
    book.hear(order(AFTER_MS), order(AFTER_MS, "FILLED", "10", "10"))
    assert book.free == 1_000 - HELD
    book.hear(balances(AFTER_MS, "999.5", "10"))
    assert book.free == Decimal(1_000) - 100 - Decimal("0.5") - Decimal("1e-7")


@pytest.mark.parametrize("status", ["NEW_INSURANCE", "NEW_ADL"])
def test_an_order_of_the_exchange_s_own_counts_as_any_other(status: str) -> None:
    book = Book()
    book.hear(order(AFTER_MS, status), order(AFTER_MS, status, "10", "10"))
    assert book.free == 1_000 - HELD
    book.hear(balances(AFTER_MS, "999.5", "10"))
    assert book.free == Decimal(1_000) - 100 - Decimal("0.5") - Decimal("1e-7")


def test_what_is_left_of_an_order_that_has_ended_holds_nothing() -> None:
    book = Book()
    book.hear(order(AFTER_MS, "EXPIRED", "4", "4"))
    assert book.free == 1_000 - HELD * 4 / 10


def test_a_position_that_the_snapshot_may_have_counts_as_the_worse() -> None:
    """From 30 short to 10: the margin of 20 may be free or not; and 10 at a price of 110 lose less than 30."""
    book = Book(account(amount="-30"))
    book.hear(balances(BETWEEN_MS, amount="-10"))
    book.mark = Decimal(110)
    free = book.free
    assert free is not None
    assert free <= 1_000 - 30 * 10 - (30 * 110 - 30 * 100) / LEVERAGE
    book.hear(balances(AFTER_MS, amount="0"))
    assert book.free == 1_000 - 3_000 / LEVERAGE


def test_a_position_that_the_snapshot_may_have_grows_by_the_larger() -> None:
    book = Book()
    book.hear(balances(BETWEEN_MS, amount="50"), balances(BETWEEN_MS, amount="20"))
    assert (book.free or 0) <= 1_000 - 5_000 / LEVERAGE
    assert book.live.notional("AUSDT", MARK) == {("AUSDT", "BOTH"): 5_000}
    book.hear(balances(AFTER_MS, amount="30"))
    assert (book.free or 0) > 1_000 - 5_000 / LEVERAGE


def test_a_smaller_position_frees_nothing() -> None:
    """Orders that rest on the other side may hold as much from then on: 30 long and 60 to sell hold 30, flat 60."""
    book = Book(account(amount="30"))
    book.hear(balances(AFTER_MS, amount="0"))
    assert book.free == 1_000 - 3_000 / LEVERAGE


def test_a_wallet_that_the_snapshot_may_have_counts_as_the_smaller() -> None:
    book = Book()
    book.hear(balances(BETWEEN_MS, "2000"))
    assert book.free == 1_000
    book.hear(balances(BETWEEN_MS, "400"))
    assert book.free == 400
    book.hear(balances(AFTER_MS, "700"))
    assert book.free == 700


def test_no_debt_is_shown_so_nothing_is_free_until_the_next_snapshot() -> None:
    book = Book(account(available="0"))
    book.hear(balances(AFTER_MS, "1500"))
    assert book.free == 0


def test_without_a_price_there_is_no_figure() -> None:
    book = Book(account(amount="1"))
    book.mark = None
    assert book.free is None

    ordered = Book()
    ordered.hear(order(AFTER_MS))
    ordered.mark = None
    assert ordered.free is None


def test_without_a_leverage_a_margin_asset_or_a_figure_that_is_one_there_is_none() -> None:
    assets, marks, leverages = (lambda _: "USDT"), (lambda _: MARK), (lambda _: LEVERAGE)
    live = Book().live
    assert live.available("USDT", assets, marks, leverages) == 1_000
    assert live.available("USDT", assets, marks, lambda _: None) is None
    assert live.available("USDT", lambda _: None, marks, leverages) is None
    assert live.available("BNB", assets, marks, leverages) is None
    assert Book(account(available="NaN")).free is None
    assert Book({**account(), "assets": []}).free is None


def test_an_order_that_the_snapshot_has_needs_no_price() -> None:
    book = Book()
    book.hear(order(BEFORE_MS))
    book.mark = None
    assert book.free == 1_000


def test_what_another_asset_pays_for_takes_nothing() -> None:
    book = Book()
    book.hear(order(AFTER_MS, s="AUSDC"))
    free = book.live.available("USDT", lambda name: name[1:], lambda _: MARK, lambda _: LEVERAGE)
    assert free == 1_000


def test_an_order_holds_what_it_loses_at_once() -> None:
    """To buy at 110 what is worth 100, and to sell at 90."""
    book = Book()
    book.hear(order(AFTER_MS, p="110"))
    assert (book.free or 0) <= 1_000 - 10 * Decimal(110) / LEVERAGE - 10 * 10
    book.hear(order(AFTER_MS, i=8, S="SELL", p="90"))
    assert (book.free or 0) <= 1_000 - 10 * Decimal(210) / LEVERAGE - 2 * 10 * 10


def test_an_order_to_sell_grows_with_the_price() -> None:
    book = Book()
    book.hear(order(AFTER_MS, S="SELL", p="90"))
    before = book.free
    book.mark = Decimal(150)
    assert before is not None
    assert (book.free or 0) <= 1_000 - 10 * Decimal(150) / LEVERAGE - 10 * 60 < before


def isolated(amount: str) -> Json:
    answer = account(amount)
    answer["positions"][0]["isolatedWallet"] = "100"
    return answer


def test_an_isolated_position_that_ends_may_leave_as_much_to_its_orders() -> None:
    """10 long and 20 to sell: 10 have a margin of their own. Flat, the orders hold 20."""
    book = Book(isolated("10"))
    book.hear(balances(AFTER_MS, "1100", "0"))
    assert book.free == 1_100 - 2 * 1_000 / LEVERAGE


def test_what_an_isolated_position_gains_is_its_own() -> None:
    book = Book()
    book.hear(balances(AFTER_MS, "900", "10", mt="isolated"))
    book.mark = Decimal(150)
    assert book.free == 900 - 2 * 1_500 / LEVERAGE


def test_what_is_flat_is_no_position() -> None:
    book = Book(account(amount="30"))
    assert [each.amount for each in book.live.positions("AUSDT")] == [30]
    book.hear(balances(AFTER_MS, amount="0"))
    assert book.live.positions("AUSDT") == ()


@pytest.mark.parametrize(
    "events",
    [
        [balances(AFTER_MS + 1, "900"), balances(AFTER_MS, "800")],
        [balances(AFTER_MS + 1, amount="1"), balances(AFTER_MS, amount="2")],
        [order(AFTER_MS), order(AFTER_MS, "CANCELED"), order(AFTER_MS)],
        [order(AFTER_MS, "PARTIALLY_FILLED", "4", "4"), order(AFTER_MS)],
        [order(AFTER_MS), order(AFTER_MS, "PARTIALLY_FILLED", "4", "3")],
        [
            order(AFTER_MS, "FILLED", "10", "10"),
            balances(AFTER_MS, amount="10"),
            order(AFTER_MS, "EXPIRED", "10"),
        ],
        [order(AFTER_MS + 1), order(AFTER_MS, "PARTIALLY_FILLED", "4", "4")],
        [{**balances(AFTER_MS), "a": {"m": "MARGIN_TYPE_CHANGE", "B": [], "P": []}}],
        [{**balances(AFTER_MS), "a": {"m": "DEPOSIT", "B": [{"a": "NEW", "cw": "1"}], "P": []}}],
    ],
    ids=[
        "wallet",
        "position",
        "ended",
        "filled",
        "missing fill",
        "filled and over",
        "order",
        "margin type",
        "new asset",
    ],
)
def test_what_does_not_fit_is_in_doubt(events: list[Json]) -> None:
    book = Book()
    book.hear(*events[:-1])
    with pytest.raises(AccountInDoubt):
        book.hear(events[-1])


@pytest.mark.parametrize(
    "event",
    [
        order(AFTER_MS, "FAMOUS"),
        order(AFTER_MS, z="much"),
        order(AFTER_MS, i="7x"),
        order(AFTER_MS, S="HOLD"),
        order(AFTER_MS, ps="UP"),
        *(order(AFTER_MS, **{name: "-1"}) for name in "qpzl"),
        order(0),
        balances(AFTER_MS, "NaN"),
        balances(AFTER_MS, amount="1", ps="UP"),
        {"e": "ACCOUNT_UPDATE"},
        {"e": "ORDER_TRADE_UPDATE", "T": 1, "o": []},
        {"e": "ACCOUNT_CONFIG_UPDATE", "T": 1, "ac": {"s": "AUSDT", "l": 0}},
    ],
)
def test_what_can_not_be_read_is_a_failure(event: Json) -> None:
    with pytest.raises(ExchangeFailure):
        decode_user_event(event)


@pytest.mark.parametrize("field", ["crossWalletBalance", "updateTime"])
def test_an_account_that_can_not_be_read_is_a_failure(field: str) -> None:
    answer = account()
    del answer["assets"][0][field]
    with pytest.raises(ExchangeFailure):
        decode_snapshot(answer, 0, FROM_MS, UNTIL_MS)


def test_other_events_say_nothing_of_the_account() -> None:
    assert decode_user_event({"e": "MARGIN_CALL"}) is None
    assert decode_user_event({"result": None, "id": 1}) is None
    assert decode_mark_price({"result": None, "id": 1}) is None


def test_what_was_seen_counts_no_more_once_events_may_be_lost() -> None:
    book = Book()
    book.hear(order(AFTER_MS))
    book.live.forget()
    assert book.free is None
    assert not book.live.has_seen("mine")
    book.hear(order(AFTER_MS, c="next", i=8))
    assert not book.live.has_seen("next")  # heard of, but no figure includes it yet
    book.rest()
    assert book.live.has_seen("next")
    assert not book.live.has_seen("mine")
    assert book.free == 1_000 - HELD


def test_an_order_that_is_changed_after_the_snapshot_holds_what_it_is_now() -> None:
    book = Book()
    book.hear(order(BEFORE_MS), order(AFTER_MS, x="AMENDMENT", q="20"))
    assert book.free == 1_000 - 2 * HELD


def test_a_resting_order_that_is_amended_to_a_higher_price_holds_what_it_is_now() -> None:
    book = Book()
    book.hear(order(BEFORE_MS), order(AFTER_MS, x="AMENDMENT", p="110"))
    assert (book.free or 0) <= 1_000 - 10 * Decimal(110) / LEVERAGE


def test_a_position_is_not_older_than_the_snapshot_says() -> None:
    answer = account(amount="30")
    answer["positions"][0]["updateTime"] = AFTER_MS
    book = Book(answer)
    book.hear(balances(BETWEEN_MS, amount="90"))
    assert book.free == 1_000


def test_an_order_is_valued_at_the_highest_price_since_it_came() -> None:
    """A seller's limit is valued at the market where that is higher; the exchange doesn't take that back."""
    book = Book()
    book.mark = Decimal(200)
    book.hear(order(AFTER_MS, S="SELL", p="150"))
    book.mark = Decimal(100)
    assert (book.free or 0) <= 1_000 - 10 * Decimal(200) / LEVERAGE


def test_each_order_is_looked_at_once_for_a_figure_however_many_positions_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it is reckoned nothing else runs."""
    book, looks = Book(), [0]
    for number in range(1, 101):
        book.hear(order(AFTER_MS, i=number, c=str(number), s=f"S{number % 20}USDT"))

    def counted(event: OrderChanged) -> Key:
        looks[0] += 1
        return event.symbol, event.position_side

    monkeypatch.setattr(OrderChanged, "key", property(counted))
    assert book.free is not None
    assert 0 < looks[0] <= 200


LATER_MS = 60_000


@pytest.mark.parametrize(
    ("told", "changed_ms", "missed"),
    [
        (None, AFTER_MS, True),  # nothing has told of it
        (balances(AFTER_MS, "900"), AFTER_MS, True),  # but of another change
        (balances(AFTER_MS, "1500"), AFTER_MS, False),
        (None, LATER_MS - 1, False),  # it may be on its way
        (balances(LATER_MS + 1, "900"), AFTER_MS, False),  # it has changed again
    ],
)
def test_a_snapshot_shows_what_events_have_missed(told: Json | None, changed_ms: int, *, missed: bool) -> None:
    book = Book()
    if told is not None:
        book.hear(told)
    answer = account()
    answer["assets"][0] |= {"crossWalletBalance": "1500", "updateTime": changed_ms}
    book.rest(answer, LATER_MS)
    assert book.live.missed is missed


def test_a_change_that_is_not_told_in_the_end_is_missed() -> None:
    book = Book()
    answer = account()
    answer["assets"][0] |= {"crossWalletBalance": "1500", "updateTime": LATER_MS - 1}
    missed = []
    for from_ms in (LATER_MS, LATER_MS + 3_000, LATER_MS + 6_000, LATER_MS + 9_000):
        book.rest(answer, from_ms)
        missed.append(book.live.missed)
    assert missed == [False, False, True, False]


def test_an_order_that_is_over_needs_no_price() -> None:
    """Whether its end comes too late, or is in the next snapshot."""
    book = Book()
    book.hear(order(BEFORE_MS, s="LATEUSDT"), order(BEFORE_MS, "CANCELED", s="LATEUSDT"))
    book.hear(order(AFTER_MS, i=8, s="OVERUSDT"))
    assert book.live.priced_symbols() == {"AUSDT", "OVERUSDT"}
    assert [book.live.touches(each) for each in ("AUSDT", "OVERUSDT", "LATEUSDT")] == [True, True, False]
    book.rest(from_ms=AFTER_MS + 1)
    assert book.live.priced_symbols() == {"AUSDT", "OVERUSDT"}
    book.hear(order(AFTER_MS + 1, "CANCELED", i=8, s="OVERUSDT"))
    book.rest(from_ms=AFTER_MS + 2)
    assert book.live.priced_symbols() == {"AUSDT"}


def test_a_fill_that_is_missing_of_an_order_that_was_told_late_is_in_doubt() -> None:
    book = Book()
    book.hear(order(BEFORE_MS))
    with pytest.raises(AccountInDoubt):
        book.hear(order(AFTER_MS, "PARTIALLY_FILLED", "4", "3"))


def test_after_a_gap_no_fill_is_missing_that_was_lost_in_it() -> None:
    """Else every further fill of the order would put the account in doubt."""
    book = Book()
    book.hear(order(BEFORE_MS))
    book.live.forget()
    book.rest()
    book.hear(order(AFTER_MS, "PARTIALLY_FILLED", "7", "3"))
    assert book.free is not None


def test_what_the_orders_held_before_a_snapshot_is_not_taken_off_what_is_free_after_it() -> None:
    book = Book()
    book.hear(order(AFTER_MS))
    assert book.free == 1_000 - HELD
    book.rest(account(available="900"), from_ms=AFTER_MS + 1)
    assert book.free == 900


def test_a_fill_does_not_take_back_how_high_an_order_was_valued() -> None:
    book = Book()
    book.mark = Decimal(200)
    book.hear(order(AFTER_MS, S="SELL", p="150"))
    book.mark = Decimal(100)
    book.hear(order(AFTER_MS, "PARTIALLY_FILLED", "1", "1", S="SELL", p="150"))
    assert (book.free or 0) <= 1_000 - 9 * Decimal(200) / LEVERAGE


def test_a_fill_whose_position_was_told_first_is_not_awaited() -> None:
    book = Book()
    book.hear(order(AFTER_MS), balances(AFTER_MS, amount="10"), order(AFTER_MS, "FILLED", "10", "10"))
    assert not book.live.awaits_position("AUSDT")


@pytest.mark.parametrize("told", [balances(AFTER_MS + 1, amount="5", s="BUSDT"), balances(AFTER_MS, amount="5")])
def test_a_fill_is_awaited_until_its_own_position_is_told_as_it_is_after_it(told: Json) -> None:
    book = Book()
    book.hear(order(AFTER_MS), order(AFTER_MS + 1, "FILLED", "10", "10"), told)
    assert book.live.awaits_position("AUSDT")
    assert not book.live.awaits_position("BUSDT")


def test_neither_events_nor_ids_are_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gate.exchange.streams.account._MOST_IDS", 2)
    monkeypatch.setattr("gate.exchange.streams.account._MOST_EVENTS", 3)
    book = Book()
    for number in range(3):
        book.hear(order(AFTER_MS, "CANCELED", i=number + 1, c=str(number)))
    assert len(book.live._seen) == len(book.live._over) == 2
    assert [book.live.has_seen(str(number)) for number in range(3)] == [False, True, True]
    with pytest.raises(AccountInDoubt):
        book.hear(order(AFTER_MS))


def _bound_after(changes: int, *, asks_often: bool) -> Decimal | None:
    book, leverage = Book(account(amount="10")), [LEVERAGE]

    def free() -> Decimal | None:
        return book.live.available("USDT", lambda name: "USDT", lambda name: book.mark, lambda name: leverage[0])

    def falls() -> None:
        book.mark = MARK - 1

    all_changes: tuple[Callable[[], object], ...] = (
        lambda: book.hear(balances(AFTER_MS, amount="12")),
        falls,
        lambda: leverage.append(leverage.pop() * 2),
        lambda: book.hear(order(AFTER_MS + 1)),
        lambda: book.hear(order(AFTER_MS + 2, "CANCELED")),
        lambda: book.hear(balances(AFTER_MS + 3, amount="14")),
    )
    for change in all_changes[:changes]:
        if asks_often:
            free()
        change()
    return free()


def test_what_a_position_costs_is_reckoned_anew_after_each_change() -> None:
    """It is kept from one question to the next."""
    bounds = [_bound_after(changes, asks_often=True) for changes in range(7)]

    assert bounds == [_bound_after(changes, asks_often=False) for changes in range(7)]
    assert all(later != sooner for sooner, later in pairwise(bounds))
