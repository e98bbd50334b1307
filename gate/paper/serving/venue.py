"""The exchange as its clients see it: the books, with authentication, limits, faults and clock. No sockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from gate.paper.books.account import AccountBooks
from gate.paper.books.ledger import Ledger, restored_order
from gate.paper.market.errors import Code, ExchangeError, refuse
from gate.paper.market.prices import Quote, Walk
from gate.paper.market.symbols import Symbol
from gate.paper.rest import endpoints_account, endpoints_batch, endpoints_market, endpoints_stream, endpoints_trade
from gate.paper.rest.answers import Answer, error_body
from gate.paper.rest.auth import Credentials, check_signed, find_account
from gate.paper.rest.endpoints import Call, KeyedEndpoint, PublicEndpoint, Route, SignedCall, SignedEndpoint
from gate.paper.rest.limits import AddressLimiter, OrderLimiter, RateLimits
from gate.paper.rest.socket_methods import HANDSHAKE_WEIGHT
from gate.paper.rest.weights import weigh
from gate.paper.serving.clock import Clock
from gate.paper.serving.faults import Fault, FaultPlan, RequestView
from gate.paper.serving.settings import Settings
from gate.paper.streams.hub import Hub
from gate.paper.trading.conditional import fire_triggered
from gate.paper.trading.exchange import Exchange
from gate.paper.trading.liquidation import liquidate_fallen
from gate.paper.trading.params import Params

PUBLIC: Mapping[Route, PublicEndpoint] = endpoints_market.ENDPOINTS
KEYED: Mapping[Route, KeyedEndpoint] = endpoints_stream.ENDPOINTS
SIGNED: Mapping[Route, SignedEndpoint] = {
    **endpoints_account.ENDPOINTS,
    **endpoints_trade.ENDPOINTS,
    **endpoints_batch.ENDPOINTS,
}

WEIGHT = "X-MBX-USED-WEIGHT-1M"
ORDERS_10S = "X-MBX-ORDER-COUNT-10S"
ORDERS_1M = "X-MBX-ORDER-COUNT-1M"
_MOST_STEPS_AT_ONCE = 1_000  # steps of the walk after a jump of the clock
_ENCODER = msgspec.json.Encoder(decimal_format="number")  # only the brackets' figures are numbers


class Request(Struct, frozen=True):
    """A request with its raw texts. `name` is its method when it came over the WebSocket API."""

    method: str
    path: str
    query: str
    body: str
    api_key: str | None
    address: str
    name: str | None = None


class Arrival(Struct, frozen=True):
    """A request, its parameters, and its arrival in ms on the server's clock."""

    request: Request
    params: Params
    received_ms: int

    @property
    def view(self) -> RequestView:
        named = (self.params.text(name) for name in ("newClientOrderId", "origClientOrderId", "clientAlgoId"))
        client_id = next(filter(None, named), None)
        return RequestView(
            self.request.method, self.request.path, self.params.text("symbol"), client_id, self.request.name
        )


class Reply(Struct, frozen=True):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}


def _orders_asked_for(arrival: Arrival) -> Iterator[str]:
    """The client order ids of the new orders in a request."""
    route = (arrival.request.method, arrival.request.path)
    if route == ("POST", "/fapi/v1/order"):
        asked = [arrival.params]
    elif route == ("POST", "/fapi/v1/batchOrders"):
        asked = endpoints_batch.orders_in(arrival.params)
    else:
        return
    yield from filter(None, (params.text("newClientOrderId") for params in asked))


