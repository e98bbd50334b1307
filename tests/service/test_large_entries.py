"""Of entries that are so large that a page takes longer than an answer may, fewer are asked for, and all are read."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import TimeoutError as TimedOut

from gate.service import streams as module
from gate.service.metrics import Metrics
from gate.service.pulse import Pulse
from gate.service.service import Service
from gate.service.streams import Streams
from gate.store.connect import plain_client
from tests.executor.conftest import until
from tests.service.desk import STREAM, Desk
from tests.service.test_values import settings

PAGE = 500


@pytest.fixture(autouse=True)
def any_answer_is_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(module, "_SOON_S", 60.0)


async def given_a_page(harmed: Desk) -> Streams:
    """Of a consumer that has a page of entries, and hasn't answered them."""
    for number in range(PAGE):
        harmed.client.xadd(STREAM, {"data": number})
    streams = Streams(plain_client(harmed.url, 1_000), settings())
    await streams.begin()
    assert len(await streams.read(PAGE, wait_ms=1)) == PAGE
    return streams


async def test_after_an_answer_that_took_too_long_a_page_is_smaller_until_one_is_in_time(harmed: Desk) -> None:
    streams = await given_a_page(harmed)

    harmed.client.client_pause(2_000)
    with pytest.raises(TimedOut):
        await streams.own()
    harmed.client.client_unpause()

    assert [len(await streams.own()) for _ in range(3)] == [125, 250, 500]
    assert len((await streams.take_over(0)).entries) == PAGE
    await streams.close()


async def test_what_is_taken_over_is_asked_for_in_smaller_pages_too(harmed: Desk) -> None:
    streams = await given_a_page(harmed)

    harmed.client.client_pause(2_000)
    with pytest.raises(TimedOut):
        await streams.take_over(0)
    harmed.client.client_unpause()

    assert len((await streams.take_over(0)).entries) == 125
    await streams.close()


async def test_only_a_page_that_held_something_and_came_soon_is_a_reason_for_a_larger_one(
    harmed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty answers come every second beside a take-over that is too slow for more."""
    streams = await given_a_page(harmed)
    harmed.client.client_pause(2_000)
    with pytest.raises(TimedOut):
        await streams.own()
    harmed.client.client_unpause()

    assert [len(await streams.read(PAGE, wait_ms=1)) for _ in range(3)] == [0, 0, 0]
    monkeypatch.setattr(module, "_SOON_S", 0.0)
    assert [len(await streams.own()) for _ in range(2)] == [125, 125]
    await streams.close()


async def test_what_a_take_over_has_claimed_unheard_is_asked_for_as_this_consumers_own(harmed: Desk) -> None:
    streams, pulse, heard = await given_a_page(harmed), Pulse("me", "quantum", STREAM, "group"), asyncio.Event()
    heard.set()
    parts = {"_streams": streams, "_heard": heard, "_in_hand": {}, "_rested_ms": 60_000, "_metrics": Metrics(pulse)}
    service = cast("Any", SimpleNamespace(**parts, _unheard=False))
    harmed.client.client_pause(2_000)
    taking_over = asyncio.create_task(Service._keep_taking_over(service))
    await until(lambda: service._unheard)
    taking_over.cancel()
    harmed.client.client_unpause()
    await streams.close()
