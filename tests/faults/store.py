"""A server that a fault can be done to: of either kind, with its data on disk, and with a clock that steps."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import redis

from tests.servers.process import ProcessStore

FAKETIME: Final = next(
    (found for folder in ("/usr/lib", "/usr/lib64") for found in Path(folder).glob("**/faketime/libfaketime.so.1")),
    None,
)
"""The library that steps a process' clock; Debian has it in the package libfaketime."""
_TRIAL_S: Final = 10


class FaultyStore(ProcessStore):
    """A private server. With `steps`, its clock can be stepped."""

    def __init__(self, arguments: Sequence[str] = (), *, on_redis: bool = False, steps: bool = False) -> None:
        self._clock = Path(tempfile.mkdtemp(prefix="gate-clock-")) / "clock" if steps else None
        if self._clock is not None:
            self._clock.write_text("+0")
        super().__init__(arguments, on_redis=on_redis)

    @property
    def port(self) -> int:
        return self._port

    @property
    def log(self) -> Path | None:
        """Its append-only file, as far as it is written."""
        return max(self._directory.glob("appendonlydir/*.incr.aof"), default=None)

    @property
    def version(self) -> str:
        """Its name and version."""
        with self.client() as client:
            about: Any = client.info("server")
        return f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {about['redis_version']}"

    def runs_by_another_clock(self) -> bool:
        """Whether its program runs under libfaketime. Debian's Redis 7.0 never comes to an end of its start there."""
        with tempfile.TemporaryDirectory(prefix="gate-clock-") as folder:
            clock = Path(folder) / "clock"
            clock.write_text("+0")
            try:
                tried = subprocess.run(
                    _by_clock(clock, [super()._command()[0], "--version"]), capture_output=True, timeout=_TRIAL_S
                )
            except subprocess.TimeoutExpired:
                return False
        return tried.returncode == 0

    def start_with(self, *arguments: str) -> None:
        """Starts it again with more arguments."""
        self._arguments = (*self._arguments, *arguments)
        self.start()

    def url_for(self, user: str) -> str:
        """Its address for a user without a password."""
        return f"redis://{user}:-@127.0.0.1:{self._port}/0"

    def step(self, seconds: float) -> None:
        """Sets the server's clock so far ahead of ours."""
        if self._clock is None:
            raise RuntimeError("the store's clock is the machine's")
        moved = self._clock.with_suffix(".new")
        moved.write_text(f"{seconds:+}")
        moved.replace(self._clock)

    def close(self) -> None:
        super().close()
        if self._clock is not None:
            shutil.rmtree(self._clock.parent, ignore_errors=True)

    def _command(self) -> list[str]:
        command = super()._command()
        return command if self._clock is None else _by_clock(self._clock, command)


def _by_clock(clock: Path, command: Sequence[str]) -> list[str]:
    fake = (
        f"LD_PRELOAD={FAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={clock}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    )
    return ["env", *fake, *command]


def evicted(client: redis.Redis) -> int:
    """How many keys the server has thrown away for want of memory."""
    about: Any = client.info("stats")
    return int(about["evicted_keys"])
