"""Points between a verdict and the socket at which a worker can be made to stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from gate import Intent
from tests.faults.desk import Desk, Worker

FOR_EXITS: Final = ("evaluate after", "filters", "hedge_mode", "mark_price", "place", "socket")
POINTS: Final = (*FOR_EXITS, "last_look before", "last_look after", "symbol_config", "account")
"""`evaluate after`: the verdict is there, and its caller doesn't know of it yet. Mostly an exit has no other look.
`socket`: python-binance has signed the request, and hands it to its transport."""
BY_STREAMS: Final = ("evaluate after", "place", "socket")
"""Where nothing has to be read. The verdict is the last look then."""


class _Held:
    """A request that waits before it goes out."""

    def __init__(self, send: Callable[[], Any], wait: Callable[[], Awaitable[None]]) -> None:
        self._send, self._wait = send, wait
        self._answer: Any = None

    async def __aenter__(self) -> Any:
        await self._wait()
        self._answer = self._send()
        return await self._answer.__aenter__()

    async def __aexit__(self, *raised: Any) -> Any:
        return await self._answer.__aexit__(*raised)


@contextmanager
def stalled(worker: Worker, point: str, pause: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """In the block, the worker's next call of that point is held up by `pause`. Later calls go through."""
    pauses = [pause]

    async def wait() -> None:
        if pauses:
            await pauses.pop()()

    if point == "socket":
        session: Any = worker.exchange._rest.client.session
        post = session.post
        session.post = lambda *args, **kwargs: _Held(lambda: post(*args, **kwargs), wait)
        try:
            yield
        finally:
            del session.post
        return

    owner: Any = worker.gate if point.startswith(("evaluate", "last_look")) else worker.exchange
    name = point.partition(" ")[0]
    method = getattr(owner, name)

    async def slow(*args: Any, **kwargs: Any) -> Any:
        if point.endswith(" after"):
            answer = await method(*args, **kwargs)
            await wait()
            return answer
        await wait()
        return await method(*args, **kwargs)

    setattr(owner, name, slow)
    try:
        yield
    finally:
        delattr(owner, name)


async def stand(
    desk: Desk, intent: Intent, standing: asyncio.Event, go_on: asyncio.Event, point: str | None = None
) -> None:
    """Delivers to worker 2, which stands still at a point, by default one that the chance draws, until it may go on."""
    of_readings = FOR_EXITS if intent.is_exit else POINTS
    point = point or desk.chance.choice(BY_STREAMS if desk.streams else of_readings)

    async def pause() -> None:
        standing.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue  # a process that stands still doesn't hear of its time-outs

    with stalled(desk.workers[2], point, pause):
        await desk.deliver(intent, 2)
    standing.set()
