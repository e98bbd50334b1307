"""What the person on call is told in incidents: a store that goes back, or is full; who ended what."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from msgspec import structs

from gate import Gate, Outcome, Policy
from gate.executor import OrderState
from gate.service.alert_settings import AlertSettings
from gate.service.alerts import Alert, Conditions, Kind, Turn, ended_by
from gate.service.looking import Looking
from gate.service.results import Asked
from gate.service.told import ToldOrder
from tests.service.alerting import told
from tests.service.desk import GROUP, STREAM, Desk, payload, until
from tests.service.test_looking import Streamless, looking
from tests.service.test_telling import an_update
from tests.service.webhooks import Receiver

MARKS = "quantum:stream:alert:"
EXIT: dict[str, Any] = {"side": "SELL", "reduce_only": True, "entry_price": None}
QUIET = AlertSettings(in_doubt_after_s=1)


@asynccontextmanager
async def two_services(desk: Desk, receiver: Receiver) -> AsyncIterator[tuple[Looking, Looking]]:
    desk.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    async with (
        looking(desk, receiver, QUIET, Streamless) as one,
        looking(desk, receiver, QUIET, Streamless) as other,
    ):
        yield one, other


async def look(*services: Looking) -> None:
    """Each after the other, and what it finds is told."""
    for each in services:
        await each.look()
        await each._teller._idle.wait()


def keep(client: redis.Redis) -> dict[bytes, tuple[Any, int]]:
    """What the store holds. What is marked as told was marked a minute ago."""
    for key in client.scan_iter(f"{MARKS}*"):
        client.pexpire(key, int(client.pttl(key)) - 60_000)
    return {key: (client.dump(key), max(int(client.pexpiretime(key)), 0)) for key in client.scan_iter("*")}


def go_back(client: redis.Redis, kept: dict[bytes, tuple[Any, int]]) -> None:
    """As a server that starts from an older file, or a replica that lags and takes over."""
    client.flushall()
    for key, (value, until_ms) in kept.items():
        client.restore(key, until_ms, value, absttl=until_ms > 0)
    client.hset("quantum:exec:state", "run_id", "f" * 40)


async def test_the_end_of_a_halt_that_a_store_loses_by_going_back_is_told_once(
    harmed: Desk, receiver: Receiver
) -> None:
    with Gate.from_url(harmed.url) as operator:
        operator.init(by="ops", reason="new")
        async with two_services(harmed, receiver) as services:
            operator.halt(by="ops", reason="first")
            await look(*services)
            operator.resume(by="ops", reason="quiet")
            await look(*services)
            kept = keep(harmed.client)
            operator.halt(by="ops", reason="CPI, keep halted")
            await look(*services)
            before = len(receiver.posted)
            go_back(harmed.client, kept)
            for _ in range(2):
                await look(*services)
    told = receiver.texts()[before:]
    forgotten = "not by gate resume: the store may have forgotten it; halt again if you want it"
    assert told[0] == f"[quantum] HALT OVER: entries, by ops: CPI, keep halted; {forgotten}"
    [memory] = told[1:]
    assert memory.startswith("[quantum] MEMORY: another server answers than before, or it has restarted; ")
    assert "A halt or a policy that came last may be forgotten: gate halt, gate policy show" in memory
    assert memory.endswith("Now no halt is in force")


async def test_a_halt_to_which_a_store_goes_back_is_told_again_and_once(harmed: Desk, receiver: Receiver) -> None:
    with Gate.from_url(harmed.url) as operator:
        operator.init(by="ops", reason="new")
        async with two_services(harmed, receiver) as services:
            operator.halt(by="ops", reason="CPI")
            harmed.client.hincrby("quantum:safety:halt", "at", -60_000)
            await look(*services)
            kept = keep(harmed.client)
            operator.resume(by="ops", reason="it is out")
            await look(*services)
            before = len(receiver.posted)
            go_back(harmed.client, kept)
            for _ in range(2):
                await look(*services)
    told = receiver.texts()[before:]
    gone_back = ". The store may have gone back to it: gate resume ends it, if nobody wants it"
    assert told[0] == f"[quantum] HALT: entries, by ops: CPI{gone_back}"
    [memory] = told[1:]
    assert memory.endswith("Now halted: entries, by ops: CPI")


async def test_a_mark_of_now_counts_though_this_service_looks_later(desk: Desk, receiver: Receiver) -> None:
    """Else every halt would be told by each service."""
    with Gate.from_url(desk.url) as operator:
        operator.init(by="ops", reason="new")
        async with two_services(desk, receiver) as (one, other):
            for reason in ("one", "two", "three"):
                await look(one, other)
                operator.halt(by="ops", reason=reason)
                await look(one, other)
                operator.resume(by="ops", reason="quiet")
                await look(other, one)
    assert [each["turn"] for each in receiver.posted] == ["begins", "over"] * 3


async def test_a_full_store_is_told_once_with_the_remedy_and_shows(harmed: Desk, receiver: Receiver) -> None:
    with Gate.from_url(harmed.url) as operator:
        operator.init(by="ops", reason="new")
    async with two_services(harmed, receiver) as services:
        await look(*services)
        harmed.client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            harmed.send(payload())
        for _ in range(2):
            await look(*services)
        assert "gate_store_takes_writes 0.0" in services[0]._metrics.text().decode()
        services[0].pulse.store = "ok"
        assert "maxmemory" in str(services[0].pulse.told()["store"])
        harmed.client.config_set("maxmemory", 0)
        await look(*services)
        assert "gate_store_takes_writes 1.0" in services[0]._metrics.text().decode()
    assert [(each["kind"], each["turn"]) for each in receiver.posted] == [
        ("store_refuses", "begins"),
        ("store_refuses", "over"),
    ]
    assert "raise maxmemory, or make room" in receiver.texts()[0]
    audit: Any = harmed.client.xrange("quantum:safety:audit")
    assert [fields[b"what"] for _, fields in audit] == [b"init"], "its beginning can't stand there, so its end doesn't"


async def test_a_store_that_refuses_for_a_moment_is_not_told(
    harmed: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_services(harmed, receiver) as (one, _):
        monkeypatch.setattr(one, "_down_after_s", 10.0)
        harmed.client.config_set("min-replicas-to-write", 1)
        for _ in range(2):
            await look(one)
        assert one.pulse.refuses
        harmed.client.config_set("min-replicas-to-write", 0)
        await look(one)
    assert [each["kind"] for each in receiver.posted] == []


async def test_of_a_store_that_does_not_answer_nobody_knows_whether_it_takes_writes(
    desk: Desk, receiver: Receiver
) -> None:
    async with two_services(desk, receiver) as (one, _):
        one.pulse.refuses = "it is full"
        desk.client.set(STREAM, "not a stream")
        await look(one)
        assert one.pulse.refuses is None
        assert "gate_store_takes_writes NaN" in one._metrics.text().decode()


@pytest.mark.parametrize(("seen_s_ago", "told_again"), [(60, False), (1, True)])
async def test_a_mark_is_as_old_as_what_this_service_has_seen_since(
    desk: Desk, receiver: Receiver, seen_s_ago: float, told_again: bool
) -> None:
    """Whoever looks seconds later finds a mark that counts. One from before the halt was off is of an older halt."""
    async with told(desk, url=receiver.url) as of:
        of.teller.tell(Alert(Kind.HALT, Turn.BEGINS, "by ops"))
        await of.teller._idle.wait()
        marked: Any = desk.client.pttl(f"{MARKS}halt")
        desk.client.pexpire(f"{MARKS}halt", marked - 20_000)
        of.teller.tell(Alert(Kind.HALT, Turn.BEGINS, "by ops", otherwise_s=time.monotonic() - seen_s_ago))
    assert len(receiver.posted) == 1 + told_again


@pytest.mark.parametrize("kind", [Kind.HALT, Kind.MARGIN])
def test_what_each_service_has_on_its_own_clock_says_nothing_of_a_mark(kind: Kind) -> None:
    of = Conditions()
    of.see(kind, "", 1)
    begins = of.see(kind, "on", 2)
    assert begins
    assert begins.otherwise_s == (1 if kind is Kind.HALT else None)


def test_reset_all_ends_safe_mode_and_the_rest() -> None:
    ended = ended_by([("1-0", {"what": "reset all", "by": "eve", "reason": "looked"})])
    assert ended == dict.fromkeys((Kind.SAFE_MODE, Kind.COOLDOWN_GLOBAL), "reset by eve: looked")


async def test_the_end_of_what_could_not_be_marked_is_told_each_time(harmed: Desk, receiver: Receiver) -> None:
    """The mark that stands there is of an older turn."""
    with Gate.from_url(harmed.url) as operator:
        operator.init(by="ops", reason="new")
    async with two_services(harmed, receiver) as services:
        for _ in range(2):
            await look(*services)
            harmed.client.config_set("min-replicas-to-write", 1)
            for _ in range(2):
                await look(*services)
            harmed.client.config_set("min-replicas-to-write", 0)
            for _ in range(2):
                await look(*services)
    assert [(each["kind"], each["turn"]) for each in receiver.posted] == [
        ("store_refuses", turn) for turn in ("begins", "begins", "over", "over") * 2
    ]


async def test_what_begins_anew_is_told_though_its_end_could_not_be_marked(harmed: Desk, receiver: Receiver) -> None:
    async with told(harmed, url=receiver.url) as of:
        for turn, replicas in ((Turn.BEGINS, 0), (Turn.OVER, 1), (Turn.BEGINS, 0), (Turn.BEGINS, 0)):
            harmed.client.config_set("min-replicas-to-write", replicas)
            of.teller.tell(Alert(Kind.MARGIN, turn, "99 USDT"))
            await of.teller._idle.wait()
    assert [each["turn"] for each in receiver.posted] == ["begins", "over", "begins"]


def test_a_cooldown_of_the_account_is_told_by_one_and_who_ended_it(desk: Desk, receiver: Receiver) -> None:
    policy = Policy(rate_global_limit=2)
    with Gate.from_url(desk.url, policy=policy) as operator:
        operator.init(by="ops", reason="new")
        operator.apply_policy(by="ops", reason="narrow")
        for _ in range(2):
            desk.worker("[service]\nretries = false\n", GATE_ALERT_URL=receiver.url).consumes()
        for number, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
            desk.send(payload(symbol, id=f"sig-{number}", entry_price=None))
        desk.wait_results(3)
        until(lambda: receiver.texts(), told=lambda: [each.log for each in desk.workers])
        operator.reset("cooldowns", by="eve", reason="limit was too low")
        until(lambda: len(receiver.texts()) > 1, told=receiver.texts)
    assert [each.stop() for each in desk.workers] == [0, 0]
    begins, over = receiver.texts()
    assert begins.startswith("[quantum] COOLDOWN GLOBAL: 2 orders in ")
    assert begins.endswith(" s, or until gate reset cooldowns")
    assert over.endswith("reset by eve: limit was too low")


async def test_a_rest_of_seconds_is_told_only_once_it_lasts(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an overload, whose rests of five seconds come and go, would fill the teller with pairs of alerts."""
    async with two_services(desk, receiver) as (one, _):
        now_s = one._loop.time()
        monkeypatch.setattr(one, "_loop", SimpleNamespace(time=lambda: now_s))

        async def rests(ttl_ms: int | None, *, for_s: float) -> list[str]:
            nonlocal now_s
            now_s += for_s
            desk.client.delete("quantum:safety:cooldown_global")
            if ttl_ms is not None:
                desk.client.set("quantum:safety:cooldown_global", "-1008", px=ttl_ms)
            await look(one)
            return [each["turn"] for each in receiver.posted]

        for _ in range(3):
            assert await rests(5_000, for_s=5) == []
            assert await rests(5_000, for_s=9) == []
            assert await rests(None, for_s=5) == []
        assert await rests(5_000, for_s=5) == []
        assert await rests(30_000, for_s=10) == ["begins"]
        assert await rests(None, for_s=5) == ["begins", "over"]
        assert await rests(60_000, for_s=5) == ["begins", "over", "begins"], "a long one is told at once"


