"""Where the store, the account and the policy come from; and `gate policy show`."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from click.testing import Result

from gate import AsyncGate, Config, Gate, Intent, InvalidConfig, Policy
from gate.config import Flags, read_config
from tests.servers.store import Store

Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gate.toml"


def test_flags_win_over_the_environment_and_the_environment_over_the_file(file: Path) -> None:
    file.write_text('url = "redis://file"\nprefix = "file"\n')
    environ = {"GATE_CONFIG": str(file)}
    assert (read_config(Flags(), environ).url, read_config(Flags(), environ).prefix) == ("redis://file", "file")
    environ |= {"REDIS_URL": "redis://second", "GATE_PREFIX": "environment"}
    assert read_config(Flags(), environ).url == "redis://second"
    environ |= {"GATE_URL": "redis://first"}
    assert (read_config(Flags(), environ).url, read_config(Flags(), environ).prefix) == (
        "redis://first",
        "environment",
    )
    said = read_config(Flags(url="redis://flag", prefix="flag"), environ)
    assert (said.url, said.prefix) == ("redis://flag", "flag")
    assert read_config(Flags(embedded="here"), environ).url == "embedded:here"
    assert read_config(Flags(config=str(file)), {"GATE_CONFIG": "/nowhere"}).url == "redis://file"


def test_nothing_is_chosen_silently() -> None:
    config = read_config(Flags(), {"GATE_URL": "", "GATE_PREFIX": "", "GATE_CONFIG": ""})
    assert (config.url, config.prefix, config.policy) == (None, "quantum", Policy())
    with pytest.raises(InvalidConfig, match=r"--url URL or --embedded DIR, set GATE_URL, or put url into"):
        _ = config.store_url
    with pytest.raises(InvalidConfig, match="both name a store"):
        read_config(Flags(url="redis://a", embedded="b"), {})


def test_an_embedded_store_needs_a_directory(bare: Run, file: Path) -> None:
    file.write_text("")
    done = bare("--embedded", str(file), "status")
    assert (done.exit_code, done.stderr) == (2, f"gate: --embedded {str(file)!r} is a file; give a directory\n")


def test_an_embedded_store_takes_no_url(bare: Run) -> None:
    done = bare("--embedded", "embedded:here", "status")
    assert (done.exit_code, done.stderr) == (2, "gate: --embedded 'embedded:here' is a URL; give the directory alone\n")


def test_a_password_is_in_no_repr(file: Path) -> None:
    config = read_config(Flags(url="redis://u:s3cret@h"), {})
    assert "s3cret" not in repr(config) + repr(Flags(url="redis://u:s3cret@h"))


def test_figures_of_the_policy(file: Path) -> None:
    file.write_text("[policy]\nrate_global_limit = 9\nmargin_buffer = 0.3\n")
    config = read_config(Flags(config=str(file)), {})
    assert config.policy == Policy(rate_global_limit=9, margin_buffer=Decimal("0.3"))
    assert config.figures_from_file == {"rate_global_limit", "margin_buffer"}


INTENT = ("--id", "a", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")
FAULTS = """
prefx = "acct7"
url = 5
[policy]
rate_symbol_limt = 1
rate_global_limit = 0
margin_buffer = nan
mode = "dry"
"""


def test_every_fault_is_named_at_once_in_one_line(bare: Run, file: Path) -> None:
    file.write_text(FAULTS)
    done = bare("--config", str(file), "policy", "show")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    for fault in (
        "prefx: is not a key of this file",
        "url: 5 is not a text",
        "policy.rate_symbol_limt: is not a figure of the policy; write rate_symbol_limit;",
        "policy.rate_global_limit: 0 is not a whole number",
        "policy.margin_buffer: NaN is not",
        "policy.mode: 'dry' is not one of",
    ):
        assert fault in done.stderr


def test_json_output_reports_a_faulty_file_too(bare: Run, file: Path) -> None:
    file.write_text("[policy]\nrate_global_limit = 0\n")
    done = bare("--config", str(file), "policy", "show", "--json")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    error = json.loads(done.stdout)["error"]
    assert error["field"] == "config"
    assert "policy.rate_global_limit: 0 is not a whole number" in error["problem"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"url = ", "is not TOML: Invalid value (at end of document)"),
        (b"\xff", "is not TOML"),
        (b"x = 1e99999999999999999999", "is not TOML"),
        (b"x = " + b"[" * 5_000, "is not TOML"),
        (b"policy = 5", "policy: 5 is not a table"),
        (b"url = ''", "url: '' is not a text"),
        (None, "can't be read: No such file"),
    ],
)
def test_an_unusable_config_file_is_one_line_that_names_it(
    bare: Run, file: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        file.write_bytes(content)
    done = bare("eval", *INTENT, env={"GATE_CONFIG": str(file)})
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{file}: {problem}" in done.stderr


def test_policy_show_with_a_dead_store_shows_the_rest(bare: Run) -> None:
    done = bare("--url", "redis://127.0.0.1:1", "policy", "show")
    assert (done.exit_code, done.stderr.count("\n")) == (3, 1)
    assert "In force: unknown, since the store gave no answer." in done.stdout
    assert Policy().fingerprint in done.stdout
    done = bare("--url", "redis://127.0.0.1:1", "policy", "show", "--json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, answer["agrees"]) == (3, "", None)
    assert (answer["fingerprint"], answer["reason"]) == (Policy().fingerprint, "STORE_UNAVAILABLE")


def test_another_prefix_is_another_account(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("acct7:safety:safe_mode", "1")
    assert gate("status").stdout.startswith("OPEN")
    assert gate("--prefix", "acct7", "status").stdout.startswith("STOPPED")


# Slips in the policy alone: in a figure, in its name, in the TOML below the header, in the table itself.
SLIPS = {
    "a figure": ("[policy]\nrate_global_limit = 0\n", "policy.rate_global_limit: 0 is not a whole number"),
    "a name": ("[policy]\nrate_globl_limit = 5\n", "policy.rate_globl_limit: is not a figure of the policy"),
    "no TOML": ("[policy]\nrate_global_limit = \n", "is not TOML"),
    "Python's words": ("[policy]\nexits_without_store = True\n", "(at line 4, column 23); write true and false small"),
    "a header": ("[policy\nrate_global_limit = 5\n", "is not TOML"),
    "no table": ("policy = 5\n", "policy: 5 is not a table"),
}
WHO = ("--by", "ops", "--reason", "CPI print")
ACTS = (("halt", "--no-wait", *WHO), ("status",), ("resume", *WHO), ("reset", "all", *WHO), ("init", *WHO))


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_the_policy_does_not_stop_what_a_person_does_at_a_bad_moment(
    bare: Run, file: Path, store: Store, redis_client: redis.Redis, slip: str
) -> None:
    content, problem = SLIPS[slip]
    file.write_text(f'url = "{store.url}"\nprefix = "acct7"\n{content}')
    for words in ACTS:
        done = bare("--config", str(file), *words)
        assert done.exit_code == (1 if words == ("status",) else 0), (words, done.stderr)
        [said] = [line for line in done.stderr.splitlines() if str(file) in line]
        assert said.startswith("gate: warning: ")
        assert problem in said
        assert redis_client.exists("acct7:safety:halt") is (1 if words[0] in ("halt", "status") else 0)
    done = bare("--config", str(file), "show", "sig-81")
    assert done.exit_code == 1
    done = bare("--config", str(file), "leftovers")
    assert (done.exit_code, problem in done.stderr) == (0, True)
    submit = (
        "submit",
        "--symbol",
        "BTCUSDT",
        "--side",
        "BUY",
        "--notional",
        "300",
    )  # the stream stands in the file, too
    for needing in (("eval", *INTENT), submit, ("policy", "show"), ("policy", "apply", "--defaults", *WHO)):
        done = bare("--config", str(file), *needing)
        assert (done.exit_code, done.stdout) == (2, ""), "these need the policy"
        assert problem in done.stderr


@pytest.mark.parametrize("slip", ["rate_global_limit = 0", "rate_global_limit = "])
def test_a_slip_does_not_turn_the_act_of_an_observer_on_the_account_itself(
    bare: Run, file: Path, store: Store, redis_client: redis.Redis, slip: str
) -> None:
    file.write_text(f'url = "{store.url}"\n[policy]\n{slip}\nmode = "observe"\n')
    redis_client.mset({"quantum:safety:safe_mode": "1", "quantum:observe:safety:safe_mode": "1"})
    done = bare("--config", str(file), "reset", "safe_mode", *WHO)
    assert done.exit_code == 0
    assert redis_client.exists("quantum:safety:safe_mode")
    assert not redis_client.exists("quantum:observe:safety:safe_mode")


@pytest.mark.parametrize(
    "content", ['prefx = "acct7"\n', "prefix = 7\n", 'prefix = "acct7\n', "url = \n[policy]\n", "\xff"]
)
def test_a_slip_that_may_hide_the_account_stops_a_halt(
    bare: Run, file: Path, store: Store, redis_client: redis.Redis, content: str
) -> None:
    """Halted would be the account of another prefix."""
    file.write_text(content, encoding="latin-1")
    done = bare("--url", store.url, "--config", str(file), "halt", *WHO)
    assert (done.exit_code, done.stdout) == (2, "")
    assert not redis_client.exists("quantum:safety:halt")


@pytest.mark.parametrize("content", [None, "prefix = ", 'prefix = \nmode = "observe"\n'])
@pytest.mark.parametrize("by", ["flags", "environment"])
def test_no_file_stops_a_halt_whose_store_and_account_are_named(
    bare: Run, file: Path, store: Store, redis_client: redis.Redis, content: str | None, by: str
) -> None:
    if content is not None:
        file.write_text(content)
    named = ("--url", store.url, "--prefix", "acct7") if by == "flags" else ()
    environ = {} if named else {"GATE_URL": store.url, "GATE_PREFIX": "acct7"}
    done = bare("--config", str(file), *named, "halt", "--no-wait", *WHO, env=environ)
    assert done.exit_code == 0, done.stderr
    assert f"gate: warning: {file}: " in done.stderr
    assert "this command goes on without" in done.stderr
    assert redis_client.exists("acct7:safety:halt")
    redis_client.mset({"acct7:safety:safe_mode": "1", "acct7:observe:safety:safe_mode": "1"})
    assert bare("--config", str(file), *named, "reset", "safe_mode", *WHO, env=environ).exit_code == 0
    observes = content is not None and "observe" in content
    assert redis_client.exists("acct7:safety:safe_mode") is (1 if observes else 0)
    assert bare("--config", str(file), *named, "eval", *INTENT, env=environ).exit_code == 2


def test_a_file_that_stops_a_halt_says_how_to_do_without_it(bare: Run, file: Path) -> None:
    assert "with --url and --prefix this command goes on without it" in bare("--config", str(file), "halt", *WHO).stderr


def test_a_service_reads_what_the_command_line_reads(
    file: Path, store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, bare: Run
) -> None:
    file.write_text(f'url = "{store.url}"\nprefix = "acct7"\n[policy]\nrate_global_limit = 9\nmode = "observe"\n')
    with Gate.from_config(file) as gate:
        assert (gate.prefix, gate.policy) == ("acct7", Policy(rate_global_limit=9, mode="observe"))
        gate.halt(by="ops", reason="test")
    assert redis_client.exists("acct7:safety:halt")
    shown = json.loads(bare("--config", str(file), "policy", "show", "--json").stdout)
    assert shown["fingerprint"] == Policy(rate_global_limit=9, mode="observe").fingerprint
    monkeypatch.setenv("GATE_CONFIG", str(file))
    monkeypatch.setenv("GATE_PREFIX", "acct8")
    with Gate.from_config() as gate:
        assert (gate.prefix, gate.policy.rate_global_limit) == ("acct8", 9)
    assert Config.read().store_url == store.url
    assert AsyncGate.from_config(file).prefix == "acct8", "the environment wins over the file, as for the command line"


def test_a_service_without_figures_in_its_file_follows(file: Path, store: Store, redis_client: redis.Redis) -> None:
    file.write_text(f'url = "{store.url}"\n')
    with Gate.from_url(store.url, policy=Policy(rate_global_limit=9)) as other:
        other.apply_policy(by="ops", reason="test")
    with Gate.from_config(file) as gate:
        intent = Intent(id="a", symbol="BTCUSDT", side="BUY", notional="200", timestamp=time.time_ns() // 1_000_000)
        assert gate.evaluate(intent)
        assert gate.policy.rate_global_limit == 9


def test_a_service_is_told_every_fault_of_its_file(file: Path) -> None:
    file.write_text(FAULTS)
    with pytest.raises(InvalidConfig, match="prefx: is not a key") as caught:
        Gate.from_config(file)
    assert "policy.rate_symbol_limt" in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # its own bytes, as between processes
    assert (copy.faults, copy.source, str(copy)) == (caught.value.faults, caught.value.source, str(caught.value))
    file.write_text("")
    with pytest.raises(InvalidConfig, match="no store is given"):
        Gate.from_config(file)
