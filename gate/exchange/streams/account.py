"""The live account: a snapshot, and what events have made of it since. Pure.

The stream tells wallets, positions and orders, but not the margin that is free. So the free margin starts as the
snapshot's, and goes down by whatever may have cost margin since: losses, fees and withdrawals, positions that have
changed, orders that have come. It goes up only by what certainly frees some: a gain, a deposit, the end of an order
that lowered it before. What an order of before the snapshot holds isn't known, so neither its fill nor its end gives
anything back: a new snapshot does. The result is a lower bound.

An event from before the snapshot is in it; one from after the snapshot's answer isn't. Between the two it may be or
not: then the worse of the two holds, until a later event says how it stands.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from msgspec import Struct

from gate.exchange.port import Position
from gate.exchange.streams.events import (
    SIDES,
    AlgoChanged,
    BalancesChanged,
    Holding,
    Key,
    OrderChanged,
    UserEvent,
)
from gate.exchange.streams.snapshot import Held, Snapshot

_MARKUP: Final = Decimal("1.0015")
"""The exchange values orders at market, and sellers' limits, at least at the last price times this."""
_FEE: Final = Decimal("0.001")
"""No account pays more when an order fills. What is held for an order covers it."""
_ROUNDING: Final = Decimal("1e-8")
_LATE_MS: Final = 5_000
"""An event that is so long on its way is lost, or as good as lost."""
_MOST_EVENTS: Final = 100_000
_MOST_IDS: Final = 20_000
ZERO: Final = Decimal(0)

MarkOf = Callable[[str], Decimal | None]
AssetOf = Callable[[str], str | None]
LeverageOf = Callable[[str], int | None]


class AccountInDoubt(Exception):
    """The events don't fit together: only a new snapshot tells how the account stands."""


@dataclass(slots=True)
class _Open:
    """An order that holds margin."""

    latest: OrderChanged
    included: bool
    """Whether the snapshot's figure has it already."""
    valued_at: Decimal = ZERO
    """The highest mark price that it may have been valued at."""
    awaited: list[tuple[int, Decimal]] = field(default_factory=list)
    """Fills whose position hasn't been told yet: their moment, their quantity."""

    @property
    def quantity(self) -> Decimal:
        """What holds margin, beyond what the positions and the snapshot say."""
        left = ZERO if self.included else self.latest.left
        return left + sum((quantity for _, quantity in self.awaited), ZERO)


class _Ordered(Struct, frozen=True):
    """What the orders on a position hold margin for."""

    notional: Decimal
    loss: Decimal
    """What they lose at once, if they fill."""

    def __add__(self, other: _Ordered) -> _Ordered:
        return _Ordered(self.notional + other.notional, self.loss + other.loss)


_NOTHING: Final = _Ordered(ZERO, ZERO)


class _Reckoned(Struct, frozen=True):
    """What a position has made of the free margin, and by what."""

    ordered: _Ordered
    leverage: int
    mark: Decimal
    """Zero where nothing is open: then it doesn't matter."""
    moved: Decimal


@dataclass(slots=True)
class _Line:
    """A position: how it was, and how it is, or may be."""

    held: Held | None
    now: list[Holding]
    """Since the snapshot. Empty: nothing has come. More than one: any of them may be what the snapshot has not."""
    as_held: bool
    """Whether it may still be as the snapshot says."""
    changed_ms: int
    reckoned: _Reckoned | None = None
    """The last one: of many positions, an event changes one."""

    @property
    def isolated(self) -> bool:
        return any(each.isolated for each in self.now) or (self.held is not None and self.held.isolated)


class _Heard(Struct, frozen=True):
    """An event, and the mark price of its symbol when it came."""

    event: OrderChanged | BalancesChanged
    mark: Decimal


