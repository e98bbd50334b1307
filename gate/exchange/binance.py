"""Binance USDⓈ-M futures: one account's orders, readings and streams, as the executor asks for them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from decimal import Decimal
from types import TracebackType
from typing import Any, Final

from msgspec.structs import replace

from gate.exchange.address import exchange_address, exchange_at, socket_address
from gate.exchange.answers import (
    FINISHED,
    decode_account,
    decode_account_code,
    decode_leverage,
    decode_leverage_terms,
    decode_order,
    decode_own_order,
    decode_positions,
    figure,
    unreadable,
    value_of,
)
from gate.exchange.failure_table import NO_SUCH_ORDER
from gate.exchange.failures import ExchangeFailure, OrderNotFound
from gate.exchange.fee_rates import FeeRates
from gate.exchange.holdings import OpenPosition, decode_holdings, decode_resting
from gate.exchange.port import (
    AccountFigures,
    Filters,
    GapListener,
    LeverageTerms,
    LiveFigures,
    OrderAnswer,
    OrderListener,
    OrderRequest,
    Position,
    RestingOrder,
    SymbolConfig,
    Validity,
)
from gate.exchange.rest_client import CLOCK_CODES, RestClient
from gate.exchange.shared_reading import SharedReading
from gate.exchange.streams.live import LiveStreams
from gate.exchange.symbols import FILTERS_AGE_S, Symbols
from gate.exchange.usage import NEAR, LimitUse
from gate.exchange.warm import WarmConnections
from gate.values.errors import InvalidField
from gate.values.fields import plain
from gate.values.log_words import log_of

_log: Final = log_of("gate.exchange")

_TOO_MANY_ORDERS: Final = "-1015"
_ACCOUNT_WEIGHT: Final = 5
"""What one reading of the account counts among the exchange's limits."""
RECV_WINDOW_MS: Final = 5_000
"""The exchange refuses a request that reaches it later than that after signing. Its documentation advises 5000."""
_LONGEST_RECV_WINDOW_MS: Final = 60_000
"""The exchange refuses a longer one."""


