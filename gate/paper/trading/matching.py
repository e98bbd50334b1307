"""Matches an order with a quote. Pure.

There is no order book of other traders. One best bid and one best ask replace it, with the quote's quantity on offer.
"""

from __future__ import annotations

from decimal import Decimal

from gate.paper.market.prices import Quote
from gate.paper.market.terms import Side


def crosses(side: Side, price: Decimal, quote: Quote) -> bool:
    """Whether a limit of this price would trade at once."""
    return price >= quote.ask if side is Side.BUY else price <= quote.bid


def fillable(side: Side, quantity: Decimal, quote: Quote) -> Decimal:
    """How much of a quantity is on offer at the best opposite price."""
    offered = quote.offered_to(side)
    return quantity if offered is None else min(quantity, offered)
