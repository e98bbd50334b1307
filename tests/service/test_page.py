"""The commands of docs/service.md and of the README's section, run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure
from gate.paper import Account, PaperExchange
from tests.service.desk import Desk, payload, until

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8").partition("\n## The execution service\n")[2].partition("\n## ")[0]
RUN, CHECK = "gate --config gate.toml run", "gate --config gate.toml run --check"
SUBMIT = "gate --config gate.toml submit --id try-1 --symbol BTCUSDT --side BUY --notional 300 --wait 30"


def commands(text: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


def test_the_commands_run_as_they_stand(desk: Desk) -> None:
    assert commands(README) == [CHECK, RUN]
    assert commands(PAGE) == [CHECK, RUN, SUBMIT, "curl -s http://127.0.0.1:9109/healthz"]
    [config] = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    config = config.replace("redis://127.0.0.1:6379/0", desk.url)
    # Another port than the default, which others on this machine may have.
    (desk.folder / "gate.toml").write_text(config + '[service]\nlisten = "127.0.0.1:0"\n')
    environ = {
        "PATH": "/bin",
        "GATE_EXCHANGE_URL": desk.paper.url,
        "BINANCE_API_KEY": "key",
        "BINANCE_API_SECRET": "secret",
        "PYTHONPATH": str(ROOT),
    }

    def words(command: str) -> list[str]:
        return [sys.executable, "-m", *shlex.split(command)]

    done = subprocess.run(words(CHECK), cwd=desk.folder, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr

    log = desk.folder / "log"
    with log.open("ab") as out:
        process = subprocess.Popen(words(RUN), cwd=desk.folder, env=environ, stdout=out, stderr=out)
    try:
        at = until(lambda: re.search(r"listening=(\S+)", log.read_text()), told=log.read_text)[1]

        def well() -> bool:
            with urllib.request.urlopen(f"http://{at}/healthz", timeout=5) as answer:
                return bool(json.load(answer)["ok"])

        assert until(well, told=log.read_text)
        done = subprocess.run(words(SUBMIT), cwd=desk.folder, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        process.terminate()
    assert process.wait(30) == 0


def test_the_metrics_are_there_and_a_halt_and_a_trip_show_with_their_time(desk: Desk) -> None:
    desk.client.hset("quantum:safety:halt", mapping={"scope": "entries", "by": "ops", "reason": "test", "at": "1"})
    desk.client.set("quantum:safety:safe_mode", "1", ex=900)
    worker = desk.worker().consumes()

    def figures() -> dict[str, float]:
        lines = [line for line in worker.get("/metrics")[1].splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    until(lambda: figures()['gate_switch_on{switch="halt"}'] == 1, told=lambda: worker.log)
    found = figures()
    assert found['gate_switch_left_seconds{switch="halt"}'] == float("inf")
    assert 800 < found['gate_switch_left_seconds{switch="safe_mode"}'] <= 900
    assert (
        found['gate_switch_on{switch="cooldown_global"}']
        == found['gate_switch_left_seconds{switch="cooldown_global"}']
        == 0
    )
    assert found["gate_stream_lag"] == found["gate_in_doubt"] == 0
    until(lambda: worker.health()["streams"] == "ok", told=lambda: worker.log)
    assert figures()["gate_streams_up"] == 1
    assert found["gate_consuming"] == found["gate_store_up"] == 1


def test_verdict_order_and_whole_intent_are_measured_apart_and_so_is_what_the_exchange_is_asked(desk: Desk) -> None:
    worker = desk.worker().consumes()
    desk.send(payload(id="filled"))
    desk.send(payload(id="denied"))  # for its symbol's rate
    desk.wait_results(1)

    def measured() -> dict[str, float]:
        lines = [line for line in worker.get("/metrics")[1].splitlines() if not line.startswith("#")]
        found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
        return found if found.get("gate_verdict_seconds_count", 0) >= 2 else {}

    found = until(measured, told=lambda: worker.log)
    assert found["gate_order_seconds_count"] == found["gate_intent_seconds_count"] == 1
    assert 0 < found["gate_order_seconds_sum"] < found["gate_intent_seconds_sum"]
    assert found['gate_exchange_requests_total{status="200"}'] >= 2


def test_the_use_of_the_exchanges_limits_is_told_as_its_answers_have_it(desk: Desk) -> None:
    account = Account(key="key", secret="secret", balance="1000000")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account]) as limited:
        desk.paper = limited
        worker = desk.worker().consumes()
        desk.send(payload())
        desk.wait_results()
        text = worker.get("/metrics")[1]
    used = dict(re.findall(r'^gate_exchange_limit_used\{limit="(\w+)"\} (\S+)$', text, re.MULTILINE))
    most = dict(re.findall(r'^gate_exchange_limit\{limit="(\w+)"\} (\S+)$', text, re.MULTILINE))
    assert used.keys() == most.keys() >= {"weight_1m", "order_count_10s", "order_count_1m"}
    assert all(float(used[name]) <= float(most[name]) for name in used)
    assert float(used["order_count_1m"]) + float(used["weight_1m"]) > 0


async def test_a_request_without_an_answer_counts_too() -> None:
    async with BinanceFutures("key", "secret", base_url="http://127.0.0.1:1") as exchange:
        with pytest.raises(ExchangeFailure):
            await exchange.mark_price("BTCUSDT")
        assert exchange.requests() == {"none": 1}
