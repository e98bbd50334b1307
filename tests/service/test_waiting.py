"""The order in which intents in hand start."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest

from gate import Intent
from gate.service.intake import Entry
from gate.service.waiting import Held, Waiting


class Hand:
    """Intents in hand, by their numbers in the stream."""

    def __init__(self, concurrency: int = 100) -> None:
        self.waiting = Waiting(concurrency)
        self.taken: dict[int, Held] = {}
        self.numbers = itertools.count(1)

    def add(self, number: int, symbol: str = "BTCUSDT", *, alone: bool = False, **more: Any) -> None:
        figures: dict[str, Any] = {"notional": "200", "leverage": 5, "timestamp": 1_766_550_734_000, **more}
        intent = Intent(id=f"sig-{number}", symbol=symbol, side="BUY", **figures)
        self.waiting.add(Held(Entry(f"{number}-0", intent, None), alone=alone))

    def exit(self, number: int, symbol: str = "BTCUSDT") -> None:
        self.add(number, symbol, reduce_only=True)

    def take(self) -> list[int]:
        """The numbers of all that start now."""
        started = []
        while (held := self.waiting.take()) is not None:
            started.append(held.entry.order[0])
            self.taken[started[-1]] = held
        return started

    def done(self, number: int, *, again_s: float | None = None, refused: bool = False) -> list[int]:
        """Ends one, and takes what starts then."""
        held = self.taken.pop(number)
        if again_s is not None:
            again = Held(held.entry, alone=held.alone)
            again.due_s, again.tries, again.refused = again_s, held.tries + 1, held.refused + refused
            self.waiting.add(again)
        self.waiting.done(held)
        return self.take()

    def refused(self, number: int, *, again_s: float) -> list[int]:
        """Ends one that the exchange has refused for a moment, and takes what starts then."""
        return self.done(number, again_s=again_s, refused=True)


def test_entries_of_a_symbol_go_one_after_the_other_and_symbols_side_by_side() -> None:
    hand = Hand()
    for number, symbol in enumerate(("BTCUSDT", "BTCUSDT", "ETHUSDT"), 1):
        hand.add(number, symbol)
    assert hand.take() == [1, 3]
    assert hand.done(1) == [2]
    assert hand.done(2) == []
    assert hand.done(3) == []
    assert len(hand.waiting) == hand.waiting.at_work == 0


def test_exits_start_first_and_beside_the_entries_at_work() -> None:
    hand = Hand(concurrency=1)
    hand.add(1, "ETHUSDT")
    hand.exit(2)
    hand.exit(3)
    assert hand.take() == [2, 1]
    assert hand.done(1) == []
    assert hand.done(2) == [3]


def test_an_exit_lets_an_older_entry_of_its_symbol_be_sent_that_it_may_be_to_close() -> None:
    hand = Hand()
    hand.add(1)
    hand.exit(2)
    assert hand.take() == [1]
    assert hand.done(1) == [2]


def test_but_not_for_longer_than_a_second() -> None:
    hand = Hand()
    hand.add(1)
    assert hand.take() == [1]
    hand.exit(2)
    assert hand.take() == []
    hand.waiting.wake(0.9)
    assert hand.take() == []
    hand.waiting.wake(1.0)
    assert hand.take() == [2], "though the entry hangs"
    assert hand.done(1) == hand.done(2) == []
    assert len(hand.waiting) == hand.waiting.held_back == 0


def test_nor_for_an_entry_that_is_put_off_or_younger() -> None:
    hand = Hand()
    hand.add(2)
    assert hand.take() == [2]
    hand.exit(1)
    assert hand.take() == [1], "the entry came later"
    hand.exit(3)
    assert hand.take() == []
    assert hand.done(2, again_s=30.0) == [3], "the entry waits for its time"
    hand.exit(4)
    assert hand.take() == [4]
    hand.waiting.wake(30.0)
    assert hand.take() == [2]


def test_what_is_held_keeps_its_place_and_its_symbol_waits_behind_it() -> None:
    hand = Hand()
    for number in (1, 2):
        hand.add(number)
    assert hand.take() == [1]
    assert hand.done(1, again_s=30.0) == []
    hand.exit(3)
    hand.add(4, "ETHUSDT")
    assert hand.take() == [3, 4]
    assert (hand.waiting.held_back, hand.waiting.ready, hand.waiting.next_due_s) == (2, 0, 30.0)
    hand.waiting.wake(29.9)
    assert hand.take() == []
    hand.waiting.wake(30.0)
    assert hand.take() == [1]
    assert hand.done(1) == [2]


def test_an_older_one_that_is_taken_over_goes_before_those_that_wait() -> None:
    hand = Hand()
    hand.add(5)
    assert hand.take() == [5]
    assert hand.done(5, again_s=30.0) == []
    hand.add(2)
    assert hand.take() == [2]
    assert hand.done(2) == []
    hand.waiting.wake(30.0)
    assert hand.take() == [5]


def test_an_older_one_that_waits_too_holds_the_younger_one_up() -> None:
    hand = Hand()
    hand.add(5)
    hand.take()
    hand.done(5, again_s=10.0)
    hand.add(2)
    hand.take()
    assert hand.done(2, again_s=30.0) == []
    hand.waiting.wake(10.0)
    assert hand.take() == [], "2 comes first"
    hand.waiting.wake(30.0)
    assert hand.take() == [2]
    assert hand.done(2) == [5]


def test_one_that_goes_alone_neither_waits_nor_holds_up() -> None:
    hand = Hand()
    hand.add(1)
    hand.add(2, alone=True)
    hand.exit(3, "ETHUSDT")
    assert hand.take() == [3, 2, 1]
    assert hand.done(2, again_s=5.0) == []
    assert len(hand.waiting) == 1
    hand.waiting.wake(5.0)
    assert hand.take() == [2]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_are_at_work_than_allowed(concurrency: int) -> None:
    hand = Hand(concurrency)
    for number in range(1, 9):
        hand.add(number, f"S{number}USDT")
    assert len(hand.take()) == concurrency
    assert len(hand.done(1)) == 1


def test_waking_all_lets_everything_start_that_waits_for_a_time() -> None:
    hand = Hand()
    for number in range(1, 4):
        hand.add(number, f"S{number}USDT")
    hand.take()
    for number in range(1, 4):
        hand.done(number, again_s=100.0 + number)
    hand.waiting.wake()
    assert hand.take() == [1, 2, 3]
    assert hand.waiting.next_due_s is None


def test_waking_the_tried_leaves_an_exit_its_second_behind_an_entry() -> None:
    hand = Hand()
    hand.add(1)
    hand.exit(2, "ETHUSDT")
    hand.add(3, "SOLUSDT")
    assert hand.take() == [2, 1, 3]
    for number in (1, 2):
        assert hand.done(number, again_s=300.0) == []
    hand.add(4)
    hand.exit(5, "SOLUSDT")
    assert hand.take() == []
    hand.waiting.wake_tried()
    assert hand.take() == [2, 1], "5 waits for 3"
    assert hand.done(3) == [5]
    assert hand.done(1) == [4]


def test_waking_the_tried_counts_for_one_that_waits_behind_an_older_one() -> None:
    hand = Hand()
    hand.add(5)
    hand.take()
    hand.add(2)
    assert hand.done(5, again_s=300.0) == [2]
    hand.waiting.wake_tried()
    assert hand.done(2) == [5]


def test_whatever_comes_in_whatever_order_everything_is_taken_once_it_may() -> None:
    """A walk of a thousand steps against the rules: one entry of a symbol at a time, the oldest first, none lost."""

    chance = random.Random(7)
    hand, now_s, ended = Hand(concurrency=4), 0.0, 0
    numbers = list(range(1, 1_001))
    chance.shuffle(numbers)
    while ended < 1_000:
        if numbers and chance.random() < 0.5:
            hand.add(numbers.pop(), f"S{chance.randrange(8)}USDT", reduce_only=chance.random() < 0.2)
        hand.take()
        entries = [held.entry.intent.symbol for held in hand.taken.values() if not held.alone]
        assert len(entries) == len(set(entries)) <= 4
        if hand.taken and chance.random() < 0.7:
            number = chance.choice(sorted(hand.taken))
            again = chance.random() < 0.3
            ended += not again
            hand.done(number, again_s=now_s + chance.random() * 5 if again else None)
        now_s += 0.1
        hand.waiting.wake(now_s)
        if chance.random() < 0.05:
            hand.waiting.wake_tried()
    assert len(hand.waiting) == hand.waiting.at_work == hand.waiting.held_back == 0


def test_entries_of_a_symbol_wait_for_an_exit_that_was_refused_and_others_do_not() -> None:
    hand = Hand()
    hand.exit(1)
    assert hand.take() == [1]
    hand.add(2)
    hand.add(3, "ETHUSDT")
    assert hand.refused(1, again_s=5.0) == [3]
    hand.waiting.wake(5.0)
    assert hand.take() == [1]
    assert hand.refused(1, again_s=7.0) == []
    hand.waiting.wake(7.0)
    assert hand.take() == [1]
    assert hand.done(1) == [2]


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_stuck_and_no_entry_starts_before_a_refused_exit_of_its_symbol_has_ended(seed: int) -> None:
    chance, hand, now_s, number = random.Random(seed), Hand(3), 0.0, 0
    refused, at_work = Counter[str](), list[int]()
    while number < 40 or at_work or len(hand.waiting):
        now_s += chance.random() * 0.3
        if number < 40 and chance.random() < 0.5:
            number += 1
            hand.add(number, chance.choice(["AUSDT", "BUSDT"]), reduce_only=chance.random() < 0.4)
        hand.waiting.wake(now_s)
        for started in hand.take():
            held = hand.taken[started]
            assert held.exit or not refused[held.entry.intent.symbol]
            at_work.append(started)
        if at_work and chance.random() < 0.7:
            ended = at_work.pop(chance.randrange(len(at_work)))
            held = hand.taken[ended]
            first, symbol = not held.refused, held.entry.intent.symbol
            if held.exit and held.tries < 4 and chance.random() < 0.5:
                refused[symbol] += first
                at_work += hand.refused(ended, again_s=now_s + chance.random())
            else:
                refused[symbol] -= not first
                at_work += hand.done(ended)
    assert hand.waiting.at_work == 0
