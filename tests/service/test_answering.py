"""Which answers wait for which: the store is real, and refuses some of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from gate.service.answering import Answering
from gate.service.metrics import Metrics
from gate.service.pulse import Pulse
from gate.service.settings import read_settings
from gate.service.streams import Answer, Streams
from gate.store.connect import plain_client
from tests.servers.store import Store
from tests.service.desk import DEAD, GROUP, RESULTS, STREAM


@dataclass
class Rig:
    """The answers of a service that does nothing else."""

    client: redis.Redis
    answering: Answering
    pulse: Pulse
    done: list[str] = field(default_factory=list)

    def add(self, stream: str, number: int) -> str:
        """An answer to a new entry that is pending."""
        entry: Any = self.client.xadd(STREAM, {"a": "b"})
        self.client.xreadgroup(GROUP, "me", {STREAM: ">"})
        fields: dict[str | bytes, str | bytes] = {"state": "FILLED", "number": str(number)}
        self.answering.add(Answer(entry.decode(), stream, 1_000, f"{stream}-{number}", 60_000, fields), 0.0)
        return str(entry.decode())


@asynccontextmanager
async def rig(store: Store, client: redis.Redis) -> AsyncIterator[Rig]:
    settings = read_settings({}, {}, "quantum", host="h", pid=1, listen="none")
    streams = Streams(plain_client(store.url, 2_000), settings)
    await streams.begin()
    pulse, done = Pulse("me", "quantum", settings.stream, settings.group), list[str]()
    made = Rig(client, Answering(streams, pulse, Metrics(pulse), settings.results, done.extend), pulse, done)
    writing = asyncio.create_task(made.answering.keep_answering())
    try:
        yield made
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        await streams.close()


async def until(so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not so():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)


async def test_no_result_waits_for_dead_letters_that_the_store_refuses(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.set(DEAD, "no stream")
    async with rig(store, redis_client) as service:
        refused = [service.add(DEAD, number) for number in range(230)]
        await until(lambda: "WRONGTYPE" in service.pulse.results)
        monkeypatch.setattr("gate.service.answering._FIRST_PAUSE_S", 3600.0)
        monkeypatch.setattr("gate.service.answering._LONGEST_PAUSE_S", 3600.0)

        for number in range(4):
            service.add(RESULTS, number)
        await until(lambda: len(service.done) == 4)

        assert not {*service.done} & {*refused}
        assert len(service.answering) == 230
        assert "WRONGTYPE" in service.pulse.results, "it isn't well while they wait"


async def test_what_was_refused_is_written_once_the_store_takes_it(store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(DEAD, "no stream")
    async with rig(store, redis_client) as service:
        refused = [service.add(DEAD, number) for number in range(450)]
        await until(lambda: "WRONGTYPE" in service.pulse.results)

        redis_client.delete(DEAD)
        await service.answering.until_written(20)

        assert sorted(service.done) == sorted(refused)
        assert redis_client.xlen(DEAD) == 450
        assert (len(service.answering), service.pulse.results) == (0, "ok")
