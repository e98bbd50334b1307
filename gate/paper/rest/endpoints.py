"""Endpoints: a pure handler, its weight, and whether its requests are signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from gate.paper.books.account import AccountBooks
from gate.paper.rest.limits import RateLimits
from gate.paper.rest.weights import Weight
from gate.paper.trading.exchange import Exchange
from gate.paper.trading.params import Params

Body = Mapping[str, object] | Sequence[object]


class Call(Struct, frozen=True):
    """One request after authentication. Times are ms since the epoch on the server's clock.

    `limits` is None where there are none. `old_answers`: the answer to an order has the price of its fill.
    `self_trade`: the order meets one of the account's own, which self-trade prevention doesn't allow.
    """

    exchange: Exchange
    params: Params
    now_ms: int
    received_ms: int
    limits: RateLimits | None
    old_answers: bool = False
    self_trade: bool = False


class SignedCall(Struct, frozen=True):
    """A call, with the account of the key that signed it."""

    call: Call
    account: AccountBooks

    @property
    def exchange(self) -> Exchange:
        return self.call.exchange

    @property
    def params(self) -> Params:
        return self.call.params

    @property
    def now_ms(self) -> int:
        return self.call.now_ms


class PublicEndpoint(Struct, frozen=True):
    answer: Callable[[Call], Body]
    weight: Weight = 1


def one_order(_: Params) -> int:
    return 1


class SignedEndpoint(Struct, frozen=True):
    """A signed endpoint. `orders`: as how many orders the rate limits count a request."""

    answer: Callable[[SignedCall], Body]
    weight: Weight = 1
    orders: Callable[[Params], int] | None = None


class KeyedEndpoint(Struct, frozen=True):
    """An endpoint that takes the API key without a signature."""

    answer: Callable[[SignedCall], Body]
    weight: Weight = 1


Route = tuple[str, str]  # method, path
