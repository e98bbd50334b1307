"""One pass from the verdict to the settlement, which a cancellation doesn't tear apart."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Passage:
    """Carries the pass in one task of its own. So nothing comes between two of its steps that doesn't have to: an order
    is settled before the events are read that came with its answer.

    A cancellation of the caller reaches the pass only where it says so. Elsewhere the pass goes on to its end.
    """

    def __init__(self) -> None:
        self.cancelled: asyncio.CancelledError | None = None
        """The caller's cancellation, once there is one."""
        self._task: asyncio.Task[Any] | None = None
        self._breakable = False

    async def carry(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns the result of the pass. Raises the caller's cancellation, but not before its end."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        async def passing() -> T:
            try:
                return await work
            finally:
                # The caller goes on in the next turn of the loop. By the task's own end it would be the one after that.
                if not ended.done():
                    ended.set_result(None)

        task = asyncio.create_task(passing())
        self._task = task
        while not task.done():
            try:
                await ended
            except asyncio.CancelledError as error:
                self.cancelled = error
                if self._breakable:
                    task.cancel()
                ended = loop.create_future()  # a cancellation ends what is awaited, too
        result = task.result()
        if self.cancelled is not None:
            raise self.cancelled
        return result

    @contextmanager
    def may_break_off(self) -> Iterator[None]:
        """A cancellation breaks off what is done in this block, also one that came before it."""
        if self.cancelled is not None:
            raise self.cancelled
        self._breakable = True
        try:
            yield
        except asyncio.CancelledError:
            if self._task is not None:
                self._task.uncancel()  # what follows in the pass isn't cancelled
            raise
        finally:
            self._breakable = False
