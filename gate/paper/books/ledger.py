"""The independent books: every accepted order, whether or not its client got an answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal
from heapq import nsmallest
from io import BufferedReader, FileIO
from itertools import islice
from os import SEEK_END
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import msgspec

from gate.paper.books.account import AccountBooks
from gate.paper.books.orders import Order
from gate.paper.market.decimals import plain, to_satoshi
from gate.paper.market.terms import OrderStatus, OrderType, PositionSide, Side, TimeInForce


class LedgerRow(msgspec.Struct, frozen=True, rename="camel"):
    """One accepted order. `time` is its acceptance, `receive_time` its request's arrival, in ms since the epoch.

    `request_count` counts the order requests with its client order id, accepted or not. Answers have the present count
    and state; the file has those at acceptance.
    """

    client_order_id: str
    order_id: int
    account: str
    symbol: str
    side: str
    position_side: str
    type: str
    orig_type: str
    time_in_force: str
    status: str
    price: str
    orig_qty: str
    executed_qty: str
    avg_price: str
    reduce_only: bool
    close_position: bool
    time: int
    update_time: int
    receive_time: int
    request_count: int


KEPT_ORDERS = 20_000
_RETIRED_AT_ONCE = 10  # a tenth of what is kept, so that looking for them costs little
_REQUESTS_PER_ORDER = 4  # counts to keep for each order, for requests that were refused
_LINE_START = b'{"clientOrderId":'
_LOG = logging.getLogger(__name__)


class LedgerFileError(ValueError):
    """The file isn't a ledger. It stays unchanged."""