class Venue:
    """One paper exchange. Everything runs on one thread."""

    def __init__(self, settings: Settings) -> None:
        self.clock = Clock()
        self.faults = FaultPlan()
        self.faults.arm(settings.faults)
        self._keys: dict[str, Credentials] = {}
        books: list[AccountBooks] = []
        for number, account in enumerate(settings.accounts, 1):
            name = account.name or f"account-{number}"
            if account.key in self._keys or any(name == known.name for known in books):
                raise ValueError(f"accounts: the key or the name of {name} is there twice")
            self._keys[account.key] = Credentials(account.key, account.secret, name)
            books.append(AccountBooks(name, account.deposits(), self.clock.now_ms(), settings.kept_orders))
        self.ledger = Ledger(settings.ledger_file, settings.kept_orders)
        self.exchange = Exchange(
            settings.market, books, settings.fees, self.ledger, first_order_id=self.ledger.last_order_id + 1
        )
        self._remember_earlier_orders(settings.kept_orders)
        self.hub = Hub(self.exchange, self.clock.now_ms())
        self._old_answers = settings.old_answers
        self._late: list[tuple[int, Arrival]] = []
        self._enforced = settings.limits is not None
        self._limits = settings.limits or RateLimits()
        self._addresses: dict[str, AddressLimiter] = {}
        self._orders = {account.name: OrderLimiter(self._limits) for account in books}
        self._walk = Walk(settings.walk.seed) if settings.walk else None
        self._walk_interval_ms = settings.walk.interval_ms if settings.walk else 0
        self._next_step_ms = self.clock.now_ms() + self._walk_interval_ms

    def _remember_earlier_orders(self, most: int) -> None:
        """Restore the orders of earlier runs, so that look-ups find accepted orders after a restart."""
        for row in self.ledger.earlier[-most:]:
            books = self.exchange.accounts.get(row.account)
            if books is not None and row.symbol in self.exchange.market.symbols:
                books.write(restored_order(row))

    def arrive(self, request: Request, params: Params | None = None) -> Arrival:
        """Note a request's arrival, before any decision on it. `params` are read from its texts unless given."""
        params = Params.from_raw(request.query, request.body) if params is None else params
        arrival = Arrival(request, params, self.clock.now_ms())
        credentials = self._keys.get(request.api_key or "")
        if credentials:
            for client_id in _orders_asked_for(arrival):
                self.ledger.request_arrived(credentials.account, client_id)
        return arrival

    def fault_for(self, arrival: Arrival) -> Fault | None:
        return self.faults.strike(arrival.view)

    def answer_first(self, arrival: Arrival, skew_ms: int = 0, *, self_trade: bool = False) -> Reply:
        """As `answer`, without the events of the request: they are told by `hub.tell`, once the answer is on its way.

        An exchange doesn't make them while the answer waits.
        """
        self.tick()
        with self.hub.keeping():
            return self._take_effect(arrival, skew_ms, self_trade=self_trade)

    def answer(self, arrival: Arrival, skew_ms: int = 0, *, self_trade: bool = False) -> Reply:
        """Let a request take effect now. Returns the exchange's reply.

        The timestamp check takes the time of the arrival. `skew_ms` is the error of the clock for this request.
        `self_trade`: an order meets one of the account's own.
        """
        self.tick()
        return self._take_effect(arrival, skew_ms, self_trade=self_trade)

    def _take_effect(self, arrival: Arrival, skew_ms: int = 0, *, self_trade: bool = False) -> Reply:
        request, now_ms = arrival.request, self.clock.now_ms() + skew_ms
        limiter = self._limiter(request.address)
        headers: dict[str, str] = {}
        status = 200
        try:
            body = self._dispatch(arrival, limiter, now_ms, skew_ms, headers, self_trade)
        except ExchangeError as error:
            status, body = error.status, msgspec.json.encode(error_body(error))
            if error.retry_after_s is not None:
                headers["Retry-After"] = str(error.retry_after_s)
        if self._enforced:
            headers[WEIGHT] = str(limiter.used_weight(now_ms))
        return Reply(status, body, headers)

    def answer_late(self, arrival: Arrival, late_ms: int) -> None:
        """Let a request take effect when the clock has gone that far on. Until then nothing shows it."""
        self._late.append((arrival.received_ms + late_ms, arrival))
        self._late.sort(key=lambda each: each[0])

    @property
    def late(self) -> int:
        """How many requests have still to take effect."""
        return len(self._late)

    def _dispatch(
        self,
        arrival: Arrival,
        limiter: AddressLimiter,
        now_ms: int,
        skew_ms: int,
        headers: dict[str, str],
        self_trade: bool,
    ) -> bytes:
        request = arrival.request
        route = (request.method, request.path)
        public, keyed, signed = PUBLIC.get(route), KEYED.get(route), SIGNED.get(route)
        endpoint = public or keyed or signed
        self._spend(limiter, weigh(endpoint.weight, arrival.params) if endpoint else 1, now_ms)
        call = Call(
            self.exchange,
            arrival.params,
            now_ms,
            arrival.received_ms,
            self._limits if self._enforced else None,
            old_answers=self._old_answers,
            self_trade=self_trade,
        )
        if public is not None:
            return _ENCODER.encode(public.answer(call))
        if keyed is None and signed is None:
            raise ExchangeError(-5000, f"Path {request.path}, Method {request.method} is invalid", status=404)
        credentials = find_account(self._keys, request.api_key)
        signed_call = SignedCall(call, self.exchange.accounts[credentials.account])
        if keyed is not None:
            return _ENCODER.encode(keyed.answer(signed_call))
        assert signed is not None
        check_signed(credentials, request.query, request.body, arrival.params, arrival.received_ms + skew_ms)
        orders = self._orders[credentials.account]
        counted = signed.orders(arrival.params) if signed.orders else 0
        if counted and self._enforced:
            orders.check(now_ms, counted)
        body = _ENCODER.encode(signed.answer(signed_call))
        if counted:
            if self._enforced:
                orders.add(now_ms, counted)
                ten_seconds, minute = orders.counts(now_ms)
                headers |= {ORDERS_10S: str(ten_seconds), ORDERS_1M: str(minute)}
            if self.ledger.is_behind:  # the order is accepted, but no answer may say so before the file has it
                raise refuse(Code.TIMEOUT)
        return body

    def shake_hands(self, address: str) -> ExchangeError | None:
        """Count a connection to the WebSocket API, or say why it may not come."""
        try:
            self._spend(self._limiter(address), HANDSHAKE_WEIGHT, self.clock.now_ms())
        except ExchangeError as refusal:
            return refusal
        return None

    def limits_of(self, reply: Reply) -> list[Answer]:
        """The counts in a reply's headers, as the WebSocket API tells them."""
        limits = self._limits
        rows = (
            (WEIGHT, "REQUEST_WEIGHT", "MINUTE", 1, limits.weight_per_minute),
            (ORDERS_10S, "ORDERS", "SECOND", 10, limits.orders_per_ten_seconds),
            (ORDERS_1M, "ORDERS", "MINUTE", 1, limits.orders_per_minute),
        )
        return [
            {
                "rateLimitType": kind,
                "interval": interval,
                "intervalNum": number,
                "limit": limit,
                "count": int(reply.headers[header]),
            }
            for header, kind, interval, number, limit in rows
            if header in reply.headers
        ]

    def _limiter(self, address: str) -> AddressLimiter:
        limiter = self._addresses.get(address)
        if limiter is None:
            limiter = self._addresses[address] = AddressLimiter(self._limits, address)
        return limiter

    def _spend(self, limiter: AddressLimiter, weight: int, now_ms: int) -> None:
        if self._enforced:
            limiter.spend(weight, now_ms)

    def set_quote(self, symbol: Symbol, quote: Quote, at_ms: int | None = None) -> None:
        """Move a symbol's prices: resting orders are matched, triggered ones placed, and what has fallen liquidated."""
        at_ms = self.clock.now_ms() if at_ms is None else at_ms
        before = self.exchange.quotes[symbol.name]
        self.exchange.set_quote(symbol, quote, at_ms)
        fire_triggered(self.exchange, symbol, before, at_ms)
        liquidate_fallen(self.exchange, at_ms)

    def tick(self) -> None:
        """Do what is due: untold events, late requests, countdowns, steps of the walk, and unwritten lines of the
        ledger file."""
        self.hub.tell()
        self.ledger.catch_up()
        now_ms = self.clock.now_ms()
        while self._late and self._late[0][0] <= now_ms:
            self._take_effect(self._late.pop(0)[1])
        self.exchange.run_countdowns(now_ms)
        for account in self.exchange.accounts.values():
            account.expire_listen_key(now_ms)
        self._walk_on(now_ms)
        self.hub.tick(now_ms)

    def _walk_on(self, now_ms: int) -> None:
        # The walk must not wait for a clock that was moved back.
        self._next_step_ms = min(self._next_step_ms, now_ms + self._walk_interval_ms)
        if self._walk is None or now_ms < self._next_step_ms:
            return
        due = (now_ms - self._next_step_ms) // self._walk_interval_ms + 1
        self._next_step_ms += due * self._walk_interval_ms
        for left in reversed(range(min(due, _MOST_STEPS_AT_ONCE))):
            self._step(self._walk, self._next_step_ms - (left + 1) * self._walk_interval_ms)

    def _step(self, walk: Walk, at_ms: int) -> None:
        for symbol in self.exchange.market.symbols.values():
            quote, opened_at = self.exchange.quotes[symbol.name], self.exchange.market.prices[symbol.name]
            self.set_quote(symbol, quote.walked_to(symbol, walk.next_price(symbol, quote.last, opened_at)), at_ms)

    def close(self) -> None:
        self.ledger.close()
