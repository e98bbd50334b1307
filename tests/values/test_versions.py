"""Where another package is too old, one plain line says which version is needed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gate.values.versions import LOWEST, insist_on

ROOT = Path(__file__).parents[2]
NAMES = {"python-binance": "binance"}
TELLS_NO_VERSION = {"rich", "prometheus-client"}


def test_the_lowest_versions_are_the_lower_ends_of_the_requirements() -> None:
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ends = dict(re.findall(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", "\n".join(requirements)))

    assert {NAMES.get(name, name) for name in ends} == set(LOWEST) | TELLS_NO_VERSION
    for name, lowest in LOWEST.items():
        assert ends[{"binance": "python-binance"}.get(name, name)] == ".".join(map(str, lowest))


def test_what_is_installed_will_do() -> None:
    insist_on(*LOWEST)


@pytest.mark.parametrize(
    ("statement", "package", "found", "needed"),
    [
        ("import gate; gate.Gate", "redis", "5.2.0", "redis 5.2.1"),
        ("from gate import AsyncGate", "redis", "4.6.0", "redis 5.2.1"),
        ("import gate; gate.Gate", "hiredis", "2.4.0", "hiredis 3.0"),
        ("import gate; gate.Gate", "msgspec", "0.17.0", "msgspec 0.18"),
        ("from gate.exchange.binance import BinanceFutures", "binance", "1.0.32", "python-binance 1.0.33"),
        ("from gate.exchange.binance import BinanceFutures", "aiohttp", "3.9.5", "aiohttp 3.10"),
        ("from gate.cli import main; main()", "click", "8.1.3", "click 8.1.4"),
    ],
)
def test_one_that_is_too_old_is_named_with_the_version_needed(
    statement: str, package: str, found: str, needed: str
) -> None:
    if "exchange" in statement:
        statement += "; import asyncio, gate\nasync def make(): BinanceFutures('k', 's')\nasyncio.run(make())"
    program = f"import {package}\n{package}.__version__ = {found!r}\n{statement}"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: gate needs {needed} or newer, and {found} is installed: pip install ")


@pytest.mark.parametrize("found", ["5.2.1", "5.10", "6.0.0rc1", "10.0.0"])
def test_a_newer_one_is_not_refused(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redis.__version__", found)
    insist_on("redis")