async def test_the_end_of_safe_mode_says_who_or_that_nobody_has_ended_it(desk: Desk, receiver: Receiver) -> None:
    with Gate.from_url(desk.url) as operator:
        operator.init(by="ops", reason="new")
        async with two_services(desk, receiver) as services:
            for by_a_person in (True, False):
                desk.client.set("quantum:safety:safe_mode", "failures", px=900_000)
                await look(*services)
                if by_a_person:
                    operator.reset("safe_mode", by="eve", reason="looked")
                else:
                    desk.client.delete("quantum:safety:safe_mode")
                await look(*services)
    assert receiver.texts()[1::2] == [
        "[quantum] SAFE MODE OVER: failures; reset by eve: looked",
        "[quantum] SAFE MODE OVER: failures; not by gate reset: its time is over, or its key was deleted",
    ]


async def test_the_end_of_a_new_memory_says_by_whom_and_whether_entries_are_halted(
    desk: Desk, receiver: Receiver
) -> None:
    desk.client.delete("quantum:exec:state")
    with Gate.from_url(desk.url) as operator:
        async with two_services(desk, receiver) as services:
            await look(*services)
            operator.halt(by="ops", reason="until looked")
            operator.init(by="eve", reason="looked at the exchange")
            await look(*services)
    [memory, _, over] = sorted(receiver.texts(), key=lambda text: ("OVER" in text, "HALT" in text))
    assert memory.startswith(
        "[quantum] MEMORY: nothing is known of this account. If it isn't new, its orders may still be"
    )
    halted = "halted: entries, by ops: until looked"
    assert over == f"[quantum] MEMORY OVER: gate init by eve: looked at the exchange; {halted}"


