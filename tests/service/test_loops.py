"""The service in this process: an exception in one intent, a loop that breaks, answers of the store that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gate import AsyncGate, Intent, Policy
from gate.config import Config
from gate.exchange.binance import BinanceFutures
from gate.executor import Execution, Executor
from gate.service.metrics import Metrics
from gate.service.process import Account, serve
from gate.service.pulse import Pulse
from gate.service.service import Service
from gate.service.settings import read_settings
from gate.service.streams import Fields, Streams
from gate.service.taker_rates import TakerRates
from gate.store.connect import plain_client
from tests.servers.wire import Wire
from tests.service.desk import Desk, payload


class Stumbling(Executor):
    """Has a bug that some intents meet."""

    def __init__(self, *given: Any, stumbles: Callable[[str], bool]) -> None:
        super().__init__(*given)
        self.stumbles = stumbles

    async def execute(self, asked: Intent | Mapping[str, object]) -> Execution:
        if isinstance(asked, Intent) and self.stumbles(asked.id):
            raise ValueError("a bug")
        return await super().execute(asked)


class Breaking(Streams):
    """Has a bug that every read meets."""

    async def read(self, count: int, *, wait_ms: int = 0) -> list[tuple[str, Fields]]:
        raise ValueError("a bug")


class Quiet(Streams):
    """Nothing new ever comes."""

    async def read(self, count: int, *, wait_ms: int = 0) -> list[tuple[str, Fields]]:
        await asyncio.Event().wait()
        return []


@asynccontextmanager
async def service(
    desk: Desk,
    url: str | None = None,
    *,
    streams: type[Streams] = Streams,
    stumbles: Callable[[str], bool] | None = None,
) -> AsyncIterator[tuple[Service, Pulse]]:
    settings = read_settings({}, {}, "quantum", host="here", pid=1)
    client = plain_client(url or desk.url, 1_500)
    pulse = Pulse(settings.consumer, "quantum", settings.stream, settings.group)
    async with (
        AsyncGate.from_url(desk.url) as gate,
        BinanceFutures("key", "secret", base_url=desk.paper.url) as exchange,
        Stumbling(gate, exchange, stumbles=stumbles or (lambda _: False)) as executor,
    ):
        of = streams(client, settings)
        yield Service(settings, gate, exchange, executor, of, pulse, Metrics(pulse), TakerRates(exchange)), pulse
    await client.aclose()


async def running(of: Service, until: Callable[[], Awaitable[bool]]) -> None:
    """Runs it until that is so, and stops it."""
    stopping = asyncio.Event()
    run = asyncio.create_task(of.run(stopping))
    async with asyncio.timeout(60):
        while not await until():
            assert not run.done(), run.result()
            await asyncio.sleep(0.02)
        stopping.set()
        await run


def answered(desk: Desk, count: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return len(await asyncio.to_thread(desk.results)) >= count

    return enough


async def test_an_exception_in_one_intent_ends_that_intent_and_no_other(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.send(payload(id="bad", side="SELL", reduce_only=True))  # tried again sooner than an entry
    desk.send(payload("ETHUSDT", id="good"))
    async with service(desk, stumbles=lambda name: name == "bad") as (of, _):
        await running(of, answered(desk, 2))
    told = {row["intent_id"]: (row["state"], row["reason"]) for row in desk.results()}
    assert told == {"good": ("FILLED", "FILLED"), "bad": ("UNKNOWN", "SERVICE_FAILED")}
    assert "ValueError" in caplog.text


async def test_one_that_fails_once_is_tried_again(desk: Desk) -> None:
    failed: list[str] = []

    def once(name: str) -> bool:
        failed.append(name)
        return len(failed) == 1

    desk.send(payload(id="sig-1"))
    async with service(desk, stumbles=once) as (of, _):
        await running(of, answered(desk, 1))
    assert desk.result()["status"] == "filled"


async def test_an_exit_that_fails_is_tried_again_before_an_entry_is(desk: Desk) -> None:
    """An open position is urgent."""
    tried: list[str] = []

    def at_first(name: str) -> bool:
        tried.append(name)
        return tried.count(name) <= (2 if name == "exit" else 1)

    desk.send(payload(id="entry"))
    desk.send(payload("ETHUSDT", side="SELL", id="exit", reduce_only=True))
    async with service(desk, stumbles=at_first) as (of, _):
        await running(of, answered(desk, 2))
    assert sorted(tried[:2]) == ["entry", "exit"]
    assert tried[2:] == ["exit", "exit", "entry"]


async def test_a_loop_that_breaks_ends_the_service_with_its_reason(desk: Desk) -> None:
    async with service(desk, streams=Breaking) as (of, pulse):
        async with asyncio.timeout(60):
            with pytest.raises(ValueError, match="a bug") as broken:
                await of.run(asyncio.Event())
        assert pulse.told()["ok"] is False
    assert broken.value.__notes__ == ["the loop: reading"]


def _a_bug(*_: object) -> None:
    raise ValueError("a bug")


@pytest.mark.parametrize("at", ["service.Service.__init__", "streams.Streams.read", "service.Service._end"])
async def test_a_service_that_breaks_says_where(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    monkeypatch.setattr(f"gate.service.{at}", _a_bug)
    monkeypatch.setattr("gate.service.streams.Streams.read", _a_bug)  # so that there is an end
    settings = read_settings({"listen": "none"}, {}, "quantum", host="here", pid=1)
    account = Account("key", "secret", desk.paper.url, False, "paper")

    async with asyncio.timeout(60):
        code = await serve(Config(desk.url, "quantum", Policy(), None, frozenset()), settings, account)

    assert code == 70
    [broken] = [each for each in caplog.records if each.message == "SERVICE BROKEN"]
    assert broken.exc_info is not None
    assert "a bug" in str(broken.exc_info[1])


async def test_what_a_dead_worker_has_left_waits_for_no_new_entry(desk: Desk) -> None:
    desk.left_by_a_dead_worker(payload(id="sig-1"))
    async with service(desk, streams=Quiet) as (of, pulse):
        await running(of, answered(desk, 1))
        assert pulse.read_s is not None
    assert desk.result()["status"] == "filled"


@pytest.mark.parametrize("lost", ["lose_next_reply", "withhold_next_reply"])
async def test_entries_whose_delivery_got_lost_are_taken_up_at_once(desk: Desk, wire: Wire, lost: str) -> None:
    """They are this consumer's by then. Nobody takes them over before a minute."""
    desk.client.xgroup_create(
        "quantum:stream:trade.intent", "quantum:group:execution:trade.intent", id="0", mkstream=True
    )
    desk.send(payload(id="sig-1"))
    # The first asks for what is this consumer's already; the second delivers.
    async with service(desk, wire.url) as (of, _):
        fault = getattr(wire, lost)("XREADGROUP")
        again = getattr(wire, lost)("XREADGROUP")
        await running(of, answered(desk, 1))
        assert fault.happened
        assert again.happened
    assert desk.result()["status"] == "filled"


@pytest.mark.parametrize("lost", ["lose_next_reply", "lose_next_request", "withhold_next_reply"])
async def test_a_result_whose_writing_got_lost_is_written_once(desk: Desk, wire: Wire, lost: str) -> None:
    desk.send(payload(id="sig-1"))
    async with service(desk, wire.url) as (of, pulse):
        fault = getattr(wire, lost)("EVALSHA")

        async def done() -> bool:
            return bool(await answered(desk, 1)()) and pulse.in_hand == 0

        await running(of, done)
        assert fault.happened
    assert [row["status"] for row in desk.results()] == ["filled"]
    desk.idle()
