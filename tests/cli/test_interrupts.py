"""Ctrl-C while `gate halt` or `gate flatten` is at work: what was done stays, and is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest
import redis
from binance import Client
from click.testing import Result

from gate.client.gates import Gate as GateClass
from gate.paper import Fault, FaultKind, PaperExchange
from tests.cli.conftest import EVAL, held, some_trade
from tests.cli.test_operate import WHO
from tests.client import account as at
from tests.servers.store import Store

Run = Callable[..., Result]


def _heed_interrupts() -> None:
    """A test run in the background ignores them, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_at_the_question_does_nothing(store: Store, redis_client: redis.Redis, at_hand: Client) -> None:
    some_trade(at_hand)
    process = subprocess.Popen(  # our own program
        [sys.executable, "-m", "gate", "--url", store.url, "flatten", *WHO],
        preexec_fn=_heed_interrupts,  # the child does nothing else before it starts
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with closing(process.stdin), closing(process.stdout):  # type: ignore[type-var]  # both are pipes
        while process.stdout.read(1) not in ("?", ""):  # type: ignore[union-attr]
            pass
        for _ in range(10):  # one that comes right before Python reads the answer is heard after it
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)
                break
        process.kill()  # if it heard none of them
        said = process.stdout.read()  # type: ignore[union-attr]
        assert (process.wait(10), "Nothing was done." in said) == (130, True)
    assert (len(held(at_hand)), redis_client.exists("quantum:safety:halt")) == (2, 0)


def test_an_interrupt_ends_the_waiting_and_not_the_halt(store: Store, redis_client: redis.Redis, gate: Run) -> None:
    gate(*EVAL)
    process = subprocess.Popen(  # our own program
        [sys.executable, "-m", "gate", "--url", store.url, "halt", *WHO],
        preexec_fn=_heed_interrupts,  # the child does nothing else before it starts
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("BINANCE")},
    )
    with closing(process.stdout), closing(process.stderr):  # type: ignore[type-var]  # both are pipes
        for line in process.stderr:  # type: ignore[union-attr]
            if "waiting: 1 entry" in line:
                break
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()  # type: ignore[union-attr]
        assert process.wait(10) == 130
    assert "the halt is in force" in said
    assert "1 entry may still reach the exchange" in said
    assert redis_client.hget("quantum:safety:halt", "reason") == b"CPI print"


@pytest.mark.parametrize(
    ("command", "code", "meanwhile"),
    [
        (("halt", "--cancel"), 130, "orders were cancelled"),
        (("flatten", "--yes"), 1, "orders were cancelled and positions closed"),
    ],
    ids=["halt", "flatten"],
)
def test_an_interrupt_while_the_exchange_is_cleared_says_how_far_it_came(
    command: tuple[str, ...],
    code: int,
    meanwhile: str,
    store: Store,
    redis_client: redis.Redis,
    at_hand: Client,
    paper_exchange: PaperExchange,
) -> None:
    some_trade(at_hand)
    paper_exchange.inject(Fault(kind=FaultKind.DELAY, method="DELETE", path="/fapi/v1/allOpenOrders", times=100))
    process = subprocess.Popen(  # our own program
        [sys.executable, "-m", "gate", "--url", store.url, *command, *WHO],
        preexec_fn=_heed_interrupts,  # the child does nothing else before it starts
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    paper_exchange.wait_held()
    process.send_signal(signal.SIGINT)
    said, warned = process.communicate(timeout=30)
    paper_exchange.release_held()
    assert (process.returncode, "Traceback" in warned) == (code, False)
    assert "Halted quantum" in said
    assert f"interrupted while {meanwhile}: requests may be on their way; repeat it, and look" in warned
    assert "Flat at" not in said
    assert redis_client.exists("quantum:safety:halt")
    flattened = [each["what"] for each in at.audit(redis_client) if each["what"].startswith("flatten")]
    assert flattened == ["flatten: cancelled 0 or more, closed 0 or more, NOT known to be flat"] * (
        command[0] == "flatten"
    )


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_an_interrupt_right_behind_the_halt_is_told_by_both(
    gate: Run, at_hand: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_trade(at_hand)
    for command in "operate", "flatten":
        monkeypatch.setattr(f"gate.cli.commands.{command}.prefix_doubt", interrupted)
    flattened = gate("flatten", "--yes", *WHO)
    assert (flattened.exit_code, len(held(at_hand))) == (1, 2)
    assert "interrupted while orders were cancelled and positions closed" in flattened.stderr
    assert "the halt is in force; what was out when it came may still reach the exchange" in flattened.stderr
    told = json.loads(gate("flatten", "--yes", *WHO, "--json").stdout)
    assert (told["halted"], told["flat"], told["cancelled"]) == (True, False, None)
    halted = gate("halt", "--cancel", *WHO)
    assert (halted.exit_code, "Interrupted; the halt is in force" in halted.stderr) == (130, True)
    told = json.loads(gate("halt", "--no-wait", *WHO, "--json").stdout)
    assert (told["confirmed"], told["still_out"]) == (False, None)


def test_an_interrupt_between_the_wait_and_the_second_look_is_not_flat(
    gate: Run, at_hand: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was out when the halt came may have opened something since the first look."""

    def opened_meanwhile(*_: Any) -> Any:
        some_trade(at_hand)
        raise KeyboardInterrupt

    monkeypatch.setattr("gate.cli.commands.halting._absent_of_late", opened_meanwhile)
    done = gate("flatten", "--yes", *WHO)
    assert (done.exit_code, len(held(at_hand)), "Flat at" in done.stdout) == (1, 2, False)


def test_an_interrupt_before_the_store_has_answered_tells_nothing_of_a_halt(
    gate: Run, at_hand: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GateClass, "halt", interrupted)
    assert "gate status says whether the halt is in force" in gate("halt", *WHO).stderr
    assert "gate status says" in json.loads(gate("halt", *WHO, "--json").stdout)["error"]
    flattened = gate("flatten", "--yes", *WHO)
    assert flattened.exit_code == 1
    assert "NOT halted: interrupted before the store has answered; gate status tells" in flattened.stderr
