"""Server time of the verdict in this checkout and in another one, in turn on the same servers.

    git worktree add --detach ../before COMMIT
    .venv/bin/python -m benchmarks.compare ../before

Machines are noisy, and a script that is slower by a tenth doesn't show between two runs. So both checkouts run in one,
batch by batch in turn, and what counts is their ratio. With `--instructions`, callgrind counts what the server executes
inside EVALSHA, which no noise changes (Debian: apt-get install valgrind).
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.server import KINDS, Server, ServerMissing

_HERE: Final = Path(__file__).resolve().parent
_WHAT: Final = {
    "admission": "admission, nothing on, one in flight",
    "window": "… beside an account's window of five old entries",
    "in_flight": "… beside 63 live permits",
    "exit": "exit",
    "duplicate": "DUPLICATE",
    "locked": "LOCKED",
    "rate_symbol": "RATE_SYMBOL",
    "settle": "settlement as placed",
}


class Checkout:
    """One checkout's scripts and encoding, in a process of their own."""

    def __init__(self, tree: Path, port: int, prefix: str) -> None:
        self._process: Final = subprocess.Popen(
            [sys.executable, str(_HERE / "one_checkout.py"), str(port), prefix],
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, kind: str, calls: int) -> Any:
        """The answer to one line."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a process without pipes")
        print(kind, calls, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"the checkout's process has ended at {kind!r}")
        return json.loads(line)

    def __enter__(self) -> Checkout:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@click.command()
@click.argument("before", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=40, show_default=True)
@click.option("--calls", default=400, show_default=True, help="Calls in a batch.")
@click.option("--server", "servers", type=click.Choice(KINDS), multiple=True, help="Both servers by default.")
@click.option("--kind", "kinds", type=click.Choice(tuple(_WHAT)), multiple=True, help="All kinds of calls by default.")
@click.option("--instructions", is_flag=True, help="Counts instructions by callgrind, in place of the time.")
def main(
    before: Path, rounds: int, calls: int, servers: tuple[str, ...], kinds: tuple[str, ...], instructions: bool
) -> None:
    """Server time of the verdict: this checkout against the checkout in the directory BEFORE."""
    trees = {"before": before.resolve(), "now": _HERE.parent}
    for name in servers or KINDS:
        try:
            if instructions:
                _count(name, trees, calls, kinds or tuple(_WHAT))
            else:
                _time(name, trees, rounds, calls, kinds or tuple(_WHAT))
        except ServerMissing as missing:
            raise click.ClickException(str(missing)) from None


def _time(name: str, trees: dict[str, Path], rounds: int, calls: int, kinds: tuple[str, ...]) -> None:
    with Server(name) as server, ExitStack() as stack:
        click.echo(
            f"{server.version}. Server time in µs, median and lower quartile of {rounds} batches of {calls} calls"
        )
        checkouts = {name: stack.enter_context(Checkout(tree, server.port, name)) for name, tree in trees.items()}
        took: dict[tuple[str, str], list[float]] = {}
        empty: list[float] = []
        asked = [(name, kind) for kind in kinds for name in checkouts]
        for number in range(rounds + 1):
            for name, kind in asked if number % 2 else reversed(asked):
                spent_us, empty_us = checkouts[name].ask(kind, calls)
                if number:  # the first round only warms up
                    took.setdefault((name, kind), []).append(spent_us)
                    empty.append(empty_us)
        click.echo(f"  {'an empty script':52} {_us(empty):>14}")
        click.echo(f"  {'':52} {'before':>14} {'now':>14}  now/before  now/empty")
        for kind in kinds:
            old, new = took["before", kind], took["now", kind]
            ratio = statistics.median(n / o for n, o in zip(new, old, strict=True))
            lows = _lower_quartile(new) / _lower_quartile(old)
            click.echo(
                f"  {_WHAT[kind]:52} {_us(old):>14} {_us(new):>14}  {ratio:.2f} {lows:.2f}"
                f"  {statistics.median(new) / statistics.median(empty):9.1f}"
            )
        for name, checkout in checkouts.items():
            words = checkout.ask(kinds[0], 0)
            commands = ", ".join(f"{c} {n}" if n > 1 else c for c, n in sorted(words["commands"].items()))
            click.echo(
                f"  {name}: {sum(words['commands'].values())} commands ({commands}), {words['arguments']} arguments"
            )


def _count(name: str, trees: dict[str, Path], calls: int, kinds: tuple[str, ...]) -> None:
    """Each checkout and kind on a server of its own, so that nothing but their calls is in the count."""
    for number, kind in enumerate(kinds):
        counts: dict[str, float] = {}
        for tree_name, tree in trees.items():
            with tempfile.TemporaryDirectory() as directory:
                under = (
                    "valgrind",
                    "--tool=callgrind",
                    "--toggle-collect=evalShaCommand",
                    f"--callgrind-out-file={directory}/out",
                )
                with Server(name, under) as server:
                    if not number and not counts:
                        click.echo(f"{server.version}. Instructions inside EVALSHA, mean of {calls} calls")
                    with Checkout(tree, server.port, tree_name) as checkout:
                        checkout.ask(kind, calls)  # warms up
                        _control("--zero", server.pid)
                        checkout.ask(kind, calls)
                        _control("--dump", server.pid)
                (dump,) = Path(directory).glob("out.*")
                found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE)
                counts[tree_name] = int(found[1]) / calls if found else 0.0
        ratio = counts["now"] / counts["before"]
        click.echo(f"  {_WHAT[kind]:52} {counts['before']:>14,.0f} {counts['now']:>14,.0f}  {ratio:.2f}")


def _control(what: str, pid: int) -> None:
    subprocess.run(
        ("callgrind_control", what, str(pid)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _us(took: list[float]) -> str:
    return f"{statistics.median(took):.2f} {_lower_quartile(took):.2f}"


def _lower_quartile(took: list[float]) -> float:
    return statistics.quantiles(took, n=4)[0]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.compare")
