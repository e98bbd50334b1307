"""The wall time of `gate eval` from the shell."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

from benchmarks.figure import Figure, of_rounds, ratios
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.workload import Account

_AT_MOST: Final = 1.2
_NAME: Final = "shell_eval"
_WHAT: Final = '`gate eval` from the shell, against `python -c "import redis, click"`'
_ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Pip has compiled the packages that it has installed; what runs from a checkout is compiled at the first start."""


def measure(server: Server, sizes: Sizes) -> list[Figure]:
    """Starts both in turn. The first start of each compiles its modules, warms the disk's cache and doesn't count."""
    with server.client() as client:
        client.flushall()
        Account(on=client)
    gate = Path(sys.executable).parent / "gate"
    intent = ("--id", "bench-1", "--symbol", "NEARUSDT", "--side", "BUY", "--notional", "200", "--leverage", "5")
    ours = (str(gate), "--url", server.url(), "eval", *intent)
    theirs = (sys.executable, "-c", "import redis, click")
    ours_ms, theirs_ms = [], []
    try:
        _admits(ours)
        _wall_ms(theirs)
        for _ in range(sizes.shell_rounds):
            ours_ms.append(_wall_ms(ours))
            theirs_ms.append(_wall_ms(theirs))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as problem:
        return [Figure(_NAME, _WHAT, None, "x", f"skipped: {problem}", at_most=_AT_MOST)]
    detail = f"{statistics.median(ours_ms):.0f} ms against {statistics.median(theirs_ms):.0f} ms"
    return [of_rounds(_NAME, _WHAT, ratios(ours_ms, theirs_ms), detail=detail, at_most=_AT_MOST)]


def _admits(command: Sequence[str]) -> None:
    """Checks that the verdict is an admission; otherwise its time means nothing. Raises ValueError."""
    whole = (*command, "--json")
    ran = subprocess.run(whole, capture_output=True, text=True, timeout=30, check=True, env=_ENVIRONMENT)
    if json.loads(ran.stdout)["admitted"] is not True:
        raise ValueError(f"not admitted: {ran.stdout}")


def _wall_ms(command: Sequence[str]) -> float:
    started_s = perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=_ENVIRONMENT)
    return (perf_counter() - started_s) * 1000
