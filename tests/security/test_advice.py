"""A command that a message advises may be pasted into a shell, whatever a producer has put into an id or a store into
a reason; and what the command line prints changes no terminal."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from gate import Gate, Reason
from gate.cli.program import program
from gate.values.errors import pasted
from tests.client import account as at
from tests.client.gates import OpenGate, open_sync_gate
from tests.servers.hostile import HostileStore, bulk, many
from tests.servers.store import Store

__all__ = ["open_sync_gate"]

MAKES = ["$(touch$IFS{file})", "`touch$IFS{file}`", "a;touch$IFS{file}", "a'$(touch$IFS{file})'"]
IDS = [*MAKES, 'a"b', "a|b", "a&b", "a>b", "~"]


def in_a_shell(words: str) -> str:
    line = f"printf '%s\\n' {words}"
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=10).stdout.rstrip(
        "\n"
    )


@pytest.mark.parametrize("id_", IDS)
def test_a_key_in_an_advice_is_one_word_of_a_shell(
    redis_client: redis.Redis, open_sync_gate: OpenGate, tmp_path: Path, id_: str
) -> None:
    file = tmp_path / "made"
    intent_id = id_.format(file=file)
    key = f"quantum:exec:processed:{intent_id}"
    redis_client.rpush(key, "a list")
    broken = open_sync_gate().evaluate(at.entry(id=intent_id))
    redis_client.delete(key)
    redis_client.set(key, "1")
    foreign = open_sync_gate().evaluate(at.entry(id=intent_id))
    assert (broken.reason, foreign.reason) == (Reason.STORE_ERROR, Reason.DUPLICATE)
    for detail, advised in ((broken.detail, ("TYPE", "DEL")), (foreign.detail, ("TTL", "DEL"))):
        for command in advised:
            word = re.search(rf"\b{command} (.+?)(?:, then| clears| tells| ends)", detail)
            assert word is not None, detail
            assert in_a_shell(word[1]) == key
    assert not file.exists()


def test_gate_show_is_advised_for_that_id_alone() -> None:
    lost = many(bulk("1"), bulk(""))
    for intent_id in ("$(id)", "--config=/tmp/x"):
        with HostileStore({"inspect": lost, "evaluate": b"-LOADING x\r\n"}) as store:
            described = ["--symbol", "BTCUSDT", "--side", "BUY", "--notional", "1", f"--id={intent_id}"]
            result = CliRunner().invoke(program, ["--url", store.url, "eval", "--commit", *described])
        assert result.exit_code == 3
        advised = result.output.partition("gate show ")[2].strip()
        assert in_a_shell(advised.removeprefix("-- ")) == intent_id
        assert advised.startswith("-- ") == intent_id.startswith("-")


def test_plain_keys_stay_as_they_are() -> None:
    for key in ("quantum:exec:lock:BTCUSDT:BUY", "{acct7}:exec:state", "quantum:exec:processed:sig-1", "币安USDT"):
        assert pasted(key) == key
    assert pasted("{a,b}") == "'{a,b}'"
    assert pasted("") == "''"


ESCAPES = ["\x1b[2J\x1b[1;1H", "\x9b31m", "\x07", "\r", "\u202e", "\u2028", "\x1b]0;x\x07"]


@pytest.mark.parametrize("escape", ESCAPES)
def test_what_others_wrote_changes_no_terminal(redis_client: redis.Redis, store: Store, escape: str) -> None:
    text = f"CPI {escape}OPEN"
    redis_client.hset(at.HALT, mapping={"scope": "entries", "by": text, "reason": text, "at": "1"})
    redis_client.set(at.SAFE_MODE, text)
    redis_client.set(at.RECORD, f"rejected t 1 fp 1 BTCUSDT BUY 1 0 - -1 {text}")
    redis_client.hset(at.STATE, mapping={"policy": text, "policy_by": text, "policy_reason": text, "policy_at": "1"})
    redis_client.set(f"quantum:exec:processed:{text.replace(' ', '')}", "1")
    redis_client.zadd("{gate}:services", {text: 4e12})
    redis_client.zadd(at.INFLIGHT, {f"1:{text.replace(' ', '')}": 1})
    for arguments in (
        ["status"],
        ["show", "sig-1"],
        ["policy", "show"],
        ["leftovers"],
        ["eval", "--id", "s", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "10"],
        ["halt", "--by", "ops", "--reason", "a", "--no-wait"],
    ):
        for as_json in ([], ["--json"]):
            result = CliRunner().invoke(program, ["--url", store.url, *arguments, *as_json])
            assert result.exit_code in (0, 1), result.output
            printed = [line for line in result.output.split("\n") if line]
            assert [line for line in printed if not line.isprintable()] == [], arguments
            if as_json:
                json.loads(printed[-1])


def test_a_reason_of_20_mb_is_a_screen_of_bounded_length(redis_client: redis.Redis, store: Store) -> None:
    redis_client.hset(at.HALT, mapping={"scope": "entries", "by": "b" * 10_000_000, "reason": "r" * 10_000_000})
    redis_client.set(at.SAFE_MODE, "s" * 10_000_000)
    for arguments in (["status"], ["eval", "--id", "s", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "10"]):
        for as_json in ([], ["--json"]):
            result = CliRunner().invoke(program, ["--url", store.url, *arguments, *as_json])
            assert len(result.output) < 20_000, arguments
    with Gate.from_url(store.url) as gate:
        halt = gate.halt_in_force()
    assert halt is not None
    assert len(halt.reason) <= 400
