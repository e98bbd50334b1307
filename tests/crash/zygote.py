"""A process that has imported everything and runs nothing: every delivery gets a fork of it, in milliseconds.

It reads jobs as lines from its input and answers a line when the child has ended.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import selectors
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import Struct

from tests.crash.worker import Job, deliver

_ROOT = Path(__file__).resolve().parents[2]


class _Order(Struct):
    number: int
    job: Job


class Ended(Struct):
    """How a worker ended."""

    number: int
    killed: bool
    said: str


class Zygote:
    """Has jobs done by forks. Use it in an `async with` block."""

    async def __aenter__(self) -> Zygote:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash.zygote"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
        )
        self._waiting: dict[int, asyncio.Future[Ended]] = {}
        self._asked = 0
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader

    async def run(self, job: Job) -> Ended:
        """Forks a worker for the job, and returns when it has ended or was killed."""
        assert self._process.stdin is not None
        self._asked += 1
        answer: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._waiting[self._asked] = answer
        self._process.stdin.write(msgspec.json.encode(_Order(self._asked, job)) + b"\n")
        return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            ended = msgspec.json.decode(line, type=Ended)
            self._waiting.pop(ended.number).set_result(ended)
        for each in self._waiting.values():
            each.set_exception(RuntimeError("the zygote has ended"))


class _Nursery:
    def __init__(self) -> None:
        self._events = selectors.DefaultSelector()
        self._rest = b""
        self._children: set[int] = set()

    def serve(self) -> None:
        self._events.register(0, selectors.EVENT_READ, self._hear)
        open_still = True
        while open_still:
            for key, _ in self._events.select():
                act: Callable[[], bool] = key.data
                open_still = act() and open_still

    def _hear(self) -> bool:
        heard = os.read(0, 1 << 16)
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for line in lines:
            self._fork(msgspec.json.decode(line, type=_Order))
        return bool(heard)

    def _fork(self, order: _Order) -> None:
        end, said = os.pipe()
        child = os.fork()
        if child == 0:
            _live(order.job, said)
        os.close(said)
        self._events.register(end, selectors.EVENT_READ, lambda: self._bury(order.number, child, end))

    def _bury(self, number: int, child: int, end: int) -> bool:
        said = os.read(end, 1 << 16)  # one write, or nothing: the end of a child that was killed
        self._events.unregister(end)
        os.close(end)
        _, status = os.waitpid(child, 0)
        ended = Ended(number, os.WIFSIGNALED(status), said.decode(errors="replace"))
        sys.stdout.buffer.write(msgspec.json.encode(ended) + b"\n")
        sys.stdout.buffer.flush()
        return True


def _live(job: Job, said: int) -> None:
    try:
        os.write(said, asyncio.run(deliver(job)).encode()[:4000])
    except BaseException as error:
        os.write(said, f"RAISED {error!r}".encode()[:4000])
    finally:
        os._exit(0)


def main() -> None:
    """Serves until its input ends."""
    import aiohttp
    import binance

    assert aiohttp
    assert binance
    assert threading.active_count() == 1, "a fork would lose the others"
    logging.disable()
    gc.freeze()
    _Nursery().serve()


if __name__ == "__main__":
    main()
