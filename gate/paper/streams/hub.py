"""Who listens to which stream, and the events that they get. All of it runs on the server's loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import Happening, ListenKeyExpired, OrderChanged
from gate.paper.streams.event import Event
from gate.paper.streams.market_feed import MarketFeed
from gate.paper.streams.topics import read_topic
from gate.paper.streams.user_events import user_event
from gate.paper.trading.exchange import Exchange

Deliver = Callable[[str, Event], None]  # the stream's name, the event


class Hub:
    """Hears the books, and passes events on. A stream that nobody listens to costs nothing."""

    def __init__(self, exchange: Exchange, now_ms: int) -> None:
        self._exchange = exchange
        self._listeners: dict[str, list[Deliver]] = {}
        self._keeps = False
        self._kept: deque[tuple[str, AccountBooks, Happening]] = deque()
        self._market = MarketFeed(exchange, self._publish, now_ms)
        for account in exchange.accounts.values():
            account.listener = partial(self._of_account, account)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """What happens to accounts in this block is told by `tell`: a request's answer doesn't wait for the events."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False

    def tell(self) -> None:
        """Tells what was kept, as the books stood when it happened. Call it before anything else happens."""
        while self._kept:
            key, account, happening = self._kept.popleft()
            self._publish(key, user_event(self._exchange, account, happening))

    def join(self, stream: str, deliver: Deliver) -> None:
        """Listen to a stream: a listen key, or a market stream's name. A name that means nothing has no events."""
        self.tell()
        self._listeners.setdefault(stream, []).append(deliver)
        topic = read_topic(stream)
        if topic is not None:
            self._market.open(stream, topic)

    def leave(self, stream: str, deliver: Deliver) -> None:
        listeners = self._listeners.get(stream, [])
        if deliver in listeners:
            listeners.remove(deliver)
        if not listeners:
            self._listeners.pop(stream, None)
            self._market.close(stream)

    def tick(self, now_ms: int) -> None:
        self._market.tick(now_ms)

    def account_of(self, key: str) -> AccountBooks | None:
        """The account whose stream a listen key opens now."""
        return next((each for each in self._exchange.accounts.values() if each.listen_key.text == key), None)

    def _of_account(self, account: AccountBooks, happening: Happening) -> None:
        if isinstance(happening, OrderChanged) and happening.fill is not None and happening.fill.liquidation:
            self._market.liquidated(happening.order, happening.fill)
        key = happening.key if isinstance(happening, ListenKeyExpired) else account.listen_key.text
        if key is None or key not in self._listeners:
            return
        if self._keeps:
            self._kept.append((key, account.as_it_stands(), happening))
            return
        if isinstance(happening, ListenKeyExpired):
            self._kept = deque(each for each in self._kept if each[0] != key)  # nothing comes after it
        self._publish(key, user_event(self._exchange, account, happening))

    def _publish(self, stream: str, event: Event) -> None:
        for deliver in tuple(self._listeners.get(stream, ())):
            deliver(stream, event)
