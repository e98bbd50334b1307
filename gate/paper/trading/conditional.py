"""Conditional orders: the algo endpoint takes them, they wait for their trigger, and then become plain orders."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import AlgoChanged
from gate.paper.books.orders import AlgoOrder, AlgoTicket, Ticket
from gate.paper.market.errors import Code, ExchangeError, refuse
from gate.paper.market.filters import check_price, check_quantity
from gate.paper.market.prices import Quote
from gate.paper.market.symbols import Symbol
from gate.paper.market.terms import AlgoStatus, OrderType, WorkingType
from gate.paper.trading.admission import check_status, resolve_position_side
from gate.paper.trading.exchange import Exchange

_MOST_WAITING = 200  # of an account, on all symbols; exchangeInfo doesn't tell it any more


def place_algo(exchange: Exchange, account: AccountBooks, ticket: AlgoTicket, now_ms: int) -> AlgoOrder:
    """Take a conditional order. Refuses an order that would fire at once (-2021).

    The margin check comes when the order fires.
    """
    symbol = exchange.symbol(ticket.symbol)
    position_side = resolve_position_side(account, ticket.position_side, reduce_only_sent=ticket.reduce_only_sent)
    check_status(symbol, opening=not (ticket.reduce_only or ticket.close_position))
    check_price(symbol, ticket.trigger_price)
    if not ticket.type.at_market:
        check_price(symbol, ticket.price)
    if not ticket.close_position:
        check_quantity(symbol, symbol.market_lot if ticket.type.at_market else symbol.lot, ticket.quantity)
    waiting = account.open_algos(symbol.name)
    if ticket.client_algo_id and any(algo.client_algo_id == ticket.client_algo_id for algo in account.open_algos()):
        raise refuse(Code.DUPLICATE_CLIENT_ID)
    if len(account.open_algos()) >= _MOST_WAITING:
        raise refuse(Code.MAX_STOP_ORDERS)
    if ticket.close_position and any(_same_exit(algo, ticket) for algo in waiting):
        raise refuse(Code.CLOSE_POSITION_EXISTS)
    algo_id = exchange.next_id()
    algo = AlgoOrder(
        algo_id=algo_id,
        client_algo_id=ticket.client_algo_id or f"paper-{algo_id}",
        ticket=ticket,
        position_side=position_side,
        status=AlgoStatus.NEW,
        create_ms=now_ms,
        update_ms=now_ms,
    )
    if algo.triggered_by(working_price(algo, exchange.quotes[symbol.name])):
        raise refuse(Code.WOULD_IMMEDIATELY_TRIGGER)
    account.write_algo(algo)
    return algo


def _same_exit(algo: AlgoOrder, ticket: AlgoTicket) -> bool:
    other = algo.ticket
    return (
        other.close_position
        and other.side is ticket.side
        and other.position_side == ticket.position_side
        and other.type.is_stop == ticket.type.is_stop
    )


def working_price(algo: AlgoOrder, quote: Quote) -> Decimal:
    return quote.mark if algo.ticket.working_type is WorkingType.MARK_PRICE else quote.last


def cancel_algo(account: AccountBooks, algo: AlgoOrder | None, now_ms: int) -> AlgoOrder:
    """Cancel a waiting conditional order; -2011 if there is none, or if it doesn't wait any more."""
    if algo is None or algo.status is not AlgoStatus.NEW:
        raise refuse(Code.CANCEL_REJECTED)
    return _finish(account, algo, AlgoStatus.CANCELED, now_ms)


def fire_triggered(exchange: Exchange, symbol: Symbol, before: Quote, now_ms: int) -> None:
    """Place every conditional order on a symbol with a trigger that the prices have reached on their way from `before`.

    They fire in the order in which the prices reach them: nearest to the old price first, then oldest first.
    """
    quote = exchange.quotes[symbol.name]
    reached = [
        (abs(algo.ticket.trigger_price - working_price(algo, before)), algo.algo_id, account, algo)
        for account in exchange.accounts.values()
        for algo in account.open_algos(symbol.name)
        if algo.triggered_by(working_price(algo, quote))
    ]
    for _, _, account, algo in sorted(reached, key=lambda row: row[:2]):
        _fire(exchange, account, algo, now_ms)


def _fire(exchange: Exchange, account: AccountBooks, algo: AlgoOrder, now_ms: int) -> None:
    ticket = algo.ticket
    plain = Ticket(
        symbol=ticket.symbol,
        side=ticket.side,
        type=OrderType.MARKET if ticket.type.at_market else OrderType.LIMIT,
        quantity=ticket.quantity,
        price=ticket.price,
        time_in_force=ticket.time_in_force,
        position_side=ticket.position_side,
        reduce_only=ticket.reduce_only,
        client_order_id=algo.client_algo_id,
        close_position=ticket.close_position,
    )
    account.listener(AlgoChanged(algo, AlgoStatus.TRIGGERING, None, now_ms))
    try:
        order = exchange.place(account, plain, now_ms, orig_type=ticket.type.value)
    except ExchangeError as refusal:
        gone = refusal.code == Code.REDUCE_ONLY_REJECT
        status = AlgoStatus.EXPIRED if gone else AlgoStatus.REJECTED
        _finish(account, algo, status, now_ms, fired=True, refusal=refusal.message)
        return
    _finish(account, algo, AlgoStatus.FINISHED, now_ms, fired=True, order_id=order.order_id)


def _finish(
    account: AccountBooks,
    algo: AlgoOrder,
    status: AlgoStatus,
    now_ms: int,
    *,
    fired: bool = False,
    order_id: int | None = None,
    refusal: str = "",
) -> AlgoOrder:
    done = msgspec.structs.replace(
        algo,
        status=status,
        update_ms=now_ms,
        trigger_ms=now_ms if fired else 0,
        actual_order_id=order_id,
        refusal=refusal,
    )
    account.write_algo(done)
    return done