class Ledger:
    """Keeps accepted orders in memory. With a path, also appends each as a JSON line before the client gets its answer.

    An existing file is continued: `rows` begins with its rows. An order that was open shows as expired, since the book
    doesn't keep resting orders over a restart.

    Text that can't be written, for example on a full disk, is kept and written first the next time. So only the file's
    last line can be incomplete.

    Memory holds the newest `kept` orders and those that are open. The rows of older ones go to a temporary file, and
    their accounts forget them.
    """

    def __init__(self, path: Path | None = None, kept: int = KEPT_ORDERS) -> None:
        self.earlier: list[LedgerRow] = []
        self._kept = kept
        self._accepted: dict[int, tuple[AccountBooks, int]] = {}  # by order id: its account, and when it was received
        self._over: FileIO | None = None  # rows that can't change any more, one a line
        self._requests: dict[tuple[str, str], int] = {}
        self._file: BinaryIO | None = None
        self._unwritten = b""
        self._lags = False  # whether the log has already said that the file can't be written
        if path is not None:
            self.earlier = _read(path)
            # Unbuffered: the operating system has a line before the answer leaves, so a kill can't lose it.
            self._file = path.open("ab", buffering=0)

    @property
    def last_order_id(self) -> int:
        """The highest order id of earlier runs, 0 if there were none."""
        return max((row.order_id for row in self.earlier), default=0)

    def request_arrived(self, account: str, client_order_id: str) -> None:
        asked = account, client_order_id
        self._requests[asked] = self._requests.get(asked, 0) + 1
        if len(self._requests) > _REQUESTS_PER_ORDER * self._kept:
            del self._requests[next(iter(self._requests))]

    def accepted(self, account: AccountBooks, order: Order, received_ms: int) -> None:
        self._accepted[order.order_id] = account, received_ms
        if len(self._accepted) > self._kept + max(1, self._kept // _RETIRED_AT_ONCE):
            self._retire()
        if self._file is not None:
            self._unwritten += msgspec.json.encode(self._row(account, order, received_ms)) + b"\n"
            self.catch_up()

    @property
    def is_behind(self) -> bool:
        """Whether the file lacks accepted orders."""
        return bool(self._unwritten)

    def catch_up(self) -> None:
        """Write the text that couldn't be written before. Never raises: the orders are accepted in any case."""
        while self._file is not None and self._unwritten:
            try:
                written = self._file.write(self._unwritten)
            except OSError as problem:
                if not self._lags:
                    _LOG.error("%s can't be written: %s", self._file.name, problem.strerror)
                self._lags = True
                return
            self._unwritten = self._unwritten[written:]
            self._lags = False

    def _retire(self) -> None:
        """Write down the oldest rows that can't change any more, and forget their orders.

        What can't be written, for example on a full disk, stays in memory until the next time.
        """
        if self._over is None:
            # Unbuffered: a row that can't be written must not come later, when its order has stayed in memory.
            self._over = TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - open until the ledger is closed
        end = self._over.seek(0, SEEK_END)
        for order_id in list(islice(self._accepted, len(self._accepted) - self._kept)):
            account, received_ms = self._accepted[order_id]
            order = account.orders[order_id]
            if order.status.is_open:
                continue
            line = msgspec.json.encode(self._row(account, order, received_ms)) + b"\n"
            try:
                whole = self._over.write(line) == len(line)
            except OSError:
                whole = False
            if not whole:
                self._over.truncate(end)
                return
            end += len(line)
            account.forget(order)
            del self._accepted[order_id]

    def rows(self, after: int = 0, limit: int | None = None) -> list[LedgerRow]:
        """Accepted orders in their present state, oldest first: those with an id above `after`, at most `limit`."""
        found = (row for row in self._all_rows() if row.order_id > after)
        if limit is not None:
            return nsmallest(limit, found, key=_order_id)
        return sorted(found, key=_order_id)

    def _all_rows(self) -> Iterator[LedgerRow]:
        yield from self.earlier
        if self._over is not None:
            self._over.seek(0)
            reader = BufferedReader(self._over)
            try:
                yield from (msgspec.json.decode(line, type=LedgerRow) for line in reader)
            finally:
                reader.detach()  # else it would close the file
        for order_id, (account, received_ms) in self._accepted.items():
            yield self._row(account, account.orders[order_id], received_ms)

    def close(self) -> None:
        if self._file is not None:
            self.catch_up()
            self._file.close()
            self._file = None
        if self._over is not None:
            self._over.close()
            self._over = None

    def _row(self, account: AccountBooks, order: Order, received_ms: int) -> LedgerRow:
        return LedgerRow(
            client_order_id=order.client_order_id,
            order_id=order.order_id,
            account=account.name,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            type=order.type,
            orig_type=order.orig_type,
            time_in_force=order.time_in_force,
            status=order.status,
            price=plain(order.price),
            orig_qty=plain(order.quantity),
            executed_qty=plain(order.executed),
            avg_price=plain(order.average_price),
            reduce_only=order.reduce_only,
            close_position=order.close_position,
            time=order.time_ms,
            update_time=order.update_ms,
            receive_time=received_ms,
            request_count=max(1, self._requests.get((account.name, order.client_order_id), 0)),
        )


def _order_id(row: LedgerRow) -> int:
    return row.order_id


def restored_order(row: LedgerRow) -> Order:
    """The order in a row of an earlier run, for look-ups."""
    executed = Decimal(row.executed_qty)
    return Order(
        order_id=row.order_id,
        client_order_id=row.client_order_id,
        symbol=row.symbol,
        side=Side(row.side),
        position_side=PositionSide(row.position_side),
        type=OrderType(row.type),
        orig_type=row.orig_type,
        time_in_force=TimeInForce(row.time_in_force),
        status=OrderStatus(row.status),
        quantity=Decimal(row.orig_qty),
        price=Decimal(row.price),
        reduce_only=row.reduce_only,
        close_position=row.close_position,
        assumed_price=Decimal(row.price),
        time_ms=row.time,
        update_ms=row.update_time,
        executed=executed,
        cum_quote=to_satoshi(executed * Decimal(row.avg_price)),
    )


def _row(path: Path, number: int, line: bytes) -> LedgerRow:
    try:
        row = msgspec.json.decode(line, type=LedgerRow)
        if not restored_order(row).cum_quote.is_finite():
            raise ValueError("a figure that isn't finite")
    except (msgspec.MsgspecError, ValueError, ArithmeticError) as problem:
        why = "a figure that can't be read" if isinstance(problem, ArithmeticError) else problem
        raise LedgerFileError(f"{path} is not a ledger: line {number}: {why}") from problem
    return row


def _read(path: Path) -> list[LedgerRow]:
    """The rows of an earlier run. Drops a last line that a kill cut short; leaves a file that isn't a ledger alone."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole, _, torn = text.rpartition(b"\n")
    rows = [_row(path, number, line) for number, line in enumerate(whole.split(b"\n") if whole else (), 1)]
    if torn:
        if not (torn.startswith(_LINE_START) or _LINE_START.startswith(torn)):
            raise LedgerFileError(f"{path} is not a ledger: its last line doesn't begin like one")
        with path.open("r+b") as file:
            file.truncate(len(text) - len(torn))
    return [
        msgspec.structs.replace(row, status=OrderStatus.EXPIRED) if OrderStatus(row.status).is_open else row
        for row in rows
    ]
