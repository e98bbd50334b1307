"""What a service sees of its account, of the exchange and of itself, and whom that wakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from gate import AsyncGate, Gate, Policy
from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure
from gate.paper import Fault, FaultKind
from gate.service.alert_settings import AlertSettings
from gate.service.looking import Looking
from gate.service.settings import read_settings
from gate.service.streams import Backlog, Streams
from gate.store.connect import plain_client
from tests.paper.arrivals import hear_arrivals
from tests.service.alerting import told
from tests.service.desk import GROUP, STREAM, Desk, payload, until
from tests.service.webhooks import Receiver


class Streamless(BinanceFutures):
    """Has no streams."""

    def __init__(self, key: str, secret: str, *, base_url: str) -> None:
        super().__init__(key, secret, base_url=base_url, streams=False)


class Hanging(Streamless):
    """Never answers."""

    async def mark_price(self, symbol: str) -> Decimal:
        await asyncio.Event().wait()
        raise AssertionError(symbol)


@asynccontextmanager
async def looking(
    desk: Desk,
    receiver: Receiver,
    alerts: AlertSettings,
    at: Callable[..., BinanceFutures] = BinanceFutures,
    policy: Policy | None = None,
) -> AsyncIterator[Looking]:
    settings = read_settings({}, {}, "quantum", host="here", pid=1)
    async with (
        told(desk, url=receiver.url) as of,
        AsyncGate.from_url(desk.url, policy=policy) as gate,
        at("key", "secret", base_url=desk.paper.url) as exchange,
    ):
        parts = (gate, exchange, Streams(of.client, settings), of.news, of.teller, of.pulse, of.metrics)
        yield Looking(*parts, alerts, down_after_s=0)


@pytest.mark.parametrize("lacks", ["store", "results", "exchange", "streams"])
async def test_what_the_service_itself_lacks_is_told_with_its_name_and_its_end(
    desk: Desk, receiver: Receiver, lacks: str
) -> None:
    async with looking(desk, receiver, AlertSettings()) as of:
        setattr(of.pulse, lacks, "gone")
        of.look_at_itself()
        setattr(of.pulse, lacks, "ok")
        of.look_at_itself()
    assert [(each["kind"], each["turn"], each["says"]) for each in receiver.posted] == [
        (lacks, "begins", "here: gone"),
        (lacks, "over", "here: gone"),
    ]


async def test_streams_that_are_down_show_and_are_told_and_so_is_their_end(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.service.looking.NEWS_EVERY_S", 0.05)
    async with looking(desk, receiver, AlertSettings()) as of:

        async def waits(condition: Callable[[], bool]) -> None:
            await asyncio.to_thread(until, condition, told=lambda: (of.pulse.streams, receiver.posted))

        await waits(lambda: of._exchange.streams() == "ok")
        looks = asyncio.create_task(of.keep_looking(asyncio.Event()))
        await waits(lambda: of.pulse.told()["streams"] == "ok")
        assert "gate_streams_up 1.0" in of._metrics.text().decode()
        desk.paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, path="/fapi/v1/listenKey", probability=Decimal(1)))
        desk.paper.inject(Fault(kind=FaultKind.DROP_STREAM, event="*"))
        desk.paper.set_balance("900000")
        await waits(lambda: bool(receiver.posted))
        await waits(lambda: "user: HTTP_503" in str(of.pulse.told()["streams"]))
        assert "gate_streams_up 0.0" in of._metrics.text().decode()
        desk.paper.clear_faults()
        await waits(lambda: len(receiver.posted) == 2)
        assert of.pulse.streams == "ok"
        looks.cancel()
    assert [(each["kind"], each["turn"]) for each in receiver.posted] == [("streams", "begins"), ("streams", "over")]


async def test_without_streams_it_says_so_and_alerts_nobody(desk: Desk, receiver: Receiver) -> None:
    async with looking(desk, receiver, AlertSettings(), Streamless) as of:
        of.pulse.streams = of._exchange.streams()
        assert of.pulse.streams == "off"
        of.look_at_itself()
    assert receiver.posted == []


async def test_an_exchange_that_hangs_doesnt_hold_up_the_news(desk: Desk, receiver: Receiver) -> None:
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    desk.client.hset("quantum:safety:halt", mapping={"scope": "entries", "by": "ops", "reason": "test", "at": "1"})
    heard = asyncio.Event()
    async with looking(desk, receiver, AlertSettings(), Hanging) as of:
        looks = asyncio.create_task(of.keep_looking(heard))
        await asyncio.sleep(0)  # the exchange is asked first
        heard.set()
        await asyncio.to_thread(until, lambda: receiver.posted)
        looks.cancel()
    assert receiver.texts() == ["[quantum] HALT: entries, by ops: test"]


async def test_an_exchange_that_does_not_answer_is_asked_again_soon(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the alert of a short outage would begin after its end."""
    monkeypatch.setattr("gate.service.looking._PROBE_EVERY_S", 3_600)
    monkeypatch.setattr("gate.service.looking._PROBE_AGAIN_S", 0.05)
    away = Fault(kind=FaultKind.UNAVAILABLE_503, method="GET", path="/fapi/v1/premiumIndex", probability=Decimal(1))
    desk.paper.inject(away)
    async with looking(desk, receiver, AlertSettings(), Streamless) as of:
        looks = asyncio.create_task(of.keep_looking(asyncio.Event()))
        await asyncio.to_thread(until, lambda: "503" in of.pulse.exchange, told=lambda: of.pulse.exchange)
        desk.paper.clear_faults()
        await asyncio.to_thread(until, lambda: of.pulse.exchange == "ok", told=lambda: of.pulse.exchange)
        looks.cancel()


