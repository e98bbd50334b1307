"""Where the store, the account and the policy come from; and `gate policy show`."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from gate import Gate, Policy
from gate.config import Flags, InvalidConfig, read_config
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


def test_a_password_is_in_no_repr(file: Path) -> None:
    config = read_config(Flags(url="redis://u:s3cret@h"), {})
    assert "s3cret" not in repr(config) + repr(Flags(url="redis://u:s3cret@h"))


def test_figures_of_the_policy(file: Path) -> None:
    file.write_text("[policy]\nrate_global_limit = 9\nmargin_buffer = 0.3\n")
    config = read_config(Flags(config=str(file)), {})
    assert config.policy == Policy(rate_global_limit=9, margin_buffer=Decimal("0.3"))
    assert config.figures_from_file == {"rate_global_limit", "margin_buffer"}


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
        "policy.rate_symbol_limt: is not a figure of the policy",
        "policy.rate_global_limit: 0 is not a whole number",
        "policy.margin_buffer: Decimal('NaN')",
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
    done = bare("status", env={"GATE_CONFIG": str(file)})
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{file}: {problem}" in done.stderr


def test_policy_show_offline(bare: Run, file: Path) -> None:
    file.write_text("[policy]\nrate_global_limit = 9\n")
    done = bare("--config", str(file), "policy", "show")
    assert (done.exit_code, done.stderr) == (0, "")
    rows = {words[0]: words[1:] for line in done.stdout.splitlines() if (words := line.split())}
    assert rows["rate_global_limit"] == ["9", str(file)]
    assert rows["lock_ttl_ms"] == ["30000", "default"]
    assert rows["Fingerprint:"] == [Policy(rate_global_limit=9).fingerprint]
    assert "In force: unknown, since no store is given." in done.stdout
    assert f"Warning: {Policy().warnings[0]}" in done.stdout


def test_policy_show_beside_the_one_in_force(
    gate: Run, gate_json: Callable[..., Any], store: Store, redis_client: redis.Redis, file: Path
) -> None:
    assert "In force: none yet" in gate("policy", "show").stdout
    with Gate.from_url(store.url) as other:
        other.apply_policy(by="ops", reason="test")
    assert "In force: this one." in gate("policy", "show").stdout
    file.write_text("[policy]\nrate_global_limit = 9\n")
    own = Policy().fingerprint
    shown = gate("--config", str(file), "policy", "show").stdout
    changed = f"{own} -> {Policy(rate_global_limit=9).fingerprint}"
    assert f"In force: {own}, not this one. Its figures aren't stored, only this fingerprint" in shown
    assert f"`gate policy apply` would change {changed}, and deny every caller" in shown
    assert "BUILT-IN" not in shown
    answer = gate_json("--config", str(file), "policy", "show")
    assert (answer["in_force"], answer["agrees"]) == (own, False)
    assert answer["figures"]["rate_global_limit"] == {"value": 9, "from": str(file)}
    assert answer["figures"]["margin_buffer"] == {"value": "0.25", "from": "default"}
    assert answer["fingerprint"] == Policy(rate_global_limit=9).fingerprint
    assert answer["warnings"] == list(Policy().warnings)


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
