"""Which answers wait for which: the store is real, and refuses some of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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
from tests.service.desk import DEAD, GROUP, RESULTS, STREAM, become


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


async def test_no_result_waits_for_dead_letters_that_the_store_refuses(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.set(DEAD, "no stream")
    async with rig(store, redis_client) as service:
        refused = [service.add(DEAD, number) for number in range(230)]
        await become(lambda: "WRONGTYPE" in service.pulse.results)
        monkeypatch.setattr("gate.service.answering._FIRST_PAUSE_S", 3600.0)
        monkeypatch.setattr("gate.service.answering._LONGEST_PAUSE_S", 3600.0)

        for number in range(4):
            service.add(RESULTS, number)
        await become(lambda: len(service.done) == 4)

        assert not {*service.done} & {*refused}
        assert len(service.answering) == 230
        assert "WRONGTYPE" in service.pulse.results, "it isn't well while they wait"


async def test_what_was_refused_is_written_once_the_store_takes_it(store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(DEAD, "no stream")
    async with rig(store, redis_client) as service:
        refused = [service.add(DEAD, number) for number in range(450)]
        await become(lambda: "WRONGTYPE" in service.pulse.results)

        redis_client.delete(DEAD)
        await service.answering.until_written(20)

        assert sorted(service.done) == sorted(refused)
        assert redis_client.xlen(DEAD) == 450
        assert (len(service.answering), service.pulse.results) == (0, "ok")


async def test_answers_that_the_store_has_not_heard_keep_their_order(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.service.answering._TOGETHER", 2)
    monkeypatch.setattr("gate.service.answering._FIRST_PAUSE_S", 0.01)
    answer, tries = Streams.answer, list[int]()

    async def away_at_first(streams: Streams, answers: Sequence[Answer]) -> list[bool | Exception]:
        tries.append(len(answers))
        if len(tries) == 1:
            raise redis.ConnectionError("away")
        return await answer(streams, answers)

    monkeypatch.setattr(Streams, "answer", away_at_first)
    async with rig(store, redis_client) as service:
        for number in range(5):
            service.add(RESULTS, number)
        await service.answering.until_written(20)
    rows: Any = redis_client.xrange(RESULTS)
    assert [fields[b"number"] for _, fields in rows] == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_is_refused_later_does_not_put_off_what_was_refused_before(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.service.answering._FIRST_PAUSE_S", 1800.0)
    monkeypatch.setattr("gate.service.answering._LONGEST_PAUSE_S", 3600.0)
    redis_client.set(DEAD, "no stream")
    async with rig(store, redis_client) as service:
        service.add(DEAD, 1)
        await become(lambda: len(service.answering._refused) == 1)
        again_s = service.answering._again_s
        service.add(DEAD, 2)
        await become(lambda: len(service.answering._refused) == 2)
        assert service.answering._again_s == again_s


async def test_only_a_last_answer_keeps_another_delivery_from_its_own(store: Store, redis_client: redis.Redis) -> None:
    async with rig(store, redis_client) as service:
        for no_order in (True, False):
            service.answering.add(Answer("1-1", RESULTS, 1_000, f"{no_order}", 60_000, {}, no_order), 0.0)
        assert [service.answering.has(each) for each in ("True", "False")] == [False, True]