async def test_an_outage_that_meets_a_signed_question_ends_with_the_outage(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.service.looking._PROBE_AGAIN_S", 0.05)
    for path in ("/fapi/v1/premiumIndex", "/fapi/v3/account"):
        desk.paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method="GET", path=path, probability=Decimal(1)))
    async with looking(desk, receiver, AlertSettings(), Streamless) as of:
        looks = asyncio.create_task(of.keep_looking(asyncio.Event()))
        await asyncio.to_thread(until, lambda: "503" in of.pulse.exchange, told=lambda: of.pulse.exchange)
        desk.paper.clear_faults()
        monkeypatch.setattr("gate.service.looking._SIGNED_AGAIN_S", 3_600)
        monkeypatch.setattr("gate.service.looking._SIGNED_EVERY_S", 3_600)
        await asyncio.to_thread(until, lambda: of.pulse.exchange == "ok", told=lambda: of.pulse.exchange)
        looks.cancel()


async def test_a_signed_question_without_an_answer_is_asked_again_soon(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in ("_PROBE_AGAIN_S", 0.05), ("_SIGNED_AGAIN_S", 0.1), ("_SIGNED_EVERY_S", 3_600):
        monkeypatch.setattr(f"gate.service.looking.{name}", seconds)
    desk.paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method="GET", path="/fapi/v3/account", times=1))
    async with looking(desk, receiver, AlertSettings(), Streamless) as of:
        looks = asyncio.create_task(of.keep_looking(asyncio.Event()))
        await asyncio.to_thread(until, lambda: "503" in of.pulse.exchange, told=lambda: of.pulse.exchange)
        await asyncio.to_thread(until, lambda: of.pulse.exchange == "ok", told=lambda: of.pulse.exchange)
        looks.cancel()


def _resume(gate: Gate) -> None:
    gate.halt(by="ops", reason="CPI print")
    gate.resume(by="ops", reason="it is out")


ACTS: dict[str, Callable[[Gate], object]] = {
    "resume": _resume,
    "reset": lambda gate: gate.reset("cooldowns", by="ops", reason="quiet"),
    "policy": lambda gate: gate.apply_policy(Policy(max_in_flight=5), by="ops", reason="quiet"),
    "init": lambda gate: gate.init(by="ops", reason="new"),
    "leftovers": lambda gate: gate.clear_leftovers(gate.leftovers(), by="ops", reason="old"),
    "halt": lambda gate: gate.halt(by="ops", reason="CPI print"),
}


