"""`gate watch` shows the status again and again: a picture on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable

import pytest
import redis
from msgspec import structs

from gate import Config, Gate, Policy
from gate.cli.commands import watch
from gate.cli.screens.rows import Screen
from gate.cli.screens.terminal import painting
from tests.cli.conftest import Run
from tests.cli.test_process import GATE, environment
from tests.servers.store import PrivateStore, Store

SAFE_MODE, HALT = "quantum:safety:safe_mode", "quantum:safety:halt"
Acts = Callable[[], object]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Does one act between each look and the next one; then it is Ctrl-C. Returns how long was to be waited."""

    def arrange(*acts: Acts) -> list[float]:
        left, waited = list(acts), list[float]()

        def wait(for_s: float) -> None:
            waited.append(for_s)
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(watch, "_wait", wait)
        return waited

    return arrange


def nothing() -> None:
    pass


def test_a_line_for_each_change_and_none_between(
    gate: Run, redis_client: redis.Redis, between: Callable[..., list[float]]
) -> None:
    between(
        nothing,
        lambda: redis_client.set(SAFE_MODE, "1", px=100_000),
        nothing,
        lambda: redis_client.delete(SAFE_MODE),
    )
    result = gate("watch")
    assert [line.partition(" ")[2] for line in result.stdout.splitlines()] == [
        "quantum: OPEN",
        "quantum: STOPPED for entries by safe_mode; exits pass",
        "quantum: OPEN",
    ]
    assert all(line[:2] == "20" and line[23] == "Z" for line in result.stdout.splitlines())
    assert result.exit_code == 0


def test_how_long_a_halt_has_lasted_is_no_change(
    store: Store, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    with Gate.from_url(store.url) as asked:
        asked.halt(by="ops", reason="CPI print", scope="all")
        halted = asked.status()
        redis_client.hset(HALT, "by", "anna")
        by_another = asked.status()
    lines = watch._Lines(Config(store.url, "quantum", Policy(), None, frozenset()))
    for later_ms in (0, 5_000, 90_000):
        lines.show(structs.replace(halted, now_ms=halted.now_ms + later_ms))
    lines.show(by_another)
    first, second = capsys.readouterr().out.splitlines()
    assert " quantum: HALTED, exits too. By ops: CPI print, since " in first
    assert " quantum: HALTED, exits too. By anna: CPI print, since " in second


def test_it_waits_as_long_as_it_is_told(gate: Run, between: Callable[..., list[float]]) -> None:
    waited = between(nothing)
    assert gate("watch", "--every", "2.5").exit_code == 0
    assert waited == [2.5, 2.5]
    for refused in ("0", "nan", "inf"):
        assert gate("watch", "--every", refused).exit_code == 2


def test_as_json_each_look_is_a_line(gate: Run, redis_client: redis.Redis, between: Callable[..., list[float]]) -> None:
    between(nothing, lambda: redis_client.set(SAFE_MODE, "1", px=100_000))
    answers = [json.loads(line) for line in gate("watch", "--json").stdout.splitlines()]
    assert [each["entries_pass"] for each in answers] == [True, True, False]
    assert answers[0].keys() == json.loads(gate("status", "--json").stdout).keys() - {"resting", "others"}


def test_a_store_that_goes_away_is_shown_and_asked_again(
    bare: Run, private_store: PrivateStore, between: Callable[..., list[float]]
) -> None:
    between(nothing, private_store.stop)
    result = bare("--url", private_store.url, "watch")
    first, second = result.stdout.splitlines()
    assert "NOTHING IS KNOWN of the prefix quantum here" in first
    assert " quantum: NO ANSWER: STORE_UNAVAILABLE at redis://" in second
    assert result.exit_code == 3
    between()
    answer = json.loads(bare("--url", private_store.url, "watch", "--json").stdout)
    assert (answer["prefix"], answer["entries_pass"], answer["reason"]) == ("quantum", None, "STORE_UNAVAILABLE")


def test_a_secret_in_the_url_is_not_shown(bare: Run, between: Callable[..., list[float]]) -> None:
    between()
    result = bare("--url", "redis://ops:hush-hush@127.0.0.1:1/0", "watch")
    assert "NO ANSWER" in result.stdout
    assert "hush" not in result.stdout + result.stderr


ENDS = [(signal.SIGINT, 1), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)]


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_terminal_shows_the_whole_status_and_gets_its_first_screen_back(
    store: Store, redis_client: redis.Redis, number: signal.Signals, code: int
) -> None:
    redis_client.set(SAFE_MODE, "5 failures", px=600_000)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*GATE, "--url", store.url, "watch", "--every", "0.1"],
        stdin=theirs,
        stdout=theirs,
        env=environment(TERM="xterm-256color", COLUMNS="100", LINES="40", NO_COLOR="1"),
    ) as running:
        os.close(theirs)
        out = ""
        while out.count(SAFE_MODE) < 2:  # painted twice
            out += os.read(ours, 65536).decode()
        running.send_signal(number)
        try:
            while piece := os.read(ours, 65536):
                out += piece.decode()
        except OSError:  # its other end has closed
            pass
    os.close(ours)
    assert running.returncode == code
    assert out.count("\x1b[?1049h") == out.count("\x1b[?1049l") == 1, "the terminal's first screen comes back"
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1, "and its cursor"
    assert out.rpartition("\x1b[?25h")[2].strip() == "STOPPED for entries by safe_mode; exits pass"
    assert "In flight: 0, margin reserved 0." in out


def test_a_terminal_that_can_paint_nothing_gets_lines(store: Store, redis_client: redis.Redis) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*GATE, "--url", store.url, "watch"], stdin=theirs, stdout=theirs, env=environment(TERM="dumb")
    ) as running:
        os.close(theirs)
        out = os.read(ours, 65536).decode()
        running.send_signal(signal.SIGINT)
    os.close(ours)
    assert "\x1b" not in out
    assert out.strip().endswith("quantum: OPEN")


def test_ctrl_c_before_the_first_look_is_an_interruption(gate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "_look", interrupted)
    assert gate("watch").exit_code == 130


@pytest.mark.parametrize(("width", "fits", "kept"), [(80, 10, 9), (10, 5, 4)])
def test_a_picture_that_is_too_long_is_cut_and_says_so(
    width: int, fits: int, kept: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that is longer than the terminal is wide takes several rows."""
    for name, value in (("LINES", "10"), ("COLUMNS", str(width)), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)

    def lines(count: int) -> Callable[[Screen], None]:
        def draw(to: Screen) -> None:
            for number in range(1, count + 1):
                to.say(f"line {number:02} is long")

        return draw

    before = signal.getsignal(signal.SIGTERM)
    with painting() as paint:
        assert signal.getsignal(signal.SIGTERM) != before
        paint(lines(fits))
        whole = capsys.readouterr().out
        paint(lines(12))
        cut = capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before
    assert "more" not in whole
    assert f"line {kept:02} is long\x1b[K\n{f'and {12 - kept} more lines'[:width]}\x1b[K\x1b[J" in cut
