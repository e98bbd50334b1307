"""A paper exchange in its own thread, for tests and demos in the same process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from gate.paper.books.ledger import KEPT_ORDERS
from gate.paper.market.fees import FeeSchedule
from gate.paper.market.market_data import built_in, load_market
from gate.paper.rest.answers import Answer
from gate.paper.rest.limits import RateLimits
from gate.paper.serving import control
from gate.paper.serving.faults import Fault
from gate.paper.serving.http_edge import HttpEdge
from gate.paper.serving.loopback import loopback_address, url_of
from gate.paper.serving.settings import Account, Settings, WalkSettings
from gate.paper.serving.venue import Venue

_T = TypeVar("_T")
Figure = Decimal | str | int


class PaperExchange:
    """A Binance USDⓈ-M futures server on loopback, REST and WebSocket, with its own books.

    Use it as a context manager. `url` is the address of the running server. Any thread may call its methods; they act
    at once. Prices are in quote asset, balances in the named asset, times in ms since the epoch.

        with PaperExchange() as paper:
            client = Client(paper.key, paper.secret, ping=False)
            client.FUTURES_URL = paper.futures_url
    """

    def __init__(
        self,
        accounts: Sequence[Account] = (Account(),),
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        exchange_info: Path | None = None,
        ledger_file: Path | None = None,
        walk: WalkSettings | None = None,
        faults: Sequence[Fault] = (),
        fees: FeeSchedule = FeeSchedule(),  # noqa: B008 - frozen
        limits: RateLimits | None = RateLimits(),  # noqa: B008 - frozen
        old_answers: bool = False,
        kept_orders: int = KEPT_ORDERS,
    ) -> None:
        """Sets the exchange up. It listens only after `start` or in a `with` block.

        `port` 0 takes a free port; `limits` None switches the rate limits off; `exchange_info` is a capture of the real
        exchange, which replaces the built-in symbols. `old_answers`: the answer to an order has the price of its fill,
        as before July 2026. `kept_orders`: how many orders that are over look-ups still find; the ledger lists all.
        Raises ValueError for a setting that can't be used, such as a `host` that other machines
        can reach, and MarketDataError for a bad capture.
        """
        if not accounts:
            raise ValueError("accounts: there must be at least one")
        self.accounts = tuple(accounts)
        self._settings = Settings(
            market=load_market(exchange_info) if exchange_info else built_in(),
            accounts=self.accounts,
            fees=fees,
            limits=limits,
            walk=walk,
            faults=faults,
            ledger_file=ledger_file,
            old_answers=old_answers,
            kept_orders=kept_orders,
        )
        self._address, self._asked_port = loopback_address(host), port
        self._venue: Venue | None = None
        self._edge: HttpEdge | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Address of the running server, without a slash at its end."""
        return url_of(self._address, self.port)

    @property
    def futures_url(self) -> str:
        """The value for python-binance's FUTURES_URL."""
        return f"{self.url}/fapi"

    @property
    def socket_url(self) -> str:
        """Address for WebSockets: `ws://HOST:PORT`, to which the paths of the streams and of the WebSocket API come."""
        return f"ws{self.url.removeprefix('http')}"

    @property
    def key(self) -> str:
        """API key of the first account."""
        return self.accounts[0].key

    @property
    def secret(self) -> str:
        """API secret of the first account."""
        return self.accounts[0].secret

    def start(self) -> Self:
        """Listen, and return once the server accepts. OSError if the port is taken or the ledger can't be opened."""
        if self._thread is not None:
            raise RuntimeError("the paper exchange is running already")
        venue = Venue(self._settings)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(loop,), name="paper-exchange", daemon=True)
        thread.start()
        try:
            edge, self.port = asyncio.run_coroutine_threadsafe(self._listen(venue), loop).result()
        except BaseException:
            venue.close()
            _end(loop, thread)
            raise
        self._venue, self._edge, self._loop, self._thread = venue, edge, loop, thread
        return self

    async def _listen(self, venue: Venue) -> tuple[HttpEdge, int]:
        edge = HttpEdge(venue)
        return edge, await edge.start(self._address, self._asked_port)

    def stop(self) -> None:
        """Stop listening, close every connection and the ledger file. Stopping twice is harmless."""
        if self._thread is None or self._loop is None or self._edge is None:
            return
        edge, loop, thread = self._edge, self._loop, self._thread
        self._venue = self._edge = self._loop = self._thread = None
        try:
            asyncio.run_coroutine_threadsafe(edge.stop(), loop).result()
        finally:
            _end(loop, thread)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ledger(self) -> list[Answer]:
        """Every accepted order, oldest first, as in `GET /paper/ledger`."""
        return self._on_loop(lambda venue: [msgspec.to_builtins(row) for row in venue.ledger.rows()])

    def set_price(
        self, symbol: str, price: Figure | None = None, *, mark: Figure | None = None, depth: Figure | None = None
    ) -> None:
        """Move a symbol's price, and its mark price with it unless given. Resting and triggered orders follow.

        `depth` limits what is on offer at the best bid and ask, in base asset. Raises ControlError or ExchangeError.
        """
        change = control.PriceMove(symbol, _figure(price), _figure(mark), _figure(depth))
        self._on_loop(lambda venue: control.move_price(venue, change))

    def set_balance(self, balance: Figure, *, asset: str = "USDT", account: str | None = None) -> None:
        """Set a wallet balance, by default of the first account."""
        change = control.BalanceChange(Decimal(balance), asset, account)
        self._on_loop(lambda venue: control.change_balance(venue, change))

    def now_ms(self) -> int:
        """The server's clock."""
        return self._on_loop(lambda venue: venue.clock.now_ms())

    def hold_clock(self, at_ms: int | None = None) -> None:
        """Hold the server's clock, at the present or a given time."""
        self._on_loop(
            lambda venue: control.change_clock(venue, control.ClockChange(hold=True if at_ms is None else at_ms))
        )

    def move_clock(self, by_ms: int) -> None:
        """Move the server's clock. A held clock stays held. Events that fall due happen."""
        self._on_loop(lambda venue: control.change_clock(venue, control.ClockChange(advance_ms=by_ms)))

    def reset_clock(self) -> None:
        """Let the server's clock run again, at the machine's time."""
        self._on_loop(lambda venue: control.change_clock(venue, control.ClockChange(reset=True)))

    def inject(self, *faults: Fault) -> None:
        """Arm faults; they strike in the order in which they were armed."""
        self._on_loop(lambda venue: venue.faults.arm(faults))

    def clear_faults(self) -> None:
        self._on_loop(lambda venue: venue.faults.clear())

    def wait_held(self, count: int = 1) -> None:
        """Return when a fault holds this many requests. TimeoutError if they don't come within ten seconds."""
        self._await(self._running_edge().holds.wait_for(count))

    def release_held(self) -> int:
        """Let the requests that a fault holds continue. Returns their number when each has taken effect."""
        return self._await(self._running_edge().holds.release())

    def late(self) -> int:
        """How many requests a fault with `late_ms` has still to let take effect."""
        return self._on_loop(lambda venue: venue.late)

    def _running_edge(self) -> HttpEdge:
        if self._edge is None:
            raise RuntimeError("the paper exchange isn't running")
        return self._edge

    def wallets(self, account: str | None = None) -> Mapping[str, Decimal]:
        """Wallet balances by asset, by default of the first account."""
        return self._on_loop(lambda venue: dict(control.books_of(venue, account).wallets))

    def _on_loop(self, work: Callable[[Venue], _T]) -> _T:
        venue = self._venue
        if venue is None:
            raise RuntimeError("the paper exchange isn't running")

        async def on_loop() -> _T:
            venue.tick()
            return work(venue)

        return self._await(on_loop())

    def _await(self, work: Coroutine[None, None, _T]) -> _T:
        loop = self._loop
        if loop is None:
            work.close()
            raise RuntimeError("the paper exchange isn't running")
        try:
            return asyncio.run_coroutine_threadsafe(work, loop).result()
        except CancelledError:
            raise RuntimeError("the paper exchange was stopped") from None


def _figure(value: Figure | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(_cancel_rest())


async def _cancel_rest() -> None:
    """Cancels the loop's tasks, for which other threads wait: a closed loop would never answer them."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
