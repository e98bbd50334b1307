"""A terminal that can't print a character gets an escape in its place, and never an internal error."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
import redis

from gate import Gate, Intent, Outcome
from gate.cli.screens.rows import Row
from gate.cli.screens.terminal import TerminalScreen
from tests.cli.test_process import GATE, environment, on_terminal
from tests.servers.store import Store

REASON = "Fed → CPI, déjà vu 🛑 龙"
WHO = ("--by", "Zoë", "--reason", REASON)
ID = "sig-→龙"
EVAL = ("eval", "--id", ID, "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")
POOR = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C locale": {"LC_ALL": "C"},
    "C locale, not coerced": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def said(store: Store, environ: dict[str, str], *words: str, code: int = 0) -> str:
    """Standard output, in whatever encoding. Asserts the exit code, and that it is no traceback."""
    done = subprocess.run(
        [*GATE, "--url", store.url, *words], capture_output=True, env=environment(**environ), timeout=30
    )
    complaint = done.stderr.decode(errors="replace")
    assert done.returncode == code, complaint
    assert "internal error" not in complaint
    return done.stdout.decode("utf-8", errors="backslashreplace")


@pytest.mark.parametrize("environ", POOR.values(), ids=POOR)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_every_answer_gets_out(
    store: Store, redis_client: redis.Redis, environ: dict[str, str], form: tuple[str, ...]
) -> None:
    intent = Intent(id=ID, symbol="BTCUSDT", side="BUY", notional="200", timestamp=int(time.time() * 1000))
    with Gate.from_url(store.url) as worker:
        permit = worker.evaluate(intent).permit
        assert permit is not None
        assert worker.settle(permit, Outcome.unknown(REASON))
    assert "sig-" in said(store, environ, "show", ID, *form)
    assert "sig-" in said(store, environ, *EVAL, *form, code=1)
    redis_client.set("quantum:safety:cooldown_symbol:BTCUSDT", REASON)
    said(store, environ, "halt", "--no-wait", *WHO, *form)
    halted = said(store, environ, "status", *form, code=1)
    if form:
        assert json.loads(halted)["halt"]["reason"] == REASON, "an argument is read as it was written"
    else:
        assert "Fed " in halted.splitlines()[0]
    assert redis_client.hget("quantum:safety:halt", "reason") == REASON.encode()
    said(store, environ, "resume", *WHO, *form)
    said(store, environ, "init", *WHO, *form)
    said(store, environ, "policy", "show", *form)
    said(store, environ, "policy", "apply", "--defaults", "--by", "ops", "--reason", REASON, *form)


@pytest.mark.parametrize("environ", POOR.values(), ids=POOR)
@pytest.mark.parametrize("command", [(), ("reconcile",), ("eval",), ("status",)], ids=" ".join)
def test_every_help_gets_out(store: Store, environ: dict[str, str], command: tuple[str, ...]) -> None:
    assert "Usage: " in said(store, environ, *command, "--help")


@pytest.mark.parametrize("environ", POOR.values(), ids=POOR)
def test_what_is_complained_of_gets_out(store: Store, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*GATE, "--url", store.url, "eval", "--id", ID, "--symbol", "龙→USDT!", "--side", "BUY", "--notional", "2"],
        capture_output=True,
        env=environment(**environ),
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"gate: symbol: ")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("columns", [60, 120])
def test_a_coloured_terminal_gets_it_too(store: Store, redis_client: redis.Redis, encoding: str, columns: int) -> None:
    redis_client.set("quantum:safety:safe_mode", REASON)
    code, out = on_terminal(columns, "--url", store.url, "status", PYTHONIOENCODING=encoding)
    assert code == 1
    assert "\\u2192" in out
    code, out = on_terminal(columns, "--url", store.url, *EVAL, PYTHONIOENCODING=encoding)
    assert code == 1
    assert "\\u2192" in out


@pytest.mark.parametrize(
    ("cells", "whole"),
    [
        (("lock", "on", "9 s", "quantum:exec:lock:1000PEPEUSDT:BUY\nheld by a live permit"), 3),
        (("sig-" + "8" * 60, "UNREADABLE", "g-eNdvJq6wfUJ353_1XbwE8o5C5lz_Q124", "the exchange gives no answer"), 0),
    ],
)
def test_at_no_width_is_a_key_or_an_id_broken_in_two(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cells: tuple[str, ...], whole: int
) -> None:
    for columns in range(40, 131):
        monkeypatch.setenv("COLUMNS", str(columns))
        TerminalScreen().table(("what", "state", "time left", "key"), [Row(cells)])
        assert cells[whole].partition("\n")[0] in capsys.readouterr().out, columns
