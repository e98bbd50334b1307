"""Ends processes that a killed test run would leave behind."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class Lifeline:
    """Runs `command` should this process die before `release`, by whatever signal.

    A pipe that closes with the process works everywhere and from any thread; the kernel's parent-death signal is
    Linux only and fires when the *thread* ends.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read -r _ || exec "$@"', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A Ctrl-C reaches the whole foreground group, and the guard has to outlive the tests.
            start_new_session=True,
        )

    def release(self) -> None:
        if self._guard.returncode is None:
            self._guard.communicate(b"\n")
