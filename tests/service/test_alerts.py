"""Alerts: each once, with its end, to the log, the audit and a webhook; and nothing waits for them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from gate import Gate, Outcome
from gate.service.alert_settings import AlertSettings
from gate.service.alerts import Alert, Conditions, Doubts, Kind, Turn
from gate.service.news import News
from gate.service.webhook import NotSent, Webhook, body_of
from gate.store.connect import plain_client
from tests.service.alerting import told
from tests.service.desk import Desk, payload, until
from tests.service.test_check import KEYS
from tests.service.test_check import gate as run_gate
from tests.service.webhooks import Receiver, receiving

AUDIT = "quantum:safety:audit"
JOURNAL = "quantum:exec:audit"
HALT = Alert(Kind.HALT, Turn.BEGINS, "entries, by ops: <!channel> & more")


def audited(desk: Desk) -> list[str]:
    rows: Any = desk.client.xrange(AUDIT)
    return [fields[b"what"].decode() for _, fields in rows]


# When.


def test_it_is_told_once_and_its_end_once() -> None:
    of = Conditions()
    assert of.see(Kind.STORE, "", 0) is None
    assert of.see(Kind.STORE, "away", 1) == Alert(Kind.STORE, Turn.BEGINS, "away")
    assert of.see(Kind.STORE, "still away", 2) is None
    assert of.see(Kind.STORE, "", 3) == Alert(Kind.STORE, Turn.OVER, "still away")
    assert of.see(Kind.STORE, "", 4) is None


def test_its_end_names_who_has_ended_it() -> None:
    of = Conditions()
    of.see(Kind.HALT, "entries, by ops: CPI print", 1)
    assert of.on(Kind.HALT)
    ended = of.see(Kind.HALT, "", 2, ended_by="resumed by eve: it is out")
    assert ended == Alert(Kind.HALT, Turn.OVER, "entries, by ops: CPI print; resumed by eve: it is out")
    assert not of.on(Kind.HALT)


def test_what_is_over_before_its_time_isnt_told() -> None:
    of = Conditions()
    assert of.see(Kind.STORE, "away", 0, after_s=10) is None
    assert of.see(Kind.STORE, "", 9, after_s=10) is None
    assert of.see(Kind.STORE, "away", 10, after_s=10) is None
    assert of.see(Kind.STORE, "away", 19, after_s=10) is None
    assert of.see(Kind.STORE, "away", 20, after_s=10) is not None


def test_an_intent_is_long_in_doubt_only_if_it_is_the_same_one() -> None:
    of = Doubts()
    assert of.oldest(("a", "b"), 0) == ("a", 0)
    assert of.oldest(("b", "c"), 50) == ("b", 50)
    assert of.oldest(("c",), 70) == ("c", 20)
    assert of.oldest((), 80) == ("", 0)


# Where to.


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("slack", {"text": "[quantum] HALT: entries, by ops: &lt;!channel&gt; &amp; more"}),
        (
            "telegram",
            {
                "chat_id": "-1001",
                "text": "[quantum] HALT: entries, by ops: <!channel> & more",
                "disable_web_page_preview": True,
            },
        ),
        (
            "json",
            {
                "kind": "halt",
                "turn": "begins",
                "text": "[quantum] HALT: entries, by ops: <!channel> & more",
                "says": "entries, by ops: <!channel> & more",
                "prefix": "quantum",
                "by": "me",
                "at_ms": 7,
            },
        ),
    ],
)
async def test_each_form_arrives(receiver: Receiver, form: str, body: dict[str, Any]) -> None:
    settings = AlertSettings(webhook=form, telegram_chat="-1001", url=receiver.url)
    async with Webhook(settings) as webhook:
        await webhook.post(body_of(HALT, settings, prefix="quantum", by="me", now_ms=7))
    assert receiver.posted == [body]
    assert receiver.paths == ["/bot12:secret-token/send"]


async def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_isnt(receiver: Receiver) -> None:
    async with Webhook(AlertSettings(url=receiver.url), again_after_s=(0.0, 0.0)) as webhook:
        receiver.answers = [(500, {}), (429, {"Retry-After": "0"}), (204, {})]
        await webhook.post({"text": "busy"})
        assert len(receiver.posted) == 3
        receiver.answers = [(404, {}), (200, {})]
        with pytest.raises(NotSent, match="refused with 404"):
            await webhook.post({"text": "refused"})
        assert len(receiver.posted) == 4
        receiver.answers = [(503, {})] * 3
        with pytest.raises(NotSent, match="answered 503"):
            await webhook.post({"text": "broken"})


async def test_no_redirect_takes_the_token_elsewhere(receiver: Receiver) -> None:
    with receiving() as other:
        receiver.answers = [(307, {"Location": other.url})]
        async with Webhook(AlertSettings(url=receiver.url)) as webhook:
            with pytest.raises(NotSent):
                await webhook.post({"text": "here"})
        assert other.posted == []


async def test_an_answer_that_cant_be_read_doesnt_tell_the_url() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/9 nonsense\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Webhook(
            AlertSettings(url=f"http://127.0.0.1:{port}/bot12:secret-token"), again_after_s=()
        ) as webhook:
            with pytest.raises(NotSent) as failed:
                await webhook.post({"text": "here"})
    assert "secret-token" not in str(failed.value)


async def test_nothing_waits_for_a_webhook_that_hangs_and_the_token_is_nowhere(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.service.webhook.TIMEOUT_S", 0.05)
    receiver.hangs.set()
    async with told(desk, url=receiver.url) as of:
        for number in range(3):
            of.teller.tell(Alert(Kind.STORE, Turn.BEGINS, str(number)))
    assert len(receiver.posted) == 3
    lines = [record for record in caplog.records if record.getMessage().startswith("ALERT NOT SENT")]
    assert len(lines) == 3
    assert "secret-token" not in caplog.text
    assert "secret-token" not in repr(AlertSettings(url=receiver.url))


async def test_a_webhook_that_is_away_never_stops_the_others(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    async with told(desk, url="http://127.0.0.1:1/bot12:secret-token") as of:
        of.teller.tell(Alert(Kind.MARGIN, Turn.BEGINS, "99 USDT"))
        of.teller.tell(Alert(Kind.LAG, Turn.BEGINS, "2000"))
    assert audited(desk) == ["alert margin", "alert lag"]
    assert "secret-token" not in caplog.text


async def test_of_an_accounts_services_one_tells_it_and_one_its_end(desk: Desk, receiver: Receiver) -> None:
    begins, over = Alert(Kind.MARGIN, Turn.BEGINS, "99 USDT"), Alert(Kind.MARGIN, Turn.OVER, "99 USDT")
    async with told(desk, url=receiver.url) as one, told(desk, url=receiver.url) as other:
        for alert in (begins, over, begins):
            for each in (one, other):
                each.teller.tell(alert)
            await one.teller._idle.wait()
            await other.teller._idle.wait()
    assert [each["turn"] for each in receiver.posted] == ["begins", "over", "begins"]


async def test_the_end_is_told_by_a_service_that_comes_later_and_not_without_a_beginning(
    desk: Desk, receiver: Receiver
) -> None:
    of = Conditions()
    inherited = of.see(Kind.MARGIN, "", 0)
    async with told(desk, url=receiver.url) as fresh:
        fresh.teller.tell(inherited)
    assert receiver.posted == []
    async with told(desk, url=receiver.url) as dies:
        dies.teller.tell(Alert(Kind.MARGIN, Turn.BEGINS, "99 USDT"))
    async with told(desk, url=receiver.url) as later:
        later.teller.tell(inherited)
    assert [each["turn"] for each in receiver.posted] == ["begins", "over"]


async def test_a_stop_that_was_rejected_is_told_once_by_whoever_hears_of_it(desk: Desk, receiver: Receiver) -> None:
    async with told(desk, url=receiver.url) as one, told(desk, url=receiver.url) as other:
        for each in (one, other):
            each.teller.tell(Alert(Kind.STOP_REJECTED, Turn.HAPPENED, "BTCUSDT -2021", once="g-abc"))
        one.teller.tell(Alert(Kind.STOP_REJECTED, Turn.HAPPENED, "BTCUSDT -2021", once="g-def"))
    assert [each["text"] for each in receiver.posted] == ["[quantum] STOP REJECTED: BTCUSDT -2021"] * 2


def note_late(client: Any, key: str, order: str) -> None:
    client.xadd(key, {"what": "late order", "by": "gate", "reason": order})


@pytest.mark.parametrize("key", [AUDIT, JOURNAL, "quantum:observe:safety:audit", "quantum:observe:exec:audit"])
async def test_a_late_order_is_news_wherever_it_is_noted(desk: Desk, key: str) -> None:
    note_late(desk.client, key, "77")
    client = plain_client(desk.url, 3_000)
    assert [fields["reason"] for _, fields in await News(client, "quantum", observes=True).read()] == ["77"]
    assert len(await News(client, "quantum").read()) == (0 if "observe" in key else 1)
    await client.aclose()


@pytest.mark.parametrize("key", [AUDIT, JOURNAL])
async def test_a_flood_of_entries_hides_no_late_order(desk: Desk, key: str) -> None:
    client = plain_client(desk.url, 3_000)
    news = News(client, "quantum")
    assert await news.read() == []
    note_late(desk.client, key, "77")
    with desk.client.pipeline(transaction=False) as flood:
        for number in range(2_345):
            flood.xadd(key, {"what": "settled as absent", "reason": str(number)})
        flood.execute()
    heard = [fields["reason"] for _, fields in await news.read()]
    assert heard == ["77", *map(str, range(2_345))]
    assert await news.read() == []
    note_late(desk.client, key, "78")
    assert [fields["reason"] for _, fields in await news.read()] == ["78"]
    await client.aclose()


@pytest.mark.parametrize(("damaged", "whole"), [(AUDIT, JOURNAL), (JOURNAL, AUDIT)])
async def test_a_damaged_key_hides_not_what_stands_in_the_other(desk: Desk, damaged: str, whole: str) -> None:
    desk.client.set(damaged, "damaged")
    note_late(desk.client, whole, "77")
    client = plain_client(desk.url, 3_000)
    news = News(client, "quantum")
    assert [fields["reason"] for _, fields in await news.read()] == ["77"]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await news.read()
    await client.aclose()


# From end to end.

QUICK = "[service.alerts]\nin_doubt_after_s = 1\nlag_above = 1\nlag_after_s = 1\n"


def test_a_halt_and_its_end_a_trip_and_a_late_order_are_told_by_one_of_two_workers(
    desk: Desk, receiver: Receiver
) -> None:
    workers = [desk.worker(QUICK, GATE_ALERT_URL=receiver.url).consumes() for _ in range(2)]
    with Gate.from_url(desk.url) as gate:
        gate.halt(by="ops", reason="CPI print")
        until(lambda: "[quantum] HALT: entries, by ops: CPI print" in receiver.texts(), told=receiver.texts)
        until(lambda: all("CPI print" in str(each.health()["stopped_by"]) for each in workers))
        gate.resume(by="ops", reason="it is out")
        until(lambda: any("HALT OVER" in each for each in receiver.texts()), told=receiver.texts)
        over = "[quantum] HALT OVER: entries, by ops: CPI print; resumed by ops: it is out"
        assert over in receiver.texts()
        desk.client.set("quantum:safety:safe_mode", "1", px=900_000)
        until(lambda: any("SAFE MODE:" in each for each in receiver.texts()), told=receiver.texts)
        verdict = gate.evaluate(payload("ETHUSDT", side="SELL", reduce_only=True, id="late"))
        assert verdict.permit
        gate.settle(verdict.permit, Outcome.not_placed("looked it up"))
        gate.settle(verdict.permit, Outcome.placed("77"))
        until(lambda: any("LATE ORDER: order 77 of late" in each for each in receiver.texts()), told=receiver.texts)
        gate.reset("safe_mode", by="ops", reason="looked")
    until(lambda: any("SAFE MODE OVER" in each for each in receiver.texts()), told=receiver.texts)
    assert [each.stop() for each in workers] == [0, 0]
    kinds = [(each["kind"], each["turn"]) for each in receiver.posted]
    assert sorted(kinds) == sorted(set(kinds))
    assert len(kinds) == 5
    logs = "".join(each.log for each in workers)
    assert logs.count(" ALERT kind=halt ") == logs.count(" ALERT OVER kind=halt ") == 1
    assert "secret-token" not in logs
    assert not [what for what in audited(desk) if what.startswith("alert")]  # they stand there anyway


def test_little_margin_and_a_long_doubt_are_told_and_audited(desk: Desk, receiver: Receiver) -> None:
    config = QUICK + 'margin_below = 2000000\nwebhook = "slack"\n'
    with Gate.from_url(desk.url) as gate:
        verdict = gate.evaluate(payload("ETHUSDT", id="doubtful"))
        assert verdict.permit
        gate.settle(verdict.permit, Outcome.unknown("the worker died"))
    desk.worker(config, GATE_ALERT_URL=receiver.url)

    def said(text: str) -> bool:
        return any(text in each for each in receiver.texts())

    until(lambda: said("MARGIN: 1000000 USDT are free, below 2000000"), told=receiver.texts)
    until(lambda: said("IN DOUBT: 1 order may exist; doubtful for more than 1 s"), told=receiver.texts)
    until(lambda: {"alert margin", "alert in_doubt"} <= set(audited(desk)))
    assert all(set(each) == {"text"} for each in receiver.posted)


def test_a_stop_that_is_refused_when_it_fires_is_told_and_so_is_a_liquidation(desk: Desk, receiver: Receiver) -> None:
    desk.paper.set_price("BTCUSDT", "100000")
    worker = desk.worker(GATE_ALERT_URL=receiver.url).consumes()
    until(lambda: worker.health()["streams"] == "ok", told=lambda: worker.log)
    stop: dict[str, Any] = {
        "type": "STOP_MARKET",
        "stopPrice": 105_000,
        "entry_price": 105_000,
        "position_size_usd": 1_000,
    }
    desk.send(payload(id="refused", **stop))
    assert desk.result()["state"] == "PLACED", desk.result()
    desk.paper.set_balance("1")
    desk.paper.set_price("BTCUSDT", "106000")

    def told(pattern: str) -> bool:
        return any(re.search(pattern, each) for each in receiver.texts())

    refused = "STOP REJECTED: BTCUSDT BUY, .* of refused, was refused when it fired: .*argin"
    until(lambda: told(refused), told=lambda: (receiver.texts(), worker.log))

    desk.paper.set_balance("100")
    desk.send(payload("ETHUSDT", id="liquidated", entry_price=None, leverage=10))
    desk.wait_results(2)
    desk.paper.set_price("ETHUSDT", "1", mark="1")
    until(lambda: told("LIQUIDATED: the exchange closes ETHUSDT"), told=lambda: (receiver.texts(), worker.log))
    assert worker.health()["ok"]
    assert worker.stop() == 0
    assert {"alert stop_rejected", "alert liquidated"} <= set(audited(desk))


def test_a_stop_that_leaves_a_part_of_its_position_open_is_told(desk: Desk, receiver: Receiver) -> None:
    worker = desk.worker(GATE_ALERT_URL=receiver.url).consumes()
    until(lambda: worker.health()["streams"] == "ok", told=lambda: worker.log)
    desk.send(payload(id="entry", position_size_usd=10_000))
    desk.wait_results(1)
    stop: dict[str, Any] = {"type": "STOP_MARKET", "stopPrice": 95_000, "side": "SELL", "closePosition": True}
    desk.send(payload(id="stop", entry_price=None, position_size_usd=None, **stop))
    assert desk.wait_results(2)[1]["state"] == "PLACED"
    desk.paper.set_price("BTCUSDT", "94000", depth="0.01")

    left = "STOP REJECTED: BTCUSDT SELL, .* of stop, ended when it fired, and left a position open: EXPIRED"
    until(lambda: any(re.search(left, each) for each in receiver.texts()), told=lambda: (receiver.texts(), worker.log))


def test_lost_memory_is_told(harmed: Desk, receiver: Receiver) -> None:
    harmed.worker(QUICK, GATE_ALERT_URL=receiver.url).consumes()
    harmed.client.delete("quantum:exec:state")
    until(lambda: any("[quantum] MEMORY: " in text for text in receiver.texts()), told=receiver.texts)
    with Gate.from_url(harmed.url) as gate:
        gate.init(by="ops", reason="looked at the exchange")
    until(lambda: any("MEMORY OVER" in text for text in receiver.texts()), told=receiver.texts)


# Configured.


@pytest.mark.parametrize(
    ("config", "environ", "said"),
    [
        ("margin_below = -1", {}, "service.alerts.margin_below: -1 is not an amount"),
        ("margin_bellow = 1", {}, "service.alerts.margin_bellow: is not a setting"),
        ("lag_above = 0", {}, "service.alerts.lag_above: 0 is not a whole number"),
        ('webhook = "mail"', {}, "'mail' is none of json, slack, telegram"),
        ('webhook = "https://hooks.example/secret-token"', {}, "a URL belongs in GATE_ALERT_URL"),
        ('webhook = ["secret-token"]', {}, "service.alerts.webhook: is not a text"),
        ('webhook = "telegram"', {}, "service.alerts.telegram_chat: is missing"),
        ("", {"GATE_ALERT_URL": "http://hooks.example/secret-token"}, "GATE_ALERT_URL: would send its token in plain"),
        ("", {"GATE_ALERT_URL": "secret-token"}, "GATE_ALERT_URL: is not a URL"),
        ("", {"GATE_ALERT_URL": "https://me@hooks.example/secret-token"}, "GATE_ALERT_URL: names a user"),
        ("", {"GATE_ALERT_URL_FILE": "/nowhere"}, "GATE_ALERT_URL_FILE: /nowhere can't be read"),
    ],
)
def test_what_cant_be_used_is_refused_and_no_secret_is_shown(
    desk: Desk, config: str, environ: dict[str, str], said: str
) -> None:
    done = run_gate(desk, "--check", config=f"[service.alerts]\n{config}\n", **KEYS, **environ)
    assert done.returncode == 2
    assert said in done.stderr
    assert "secret-token" not in done.stdout + done.stderr


@pytest.mark.parametrize("form", ["json", "slack", "telegram"])
def test_a_person_tries_the_webhook_without_keys(desk: Desk, receiver: Receiver, form: str) -> None:
    config = f'[service.alerts]\nwebhook = "{form}"\ntelegram_chat = "-1"\n'
    done = run_gate(desk, "--try-alert", config=config, GATE_ALERT_URL=receiver.url)
    assert (done.returncode, done.stdout) == (0, f"{form} at 127.0.0.1 has taken it\n")
    assert receiver.texts() == ["[quantum] TRY: this is how alerts come; nothing is the matter"]
    assert audited(desk) == []


def test_a_webhook_that_takes_nothing_shows_when_it_is_tried(desk: Desk, receiver: Receiver) -> None:
    receiver.answers = [(404, {})]
    done = run_gate(desk, "--try-alert", GATE_ALERT_URL=receiver.url)
    assert (done.returncode, done.stderr) == (1, "json at 127.0.0.1 has not taken it: refused with 404\n")
    receiver.answers = [(403, {})]
    done = run_gate(desk, "--try-alert", "--json", GATE_ALERT_URL=receiver.url)
    assert json.loads(done.stdout) == {"ok": False, "to": "json at 127.0.0.1", "says": "refused with 403"}
    assert done.returncode == 1
    both = run_gate(desk, "--try-alert", "--check", GATE_ALERT_URL=receiver.url)
    assert (both.returncode, len(receiver.posted)) == (2, 2)
    assert "--check and --try-alert each end" in both.stderr
    without = run_gate(desk, "--try-alert")
    assert without.returncode == 2
    assert "GATE_ALERT_URL has no URL: alerts go to the log and the audit alone" in without.stderr


def test_the_url_comes_from_a_file_and_check_shows_its_host_alone(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://hooks.example/services/secret-token\n")
    file = str(tmp_path / "url")
    done = run_gate(
        desk, "--check", "--json", config='[service.alerts]\nwebhook = "slack"\n', **KEYS, GATE_ALERT_URL_FILE=file
    )
    assert json.loads(done.stdout)["alerts"] == "the log, the audit, and slack at hooks.example"
    assert "secret-token" not in done.stdout + done.stderr
