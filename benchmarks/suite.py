"""All figures, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks import calls, concurrency, growth, memory, server_time, shell
from benchmarks.figure import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes

PARTS: Final = {
    "whole calls": calls.measure,
    "server time": server_time.measure,
    "growth": growth.measure,
    "memory": memory.measure,
    "concurrent callers": concurrency.measure,
    "the command line": shell.measure,
}


def measure(server: Server, sizes: Sizes, begin: Callable[[str], None] = lambda _: None) -> list[Figure]:
    """Runs all parts, one after the other. Calls `begin` with the name of each."""
    figures = []
    for name, part in PARTS.items():
        begin(name)
        figures += part(server, sizes)
    return figures