class LiveAccount:
    """One account. `apply` events in the order in which they come."""

    def __init__(self, mark_of: MarkOf) -> None:
        """`mark_of`: a symbol's latest mark price, however old."""
        self._mark_of: Final = mark_of
        self.snapshot: Snapshot | None = None
        self.moved = False
        """Whether a new snapshot may find more margin free than the bound says."""
        self.missed = False
        """Whether the snapshot shows that events before it were lost."""
        self.changes = 0
        """How often what it says may have changed."""
        self._events: deque[_Heard] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._over: OrderedDict[int, None] = OrderedDict()  # the latest 20,000
        self._orders: dict[int, _Open] = {}
        self._resting: dict[int, OrderChanged] = {}  # at the snapshot's moment
        self._lines: dict[Key, _Line] = {}
        self._lines_before: dict[Key, _Line] | None = None  # the last that counted before a doubt
        self._wallets: dict[str, Decimal] = {}
        self._wallets_ms: dict[str, int] = {}
        self._told_wallets: dict[str, Decimal] = {}

    # ---- what comes in

    def forget(self) -> None:
        """Events may have been lost: nothing counts until the next snapshot. An order counts as seen again only
        once that snapshot has it."""
        if self.snapshot is not None:
            self._lines_before = self._lines
        self.snapshot = None
        self.changes += 1
        self._events.clear()
        self._seen.clear()
        self._orders.clear()
        self._resting.clear()
        self._lines = {}

    def apply(self, event: UserEvent) -> None:
        """Raises AccountInDoubt where the event doesn't fit what came before."""
        self.changes += 1
        if isinstance(event, AlgoChanged):
            self._note(event.client_order_id)
        elif isinstance(event, OrderChanged | BalancesChanged):
            if len(self._events) >= _MOST_EVENTS:
                raise AccountInDoubt("more events since the snapshot than are kept")
            if self.snapshot is not None and event.at_ms < self.snapshot.from_ms:
                self._include(event)  # it comes late: the snapshot has it
                if isinstance(event, OrderChanged):
                    self._orders.pop(event.order_id, None)
                    if not event.ended:
                        self._orders[event.order_id] = _Open(event, included=True)
                return
            mark = self._mark_of(event.symbol) if isinstance(event, OrderChanged) else None
            heard = _Heard(event, mark or ZERO)
            self._events.append(heard)
            if self.snapshot is not None:
                self._count(heard, self.snapshot)

    def rest_on(self, snapshot: Snapshot) -> None:
        """Begins anew from a snapshot, with the events that may not be in it. Raises AccountInDoubt."""
        self.missed = self.snapshot is not None and self._misses(snapshot)
        awaited = {} if self.snapshot is None else self._wallets_awaited(snapshot)
        self.snapshot, self.moved = snapshot, False
        self.changes += 1
        events, self._events = self._events, deque()
        for heard in events:
            if heard.event.at_ms < snapshot.from_ms:
                self._include(heard.event)
            else:
                self._events.append(heard)
        self._orders = {number: _Open(event, included=True) for number, event in self._resting.items()}
        self._over.clear()
        self._wallets = dict(snapshot.cross_wallets)
        self._wallets_ms = {}
        self._told_wallets = {**snapshot.cross_wallets, **awaited}
        self._lines = {
            key: _Line(held, [], as_held=True, changed_ms=held.changed_ms) for key, held in snapshot.held.items()
        }
        for heard in self._events:
            self._count(heard, snapshot)

    def _misses(self, snapshot: Snapshot) -> bool:
        """Whether a wallet is another than events said, and has been for so long that they can't be on their way. Every
        fill changes a wallet, by its fee."""
        return any(
            self._told_wallets.get(asset) != wallet
            and snapshot.wallets_ms[asset] < snapshot.from_ms - _LATE_MS
            and self._wallets_ms.get(asset, 0) < snapshot.from_ms
            for asset, wallet in snapshot.cross_wallets.items()
        )

    def _wallets_awaited(self, snapshot: Snapshot) -> Mapping[str, Decimal]:
        """What events said last of those wallets whose latest change may still be on its way."""
        late_ms = snapshot.from_ms - _LATE_MS
        return {a: told for a, told in self._told_wallets.items() if snapshot.wallets_ms.get(a, 0) >= late_ms}

    def _include(self, event: OrderChanged | BalancesChanged) -> None:
        """Notes what the snapshot has already."""
        if not isinstance(event, OrderChanged):
            return
        self._note(event.client_order_id)
        if event.ended:
            self._resting.pop(event.order_id, None)
        else:
            self._resting[event.order_id] = event

    def _count(self, heard: _Heard, snapshot: Snapshot) -> None:
        event, self.moved = heard.event, True
        if isinstance(event, OrderChanged):
            self._count_order(event, heard.mark)
        else:
            self._count_balances(event, certain=event.at_ms > snapshot.until_ms)

    def _count_order(self, event: OrderChanged, mark: Decimal) -> None:
        self._note(event.client_order_id)
        number = event.order_id
        if number in self._over:
            raise AccountInDoubt("an order goes on after its end")
        known = self._orders.get(number)
        if known is not None and event.at_ms < known.latest.at_ms:
            raise AccountInDoubt("an order's events come in another order")
        if known is not None and event.filled != known.latest.filled + event.just_filled:
            raise AccountInDoubt("an order's fill is missing")
        if known is not None and (event.quantity, event.price) != (known.latest.quantity, known.latest.price):
            known.included = False  # changed: what it holds now isn't in the snapshot
        if known is None:
            known = self._orders[number] = _Open(event, included=False)
        known.latest, known.valued_at = event, max(known.valued_at, mark)
        line = self._lines.get(event.key)
        if event.just_filled and (line is None or line.changed_ms < event.at_ms):
            known.awaited.append((event.at_ms, event.just_filled))
        self._drop_if_over(number, known)

    def _drop_if_over(self, number: int, order: _Open) -> None:
        if not order.latest.ended or order.awaited:
            return
        del self._orders[number]
        self._over[number] = None
        if len(self._over) > _MOST_IDS:
            self._over.popitem(last=False)

    def _count_balances(self, event: BalancesChanged, *, certain: bool) -> None:
        if event.reason == "MARGIN_TYPE_CHANGE":
            raise AccountInDoubt("a margin type has changed")
        for asset, wallet in event.cross_wallets.items():
            if asset not in self._wallets:
                raise AccountInDoubt(f"{asset} is new in the account")
            if event.at_ms < self._wallets_ms.get(asset, 0):
                raise AccountInDoubt("balances come in another order")
            self._wallets[asset] = wallet if certain else min(wallet, self._wallets[asset])
            self._wallets_ms[asset] = event.at_ms
            self._told_wallets[asset] = wallet
        for key, holding in event.positions.items():
            line = self._lines.setdefault(key, _Line(None, [], as_held=True, changed_ms=0))
            if event.at_ms < line.changed_ms:
                if line.now:
                    raise AccountInDoubt("positions come in another order")
                continue  # the snapshot has a later change of it
            line.now = [holding] if certain else [*line.now, holding]
            line.as_held = line.as_held and not certain
            line.changed_ms, line.reckoned = event.at_ms, None
        self._told(event)

    def _told(self, event: BalancesChanged) -> None:
        for number, order in tuple(self._orders.items()):
            if order.awaited and order.latest.key in event.positions:
                order.awaited = [each for each in order.awaited if each[0] > event.at_ms]
                self._drop_if_over(number, order)

    def _note(self, client_order_id: str) -> None:
        self._seen[client_order_id] = None
        if len(self._seen) > _MOST_IDS:
            self._seen.popitem(last=False)

    # ---- what it says

    def has_seen(self, client_order_id: str) -> bool:
        """Whether the figures include an order of that id."""
        return client_order_id in self._seen

    def touches(self, symbol: str) -> bool:
        """Whether something is open in the symbol, or was since the snapshot."""
        return bool(self._of(symbol)) or any(order.latest.symbol == symbol for order in self._orders.values())

    def priced_symbols(self) -> set[str]:
        """The symbols whose mark prices the figures need."""
        return {symbol for symbol, _ in self._lines} | {order.latest.symbol for order in self._orders.values()}

    def awaits_position(self, symbol: str) -> bool:
        """Whether a fill of the symbol has been told, and not yet the position after it."""
        return any(order.awaited and order.latest.symbol == symbol for order in self._orders.values())

    def positions(self, symbol: str) -> tuple[Position, ...]:
        """What is open in a symbol, by the latest that is known."""
        return _positions(self._of(symbol))

    def last_positions(self, symbol: str) -> tuple[Position, ...] | None:
        """The same, also while nothing counts: then by what was known before. None where nothing ever was."""
        lines = self._lines if self.snapshot is not None else self._lines_before
        return None if lines is None else _positions(_lines_of(symbol, lines))

    def notional(self, symbol: str, mark: Decimal) -> Mapping[Key, Decimal]:
        """The largest that each position of a symbol may be, signed."""
        return {key: max((amount * mark for amount in _amounts(line)), key=abs) for key, line in self._of(symbol)}

    def _of(self, symbol: str) -> list[tuple[Key, _Line]]:
        """The positions of a symbol: of each entry this is asked several times, beside however many others."""
        return _lines_of(symbol, self._lines)

    def available(self, asset: str, asset_of: AssetOf, marks: MarkOf, leverages: LeverageOf) -> Decimal | None:
        """The lower bound of the margin that is free in an asset; None where it can't be told."""
        if self.snapshot is None:
            return None
        figure = self.snapshot.figures.available.get(asset)
        if not isinstance(figure, Decimal) or asset not in self._wallets:
            return None
        if figure <= 0:
            return ZERO  # the exchange shows no debt, so how much must come before something is free isn't known
        bound = figure + self._wallets[asset] - self.snapshot.cross_wallets[asset]
        ordered = self._all_ordered(marks)
        if ordered is None:
            return None
        for key in self._lines.keys() | ordered.keys():
            of = asset_of(key[0])
            if of is None:
                return None
            if of != asset:
                continue
            moved = self._moved(key, ordered.get(key, _NOTHING), marks, leverages)
            if moved is None:
                return None
            bound += moved
        return bound

    def _all_ordered(self, marks: MarkOf) -> Mapping[Key, _Ordered] | None:
        """What the orders on each position hold margin for; None without a price."""
        ordered: dict[Key, _Ordered] = {}
        for order in self._orders.values():
            if order.latest.reduces or not order.quantity:
                continue
            mark = marks(order.latest.symbol)
            if mark is None:
                return None
            ordered[order.latest.key] = self._costs(order, mark) + ordered.get(order.latest.key, _NOTHING)
        return ordered

    def _costs(self, order: _Open, mark: Decimal) -> _Ordered:
        latest, quantity = order.latest, order.quantity
        # The exchange values an order when it comes, and may do so again.
        least = ZERO if latest.price and latest.buys else max(mark, order.valued_at) * _MARKUP
        under = ZERO
        if latest.price:
            under = max(ZERO, latest.price - mark if latest.buys else mark - latest.price)
        return _Ordered(quantity * max(latest.price, least), quantity * under)

    def _moved(self, key: Key, ordered: _Ordered, marks: MarkOf, leverages: LeverageOf) -> Decimal | None:
        """What a position and the orders on it have made of the margin that is free, since the snapshot."""
        line, leverage = self._lines.get(key), leverages(key[0])
        known = None if line is None else line.reckoned
        if (
            known is not None
            and known.ordered == ordered
            and known.leverage == leverage
            and (not known.mark or known.mark == marks(key[0]))
        ):
            return known.moved
        amounts = [] if line is None else _amounts(line)
        mark = marks(key[0]) if any(amounts) else ZERO
        if leverage is None or mark is None:
            return None
        cost = ordered.notional / leverage + ordered.notional * _FEE + ordered.loss
        if line is None:
            return -cost
        was = ZERO if line.held is None else line.held.notional
        # However the orders that rest lie, the margin that is held grows by no more than the position has moved.
        margin = max(abs(amount * mark - was) for amount in amounts) / leverage
        if line.isolated:
            margin *= 2  # its own margin is apart, but what the orders hold beside it moves both ways
        moved = _gain(line, mark) - margin - cost
        line.reckoned = _Reckoned(ordered, leverage, mark, moved)
        return moved


