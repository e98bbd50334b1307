"""The executor for services without an event loop. It runs on an event loop in its own thread."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar

from gate.client.gates import AsyncGate
from gate.exchange.binance import RECV_WINDOW_MS, BinanceFutures
from gate.executor import Executor, OrderUpdate
from gate.executor.execution import Execution
from gate.executor.reconcile import Reconciled, reconcile
from gate.executor.updates import Updates
from gate.protocol.keyspace import DEFAULT_PREFIX
from gate.store.address import shown_url
from gate.store.wire import DEFAULT_TIMEOUT_MS
from gate.values.intent import Intent
from gate.values.policy import Policy

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LOOKS_EVERY_S: Final = 0.25


class BlockingExecutor:
    """Executes intents of one account, for any number of threads at once. Close it, or use it in a `with` block.

    Make one per process, after a fork. At its exit, the interpreter closes every open one.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        api_secret: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        policy: Policy | None = None,
        base_url: str | None = None,
        demo: bool = False,
        recv_window_ms: int = RECV_WINDOW_MS,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        fill_prices: bool = True,
        streams: bool = True,
    ) -> None:
        """Passes `url`, `prefix`, `policy` and `timeout_ms` to AsyncGate.from_url, `fill_prices` to Executor, and the
        others to BinanceFutures. `Config.read()` reads `url`, `prefix` and `policy` from the command line's file.

        Raises the errors of these two, such as InvalidField, and then leaves no thread behind.
        """
        self._shown = f"BlockingExecutor({shown_url(str(url))!r}, prefix={prefix!r})"
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._connections = AsyncExitStack()
        self._calls: set[_Call[Any]] = set()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._shutting: asyncio.Task[None] | None = None
        self._begun = self._closed = False
        self._ended = _Latch()
        # A daemon: the interpreter joins other threads before it runs atexit, where this one ends.
        self._thread = threading.Thread(target=self._run, name="gate-executor", daemon=True)

        async def open_all() -> None:
            gate = AsyncGate.from_url(url, prefix=prefix, policy=policy, timeout_ms=timeout_ms)
            self._gate = await self._connections.enter_async_context(gate)
            exchange = BinanceFutures(
                api_key, api_secret, base_url=base_url, demo=demo, recv_window_ms=recv_window_ms, streams=streams
            )
            self._exchange = await self._connections.enter_async_context(exchange)
            self._executor = await self._connections.enter_async_context(
                Executor(gate, exchange, fill_prices=fill_prices)
            )

        try:
            self._thread.start()
            self._call(open_all)
            atexit.register(self.close)
        except BaseException:
            self._end()
            raise

    def execute(self, intent: Intent | Mapping[str, object]) -> Execution:
        """Takes one intent to a terminal state, and blocks until then.

        An intent, the store or the exchange can't make it raise. Raises RuntimeError after close, after a fork, and on
        an event loop. An exception in the waiting thread, such as KeyboardInterrupt, stops the execution: the call
        settles the attempt first, and then raises that exception.
        """
        self._check_caller()
        return self._call(lambda: self._executor.execute(intent))

    def reconcile(self, at_most: int = 100) -> list[Reconciled]:
        """Looks up at most `at_most` intents in doubt, the oldest first, and settles those whose outcome is certain.

        Raises StoreFailure, and RuntimeError as execute does.
        """
        self._check_caller()
        return self._call(lambda: reconcile(self._gate, self._exchange, at_most=at_most))

    def updates(self) -> BlockingUpdates:
        """What comes of the gate's orders from now on, as Executor.updates. To be iterated in a thread of its own, or
        asked with a time-out. It ends when this executor is closed.

        Raises RuntimeError as execute does.
        """
        self._check_caller()

        async def listen() -> Updates:
            return self._executor.updates()

        return BlockingUpdates(self, self._call(listen))

    def close(self) -> None:
        """Refuses new calls, waits for the running ones, and closes the connections. Can be repeated.

        Raises an error of the closing. Does nothing in a forked child: the connections belong to the parent.
        """
        if os.getpid() == self._pid:
            self._end()
            atexit.unregister(self.close)
            if self._shutting is not None:
                self._shutting.result()

    def _check_caller(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this BlockingExecutor was made in another process; make one per process")
        if _on_event_loop():
            raise RuntimeError("a BlockingExecutor would block this event loop; await gate.executor.Executor here")

    def _call(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        call = _Call(work)
        self._calls.add(call)
        try:
            if self._on_loop(self._begin, call):
                call.over.wait()
        except BaseException:
            self._break_off(call)
            raise
        finally:
            self._calls.discard(call)
        if call.task is None:
            raise RuntimeError("this BlockingExecutor is closed; nothing was done")
        return call.task.result()

    def _break_off(self, call: _Call[Any]) -> None:
        """Cancels the call and waits for its end, whatever exception this thread gets meanwhile.

        Waits for the life of a permit at most.
        """
        while True:
            try:
                if self._on_loop(self._cancel, call):
                    call.over.wait()
                return
            except BaseException:  # _call raises the first exception
                continue

    def _on_loop(self, act: Callable[..., None], *arguments: object) -> bool:
        """Runs `act` on the loop. Returns False if the loop is closed: then every call has ended."""
        try:
            self._loop.call_soon_threadsafe(act, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            return False
        return True

    def _end(self) -> None:
        self._closed = True
        self._on_loop(self._shut)
        if self._begun:  # otherwise the thread is only starting, and will find just the shutdown to do
            self._ended.wait()
            self._thread.join()

    # The rest runs in the loop's thread.

    def _run(self) -> None:
        self._begun = True
        # Not asyncio.run: at its end it starts a thread, which the interpreter refuses during its exit.
        self._loop.set_default_executor(_LookUps())
        try:
            self._loop.run_forever()
            self._end_leftovers()
        finally:
            self._loop.close()
            for call in tuple(self._calls):
                call.over.open()  # the call came after the loop's last round
            self._ended.open()

    def _end_leftovers(self) -> None:
        """Ends what the libraries have left, such as a look-up of a host whose caller is gone; as asyncio.run does."""
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left))

    def _begin(self, call: _Call[_T]) -> None:
        if self._closed:
            call.over.open()
            return
        call.task = self._loop.create_task(call.work())
        self._under_way.add(call.task)
        call.task.add_done_callback(self._under_way.discard)
        call.task.add_done_callback(lambda _: call.over.open())

    def _cancel(self, call: _Call[Any]) -> None:
        if call.task is None:
            call.over.open()
        else:
            call.task.cancel()

    def _shut(self) -> None:
        if self._shutting is None:
            self._shutting = self._loop.create_task(self._close_all())

    async def _close_all(self) -> None:
        try:
            while self._under_way:
                await asyncio.wait(self._under_way)
            await self._connections.aclose()
            await asyncio.sleep(0)  # transports close their sockets only in the loop's next round
        finally:
            self._loop.stop()

    def __repr__(self) -> str:
        return self._shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BlockingUpdates(Iterator[OrderUpdate]):
    """What comes of orders, one value after the other. For one thread at a time."""

    def __init__(self, executor: BlockingExecutor, updates: Updates) -> None:
        self._executor: Final = executor
        self._updates: Final = updates
        self._next: OrderUpdate | None = None
        """Taken on the loop, and not returned yet. Whoever was interrupted while it waited finds it the next time."""

    def __next__(self) -> OrderUpdate:
        """The next one; waits for it until the executor is closed and all are read."""
        while (update := self.get(_LOOKS_EVERY_S)) is None:
            if not self._executor._thread.is_alive() and not self._updates.unread:
                raise StopIteration
        return update

    def get(self, within_s: float) -> OrderUpdate | None:
        """The next one; None where none comes within that time, or the executor is closed and all are read. Raises
        RuntimeError on an event loop, and after a fork."""
        self._executor._check_caller()
        until_s = time.monotonic() + within_s
        while not self._executor._closed:
            # Short waits: closing waits for the calls that run.
            wait_s = max(min(until_s - time.monotonic(), _LOOKS_EVERY_S), 0)
            try:
                self._executor._call(partial(self._find, wait_s))
            except RuntimeError:
                if not self._executor._closed:
                    raise
                break
            if self._next is not None or wait_s < _LOOKS_EVERY_S:
                return self._taken()
        # What the closing ends is told, too.
        self._executor._thread.join(max(until_s - time.monotonic(), 0))
        if self._next is None and not self._executor._thread.is_alive():
            self._next = self._updates.take_now()
        return self._taken()

    def _taken(self) -> OrderUpdate | None:
        update, self._next = self._next, None
        return update

    async def _find(self, within_s: float) -> None:
        if self._next is not None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                self._next = await anext(self._updates, None)


class _Latch:
    """The loop's thread opens it; other threads wait for it. A signal handler may interrupt a waiting thread anywhere.

    A future or an event isn't safe here: a thread that is interrupted in its code may keep its lock. The loop would
    then wait for that lock for ever, with every intent on it.
    """

    def __init__(self) -> None:
        self._opened = False
        self._lock: Final = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Lets every waiting thread go on. Can be repeated."""
        if not self._opened:
            self._opened = True
            self._lock.release()

    def wait(self) -> None:
        """Returns when the latch is open."""
        with self._lock:
            pass


class _Call(Generic[_T]):
    """A thread's call. `task` is None until the work begins, and stays None if the executor refuses the call."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self.work: Final = work
        self.task: asyncio.Task[_T] | None = None
        self.over: Final = _Latch()


class _LookUps(ThreadPoolExecutor):
    """Runs each look-up of a host name, the loop's only work for threads, in a thread of its own.

    A pool's threads take no more work after the main thread's end, when other threads may still have positions to
    close.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        answer: Future[_T] = Future()
        answer.set_running_or_notify_cancel()

        def look_up() -> None:
            try:
                answer.set_result(fn(*args, **kwargs))
            except BaseException as error:
                answer.set_exception(error)

        try:
            threading.Thread(target=look_up, name="gate-executor-look-up", daemon=True).start()
        except RuntimeError:  # Python 3.12 starts no thread once the main thread has ended; the loop has to wait
            look_up()
        return answer


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
