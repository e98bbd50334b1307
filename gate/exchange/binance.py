"""Binance USDⓈ-M futures through python-binance's AsyncClient: the only place that imports it.

Traps of the library that this file goes round are named where they are: see reference/binance-usdm.md for each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Any, Final

from gate.exchange.failures import failure_of_answer, failure_of_transport
from gate.exchange.orders import ExchangeFailure, Failure, Filters, OrderAnswer, OrderNotFound, OrderRequest, Placement
from gate.fields import plain

_NO_SUCH_ORDER: Final = -2013
_CLOCK_CODES: Final = ("-1021", "-5028")
_LONGEST_BAN_S: Final = 3 * 24 * 3600  # the exchange bans for three days at most
_FILTERS_AGE_S: Final = 3600  # filters change seldom; a code that says so has them read anew
_READ_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 3.0
RECV_WINDOW_MS: Final = 5_000
"""The exchange refuses a request that reaches it later than that after signing. Its documentation advises 5000."""


class BinanceFutures:
    """One account. Every method raises ExchangeFailure. Close it, or use it in an `async with` block."""

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        *,
        base_url: str | None = None,
        demo: bool = False,
        recv_window_ms: int = RECV_WINDOW_MS,
    ) -> None:
        """`base_url`: another server, such as a paper exchange, `http://127.0.0.1:8000`. `demo`: the exchange's own.

        `recv_window_ms`: how long after signing the exchange may still accept a request; after that its absence is
        certain.
        """
        self.recv_window_ms = recv_window_ms
        from aiohttp import ClientTimeout
        from binance import AsyncClient  # half a second: only for those who place orders

        # The constructor, not create(): that one calls the spot exchange first.
        self._client: Any = AsyncClient(
            api_key,
            api_secret,
            demo=demo,
            loop=asyncio.get_running_loop(),
            requests_params={
                "allow_redirects": False,  # a 302 would turn the POST into a GET, and its page into a success
                "timeout": ClientTimeout(sock_connect=_CONNECT_TIMEOUT_S),
            },
        )
        if base_url is not None:
            self._client.FUTURES_URL = base_url.rstrip("/").removesuffix("/fapi") + "/fapi"
        self._symbols: dict[str, Mapping[str, Any]] = {}
        self._symbols_at: float | None = None

    async def filters(self, symbol: str) -> Filters | None:
        """What the exchange allows for a symbol; None for one that it doesn't have."""
        fresh = self._symbols_at is not None and time.monotonic() - self._symbols_at < _FILTERS_AGE_S
        if not fresh:
            try:
                info = await self._read("futures_exchange_info")
                self._symbols = {each["symbol"]: each for each in info["symbols"]}
                self._symbols_at = time.monotonic()
            except ExchangeFailure:
                # The old ones are better than none: the exchange checks them itself, and an exit must not wait.
                if not self._symbols:
                    raise
            except (KeyError, TypeError):
                raise _unreadable("exchangeInfo", None) from None
        # One by one: an odd symbol must not stop the others.
        found = self._symbols.get(symbol)
        return None if found is None else _filters(found)

    def forget_filters(self) -> None:
        """Reads them anew at the next order: an answer has shown that they changed."""
        self._symbols_at = None

    async def mark_price(self, symbol: str) -> Decimal:
        """The mark price, by which the exchange measures notional."""
        answer = await self._read("futures_mark_price", symbol=symbol)
        return _figure("markPrice", answer.get("markPrice"))

    async def leverage(self, symbol: str) -> int:
        """What the exchange has set for the symbol."""
        answer = await self._read("futures_symbol_config", symbol=symbol)
        for each in answer if isinstance(answer, list) else [answer]:
            if each.get("symbol") == symbol:
                return int(_figure("leverage", each.get("leverage")))
        raise _unreadable("leverage", None)

    async def available_margin(self, asset: str) -> Decimal:
        """What is free for new orders, in that margin asset."""
        account = await self._read("futures_account", version=3)
        if asset == "USDT" and account.get("multiAssetsMargin") is not True:
            return _figure("availableBalance", account.get("availableBalance"), least=None)
        for each in account.get("assets", []):
            if each.get("asset") == asset:
                return _figure("availableBalance", each.get("availableBalance"), least=None)
        raise _unreadable(f"availableBalance of {asset}", None)

    async def find_order(self, symbol: str, client_order_id: str) -> OrderAnswer:
        """The order of a client order id. Raises OrderNotFound, ExchangeFailure."""
        try:
            answer = await self._read("futures_get_order", symbol=symbol, origClientOrderId=client_order_id)
        except ExchangeFailure as failed:
            if failed.failure.code == str(_NO_SUCH_ORDER):
                raise OrderNotFound from None
            raise
        found = _answer(answer)
        if found.client_order_id != client_order_id:
            raise _unreadable("clientOrderId", found.client_order_id)
        return found

    async def place(self, order: OrderRequest, *, timeout_ms: int) -> OrderAnswer:
        """Sends a market order, once. The exchange can't accept it later than `timeout_ms` after signing."""
        parameters = {
            "symbol": order.symbol,
            "side": order.side,
            "type": "MARKET",
            "quantity": plain(order.quantity),
            "newClientOrderId": order.client_order_id,
            "newOrderRespType": "RESULT",
        }
        if order.position_side is not None:
            parameters["positionSide"] = order.position_side  # hedge mode, where reduceOnly is forbidden
        elif order.reduce_only:
            parameters["reduceOnly"] = "true"  # True would be sent as "True"
        window_ms = min(self.recv_window_ms, timeout_ms)
        answer = _answer(await self._call("futures_create_order", timeout_ms / 1000, window_ms, **parameters))
        if answer.client_order_id != order.client_order_id:
            raise _unreadable("clientOrderId", answer.client_order_id)
        return answer

    async def _read(self, method: str, **parameters: object) -> Any:
        return await self._call(method, _READ_TIMEOUT_S, self.recv_window_ms, **parameters)

    async def _call(self, method: str, timeout_s: float, window_ms: int, **parameters: object) -> Any:
        until = time.monotonic() + timeout_s
        try:
            return await self._try(method, timeout_s, window_ms, **parameters)
        except ExchangeFailure as failed:
            if failed.failure.code not in _CLOCK_CODES or time.monotonic() >= until:
                raise
            refused = failed
        # Our clock is off: refused for certain, so it may be signed anew, once, by the exchange's clock. All of it
        # within the one time-out: the caller counts on nothing being accepted later.
        sent_ms = time.time_ns() // 1_000_000
        try:
            answer = await self._try("futures_time", until - time.monotonic(), window_ms)
            took_ms = time.time_ns() // 1_000_000 - sent_ms
            self._client.timestamp_offset = int(answer["serverTime"]) - sent_ms - took_ms // 2
        except (ExchangeFailure, KeyError, TypeError, ValueError):
            raise refused from None  # whatever became of asking the time, this request was refused
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise refused
        return await self._try(method, left_s, min(window_ms, int(left_s * 1000)), **parameters)

    async def _try(self, method: str, timeout_s: float, window_ms: int, **parameters: object) -> Any:
        from binance.exceptions import BinanceAPIException

        # As an argument of the call it would be overwritten with this. The call signs before it first waits, so no
        # other call can come between.
        self._client.REQUEST_RECVWINDOW = max(1, window_ms)
        try:
            async with asyncio.timeout(timeout_s):
                return await getattr(self._client, method)(**parameters)
        except BinanceAPIException as error:
            raise ExchangeFailure(
                failure_of_answer(error.status_code, error.code, _line(error.message), _retry_after(error.response))
            ) from None
        except Exception as error:  # whatever the library and its transport come up with is judged by the table
            raise ExchangeFailure(failure_of_transport(error)) from None

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close_connection()

    async def __aenter__(self) -> BinanceFutures:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _filters(symbol: Mapping[str, Any]) -> Filters:
    by_type = {each["filterType"]: each for each in symbol["filters"]}
    lot, market_lot = by_type.get("LOT_SIZE", {}), by_type.get("MARKET_LOT_SIZE", {})
    # A market order has to satisfy both; where they differ the coarser step and the narrower bounds hold.
    step = max(Decimal(lot.get("stepSize", "0")), Decimal(market_lot.get("stepSize", "0")))
    largest = [Decimal(each["maxQty"]) for each in (lot, market_lot) if Decimal(each.get("maxQty", "0")) > 0]
    notional = by_type.get("MIN_NOTIONAL", {}).get("notional")
    if step <= 0:
        raise _unreadable(f"lot size of {symbol['symbol']}", step)
    return Filters(
        symbol=symbol["symbol"],
        margin_asset=symbol.get("marginAsset", "USDT"),
        trading=symbol.get("status") == "TRADING",
        step=step,
        min_quantity=max(Decimal(lot.get("minQty", "0")), Decimal(market_lot.get("minQty", "0"))),
        max_quantity=min(largest) if largest else None,
        min_notional=None if notional is None else Decimal(notional),
    )


