"""Orders that count as reserved until the live account includes them. The moments are those of the monotonic clock."""

from __future__ import annotations

from decimal import Decimal
from typing import cast

import pytest

from gate import PlacedOrder, PlacedOrders
from gate.exchange.port import AccountFigures, Exchange, LiveFigures, SymbolConfig
from gate.executor.unseen import UnseenOrders

NOON_MS = 1_800_000_000_000
SECOND_NS = 1_000_000_000


class _Streams:
    """What the streams have told of."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.doubts: list[str] = []

    def has_seen(self, client_order_id: str) -> bool:
        return client_order_id in self.seen

    def doubt_live(self, why: str) -> None:
        self.doubts.append(why)


@pytest.fixture
def streams() -> _Streams:
    return _Streams()


class _Clocks:
    """Ours, and that of the store."""

    def __init__(self) -> None:
        self._now_ns = 1_000 * SECOND_NS
        self.store_ms = NOON_MS

    def monotonic_ns(self) -> int:
        return self._now_ns

    def go_on(self, seconds: float) -> None:
        self._now_ns += int(seconds * SECOND_NS)
        self.store_ms += int(seconds * 1000)

    def live(self, ago_s: float) -> LiveFigures:
        """Of a snapshot that was asked for so long ago."""
        asked_ns = self._now_ns - int(ago_s * SECOND_NS)
        config = SymbolConfig(20, None, Decimal(0))
        return LiveFigures(Decimal(1), config, False, (), AccountFigures({}, {}, asked_ns), asked_ns, NOON_MS)

    def placed(self, *ages_s: float, complete: bool = True) -> PlacedOrders:
        """Orders settled so long before the look, by the store's clock, the newest first, of 7 each."""
        orders = tuple(PlacedOrder(f"{age}", self.store_ms - int(age * 1000), Decimal(7)) for age in ages_s)
        return PlacedOrders(self.store_ms, orders, complete, "newest")


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> _Clocks:
    clocks = _Clocks()
    monkeypatch.setattr("gate.executor.unseen.time", clocks)
    return clocks


@pytest.fixture
def unseen(streams: _Streams, clocks: _Clocks) -> UnseenOrders:
    """After a look ten seconds ago, which told nothing."""
    unseen = UnseenOrders(cast(Exchange, streams), lambda intent_id: f"g-{intent_id}")
    unseen.told(unseen.ask(), clocks.placed())
    clocks.go_on(10)
    return unseen


def test_each_order_counts_until_it_is_seen(unseen: UnseenOrders, streams: _Streams, clocks: _Clocks) -> None:
    unseen.told(unseen.ask(), clocks.placed(0.1, 0.2))
    streams.seen.add("g-0.2")

    assert unseen.reserved(clocks.live(10)) == 7
    streams.seen.add("g-0.1")
    assert unseen.reserved(clocks.live(10)) == 0


def test_an_order_whose_margin_nobody_knew_leaves_it_to_a_reading_until_it_is_seen(
    unseen: UnseenOrders, streams: _Streams, clocks: _Clocks
) -> None:
    nothing = PlacedOrder("block", clocks.store_ms - 100, Decimal(0))
    unseen.told(unseen.ask(), PlacedOrders(clocks.store_ms, (nothing,), True, "newest"))

    assert unseen.reserved(clocks.live(ago_s=5)) is None
    assert not streams.doubts
    streams.seen.add("g-block")
    assert unseen.reserved(clocks.live(ago_s=5)) == 0


def test_what_a_look_told_counts_though_a_later_one_tells_nothing(unseen: UnseenOrders, clocks: _Clocks) -> None:
    unseen.told(unseen.ask(), clocks.placed(0.1))
    unseen.told(unseen.ask(), clocks.placed())

    assert unseen.reserved(clocks.live(10)) == 7


def test_a_look_names_the_newest_of_the_last_one(streams: _Streams, clocks: _Clocks) -> None:
    unseen = UnseenOrders(cast(Exchange, streams), str)
    assert unseen.ask().placed_after == ""
    unseen.told(unseen.ask(), clocks.placed(0.1))
    assert unseen.ask().placed_after == "newest"


def test_a_snapshot_that_began_after_an_order_includes_it(unseen: UnseenOrders, clocks: _Clocks) -> None:
    unseen.told(unseen.ask(), clocks.placed(1.0, 1.5))

    assert unseen.reserved(clocks.live(1.2)) == 7


