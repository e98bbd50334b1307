"""What a figure was measured on, in a line."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGES: Final = {"redis-py": "redis", "hiredis": "hiredis", "limits": "limits", "throttled-py": "throttled-py"}


def measured_on(server: str) -> str:
    """The server, Python, the packages, the processors and how busy they are."""
    packages = ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items())
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{server}, Python {platform.python_version()}, {packages}; {os.cpu_count()} × {_processor()}{load}"


def _processor() -> str:
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    named = (row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    return next(named, platform.machine())