class BinanceFutures:
    """One account. What asks the exchange may raise ExchangeFailure. Close it, or use it in an `async with` block."""

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
        if type(recv_window_ms) is not int or not 1 <= recv_window_ms <= _LONGEST_RECV_WINDOW_MS:
            most = f"a whole number from 1 to {_LONGEST_RECV_WINDOW_MS}"
            raise InvalidField(
                "recv_window_ms", recv_window_ms, f"is not {most}: give {RECV_WINDOW_MS}, or leave it out"
            )
        address = None if base_url is None else exchange_address(base_url)
        if address is not None and demo:
            raise InvalidField("base_url", address, "and demo name two exchanges: give one of them")
        self.recv_window_ms = recv_window_ms
        self._where: Final = exchange_at(address, demo=demo)
        self.key_digest = _digest(self._where, api_key)
        self._account_digest: str | None = None
        self._rest: Final = RestClient(api_key, api_secret, address=address, demo=demo, recv_window_ms=recv_window_ms)
        self._symbols: Final = Symbols(self._rest)
        self._fee_rates: Final = FeeRates(self._rest)
        self._warm: Final = WarmConnections(self._rest.ping, lambda: self.rest_ms() is None)
        self._account: Final = SharedReading(self._read_account, self._account_apart_ms)
        self._hedge_mode: bool | None = None
        self._held: Final[dict[str, tuple[int, tuple[Position, ...]]]] = {}
        self._sent_ns: Final[dict[str, int]] = {}
        reads = _StreamReadings(self._rest, self._symbols, self._fee_rates)
        self._streams: Final = LiveStreams(reads, _sockets(address, demo=demo)) if streams else None
        if self._streams is not None:
            self._streams.start()
        else:
            _log.info("STREAMS OFF")

    def keep_warm(self) -> None:
        """Opens connections in the background, and keeps them open: no order pays for a handshake."""
        self._warm.keep()

    async def filters(self, symbol: str, *, no_older_than_s: float = FILTERS_AGE_S) -> Filters | None:
        """What the exchange allows for a symbol; None for one that it doesn't have. Older ones where newer can't be
        read: the exchange checks them itself, and an exit must not wait."""
        return await self._symbols.filters(symbol, no_older_than_s)

    def known_filters(self, symbol: str) -> Filters | None:
        """Those that were read last, without asking; None for a symbol that isn't among them."""
        return self._symbols.known_filters(symbol)

    def filters_at_hand(self, symbol: str) -> Filters | None:
        """As `filters` at any age, where nothing has to be read for it; None where something has."""
        return self._symbols.at_hand(symbol)

    def forget_filters(self) -> None:
        """Reads them anew at the next order: an answer has shown that they changed."""
        self._symbols.forget()

    async def mark_price(self, symbol: str) -> Decimal:
        """The mark price, by which the exchange measures notional."""
        answer = await self._rest.read("futures_mark_price", symbol=symbol)
        return figure("markPrice", value_of(answer, "markPrice"))

    async def hedge_mode(self) -> bool:
        """Whether the account holds long and short positions side by side. Read once, until it is forgotten; not at all
        where the streams tell it."""
        known = self.known_hedge_mode()
        if known is not None:
            return known
        said = value_of(await self._rest.read("futures_account_config"), "dualSidePosition")
        if not isinstance(said, bool):
            raise unreadable("dualSidePosition", said)
        self._hedge_mode = said
        return said

    def known_hedge_mode(self) -> bool | None:
        """As `hedge_mode`, without asking; None where it would have to be read."""
        told = None if self._streams is None else self._streams.hedge_mode
        return self._hedge_mode if told is None else told

    def forget_hedge_mode(self) -> None:
        """Reads it anew at the next order: an answer has shown that it changed."""
        self._hedge_mode = None
        if self._streams is not None:
            self._streams.forget_modes()

    async def symbol_config(self, symbol: str) -> SymbolConfig:
        """What the exchange has set for the symbol: never from memory, but for the fee."""
        asking = self._rest.read("futures_symbol_config", symbol=symbol)
        known = self._fee_rates.known(symbol)
        answer, fee_rate = (
            (await asking, known) if known is not None else await asyncio.gather(asking, self._fee_rates.of(symbol))
        )
        for each in answer if isinstance(answer, list) else [answer]:
            if value_of(each, "symbol") == symbol:
                return SymbolConfig(*decode_leverage(each), fee_rate)
        raise unreadable("leverage", None)

    async def leverage_terms(self, symbol: str, leverage: int) -> LeverageTerms:
        """What another leverage would mean, before it is set."""
        config, brackets = await asyncio.gather(
            self._rest.read("futures_symbol_config", symbol=symbol),
            self._rest.read("futures_leverage_bracket", symbol=symbol),
        )
        return decode_leverage_terms(config, brackets, symbol, leverage)

    async def set_leverage(self, symbol: str, leverage: int) -> SymbolConfig:
        """Sets a symbol's leverage, also that of its position. Returns the settings after it."""
        # Sent like a reading: twice does no harm.
        answer = await self._rest.read("futures_change_leverage", symbol=symbol, leverage=leverage)
        config = SymbolConfig(*decode_leverage(answer), await self._fee_rates.of(symbol))
        if config.leverage != leverage:
            raise unreadable("leverage", config.leverage)
        if self._streams is not None:
            self._streams.leverage_set(symbol, config)
        return config

    async def positions(self, symbol: str) -> tuple[Position, ...]:
        """What is open in a symbol, never from memory."""
        asked_ns = time.monotonic_ns()
        held = decode_positions(await self._rest.read("futures_position_information", symbol=symbol), symbol)
        self._held[symbol] = asked_ns, held
        return held

    def last_positions(self, symbol: str) -> tuple[Position, ...] | None:
        """What was open in a symbol when the streams or a reading last told, however long ago. None where neither did,
        or an order of the symbol was sent from here since: it may be another position by now."""
        told = None if self._streams is None else self._streams.last_positions(symbol)
        known = [each for each in (told, self._held.get(symbol)) if each is not None]
        if not known:
            return None
        at_ns, held = max(known, key=lambda each: each[0])
        return held if at_ns > self._sent_ns.get(symbol, 0) else None

    async def account_digest(self) -> str | None:
        """Tells one account from another, by the exchange's own code of it, which is the same for each of its API keys.
        Read once. None where the exchange gives none, or wants to be asked nothing now."""
        if self._account_digest is None and self.rest_ms() is None:
            code = decode_account_code(await self._rest.read("futures_account_balance"))
            self._account_digest = None if code is None else _digest(self._where, code)
        return self._account_digest

    def known_account_digest(self) -> str | None:
        """As `account_digest`, without asking; None where it wasn't read."""
        return self._account_digest

    async def account(self) -> AccountFigures:
        """What is free and what is held. Calls at one time share a reading that begins after them."""
        return await self._account.get()

    def _account_apart_ms(self) -> int:
        return self._rest.usage.apart_ms(self._rest.now_ms(), _ACCOUNT_WEIGHT)

    async def _read_account(self) -> AccountFigures:
        asked_ns = time.monotonic_ns()
        return decode_account(await self._rest.read("futures_account", version=3), asked_ns)

    async def find_order(self, symbol: str, client_order_id: str, *, conditional: bool) -> OrderAnswer:
        """The order of a client order id. Raises OrderNotFound, ExchangeFailure."""
        if conditional:
            answer = await self._look_up("futures_get_algo_order", symbol=symbol, clientAlgoId=client_order_id)
        else:
            answer = await self._look_up("futures_get_order", symbol=symbol, origClientOrderId=client_order_id)
        found = decode_own_order(answer, client_order_id, conditional=conditional)
        if found.status == FINISHED and found.actual_order_id is not None:
            with suppress(OrderNotFound):  # too old; then nobody tells
                became = decode_order(
                    await self._look_up("futures_get_order", symbol=symbol, orderId=found.actual_order_id)
                )
                found = replace(
                    found,
                    status=became.status,
                    filled_quantity=became.filled_quantity,
                    average_price=became.average_price,
                )
        return replace(found, time_ms=max(found.time_ms, found.time_ms - int(self._rest.client.timestamp_offset)))

    async def _look_up(self, method: str, **which: object) -> Any:
        """What the exchange has of one order. Raises OrderNotFound, ExchangeFailure."""
        try:
            return await self._rest.read(method, **which)
        except ExchangeFailure as failed:
            if failed.failure.code in NO_SUCH_ORDER:
                raise OrderNotFound from None
            raise

    def valid_for(self, span_ms: int) -> Validity:
        """From now on, for so long, and at most for `recv_window_ms`."""
        return Validity(self._rest.now_ms(), min(span_ms, self.recv_window_ms))

    async def place(self, order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        """Sends an order, once. The exchange can't accept it beyond its validity, by its own clock.

        Where ours was off by more than it allows, it is set by then, and the order refused: it isn't signed anew here.
        """
        self._sent_ns[order.symbol] = time.monotonic_ns()
        try:
            answer = await self._rest.ask_once(
                "futures_create_order", timeout_ms / 1000, validity.span_ms, validity.from_ms, **_parameters(order)
            )
        except ExchangeFailure as failed:
            if failed.failure.code in CLOCK_CODES:
                # Not signed anew here: that takes another look at the permit, for asking the time takes some.
                with suppress(ExchangeFailure):
                    await self._rest.set_clock(timeout_ms / 1000)
            if failed.failure.code == _TOO_MANY_ORDERS:
                self._rest.ask_for_own_limits()
            raise
        return decode_own_order(answer, order.client_order_id, conditional=order.conditional)

    async def resting_orders(self, symbol: str | None = None) -> tuple[RestingOrder, ...]:
        """Every order that may still fill, plain and conditional, of a symbol or of the account."""
        of = {} if symbol is None else {"symbol": symbol}
        plain_ones, conditional = await asyncio.gather(
            self._rest.read("futures_get_open_orders", **of),
            self._rest.read("futures_get_open_orders", **of, conditional=True),
        )
        return (*decode_resting(plain_ones, conditional=False), *decode_resting(conditional, conditional=True))

    async def cancel(self, order: RestingOrder) -> None:
        """Cancels an order. Sent like a reading: twice does no harm."""
        if order.conditional:
            await self._rest.read("futures_cancel_algo_order", algoId=order.order_id)
        else:
            await self._rest.read("futures_cancel_order", symbol=order.symbol, orderId=order.order_id)

    async def holdings(self) -> tuple[OpenPosition, ...]:
        """Every position of the account that isn't flat, of all symbols."""
        return tuple(decode_holdings(await self._rest.read("futures_position_information")))

    async def cancel_all(self, symbol: str, *, conditional: bool) -> None:
        """Cancels the symbol's plain orders, or its conditional ones. Ask again whether they are gone."""
        await self._rest.read("futures_cancel_all_open_orders", symbol=symbol, conditional=conditional)

    def near_limit_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to rest, by the headers of the last answers; None while less than `share` of each limit is used."""
        return self._rest.near_limit_ms(share)

    def limits_used(self) -> tuple[LimitUse, ...]:
        """The use of the exchange's limits, by the headers of the last answers."""
        return self._rest.usage.uses(self._rest.now_ms())

    def requests(self) -> Mapping[str, int]:
        """How many requests were made, by the status of their answer; `none` without one."""
        return dict(self._rest.usage.requests)

    def rest_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to ask nothing that can wait: near a limit, and as an answer has said. Who goes on during a ban is
        banned for longer."""
        return self._rest.rest_ms(share)

    def silenced_by(self) -> str:
        """The answer after which the exchange wants to hear nothing; empty while it may be asked."""
        return self._rest.silenced_by()

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

    def on_order(self, heard: OrderListener) -> Callable[[], None]:
        """Has each event of an order told to the listener from now on. Returns what ends that."""
        return _nothing_to_end if self._streams is None else self._streams.on_order(heard)

    def on_gap(self, heard: GapListener) -> Callable[[], None]:
        """Has the listener told when events of orders may have been lost. Returns what ends that."""
        return _nothing_to_end if self._streams is None else self._streams.on_gap(heard)

    async def close(self) -> None:
        """Closes the connections. A cancellation ends one wait of it, and stops none of them from being closed."""
        async with AsyncExitStack() as ends:
            ends.push_async_callback(self._rest.close)
            ends.push_async_callback(self._symbols.end)
            if self._streams is not None:
                ends.push_async_callback(self._streams.close)
            ends.push_async_callback(self._warm.end)

    async def __aenter__(self) -> BinanceFutures:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _nothing_to_end() -> None:
    """Without streams nobody listens."""


def _parameters(order: OrderRequest) -> dict[str, str]:
    """As the exchange's API names them."""
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
    return parameters


def _digest(where: str, what: str) -> str:
    """Too short to find an API key by it, long enough to tell accounts apart. `where`: another server's address."""
    return hashlib.blake2b(f"{where}\0{what}".encode(), digest_size=12, person=b"gate account").hexdigest()


def _sockets(address: str | None, *, demo: bool) -> str:
    """The address of the WebSockets of an exchange."""
    if address is not None:
        return socket_address(address)
    from binance import BinanceSocketManager

    known: str = BinanceSocketManager.FSTREAM_DEMO_URL if demo else BinanceSocketManager.FSTREAM_URL.format("com")
    return known.rstrip("/")


class _StreamReadings:
    """What the streams ask for, beside themselves."""

    def __init__(self, rest: RestClient, symbols: Symbols, fee_rates: FeeRates) -> None:
        self.until_it_may_ask: Final = rest.until_it_may_ask
        self.ask: Final = rest.read
        self.fee_rate: Final = fee_rates.of
        self.read_symbols_once: Final = symbols.read_once
        self.margin_asset: Final = symbols.margin_asset
        self.rest_ms: Final = rest.rest_ms
