"""The exchange: accounts, quotes and the operations on them. No HTTP, no threads; the time is an argument.

An operation either raises ExchangeError and changes nothing, or happens completely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import BalancesChanged
from gate.paper.books.orders import Order, Ticket, Trade
from gate.paper.books.positions import Position, after_fill
from gate.paper.market.decimals import ZERO, to_satoshi
from gate.paper.market.errors import Code, refuse
from gate.paper.market.fees import FeeSchedule
from gate.paper.market.prices import Quote, quote_at
from gate.paper.market.symbols import Market, Symbol
from gate.paper.market.tape import PublicTrade, Tape
from gate.paper.market.terms import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from gate.paper.trading.admission import admit
from gate.paper.trading.matching import crosses, fillable

_FIRST_ORDER_ID = 8_000_000_001  # more than 32 bits, like the live exchange's ids


class Journal(Protocol):
    """Gets every accepted order once, after its first matching and before its client gets an answer."""

    def accepted(self, account: AccountBooks, order: Order, received_ms: int) -> None: ...


class Watcher(Protocol):
    """Hears of the market, at the moment when something happens."""

    def quoted(self, symbol: Symbol, before: Quote, now_ms: int) -> None: ...

    def traded(self, symbol: Symbol, trade: PublicTrade) -> None: ...


class Exchange:
    def __init__(
        self,
        market: Market,
        accounts: Iterable[AccountBooks],
        fees: FeeSchedule,
        journal: Journal,
        first_order_id: int = _FIRST_ORDER_ID,
    ) -> None:
        self.market = market
        self.fees = fees
        self.accounts: Mapping[str, AccountBooks] = {account.name: account for account in accounts}
        self.quotes: dict[str, Quote] = {
            name: quote_at(symbol, market.prices[name]) for name, symbol in market.symbols.items()
        }
        self.tapes = {name: Tape(price) for name, price in market.prices.items()}
        self.book_ids = dict.fromkeys(market.symbols, 1)  # the last update of each book that a stream has told
        self.watcher: Watcher | None = None
        self._journal = journal
        self._next_order_id = max(first_order_id, _FIRST_ORDER_ID)
        self._next_trade_id = 1

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name; -1121 if there is none."""
        try:
            return self.market.symbols[name]
        except KeyError:
            raise refuse(Code.BAD_SYMBOL) from None

    def next_id(self) -> int:
        """The next id. Orders and algo orders share one sequence."""
        taken = self._next_order_id
        self._next_order_id += 1
        return taken

    def place(
        self,
        account: AccountBooks,
        ticket: Ticket,
        now_ms: int,
        *,
        received_ms: int | None = None,
        orig_type: str | None = None,
        self_trade: bool = False,
    ) -> Order:
        """Admit an order, match it, and give it to the journal. Returns its state after the first matching.

        With `self_trade` it meets an order of the same account, and ends without a fill: there are no such pairs in
        this book.
        """
        order = self._admitted(account, ticket, now_ms, orig_type)
        order_id = self.next_id()
        client_order_id = order.client_order_id or f"paper-{order_id}"
        order = msgspec.structs.replace(order, order_id=order_id, client_order_id=client_order_id)
        account.write(order)
        if self_trade:
            order = account.close(order, OrderStatus.EXPIRED_IN_MATCH, now_ms)
        else:
            order = self._match_new(account, order, now_ms)
        self._journal.accepted(account, order, now_ms if received_ms is None else received_ms)
        return order

    def rehearse(self, account: AccountBooks, ticket: Ticket, now_ms: int) -> Order:
        """Make every check of `place` without placing the order. Returns the order with the id 0."""
        return self._admitted(account, ticket, now_ms, None)

    def _admitted(self, account: AccountBooks, ticket: Ticket, now_ms: int, orig_type: str | None) -> Order:
        terms = admit(account, self.market, self.quotes, ticket)
        return Order(
            order_id=0,
            client_order_id=ticket.client_order_id,
            symbol=ticket.symbol,
            side=ticket.side,
            position_side=terms.position_side,
            type=ticket.type,
            orig_type=orig_type or ticket.type.value,
            time_in_force=ticket.time_in_force,
            status=OrderStatus.NEW,
            quantity=terms.quantity,
            price=ticket.price if ticket.type is OrderType.LIMIT else ZERO,
            reduce_only=ticket.reduce_only or ticket.close_position,
            close_position=ticket.close_position,
            assumed_price=terms.assumed_price,
            time_ms=now_ms,
            update_ms=now_ms,
        )

    def cancel(self, account: AccountBooks, order: Order | None, now_ms: int) -> Order:
        """Cancel an open order; -2011 if there is none, or if it isn't open."""
        if order is None or not order.status.is_open:
            raise refuse(Code.CANCEL_REJECTED)
        return account.close(order, OrderStatus.CANCELED, now_ms)

    def amend(self, account: AccountBooks, order: Order | None, ticket: Ticket, now_ms: int) -> Order:
        """Change an open limit order's quantity and price; -2013 if there is none, -5027 if nothing changes.

        It goes through the checks of a new order. A quantity that is filled already cancels the rest.
        """
        if order is None or not order.status.is_open or order.side is not ticket.side:
            raise refuse(Code.NO_SUCH_ORDER)
        if (order.quantity, order.price) == (ticket.quantity, ticket.price):
            raise refuse(Code.NO_NEED_TO_AMEND)
        if ticket.quantity <= order.executed:
            return account.close(order, OrderStatus.CANCELED, now_ms)
        wanted = msgspec.structs.replace(
            ticket,
            quantity=ticket.quantity - order.executed,
            time_in_force=order.time_in_force,
            position_side=order.position_side,
            reduce_only=order.reduce_only,
        )
        resting = account.open_orders
        account.open_orders = {number: each for number, each in resting.items() if number != order.order_id}
        try:
            terms = admit(account, self.market, self.quotes, wanted)
        finally:
            account.open_orders = resting
        order = msgspec.structs.replace(
            order,
            quantity=ticket.quantity,
            price=ticket.price,
            assumed_price=terms.assumed_price,
            update_ms=now_ms,
        )
        account.write(order, amended=True)
        return self._match_new(account, order, now_ms)

    def liquidate(self, account: AccountBooks, position: Position, now_ms: int) -> Order:
        """Close a position at the best price, whatever is on offer there, for the liquidation's fee."""
        symbol = self.market.symbols[position.symbol]
        side = Side.SELL if position.quantity > 0 else Side.BUY
        order_id = self.next_id()
        price = self.quotes[symbol.name].best_for(side)
        order = Order(
            order_id=order_id,
            client_order_id=f"autoclose-{order_id}",
            symbol=symbol.name,
            side=side,
            position_side=position.side,
            type=OrderType.LIMIT,
            orig_type=OrderType.LIMIT.value,
            time_in_force=TimeInForce.IOC,
            status=OrderStatus.NEW,
            quantity=abs(position.quantity),
            price=price,
            reduce_only=False,
            close_position=False,
            assumed_price=price,
            time_ms=now_ms,
            update_ms=now_ms,
        )
        account.write(order)
        order = self._trade(account, order, price, now_ms, maker=False, liquidation=True)
        self._journal.accepted(account, order, now_ms)
        return order

    def cancel_all(self, account: AccountBooks, symbol: str, now_ms: int) -> list[Order]:
        return [account.close(order, OrderStatus.CANCELED, now_ms) for order in account.open_on(symbol)]

    def run_countdowns(self, now_ms: int) -> None:
        """Cancel the orders of every symbol with an elapsed countdown."""
        for account in self.accounts.values():
            for symbol in [name for name, due_ms in account.countdowns.items() if due_ms <= now_ms]:
                del account.countdowns[symbol]
                self.cancel_all(account, symbol, now_ms)

    def set_quote(self, symbol: Symbol, quote: Quote, now_ms: int) -> None:
        """Move a symbol's prices and match its resting orders: best price first, then oldest first."""
        before = self.quotes[symbol.name]
        self._show(symbol, quote, now_ms)
        if quote.last != before.last:
            # Somebody else's trade has moved the price.
            taker = Side.BUY if quote.last > before.last else Side.SELL
            self._print(symbol, quote.last, symbol.lot.min_quantity, taker, now_ms, moves=True)
        resting = [
            (-order.side.sign * order.price, order.order_id, account)
            for account in self.accounts.values()
            for order in account.open_on(symbol.name)
            if crosses(order.side, order.price, quote)
        ]
        for _, order_id, account in sorted(resting, key=lambda row: row[:2]):
            order = account.orders[order_id]
            if order.status.is_open:  # an earlier fill of this round may have closed it
                self._trade(account, order, order.price, now_ms, maker=True)

    def _show(self, symbol: Symbol, quote: Quote, now_ms: int) -> None:
        before, self.quotes[symbol.name] = self.quotes[symbol.name], quote
        if quote != before:
            self.turn_page(symbol, before, now_ms)

    def turn_page(self, symbol: Symbol, before: Quote, now_ms: int) -> None:
        """Give the book as it stands its next update id, and tell of it."""
        # Two ids each: an answer to `depth` then lies within the next update, as clients require.
        self.book_ids[symbol.name] += 2
        if self.watcher is not None:
            self.watcher.quoted(symbol, before, now_ms)

    def _print(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, taker: Side, now_ms: int, *, moves: bool
    ) -> int:
        """Note a public trade. Returns its id."""
        trade = PublicTrade(self._next_trade_id, price, quantity, taker, now_ms)
        self._next_trade_id += 1
        self.tapes[symbol.name].printed(trade, moves=moves)
        if self.watcher is not None:
            self.watcher.traded(symbol, trade)
        return trade.trade_id

    def _match_new(self, account: AccountBooks, order: Order, now_ms: int) -> Order:
        quote = self.quotes[order.symbol]
        if order.type is OrderType.MARKET or crosses(order.side, order.price, quote):
            order = self._trade(account, order, quote.best_for(order.side), now_ms, maker=False)
        rests = order.type is OrderType.LIMIT and order.time_in_force in (TimeInForce.GTC, TimeInForce.GTX)
        if order.status.is_open and not rests:
            order = account.close(order, OrderStatus.EXPIRED, now_ms)
        return order

    def _trade(
        self,
        account: AccountBooks,
        order: Order,
        price: Decimal,
        now_ms: int,
        *,
        maker: bool,
        liquidation: bool = False,
    ) -> Order:
        """Fill an order at one price, up to the quantity on offer; a liquidation fills whatever is there."""
        quote = self.quotes[order.symbol]
        position = account.position(order.symbol, order.position_side)
        wanted = min(order.remaining, position.reducible_by(order.side)) if order.reduces else order.remaining
        quantity = wanted if liquidation else fillable(order.side, wanted, quote)
        if not quantity:
            return order
        symbol = self.market.symbols[order.symbol]
        isolated = account.leverage(symbol) if symbol.name in account.isolated else None
        position, realized = after_fill(position, order.side, quantity, price, now_ms, isolated)
        commission = (
            to_satoshi(quantity * price * symbol.liquidation_fee)
            if liquidation
            else self.fees.commission(quantity, price, maker=maker)
        )
        asset = symbol.margin_asset
        account.positions[order.position_key] = position
        account.credit(asset, realized - commission, now_ms)
        taker = order.side.other if maker else order.side
        fill = Trade(
            trade_id=self._print(symbol, price, quantity, taker, now_ms, moves=False),
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            price=price,
            quantity=quantity,
            realized_pnl=realized,
            commission=commission,
            margin_asset=asset,
            maker=maker,
            time_ms=now_ms,
            liquidation=liquidation,
        )
        account.fill(fill)
        account.listener(BalancesChanged("ORDER", {asset: ZERO}, (order.position_key,), now_ms))
        self._show(symbol, quote.after_taking(order.side, quantity), now_ms)
        executed = order.executed + quantity
        order = msgspec.structs.replace(
            order,
            executed=executed,
            cum_quote=order.cum_quote + quantity * price,
            status=OrderStatus.FILLED if executed == order.quantity else OrderStatus.PARTIALLY_FILLED,
            update_ms=now_ms,
        )
        account.write(order, fill)
        self._expire_exits(account, order.symbol, order.position_side, now_ms)
        return account.orders[order.order_id]

    def _expire_exits(self, account: AccountBooks, symbol: str, side: PositionSide, now_ms: int) -> None:
        """Expire resting exits when their position is closed or has turned to the other side."""
        position = account.position(symbol, side)
        for order in account.open_on(symbol, side):
            if order.reduces and not position.reducible_by(order.side):
                account.close(order, OrderStatus.EXPIRED, now_ms)
