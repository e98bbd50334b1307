"""An order request by either client of python-binance as it is, what it raises and how that is judged.

And servers such as no exchange is: that answer anything, or don't listen.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import pytest
from aiohttp import ClientTimeout
from binance import AsyncClient, Client

from gate.exchange.failures import Consequence, Failure, failure_of

MAY_EXIST, NO_ORDER = True, False
Row = tuple[bool, bool, Consequence, int | None]
"""Whether an order may exist, retryable, consequence, rest in ms where it isn't the policy's."""

# As long as real keys, so that no check passes just because they are short.
KEY: Final = "K3y" + "a1B2c3D4" * 7 + "E5f6g"
SECRET: Final = "S3c" + "h7I8j9K0" * 7 + "L1m2n"

ORDER: Final = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.001"}
AMPLE_S: Final = 30.0
BRIEF_S: Final = 0.05
"""The time-out of a client that must time out. It measures nothing: the answer never comes."""


class Caller(Protocol):
    """Sends an order to the exchange at `url`, and returns the exception that placing it raised."""

    async def __call__(self, url: str, *, connect_s: float = AMPLE_S, read_s: float = AMPLE_S) -> BaseException: ...


async def by_async_client(url: str, *, connect_s: float = AMPLE_S, read_s: float = AMPLE_S) -> BaseException:
    timeout = ClientTimeout(sock_connect=connect_s, sock_read=read_s)
    client = AsyncClient(KEY, SECRET, requests_params={"allow_redirects": False, "timeout": timeout})
    client.FUTURES_URL = f"{url}/fapi"
    try:
        order = await client.futures_create_order(**ORDER, type="MARKET")
    except BaseException as error:
        return error
    finally:
        await client.close_connection()
    return _no_order_id(order)


async def by_sync_client(url: str, *, connect_s: float = AMPLE_S, read_s: float = AMPLE_S) -> BaseException:
    return await asyncio.to_thread(sync_error, url, connect_s=connect_s, read_s=read_s)


def sync_error(url: str, *, connect_s: float = AMPLE_S, read_s: float = AMPLE_S) -> BaseException:
    """The same on this thread."""
    with sync_client(url, connect_s, read_s) as client:
        try:
            order = client.futures_create_order(**ORDER, type="MARKET")
        except BaseException as error:
            return error
    return _no_order_id(order)


@contextmanager
def sync_client(url: str, connect_s: float = AMPLE_S, read_s: float = AMPLE_S) -> Iterator[Client]:
    """python-binance's blocking client, pointed at `url`."""
    parameters = {"allow_redirects": False, "timeout": (connect_s, read_s)}
    client = Client(KEY, SECRET, requests_params=parameters, ping=False)
    client.session.trust_env = False  # otherwise a proxy of the machine could answer instead of the server
    client.FUTURES_URL = f"{url}/fapi"
    try:
        yield client
    finally:
        client.close_connection()


CALLERS = pytest.mark.parametrize("caller", [by_async_client, by_sync_client], ids=["AsyncClient", "Client"])


def judged(error: BaseException) -> Failure:
    """The failure of an exception. Asserts that it holds no secret of the account."""
    failure = failure_of(error)
    for text in (str(failure), repr(failure)):
        assert not [secret for secret in (KEY, SECRET, "signature", "://") if secret in text]
    assert len(failure.detail) <= 120
    assert failure.detail.splitlines() in ([], [failure.detail])
    return failure


def row_of(error: BaseException) -> Row:
    """The failure that an exception was judged as."""
    failure = judged(error)
    return failure.may_exist, failure.retryable, failure.consequence, failure.rest_ms


def _no_order_id(order: dict[str, object]) -> LookupError:
    """The error that reading the order id from an answer without one raises."""
    try:
        order_id = order["orderId"]
    except LookupError as error:
        return error
    raise AssertionError(f"it was placed: {order_id}")


@contextmanager
def raw_server(answer: Callable[[str], str]) -> Iterator[str]:
    """A server at the yielded address that answers each request with exactly that text, and closes the connection."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, answer, stopped), daemon=True)
        thread.start()
        try:
            yield _address(listener)
        finally:
            stopped.set()
            socket.create_connection(listener.getsockname()).close()  # wakes the thread
            thread.join()


def _serve(listener: socket.socket, answer: Callable[[str], str], stopped: threading.Event) -> None:
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            if stopped.is_set():
                return
            connection.sendall(answer(_request(connection)).encode())


def _request(connection: socket.socket) -> str:
    """Reads all of a request: closing with a part unread would reset the connection."""
    received = b""
    while True:
        head, end, body = received.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        chunk = b"" if end and len(body) >= length else connection.recv(65536)
        if not chunk:
            return received.decode()
        received += chunk


@contextmanager
def closed_port() -> Iterator[str]:
    """An address where nothing listens, and nothing can come to listen meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield _address(taken)


@contextmanager
def full_port() -> Iterator[str]:
    """An address where connections are neither accepted nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting: list[socket.socket] = []
        try:
            with suppress(TimeoutError):
                for _ in range(100):
                    waiting.append(socket.create_connection(listener.getsockname(), BRIEF_S))
                raise OSError("the queue of a listening socket is never full here")
            yield _address(listener)
        finally:
            for each in waiting:
                each.close()


@contextmanager
def nowhere() -> Iterator[str]:
    """An address whose name can't be resolved: RFC 2606 keeps it so."""
    yield "http://nowhere.invalid"


def http(status: str, body: str, *, kind: str = "application/json", length: int | None = None, more: str = "") -> str:
    """An HTTP answer. `length` may lie; `more` is a further header line."""
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {length}", *([more] if more else [])]
    return "\r\n".join([*lines, "Connection: close", "", body])


def _address(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"