@pytest.mark.parametrize("step_s", [0.5, 3, 3600])
def test_a_step_of_the_stores_clock_makes_no_order_older_than_it_is(
    unseen: UnseenOrders, clocks: _Clocks, step_s: float
) -> None:
    """As at a failover to a server whose clock is ahead: settled 0.2 s ago by the old one's."""
    clocks.store_ms += int(step_s * 1000)
    unseen.told(unseen.ask(), clocks.placed(step_s + 0.2))

    assert unseen.reserved(clocks.live(0.3)) == 7
    assert unseen.reserved(clocks.live(0.1)) == 0


def test_no_order_is_older_than_the_look_before_it(unseen: UnseenOrders, clocks: _Clocks) -> None:
    """Whatever the clock did meanwhile."""
    unseen.told(unseen.ask(), clocks.placed())
    clocks.go_on(0.2)
    unseen.told(unseen.ask(), clocks.placed(3600))

    assert unseen.reserved(clocks.live(0.3)) == 7


def test_before_the_first_look_a_step_of_a_minute_may_have_been(streams: _Streams, clocks: _Clocks) -> None:
    unseen = UnseenOrders(cast(Exchange, streams), str)
    unseen.told(unseen.ask(), clocks.placed(59, 61.5))

    assert unseen.reserved(clocks.live(1)) == 7


def test_a_clock_that_went_back_makes_no_order_of_the_future(unseen: UnseenOrders, clocks: _Clocks) -> None:
    clocks.store_ms -= 3_600_000
    unseen.told(unseen.ask(), clocks.placed(-3600))

    assert unseen.reserved(clocks.live(0.1)) == 7
    assert unseen.reserved(clocks.live(-0.1)) == 0, "the snapshot is later than the look"


def test_an_order_that_isnt_seen_in_time_puts_the_streams_in_doubt(
    unseen: UnseenOrders, streams: _Streams, clocks: _Clocks
) -> None:
    unseen.told(unseen.ask(), clocks.placed(2.5))

    assert unseen.reserved(clocks.live(10)) is None
    assert streams.doubts == ["g-2.5 was placed, and no event of it has come"]


def test_orders_that_the_store_has_forgotten_take_a_snapshot_from_after_them(
    unseen: UnseenOrders, streams: _Streams, clocks: _Clocks
) -> None:
    unseen.told(unseen.ask(), clocks.placed(0.5, 1.0, complete=False))
    streams.seen.update(("g-0.5", "g-1.0"))

    assert unseen.reserved(clocks.live(1.2)) is None
    assert len(streams.doubts) == 1
    assert unseen.reserved(clocks.live(0.8)) == 0


def test_a_look_that_is_answered_late_takes_nothing_back_of_what_is_not_known(
    unseen: UnseenOrders, streams: _Streams, clocks: _Clocks
) -> None:
    one, other = unseen.ask(), unseen.ask()
    unseen.told(one, clocks.placed(0.5, complete=False))
    unseen.told(other, clocks.placed(0.5, 1.5, complete=False))
    streams.seen.update(("g-0.5", "g-1.5"))

    assert unseen.reserved(clocks.live(1.0)) is None
    assert unseen.reserved(clocks.live(0.4)) == 0


def test_a_clock_that_went_back_makes_no_order_older_than_it_is(unseen: UnseenOrders, clocks: _Clocks) -> None:
    clocks.store_ms -= 3_000
    unseen.told(unseen.ask(), clocks.placed(0.2))

    assert unseen.reserved(clocks.live(1)) == 7


def test_orders_of_which_the_store_tells_none_take_a_snapshot_from_after_the_look(
    unseen: UnseenOrders, clocks: _Clocks
) -> None:
    unseen.told(unseen.ask(), clocks.placed(complete=False))

    assert unseen.reserved(clocks.live(0.1)) is None
    assert unseen.reserved(clocks.live(-0.1)) == 0


def test_a_step_shows_however_long_the_look_before_it_took(unseen: UnseenOrders, clocks: _Clocks) -> None:
    slow = unseen.ask()
    clocks.go_on(5)
    unseen.told(slow, clocks.placed())
    clocks.store_ms += 3_000
    unseen.told(unseen.ask(), clocks.placed(3.2))

    assert unseen.reserved(clocks.live(1)) == 7


def test_a_telling_that_leaves_some_out_is_not_known_by_what_it_tells(
    unseen: UnseenOrders, streams: _Streams, clocks: _Clocks
) -> None:
    """What it leaves out is older than the oldest that it tells; not than the look, which no snapshot may be."""
    one, other = unseen.ask(), unseen.ask()
    unseen.told(one, clocks.placed(0.5))
    unseen.told(other, clocks.placed(0.5, complete=False))
    streams.seen.add("g-0.5")

    assert unseen.reserved(clocks.live(0.4)) == 0
    assert not streams.doubts