def _answer(answer: Any) -> OrderAnswer:
    """An order from the exchange's answer. An empty body, a list or a stranger's answer says nothing: unknown."""
    if not isinstance(answer, Mapping) or "orderId" not in answer or "clientOrderId" not in answer:
        raise _unreadable("order", type(answer).__name__)
    filled = _figure("executedQty", answer.get("executedQty", "0"), least=Decimal(0))
    average = _figure("avgPrice", answer.get("avgPrice") or "0", least=Decimal(0))
    return OrderAnswer(
        order_id=str(answer["orderId"]),
        client_order_id=str(answer["clientOrderId"]),
        status=str(answer.get("status", "")),
        filled_quantity=filled,
        average_price=average if average > 0 else None,
        time_ms=int(answer.get("updateTime") or answer.get("time") or 0),
    )


_ABOVE_ZERO: Final = Decimal("1e-18")


def _figure(name: str, value: object, least: Decimal | None = _ABOVE_ZERO) -> Decimal:
    """A figure of the exchange: finite, and not below `least` where there is one. Anything else can't be relied on."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        with suppress(InvalidOperation):
            figure = Decimal(value)
            if figure.is_finite() and (least is None or figure >= least):
                return figure
    raise _unreadable(name, value)


def _unreadable(name: str, value: object) -> ExchangeFailure:
    return ExchangeFailure(Failure(Placement.UNKNOWN, "UNREADABLE", f"{name} is {value!r}"[:100]))


def _retry_after(response: Any) -> int | None:
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        return min(max(int(response.headers["Retry-After"]), 0), _LONGEST_BAN_S)
    return None


def _line(message: object) -> str:
    return " ".join(str(message).split())[:120]