def _lines_of(symbol: str, lines: Mapping[Key, _Line]) -> list[tuple[Key, _Line]]:
    keys = ((symbol, side) for side in SIDES)
    return [(key, line) for key in keys if (line := lines.get(key)) is not None]


def _positions(lines: list[tuple[Key, _Line]]) -> tuple[Position, ...]:
    amounts = ((key[1], _latest(line)) for key, line in lines)
    return tuple(Position(side, amount) for side, amount in amounts if amount)


def _amounts(line: _Line) -> list[Decimal]:
    held = ZERO if line.held is None else line.held.amount
    return [*([held] if line.as_held else []), *(each.amount for each in line.now)]


def _latest(line: _Line) -> Decimal:
    if line.now:
        return line.now[-1].amount
    return ZERO if line.held is None else line.held.amount


def _gain(line: _Line, mark: Decimal) -> Decimal:
    """The least that the position's profit has grown by. An isolated one has a wallet of its own."""
    was = ZERO if line.held is None or line.held.isolated else line.held.unrealized
    profits = []
    if line.as_held:
        if line.held is None or line.held.isolated:
            profits.append(ZERO)
        else:
            profits.append(was + line.held.amount * mark - line.held.notional)
    for each in line.now:
        rounding = abs(each.amount) * _ROUNDING
        profits.append(ZERO if each.isolated else each.amount * (mark - each.entry_price) - rounding)
    return min(profits) - was
