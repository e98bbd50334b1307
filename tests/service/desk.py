"""A desk for the service: its streams on a store, the paper exchange, and `gate run` as real processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import redis

from gate.paper import PaperExchange

T = TypeVar("T")
STREAM = "quantum:stream:trade.intent"
GROUP = "quantum:group:execution:trade.intent"
ROOMY = "[policy]\nrate_symbol_limit = 1000\nrate_global_limit = 10000\nmax_in_flight = 1000\n"
"""Limits that no test reaches by accident."""
RESULTS = "quantum:stream:execution.result"
UPDATE = "ORDER_UPDATE"
DEAD = "quantum:stream:trade.intent.dead"
WITHIN_S = 60.0
_OURS = ("GATE_", "BINANCE_", "REDIS_URL", "EXEC_", "XREADGROUP", "INTENT_MAX", "NOTIFY", "WATCHDOG")


async def become(so: Callable[[], object]) -> None:
    """As until, on an event loop that others need."""
    async with asyncio.timeout(20):
        while not so():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)


def until(
    condition: Callable[[], T | None], *, within_s: float = WITHIN_S, told: Callable[[], object] = lambda: ""
) -> T:
    """The first true answer of a condition. A store that is away is no answer."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(redis.RedisError, OSError):
            if answer := condition():
                return answer
        assert time.monotonic() < deadline, f"not within {within_s} s; {told()}"
        time.sleep(0.02)


def payload(symbol: str = "BTCUSDT", side: str = "BUY", **more: Any) -> dict[str, Any]:
    """An intent as the replaced system's strategies write it, decided now."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    base = {"symbol": symbol, "side": side, "confidence": 0.72, "entry_price": 1.465, "position_size_usd": 300.0}
    return {**base, "leverage": 1, "timestamp": now, "model": "ensemble", **more}


class Worker:
    """A `gate run` of its own."""

    numbers = itertools.count(1)

    def __init__(self, folder: Path, url: str, paper_url: str, config: str = "", **environ: str) -> None:
        number = next(self.numbers)
        self.log_file = folder / f"worker-{number}.log"
        config_file = folder / f"gate-{number}.toml"
        config_file.write_text(config, "utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        keys = {"BINANCE_API_KEY": "key", "BINANCE_API_SECRET": "secret"}
        words = ["--url", url, "--config", str(config_file), "run", "--base-url", paper_url, "--listen", "127.0.0.1:0"]
        with self.log_file.open("ab") as out:  # appended, as the unit does it
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gate", *words], stdout=out, stderr=out, env={**kept, **keys, **environ}
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8")

    def said(self, pattern: str) -> re.Match[str]:
        """Waits until its log has this."""
        return until(lambda: re.search(pattern, self.log), told=lambda: self.log)

    @property
    def consumer(self) -> str:
        return self.said(r"consumer=(\S+)")[1]

    def get(self, path: str) -> tuple[int, str]:
        at = self.said(r"listening=(\S+)")[1]
        try:
            with urllib.request.urlopen(f"http://{at}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def health(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.get("/healthz")[1])
        return told

    def consumes(self) -> Worker:
        """Waits until it reads."""
        until(lambda: self.get("/healthz")[0] == 200, told=lambda: self.log)
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


class Desk:
    """One account's streams, with whatever works on them."""

    def __init__(self, client: redis.Redis, url: str, paper: PaperExchange, folder: Path) -> None:
        self.client, self.url, self.paper, self.folder = client, url, paper, folder
        self.workers: list[Worker] = []

    def worker(self, config: str = "", **environ: str) -> Worker:
        self.workers.append(Worker(self.folder, self.url, self.paper.url, config, **environ))
        return self.workers[-1]

    def send(self, content: Mapping[str, Any] | None = None, **fields: str) -> str:
        """Puts an entry on the stream, by default in the envelope with `payload`."""
        if content is not None:
            fields = {"event_type": "trade.intent", "payload": json.dumps(content), "source": "ai"}
        entry_id: bytes = self.client.xadd(STREAM, dict(fields))  # type: ignore[arg-type, assignment]
        return entry_id.decode()

    def told(self, stream: str = RESULTS) -> list[dict[str, str]]:
        """All that stands there, in its order: results, and the updates that follow them."""
        rows: Any = self.client.xrange(stream)
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in rows]

    def results(self, stream: str = RESULTS) -> list[dict[str, str]]:
        return [row for row in self.told(stream) if row.get("state") != UPDATE]

    def updates(self) -> list[dict[str, str]]:
        return [row for row in self.told() if row["state"] == UPDATE]

    def wait_updates(self, count: int = 1) -> list[dict[str, str]]:
        """Waits for so many; there are no more."""
        found = until(
            lambda: found if len(found := self.updates()) >= count else [],
            told=lambda: (self.told(), *(worker.log for worker in self.workers)),
        )
        assert len(found) == count, found
        return found

    def wait_results(self, count: int = 1) -> list[dict[str, str]]:
        return until(
            lambda: found if len(found := self.results()) >= count else [],
            told=lambda: (self.results(), *(worker.log for worker in self.workers)),
        )

    def result(self) -> dict[str, str]:
        """The only one."""
        [found] = self.wait_results()
        return found

    def pending(self) -> int:
        told: Any = self.client.xpending(STREAM, GROUP)
        return int(told["pending"])

    def idle(self) -> None:
        """Waits until everything on the stream is answered."""

        def done() -> bool:
            groups: Any = self.client.xinfo_groups(STREAM)
            return bool(groups) and groups[0]["lag"] == 0 and groups[0]["pending"] == 0

        until(done, told=lambda: [worker.log for worker in self.workers])

    def consumers(self) -> list[str]:
        rows: Any = self.client.xinfo_consumers(STREAM, GROUP)
        return [row["name"].decode() for row in rows]

    def left_by_a_dead_worker(self, content: Mapping[str, Any]) -> str:
        """An entry that a worker has read, long ago, and never answered."""
        with suppress(redis.ResponseError):
            self.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        entry_id = self.send(content)
        self.client.xreadgroup(GROUP, "dead", {STREAM: ">"})
        self.rest(entry_id, "dead")
        return entry_id

    def rest(self, entry_id: str, consumer: str, for_ms: int = 3_600_000) -> None:
        """Makes an entry rest with its consumer since so long."""
        self.client.xclaim(STREAM, GROUP, consumer, 0, [entry_id], idle=for_ms, justid=True)