@pytest.mark.parametrize("act", ACTS)
async def test_what_is_held_is_tried_again_after_an_act_that_may_let_it_through(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    monkeypatch.setattr("gate.service.looking.NEWS_EVERY_S", 0.02)
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    desk.client.set("quantum:exec:lock:BTCUSDT:BUY", "1")  # of the replaced system: a leftover
    eased: list[int] = []
    heard = asyncio.Event()
    heard.set()
    with Gate.from_url(desk.url) as operator:
        async with looking(desk, receiver, AlertSettings(), Streamless) as of:
            looks = asyncio.create_task(of.keep_looking(heard, lambda: eased.append(1)))
            ACTS[act](operator)
            if act == "halt":
                await asyncio.to_thread(until, lambda: receiver.posted, told=receiver.texts)
            else:
                await asyncio.to_thread(until, lambda: eased)
            looks.cancel()
    assert len(eased) == (0 if act == "halt" else 1)


async def test_an_exchange_that_has_banned_is_not_asked_until_the_ban_is_over(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever goes on asking is banned for longer."""
    monkeypatch.setattr("gate.service.looking._PROBE_AGAIN_S", 0.02)
    desk.paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="*", retry_after_s=600))
    asked: list[str] = []
    async with looking(desk, receiver, AlertSettings(), Streamless) as of:
        exchange = of._exchange
        looks = asyncio.create_task(of.keep_looking(asyncio.Event()))
        await asyncio.to_thread(until, lambda: exchange.rest_ms() is not None, told=lambda: of.pulse.exchange)
        await asyncio.to_thread(until, lambda: of.pulse.exchange != "not asked yet", told=lambda: of.pulse.exchange)
        probe = of._probe

        async def noted() -> str:
            asked.append("asked")
            return await probe()

        monkeypatch.setattr(of, "_probe", noted)
        rests = iter([600_000] * 5)
        monkeypatch.setattr(exchange, "rest_ms", lambda: next(rests, None))
        await asyncio.to_thread(until, lambda: asked)
        assert next(rests, None) is None, "it was asked only when the rest was over"
        looks.cancel()


async def test_a_ban_that_another_request_has_met_is_told_without_a_question(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v3/positionRisk", retry_after_s=600))
    async with looking(desk, receiver, AlertSettings(), Streamless) as of:
        with pytest.raises(ExchangeFailure):
            await of._exchange.positions("BTCUSDT")
        asked: list[str] = []
        hear_arrivals(monkeypatch, lambda _, arrival: asked.append(arrival.request.path))
        looks = asyncio.create_task(of.keep_looking(asyncio.Event()))
        await asyncio.to_thread(until, lambda: of.pulse.exchange != "not asked yet")
        looks.cancel()
        of.look_at_itself()
    assert asked == []
    assert "-1003: " in of.pulse.exchange
    assert [(each["kind"], each["turn"]) for each in receiver.posted] == [("exchange", "begins")]


async def test_near_the_exchange_s_limits_the_account_is_not_asked_for(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What weight is left is for orders."""
    monkeypatch.setattr("gate.service.looking._PROBE_EVERY_S", 0.02)
    async with looking(desk, receiver, AlertSettings(), Streamless) as of:
        near, looked = iter([1_000] * 5), list[bool]()

        async def margin() -> str:
            looked.append(True)
            return ""

        monkeypatch.setattr(of._exchange, "near_limit_ms", lambda: next(near, None))
        monkeypatch.setattr(of, "_look_at_margin", margin)
        looks = asyncio.create_task(of.keep_looking(asyncio.Event()))
        await asyncio.to_thread(until, lambda: looked)
        assert next(near, None) is None
        looks.cancel()


async def test_a_foreign_group_whose_name_is_no_text_hides_nothing(desk: Desk, receiver: Receiver) -> None:
    desk.client.xgroup_create(STREAM, b"caf\xe9", id="0", mkstream=True)
    desk.client.xgroup_create(STREAM, GROUP, id="0")
    desk.send(payload())
    async with looking(desk, receiver, AlertSettings()) as of:
        await of.look()
        assert (of.pulse.lag, of.pulse.pending) == (1, 0)
        assert await of._streams.look() == (True, Backlog(lag=1, pending=0, consumers=0))


async def test_a_resume_after_the_news_were_read_is_named_all_the_same(desk: Desk, receiver: Receiver) -> None:
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    with Gate.from_url(desk.url) as operator:
        async with looking(desk, receiver, AlertSettings()) as of:
            operator.halt(by="ops", reason="CPI print")
            await of.look()
            operator.resume(by="eve", reason="it is out")
            await of.look()
            operator.halt(by="ops", reason="again")
            await of.look()
            desk.client.delete("quantum:safety:halt")
            await of.look()
    assert receiver.texts() == [
        "[quantum] HALT: entries, by ops: CPI print",
        "[quantum] HALT OVER: entries, by ops: CPI print; resumed by eve: it is out",
        "[quantum] HALT: entries, by ops: again",
        "[quantum] HALT OVER: entries, by ops: again",
    ]


async def test_a_halt_that_the_store_has_forgotten_has_not_ended_by_a_person(desk: Desk, receiver: Receiver) -> None:
    with Gate.from_url(desk.url) as operator:
        async with looking(desk, receiver, AlertSettings()) as of:
            operator.init(by="ops", reason="a new account")
            operator.halt(by="ops", reason="CPI print")
            for _ in range(2):
                desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
                await of.look()
                desk.client.flushall()
    forgotten = "not by gate resume: the store may have forgotten it; halt again if you want it"
    assert receiver.texts()[1] == f"[quantum] HALT OVER: entries, by ops: CPI print; {forgotten}"


async def test_another_policy_than_the_pinned_one_is_told_once_and_so_is_its_end(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gate.service")
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    pinned = Policy(max_in_flight=5)
    with Gate.from_url(desk.url, policy=Policy()) as operator:
        operator.apply_policy(by="ops", reason="test")
        async with looking(desk, receiver, AlertSettings(), policy=pinned) as of:
            for _ in range(2):
                await of.look()
            operator.apply_policy(pinned, by="ops", reason="test")
            for _ in range(2):
                await of.look()
    said = [each.getMessage() for each in caplog.records if each.getMessage().startswith("POLICY ")]
    assert len(said) == 2
    assert "max_in_flight 64 in force, 5 here; put this one in force by gate policy apply" in said[0]
    assert said[1] == "POLICY AGREES again"


async def test_another_policy_than_the_pinned_one_is_among_what_stops_entries(desk: Desk, receiver: Receiver) -> None:
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    pinned = Policy(max_in_flight=5)
    with Gate.from_url(desk.url, policy=Policy()) as operator:
        operator.apply_policy(by="ops", reason="test")
        async with looking(desk, receiver, AlertSettings(), policy=pinned) as of:
            await of.look()
            assert of.pulse.told()["stopped_by"] == ["policy: another one is in force"]
            operator.apply_policy(pinned, by="ops", reason="test")
            await of.look()
            assert of.pulse.told()["stopped_by"] == []


async def test_a_service_that_observes_is_told_of_no_other_policy(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is denied because of it: its keys are its own."""
    caplog.set_level("INFO", "gate.service")
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    with Gate.from_url(desk.url, policy=Policy(mode="observe")) as operator:
        operator.apply_policy(by="ops", reason="test")
        async with looking(desk, receiver, AlertSettings(), policy=Policy(max_in_flight=5, mode="observe")) as of:
            await of.look()
            assert not (await of._gate.status()).policy_agrees
    assert not [each for each in caplog.records if each.getMessage().startswith("POLICY ")]


async def test_a_lag_is_told_and_its_end(desk: Desk, receiver: Receiver) -> None:
    settings = read_settings({}, {}, "quantum", host="here", pid=1)
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    for number in range(3):
        desk.send(payload(id=f"waits-{number}"))
    async with looking(desk, receiver, AlertSettings(lag_above=2, lag_after_s=0)) as of:
        await of.look()
        async with plain_client(desk.url, 3_000) as client:
            await Streams(client, settings).read(2)
        await of.look()
    assert [(each["kind"], each["turn"], each["says"]) for each in receiver.posted] == [
        ("lag", "begins", "3 intents that nobody has read"),
        ("lag", "over", "3 intents that nobody has read"),
    ]


@pytest.mark.parametrize("deleted", [False, True], ids=["counted wrong", "not counted"])
async def test_where_all_is_read_there_is_no_lag_whatever_the_server_counts(
    desk: Desk, receiver: Receiver, deleted: bool
) -> None:
    """Redis 7.0 counts wrong for good after a restart with a rewritten append-only file, and not at all after XDEL."""
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    sent = [desk.send(payload(id=f"read-{number}")) for number in range(3)]
    if deleted:
        desk.client.execute_command("XGROUP", "SETID", STREAM, GROUP, sent[1])
        desk.client.xdel(STREAM, sent[0], sent[2])
    else:
        desk.client.execute_command("XGROUP", "SETID", STREAM, GROUP, sent[2], "ENTRIESREAD", 1)
    groups: Any = desk.client.xinfo_groups(STREAM)
    assert groups[0]["lag"] == (None if deleted else 2)
    async with looking(desk, receiver, AlertSettings()) as of:
        assert (await of._streams.backlog()).lag == 0
        desk.send(payload(id="unread"))
        assert (await of._streams.backlog()).lag != 0


async def test_a_lag_is_told_only_once_it_has_lasted(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    desk.send(payload(id="waits"))
    async with looking(desk, receiver, AlertSettings(lag_above=0, lag_after_s=3_600)) as of:
        later_s = of._loop.time() + 7_200
        await of.look()
        desk.send(payload(id="waits-too"))
        monkeypatch.setattr(of, "_loop", SimpleNamespace(time=lambda: later_s))
        await of.look()
    assert receiver.texts() == ["[quantum] LAG: 2 intents that nobody has read"]