async def test_the_end_of_a_doubt_says_what_became_of_each(desk: Desk, receiver: Receiver) -> None:
    with Gate.from_url(desk.url) as gate:
        gate.init(by="ops", reason="new")
        permits = []
        for name, more in (("entry", {}), ("exit", EXIT)):
            permit = gate.evaluate({**payload("ETHUSDT", id=name), **more}).permit
            assert permit
            gate.settle(permit, Outcome.unknown("the worker died"))
            permits.append(permit)
        held: Any = desk.client.zrange("quantum:exec:inflight:exits", 0, -1)
        desk.client.zadd("quantum:exec:inflight:exits", dict.fromkeys(held, 1))  # past its deadline
        async with two_services(desk, receiver) as services:
            await look(*services)
            for each in services:
                each._doubts._since_s = dict.fromkeys(each._doubts._since_s, -1.0)
            await look(*services)
            gate.settle(permits[0], Outcome.placed("77"))
            gate.settle(permits[1], Outcome.not_placed("looked it up"))
            await look(*services)
    [begins, over] = receiver.texts()
    assert begins.startswith("[quantum] IN DOUBT: 2 orders may exist; ")
    assert over.startswith("[quantum] IN DOUBT OVER: ")
    assert "entry was placed, order 77" in over
    assert "exit has no order, NOT_PLACED: an exit, so its position may be open" in over


