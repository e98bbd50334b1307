"""Binance USDⓈ-M futures through python-binance's AsyncClient: the only place that imports it.

Traps of the library that this file goes round are named where they are: see docs/exchange.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from types import TracebackType
from typing import Any, Final

from msgspec.structs import replace

from gate.exchange.address import exchange_address, socket_address
from gate.exchange.answers import (
    decode_account,
    decode_filters,
    decode_leverage,
    decode_own_order,
    decode_positions,
    figure,
    unreadable,
)
from gate.exchange.failures import NO_SUCH_ORDER, ExchangeFailure, OrderNotFound, failure_of
from gate.exchange.holdings import OpenPosition, decode_holdings, decode_resting
from gate.exchange.port import (
    AccountFigures,
    Filters,
    GapListener,
    LiveFigures,
    OrderAnswer,
    OrderListener,
    OrderRequest,
    Position,
    RestingOrder,
    SymbolConfig,
    Validity,
)
from gate.exchange.shared_reading import SharedReading
from gate.exchange.streams.live import LiveStreams
from gate.exchange.usage import NEAR, LimitUse, Usage, decode_limits
from gate.exchange.warm import IDLE_S, WarmConnections
from gate.values.errors import InvalidField
from gate.values.fields import plain
from gate.values.log_words import log_of
from gate.values.versions import insist_on

_log: Final = log_of("gate.exchange")

_TOO_MANY_ORDERS: Final = "-1015"
_CLOCK_CODES: Final = ("-1021", "-5028")
FILTERS_AGE_S: Final = 3600  # filters change seldom; a code that says so has them read anew
_FILTERS_OLD_S: Final = 86_400
"""An order waits for newer ones than that."""
_RENEWALS_APART_S: Final = 60
_READ_TIMEOUT_S: Final = 5.0
_MOST_CONNECTIONS: Final = 500
"""An exit must not wait for a connection that a reading holds, and each entry in flight may have four that hang. By
itself aiohttp opens 100."""
_CONNECT_TIMEOUT_S: Final = 3.0
_LONGEST_TIME_READ_MS: Final = 2_000  # the clock of reads is off by half of it at most, and may be ahead by a second
_ACCOUNT_WEIGHT: Final = 5
"""What one reading of the account counts among the exchange's limits."""
_YEAR_2100_MS: Final = 4_102_444_800_000
_FEE_AGE_S: Final = 3600  # a commission changes with the account's tier, once a day at most
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
        streams: bool = True,
    ) -> None:
        """`base_url`: another server, such as a paper exchange, `http://127.0.0.1:8000`; elsewhere only https.
        `demo`: the exchange's own demo trading, never beside it.

        `recv_window_ms`: how long after signing the exchange may still accept a request; after that its absence is
        certain. `streams`: opens the exchange's streams, at the same host and port, so that `live` has figures. Nothing
        waits for them. Raises InvalidField.
        """
        for name, value in (("api_key", api_key), ("api_secret", api_secret)):
            if not value:
                raise InvalidField(name, None, "is missing", missing=True)
        address = None if base_url is None else exchange_address(base_url)
        if address is not None and demo:
            raise InvalidField("base_url", address, "and demo name two exchanges: give one of them")
        self.recv_window_ms = recv_window_ms
        # Another server is another account. Too short to find a key by it, long enough to tell accounts apart.
        where = address or ("demo" if demo else "")
        self.key_digest = hashlib.blake2b(
            f"{where}\0{api_key}".encode(), digest_size=12, person=b"gate account"
        ).hexdigest()
        self._usage: Final = Usage()
        self._unanswered: Final[set[asyncio.Task[Any] | None]] = set()
        insist_on("aiohttp", "binance")  # half a second: only for those who place orders
        from aiohttp import ClientTimeout, TCPConnector

        from gate.exchange.bounded import bounded_response
        from gate.exchange.signing import TimedClient

        # The constructor, not create(): that one calls the spot exchange first.
        self._client: Any = TimedClient(
            api_key,
            api_secret,
            demo=demo,
            loop=asyncio.get_running_loop(),
            session_params={
                "connector": TCPConnector(limit=_MOST_CONNECTIONS, keepalive_timeout=IDLE_S),
                # Who hears of the headers here, too: `client.response` is shared between calls.
                "response_class": bounded_response(self._heard),
                "auto_decompress": False,
            },
            requests_params={
                "allow_redirects": False,  # a 302 would turn the POST into a GET, and its page into a success
                "timeout": ClientTimeout(sock_connect=_CONNECT_TIMEOUT_S),
            },
        )
        if address is not None:
            self._client.FUTURES_URL = f"{address}/fapi"
        self._warm: Final = WarmConnections(self._ping, lambda: self.rest_ms() is None)
        self._symbols: dict[str, Mapping[str, Any]] = {}
        self._symbols_at: float | None = None
        self._filters: dict[str, Filters] = {}
        self._renewal: asyncio.Task[None] | None = None
        self._renewed_at = -math.inf
        self._fee_rates: dict[str, tuple[Decimal, float]] = {}
        self._hedge_mode: bool | None = None
        self._limits_reading: asyncio.Task[None] | None = None
        self._rests_until_ns = 0
        # The exchange's clock at a moment of ours that doesn't step. Until the exchange tells its time, the machine's.
        self._set_at = time.time_ns() // 1_000_000, time.monotonic_ns()
        self._account: Final = SharedReading(self._read_account, self._account_apart_ms)
        self._streams: Final = LiveStreams(_Rest(self), _sockets(address, demo=demo)) if streams else None
        if self._streams is not None:
            self._streams.start()
        else:
            _log.info("STREAMS OFF")

    def keep_warm(self) -> None:
        """Opens connections in the background, and keeps them open: no order pays for a handshake."""
        self._warm.keep()

    async def _ping(self) -> object:
        return await self._try("futures_ping", _READ_TIMEOUT_S, self.recv_window_ms)

    async def filters(self, symbol: str, *, no_older_than_s: float = FILTERS_AGE_S) -> Filters | None:
        """What the exchange allows for a symbol; None for one that it doesn't have. Older ones where newer can't be
        read: the exchange checks them itself, and an exit must not wait. Nor does an order once an hour, where those of
        the day are known: newer ones are read beside it."""
        age_s = math.inf if self._symbols_at is None else time.monotonic() - self._symbols_at
        if no_older_than_s == FILTERS_AGE_S < age_s < _FILTERS_OLD_S and symbol in self._symbols:
            self._renew_symbols()
        elif self._symbols_at is None or age_s > no_older_than_s:
            try:
                await self._read_symbols()
            except ExchangeFailure:
                if not self._symbols:
                    raise
        return self.known_filters(symbol)

    def known_filters(self, symbol: str) -> Filters | None:
        """Those that were read last, without asking; None for a symbol that isn't among them."""
        # One by one: an odd symbol must not stop the others.
        filters = self._filters.get(symbol)
        if filters is None and (found := self._symbols.get(symbol)) is not None:
            filters = self._filters[symbol] = decode_filters(found)
        return filters

    def _renew_symbols(self) -> None:
        """Reads the symbols beside what goes on; once a minute at most where that fails."""
        now_s = time.monotonic()
        if now_s - self._renewed_at > _RENEWALS_APART_S and self.rest_ms() is None:
            self._renewed_at = now_s
            self._renewal = asyncio.create_task(self._read_symbols())
            # Older ones do. Nobody else takes its failure, and asyncio would log it.
            self._renewal.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _read_symbols(self) -> None:
        info = await self._read("futures_exchange_info")
        try:
            symbols = {each["symbol"]: each for each in info["symbols"]}
        except (KeyError, TypeError):
            raise unreadable("exchangeInfo", None) from None
        if not symbols:
            raise unreadable("exchangeInfo", "without symbols")
        self._symbols, self._symbols_at, self._filters = symbols, time.monotonic(), {}
        self._usage.published(decode_limits(info.get("rateLimits")))
        self._ask_for_own_limits()

    def _ask_for_own_limits(self) -> None:
        """Reads the account's own limits of orders, beside what goes on: nothing waits for them.

        Once for each reading of exchangeInfo, whose figures they outrank, and after a refusal that tells of others.
        """
        if self._limits_reading is None or self._limits_reading.done():
            self._limits_reading = asyncio.create_task(self._read_own_limits())

    async def _read_own_limits(self) -> None:
        with suppress(ExchangeFailure):
            rows = await self._read("futures_v1_get_rate_limit_order")
            self._usage.own(decode_limits(rows))

    def forget_filters(self) -> None:
        """Reads them anew at the next order: an answer has shown that they changed."""
        self._symbols_at = None

    async def mark_price(self, symbol: str) -> Decimal:
        """The mark price, by which the exchange measures notional."""
        answer = await self._read("futures_mark_price", symbol=symbol)
        return figure("markPrice", _value(answer, "markPrice"))

    async def hedge_mode(self) -> bool:
        """Whether the account holds long and short positions side by side. Read once, until it is forgotten; not at all
        where the streams tell it."""
        told = None if self._streams is None else self._streams.hedge_mode
        if told is not None:
            return told
        if self._hedge_mode is None:
            said = _value(await self._read("futures_account_config"), "dualSidePosition")
            if not isinstance(said, bool):
                raise unreadable("dualSidePosition", said)
            self._hedge_mode = said
        return self._hedge_mode

    def forget_hedge_mode(self) -> None:
        """Reads it anew at the next order: an answer has shown that it changed."""
        self._hedge_mode = None
        if self._streams is not None:
            self._streams.forget_modes()

    async def symbol_config(self, symbol: str) -> SymbolConfig:
        """What the exchange has set for the symbol: never from memory, but for the fee."""
        asking = self._read("futures_symbol_config", symbol=symbol)
        known = self._known_fee_rate(symbol)
        answer, fee_rate = (
            (await asking, known) if known is not None else await asyncio.gather(asking, self._fee_rate(symbol))
        )
        for each in answer if isinstance(answer, list) else [answer]:
            if _value(each, "symbol") == symbol:
                return SymbolConfig(*decode_leverage(each), fee_rate)
        raise unreadable("leverage", None)

    async def set_leverage(self, symbol: str, leverage: int) -> SymbolConfig:
        """Sets a symbol's leverage, also that of its position. Returns the settings after it."""
        # Sent like a reading: twice does no harm.
        answer = await self._read("futures_change_leverage", symbol=symbol, leverage=leverage)
        config = SymbolConfig(*decode_leverage(answer), await self._fee_rate(symbol))
        if config.leverage != leverage:
            raise unreadable("leverage", config.leverage)
        if self._streams is not None:
            self._streams.leverage_set(symbol, config)
        return config

    def _known_fee_rate(self, symbol: str) -> Decimal | None:
        rate, at_s = self._fee_rates.get(symbol, (None, 0.0))
        return rate if time.monotonic() - at_s < _FEE_AGE_S else None

    async def _fee_rate(self, symbol: str) -> Decimal:
        known = self._known_fee_rate(symbol)
        if known is not None:
            return known
        try:
            answer = await self._read("futures_commission_rate", symbol=symbol)
            rate = figure("takerCommissionRate", _value(answer, "takerCommissionRate"), least=Decimal(0))
        except ExchangeFailure:
            if symbol not in self._fee_rates:
                raise
            return self._fee_rates[symbol][0]  # the buffer covers what a tier's change makes of it
        self._fee_rates[symbol] = rate, time.monotonic()
        return rate

    async def positions(self, symbol: str) -> tuple[Position, ...]:
        """What is open in a symbol, never from memory."""
        return decode_positions(await self._read("futures_position_information", symbol=symbol), symbol)

    async def account(self) -> AccountFigures:
        """What is free and what is held. Calls at one time share a reading that begins after them."""
        return await self._account.get()

    def _account_apart_ms(self) -> int:
        return self._usage.apart_ms(self._now_ms(), _ACCOUNT_WEIGHT)

    async def _read_account(self) -> AccountFigures:
        asked_ns = time.monotonic_ns()
        return decode_account(await self._read("futures_account", version=3), asked_ns)

    async def find_order(self, symbol: str, client_order_id: str, *, conditional: bool) -> OrderAnswer:
        """The order of a client order id. Raises OrderNotFound, ExchangeFailure."""
        try:
            if conditional:
                answer = await self._read("futures_get_algo_order", symbol=symbol, clientAlgoId=client_order_id)
            else:
                answer = await self._read("futures_get_order", symbol=symbol, origClientOrderId=client_order_id)
        except ExchangeFailure as failed:
            if failed.failure.code in NO_SUCH_ORDER:
                raise OrderNotFound from None
            raise
        found = decode_own_order(answer, client_order_id, conditional=conditional)
        return replace(found, time_ms=max(found.time_ms, found.time_ms - int(self._client.timestamp_offset)))

    def valid_for(self, span_ms: int) -> Validity:
        """From now on, for so long, and at most for `recv_window_ms`."""
        return Validity(self._now_ms(), min(span_ms, self.recv_window_ms))

    async def place(self, order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        """Sends an order, once. The exchange can't accept it beyond its validity, by its own clock.

        Where ours was off by more than it allows, it is set by then, and the order refused: it isn't signed anew here.
        """
        parameters = {
            "symbol": order.symbol,
            "side": order.side,
            "type": order.order_type,
            # The library drops newClientOrderId from a conditional order, silently, and makes up a clientAlgoId.
            "clientAlgoId" if order.conditional else "newClientOrderId": order.client_order_id,
        }
        if order.close_position:
            parameters["closePosition"] = "true"  # with a quantity or reduceOnly beside it, it is refused
        else:
            parameters["quantity"] = plain(order.quantity)
        if not order.conditional:
            parameters["newOrderRespType"] = "RESULT"
        if order.price is not None:
            parameters["price"] = plain(order.price)
        if order.time_in_force is not None:
            parameters["timeInForce"] = order.time_in_force
        if order.trigger_price is not None:
            parameters["triggerPrice"] = plain(order.trigger_price)
        if order.working_type is not None:
            parameters["workingType"] = order.working_type
        if order.position_side is not None:
            parameters["positionSide"] = order.position_side  # hedge mode, where reduceOnly is forbidden
        elif order.reduce_only:
            parameters["reduceOnly"] = "true"  # True would be sent as "True"
        try:
            answer = await self._try(
                "futures_create_order", timeout_ms / 1000, validity.span_ms, validity.from_ms, **parameters
            )
        except ExchangeFailure as failed:
            if failed.failure.code in _CLOCK_CODES:
                # Not signed anew here: that takes another look at the permit, for asking the time takes some.
                with suppress(ExchangeFailure):
                    await self._set_clock(timeout_ms / 1000)
            if failed.failure.code == _TOO_MANY_ORDERS:
                self._ask_for_own_limits()
            raise
        return decode_own_order(answer, order.client_order_id, conditional=order.conditional)

    async def resting_orders(self, symbol: str | None = None) -> tuple[RestingOrder, ...]:
        """Every order that may still fill, plain and conditional, of a symbol or of the account."""
        of = {} if symbol is None else {"symbol": symbol}
        plain_ones, conditional = await asyncio.gather(
            self._read("futures_get_open_orders", **of), self._read("futures_get_open_orders", **of, conditional=True)
        )
        return (*decode_resting(plain_ones, conditional=False), *decode_resting(conditional, conditional=True))

    async def cancel(self, order: RestingOrder) -> None:
        """Cancels an order. Sent like a reading: twice does no harm."""
        if order.conditional:
            await self._read("futures_cancel_algo_order", algoId=order.order_id)
        else:
            await self._read("futures_cancel_order", symbol=order.symbol, orderId=order.order_id)

    async def holdings(self) -> tuple[OpenPosition, ...]:
        """Every position of the account that isn't flat, of all symbols."""
        return tuple(decode_holdings(await self._read("futures_position_information")))

    async def cancel_all(self, symbol: str, *, conditional: bool) -> None:
        """Cancels the symbol's plain orders, or its conditional ones. Ask again whether they are gone."""
        await self._read("futures_cancel_all_open_orders", symbol=symbol, conditional=conditional)

    def near_limit_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to rest, by the headers of the last answers; None while less than `share` of each limit is used."""
        return self._usage.near_limit_ms(self._now_ms(), share)

    def limits_used(self) -> tuple[LimitUse, ...]:
        """The use of the exchange's limits, by the headers of the last answers."""
        return self._usage.uses(self._now_ms())

    def requests(self) -> Mapping[str, int]:
        """How many requests were made, by the status of their answer; `none` without one."""
        return dict(self._usage.requests)

    def rest_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to ask nothing that can wait: near a limit, and as an answer has said. Who goes on during a ban is
        banned for longer."""
        left_ms, near_ms = self._silence_ms(), self.near_limit_ms(share)
        return max(left_ms, near_ms or 0) if left_ms > 0 or near_ms is not None else None

    def _silence_ms(self) -> int:
        """How long the exchange wants to hear nothing, as its answers have said; below 0 when that is over."""
        return (self._rests_until_ns - time.monotonic_ns()) // 1_000_000

    def _now_ms(self) -> int:
        """The exchange's clock, epoch ms, as far as it is known."""
        at_ms, at_ns = self._set_at
        return at_ms + (time.monotonic_ns() - at_ns) // 1_000_000

    def _heard(self, status: int, headers: Mapping[str, str]) -> None:
        """Of an answer, in the task that has asked."""
        self._usage.note(headers, self._now_ms())
        self._usage.requests[str(status)] += 1
        self._unanswered.discard(asyncio.current_task())

    async def _read(self, method: str, **parameters: object) -> Any:
        try:
            return await self._try(method, _READ_TIMEOUT_S, self.recv_window_ms, **parameters)
        except ExchangeFailure as failed:
            if failed.failure.code not in _CLOCK_CODES:
                raise
        await self._set_clock(_READ_TIMEOUT_S)
        return await self._try(method, _READ_TIMEOUT_S, self.recv_window_ms, **parameters)

    async def _set_clock(self, timeout_s: float) -> None:
        """Signs by the exchange's clock from now on."""
        sent_ms, sent_ns = time.time_ns() // 1_000_000, time.monotonic_ns()
        answer = await self._try("futures_time", timeout_s, self.recv_window_ms)
        took_ms = (time.monotonic_ns() - sent_ns) // 1_000_000
        try:
            if took_ms > _LONGEST_TIME_READ_MS:
                raise unreadable("serverTime", f"read in {took_ms} ms")
            server_ms = int(figure("serverTime", answer["serverTime"]))
            if server_ms > _YEAR_2100_MS:
                raise unreadable("serverTime", server_ms)
            self._client.timestamp_offset = server_ms - sent_ms - took_ms // 2
            # The answer is older than the moment of its arrival, so this clock is never ahead.
            self._set_at = server_ms, time.monotonic_ns()
        except (KeyError, TypeError):
            raise unreadable("serverTime", None) from None

    async def _try(
        self, method: str, timeout_s: float, window_ms: int, signed_ms: int | None = None, /, **parameters: object
    ) -> Any:
        # As an argument of the call it would be overwritten with this. The call signs before it first waits, so no
        # other call can come between.
        self._client.REQUEST_RECVWINDOW = max(1, window_ms)
        self._client.signed_ms = signed_ms
        asks = asyncio.current_task()
        self._unanswered.add(asks)
        try:
            async with asyncio.timeout(timeout_s):
                return await getattr(self._client, method)(**parameters)
        except Exception as error:  # whatever the library and its transport come up with is judged by the table
            failure = failure_of(error, now_ms=self._now_ms())
        finally:
            if asks in self._unanswered:
                self._unanswered.remove(asks)
                self._usage.requests["none"] += 1
        if (rest_ms := failure.silence_ms) is not None:
            self._rests_until_ns = max(self._rests_until_ns, time.monotonic_ns() + rest_ms * 1_000_000)
        # Not inside the handler: the chain of this exception would keep the library's, and with it the signed URL.
        raise ExchangeFailure(failure)

    def live(self, symbol: str) -> LiveFigures | None:
        """What the streams tell of a symbol at this moment; None where a figure is absent, stale or in doubt."""
        return None if self._streams is None else self._streams.figures(symbol)

    def streams(self) -> str:
        """How the streams are: `off`, `ok`, or what is down and why."""
        return "off" if self._streams is None else self._streams.state

    def has_seen(self, client_order_id: str) -> bool:
        """Whether the account of `live` includes this order."""
        return self._streams is not None and self._streams.has_seen(client_order_id)

    def doubt_live(self, why: str) -> None:
        """Has nothing of the live account count before a new snapshot."""
        if self._streams is not None:
            self._streams.doubt(why)

    def on_order(self, heard: OrderListener) -> None:
        """Has each event of an order told to the listener from now on."""
        if self._streams is not None:
            self._streams.on_order(heard)

    def on_gap(self, heard: GapListener) -> None:
        """Has the listener told when events of orders may have been lost."""
        if self._streams is not None:
            self._streams.on_gap(heard)

    async def close(self) -> None:
        """Closes the connections."""
        await self._warm.end()
        if self._streams is not None:
            await self._streams.close()
        for beside in filter(None, (self._renewal, self._limits_reading)):
            beside.cancel()
            await asyncio.wait([beside])
        await self._client.close_connection()

    async def __aenter__(self) -> BinanceFutures:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _value(answer: Any, name: str) -> object:
    """A value of an answer that should be an object; None where it isn't."""
    return answer.get(name) if isinstance(answer, Mapping) else None


def _sockets(address: str | None, *, demo: bool) -> str:
    """The address of the WebSockets of an exchange."""
    if address is not None:
        return socket_address(address)
    from binance import BinanceSocketManager

    known: str = BinanceSocketManager.FSTREAM_DEMO_URL if demo else BinanceSocketManager.FSTREAM_URL.format("com")
    return known.rstrip("/")


class _Rest:
    """What the streams ask for, beside themselves."""

    def __init__(self, exchange: BinanceFutures) -> None:
        self._exchange: Final = exchange

    async def until_it_may_ask(self) -> None:
        if (left_ms := self._exchange._silence_ms()) > 0:
            await asyncio.sleep(left_ms / 1000)

    async def ask(self, method: str, **parameters: object) -> Any:
        return await self._exchange._read(method, **parameters)

    async def fee_rate(self, symbol: str) -> Decimal:
        return await self._exchange._fee_rate(symbol)

    async def read_symbols_once(self) -> None:
        if self._exchange._symbols_at is None:
            await self._exchange._read_symbols()

    def margin_asset(self, symbol: str) -> str | None:
        found = self._exchange._symbols.get(symbol)
        said = None if found is None else found.get("marginAsset", "USDT")
        return said if isinstance(said, str) else None

    def rest_ms(self, share: Decimal = NEAR) -> int | None:
        return self._exchange.rest_ms(share)
