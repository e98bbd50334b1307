"""Finds orders with the service's own client: python-binance's Client or AsyncClient. It imports neither."""

from __future__ import annotations

import inspect
from typing import Any, Final

from gate.exchange.answers import decode_own_order
from gate.exchange.failure_table import NO_SUCH_ORDER, Failure
from gate.exchange.failures import ExchangeFailure, failure_of
from gate.values.errors import InvalidField
from gate.values.found_order import FoundOrder

_BY_DEFAULT_MS: Final = 5_000  # the exchange's, for a request without a recvWindow
_KINDS: Final = (False, True)  # plain, then conditional: they live on endpoints of their own


class _Client:
    """A client of python-binance: its look-ups, and what they say."""

    def __init__(self, client: Any) -> None:
        self._client: Final = client

    @property
    def recv_window_ms(self) -> int:
        """How long after signing the exchange may accept a request of this client."""
        return int(getattr(self._client, "REQUEST_RECVWINDOW", None) or _BY_DEFAULT_MS)

    def _ask(self, symbol: str, client_order_id: str, conditional: bool) -> Any:
        if conditional:
            return self._client.futures_get_algo_order(symbol=symbol, clientAlgoId=client_order_id)
        return self._client.futures_get_order(symbol=symbol, origClientOrderId=client_order_id)


class OrderFinder(_Client):
    """A FindOrder by python-binance's Client. Raises ExchangeFailure where the exchange doesn't say."""

    def __call__(self, symbol: str, client_order_id: str) -> FoundOrder | None:
        """The order, plain or conditional; None where the exchange has neither."""
        for conditional in _KINDS:
            try:
                answer, failure = self._ask(symbol, client_order_id, conditional), None
            except Exception as error:
                failure = failure_of(error)
            if failure is None:
                return _found(answer, client_order_id, conditional)
            _unless_absent(failure)
        return None


class AsyncOrderFinder(_Client):
    """OrderFinder by python-binance's AsyncClient."""

    async def __call__(self, symbol: str, client_order_id: str) -> FoundOrder | None:
        """The order, plain or conditional; None where the exchange has neither."""
        for conditional in _KINDS:
            try:
                answer, failure = await self._ask(symbol, client_order_id, conditional), None
            except Exception as error:
                failure = failure_of(error)
            if failure is None:
                return _found(answer, client_order_id, conditional)
            _unless_absent(failure)
        return None


def find_order(client: Any) -> OrderFinder:
    """For `Gate(find_order=…)`, by python-binance's Client. Raises InvalidField for another client."""
    return OrderFinder(_with_look_ups(client, awaited=False))


def find_order_async(client: Any) -> AsyncOrderFinder:
    """For `AsyncGate(find_order=…)`, by python-binance's AsyncClient. Raises InvalidField for another client."""
    return AsyncOrderFinder(_with_look_ups(client, awaited=True))


def _with_look_ups(client: Any, *, awaited: bool) -> Any:
    for name in ("futures_get_order", "futures_get_algo_order"):
        if inspect.iscoroutinefunction(getattr(client, name, None)) is not awaited or not hasattr(client, name):
            wanted = "AsyncClient" if awaited else "Client"
            raise InvalidField("client", type(client).__name__, f"is not python-binance's {wanted}: see {name}")
    return client


def _unless_absent(failure: Failure) -> None:
    """Called outside of the handler: the chain of this exception would else keep the library's, with a signed URL."""
    if failure.code not in NO_SUCH_ORDER:
        raise ExchangeFailure(failure)


def _found(answer: Any, client_order_id: str, conditional: bool) -> FoundOrder:
    order = decode_own_order(answer, client_order_id, conditional=conditional)
    return FoundOrder(order.order_id, order.status, order.time_ms)
