"""The commands of docs/service.md and of the README's section, run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.service.desk import Desk, until

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
    assert found["gate_consuming"] == found["gate_store_up"] == 1