async def test_the_end_of_a_doubt_names_what_was_settled_before_the_last_look(desk: Desk, receiver: Receiver) -> None:
    with Gate.from_url(desk.url) as gate:
        gate.init(by="ops", reason="new")
        permits = []
        for name, symbol in (("one", "BTCUSDT"), ("two", "ETHUSDT")):
            permit = gate.evaluate(payload(symbol, id=name)).permit
            assert permit
            gate.settle(permit, Outcome.unknown("the worker died"))
            permits.append(permit)
        async with two_services(desk, receiver) as (one, _):
            await look(one)
            one._doubts._since_s = {"one": -2.0, "two": -1.0}
            await look(one)
            gate.settle(permits[0], Outcome.not_placed("looked it up"))
            await look(one)
            gate.settle(permits[1], Outcome.placed("77"))
            await look(one)
            assert one._doubted == {}
    [begins, over] = receiver.texts()
    assert "2 orders may exist; one for more than" in begins
    assert over == "[quantum] IN DOUBT OVER: one has no order, NOT_PLACED; two was placed, order 77"


async def test_a_stop_of_another_service_is_named_by_its_intent(desk: Desk, receiver: Receiver) -> None:
    told = ToldOrder(Asked("stop-1", "BTCUSDT", "SELL", 1, None, None), state="NEW", order_id="81")
    refused = structs.replace(
        an_update(1), state=OrderState.REJECTED, side="SELL", conditional=True, detail="Margin is insufficient."
    )
    assert refused.alarming
    desk.client.set(f"quantum:stream:order:{refused.client_order_id}", told.packed())

    async def come() -> AsyncIterator[Any]:
        yield refused

    async with two_services(desk, receiver) as (one, _):
        await one.keep_listening(come())
    [said] = receiver.texts()
    assert f"STOP REJECTED: BTCUSDT SELL, {refused.client_order_id} of stop-1, " in said
