"""Request weights that depend on a request's parameters. Pure.

The figures are those in the docstrings of Binance's own connector, binance-sdk-derivatives-trading-usds-futures 18.1,
and on the exchange's pages for klines and open algo orders (developers.binance.com, usds-margined-futures).
"""

from __future__ import annotations

from collections.abc import Callable

from gate.paper.market.errors import ExchangeError
from gate.paper.trading.params import Params

Weight = int | Callable[[Params], int]

_DEFAULT_LIMIT = 500  # the exchange's default for depth and for klines


def weigh(weight: Weight, params: Params) -> int:
    return weight if isinstance(weight, int) else weight(params)


def per_symbol(one: int, every: int) -> Weight:
    """A small weight for one symbol, a large one for all symbols."""
    return lambda params: every if params.text("symbol") is None else one


def depth(params: Params) -> int:
    limit = _limit(params)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


def klines(params: Params) -> int:
    limit = _limit(params)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


def _limit(params: Params) -> int:
    """The `limit` parameter. A malformed limit weighs like a missing one; a later check refuses it."""
    try:
        limit = params.integer("limit")
    except ExchangeError:
        limit = None
    return _DEFAULT_LIMIT if limit is None else limit
