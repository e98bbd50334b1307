"""`gate submit`: an intent by hand, on the stream that the service reads."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from redis.exceptions import ResponseError

from gate import Gate, Intent, Outcome, Policy
from gate.cli.commands.submit import _held_by
from gate.config import Config
from gate.service.settings import read_settings
from gate.service.streams import LEFT
from gate.service.submission import Submission, as_the_service_reads, entry_fields
from gate.store.connect import plain_client
from tests.cli.conftest import bare  # noqa: F401  # a fixture
from tests.service.desk import GROUP, RESULTS, STREAM, Desk, payload

ACL = Path(__file__).resolve().parents[2] / "scripts" / "deploy" / "acl"
PASSWORD = "0123456789abcdef0123"  # noqa: S105  # of a store that lives as long as the test
BUY = ("--symbol", "BTCUSDT", "--side", "BUY", "--notional", "300")

Submit = Callable[..., Result]


@contextmanager
def read_by(desk: Desk, consumer: str, *, acknowledges: bool = False) -> Iterator[None]:
    """A consumer of the group that takes the next entry, and writes no result."""

    def read() -> None:
        rows: Any = desk.client.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=1, block=5_000)
        [[_, [(entry_id, _)]]] = rows
        if acknowledges:
            desk.client.xack(STREAM, GROUP, entry_id)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        yield
        reading.result()


@pytest.fixture
def submit(desk: Desk, bare: Callable[..., Result]) -> Submit:  # noqa: F811
    def run(*words: str, config: str = "", url: str = desk.url, **options: Any) -> Result:
        file = desk.folder / "submit.toml"
        file.write_text(config, "utf-8")
        return bare("--url", url, "--config", str(file), "submit", *words, **options)

    return run


def test_it_stands_on_the_stream_and_the_id_of_its_entry_is_told(desk: Desk, submit: Submit) -> None:
    told = submit("--id", "by-hand", *BUY, "--leverage", "2")
    assert told.exit_code == 0, told.stderr
    rows: Any = desk.client.xrange(STREAM)
    [(entry_id, fields)] = rows
    assert told.stdout == f"{entry_id.decode()} on {STREAM}\n"
    content = json.loads(fields[b"payload"])
    assert {name: value for name, value in content.items() if name != "timestamp"} == {
        "intent_id": "by-hand",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "notional": "300",
        "leverage": 2,
    }


def test_the_service_executes_it_and_wait_shows_the_result(desk: Desk, submit: Submit) -> None:
    desk.worker().consumes()
    told = submit("--id", "by-hand", *BUY, "--wait", "30")
    assert told.exit_code == 0, told.stderr
    assert re.search(r"^intent_id +by-hand$", told.stdout, re.MULTILINE)
    assert re.search(r"^state +FILLED$", told.stdout, re.MULTILINE)

    again = submit("--id", "by-hand", *BUY, "--wait", "30")
    assert again.exit_code == 2
    assert "has its result already" in again.stderr
    assert desk.client.xlen(STREAM) == 1

    refused = json.loads(submit("--id", "none", "--symbol", "NOSUCH", *BUY[2:], "--wait", "30", "--json").stdout)
    assert (refused["submitted"], refused["result"]["state"]) == (True, "REJECTED_ORDER")


def test_a_result_that_is_no_order_is_1(desk: Desk, submit: Submit) -> None:
    desk.worker().consumes()
    assert submit("--id", "none", "--symbol", "NOSUCH", *BUY[2:], "--wait", "30").exit_code == 1


def test_an_intent_that_was_denied_goes_there_again_and_gets_its_order(desk: Desk, submit: Submit) -> None:
    desk.worker("[service]\nretries = false\n").consumes()
    with Gate.from_url(desk.url) as gate:
        gate.halt(by="ops", reason="test")
        denied = submit("--id", "by-hand", *BUY, "--wait", "30")
        assert (denied.exit_code, "HALTED" in denied.stdout) == (1, True)
        gate.resume(by="ops", reason="test")
    again = submit("--id", "by-hand", *BUY, "--wait", "30")
    assert again.exit_code == 0, again.stderr
    assert re.search(r"^state +FILLED$", again.stdout, re.MULTILINE)


def test_a_file_goes_there_as_it_is(desk: Desk, submit: Submit) -> None:
    text = json.dumps(payload(id="of-a-file", take_profit=1.4943000000000002), indent=1)
    (desk.folder / "intent.json").write_text(text)
    assert submit("--intent", str(desk.folder / "intent.json")).exit_code == 0
    assert submit("--intent", "-", input=text).exit_code == 0
    rows: Any = desk.client.xrange(STREAM)
    assert [fields[b"payload"].decode() for _, fields in rows] == [text, text]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--id", "a", "--symbol", "BTCUSDT"), "Missing --side; or give --intent FILE."),
        (("--id", "a", "--symbol", "BTCUSDT", "--side", "BUY"), "notional"),
        (("--id", "a", *BUY, "--leverage", "900"), "leverage"),
        (("--id", "a", *BUY, "--quantity", "1"), "quantity: '1' is given beside notional; give one of them"),
        (("--intent", "nowhere.json"), "can't be read"),
        (("--intent", "-", "--id", "a"), "leave out --id"),
        (("--intent", "-"), "is empty"),
    ],
)
def test_what_the_service_couldnt_read_isnt_put_there(
    desk: Desk, submit: Submit, words: tuple[str, ...], said: str
) -> None:
    told = submit(*words)
    assert told.exit_code == 2, told.stdout
    assert said in told.stderr
    assert desk.client.xlen(STREAM) == 0


def test_stream_and_ids_are_those_of_the_services_configuration(desk: Desk, submit: Submit) -> None:
    config = '[service]\nstream = "of:ladders"\nid = "{trace_id}:{side}"\n'
    ladder = json.dumps(payload(trace_id="ladder"))
    told = json.loads(submit("--intent", "-", "--json", config=config, input=ladder).stdout)
    assert (told["stream"], told["intent_id"]) == ("of:ladders", "ladder:BUY")
    assert submit("--id", "a", *BUY, config=config).exit_code == 2
    assert (desk.client.xlen("of:ladders"), desk.client.xlen(STREAM)) == (1, 0)


def test_when_the_wait_ends_it_is_told_where_the_intent_is_and_what_holds_it(desk: Desk, submit: Submit) -> None:
    unread = submit("--id", "alone", *BUY, "--wait", "1")
    assert unread.exit_code == 3
    assert unread.stdout.endswith(f" on {STREAM}\n")
    assert "Nobody has read it" in unread.stderr

    worker = desk.worker().consumes()
    assert desk.result()["intent_id"] == "alone"
    with Gate.from_url(desk.url) as gate:
        gate.halt(by="ops", reason="CPI print")
        held = submit("--id", "held", *BUY, "--wait", "2")
        assert held.exit_code == 3
        assert f"{worker.consumer} has it, and may still execute it. It is held by HALTED" in held.stderr
        assert "CPI print" in held.stderr
        assert "HALTED" in json.loads(submit("--id", "2", *BUY, "--wait", "2", "--json").stdout)["detail"]
        worker.stop()
        left = submit("--id", "3", *BUY, "--wait", "1")
    assert "Nobody has read it" in left.stderr


def test_a_prefix_under_which_nobody_works_is_told_where_others_do(desk: Desk, submit: Submit) -> None:
    desk.worker().consumes()
    well = submit("--id", "well", *BUY)
    assert (well.exit_code, well.stderr) == (0, "")

    astray = submit("--id", "astray", *BUY, config='prefix = "quantm"\n')

    assert astray.exit_code == 0
    assert "no service has been seen lately under the prefix quantm; seen here: quantum" in astray.stderr
    told = json.loads(submit("--id", "json", *BUY, "--json", config='prefix = "quantm"\n').stdout)
    assert "is this the right account?" in told["prefix_doubt"]


def test_what_a_service_has_left_or_is_done_with_is_told_so(desk: Desk, submit: Submit) -> None:
    desk.client.xgroup_create(STREAM, GROUP, id="$", mkstream=True)
    with read_by(desk, LEFT):
        assert "has ended left it" in submit("--id", "left", *BUY, "--wait", "1").stderr
    with read_by(desk, "another", acknowledges=True):
        assert "done with, maybe without a result" in submit("--id", "done", *BUY, "--wait", "1").stderr
    with read_by(desk, "another"):
        at_work = submit("--id", "at-work", *BUY, "--wait", "1").stderr
    assert "another has it, and may still execute it. It is at work, or waits for its turn" in at_work


def test_of_an_intent_that_was_refused_for_good_it_is_said_to_take_a_new_id(desk: Desk, submit: Submit) -> None:
    desk.client.xgroup_create(STREAM, GROUP, id="$", mkstream=True)
    with Gate.from_url(desk.url) as gate:
        verdict = gate.evaluate(Intent.from_mapping(payload(id="out", side="CLOSE")))
        assert verdict.permit is not None
        assert gate.settle(verdict.permit, Outcome.rejected("-2015", "Invalid API-key"))
    with read_by(desk, "another", acknowledges=True):
        said = submit("--id", "out", "--symbol", "BTCUSDT", "--side", "CLOSE", "--wait", "1").stderr
    assert "An intent of this id is refused for good, no order exists: send it under a new id. gate show out" in said


@pytest.mark.parametrize(
    ("so", "said"),
    [
        ("admitted", "may still execute it. It is at work, or waits for its turn, or for the exchange"),
        ("stale", "answers it without an order: STALE ("),
        ("no store", "may still execute it. It is at work, or held"),
    ],
)
async def test_what_becomes_of_an_intent_in_hand_is_what_the_gate_would_say(desk: Desk, so: str, said: str) -> None:
    url = "redis://127.0.0.1:1/0" if so == "no store" else desk.url
    config = Config(url=url, prefix="quantum", policy=Policy(), file=None, figures_from_file=frozenset())
    settings = read_settings({}, {}, "quantum", host="h", pid=1, listen="none")
    sent = payload(id="a", timestamp="2001-01-02T00:00:00") if so == "stale" else payload(id="a")
    entry = as_the_service_reads(entry_fields(json.dumps(sent), 1), settings, "1-0")
    if so == "admitted":
        with Gate.from_url(desk.url) as gate:
            assert gate.evaluate(entry.intent)
    assert (await _held_by(config, entry)).startswith(said)


def test_the_wait_is_for_the_id_that_the_service_makes_of_the_entry(desk: Desk, submit: Submit) -> None:
    config = '[service]\nid = "by-hand:{entry_id}"\n'
    desk.worker(config).consumes()
    told = submit("--intent", "-", "--wait", "30", config=config, input=json.dumps(payload()))
    assert told.exit_code == 0, told.stderr
    assert re.search(r"^intent_id +by-hand:\d+-\d+$", told.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:1/0", "gate: redis://127.0.0.1:1/0: Error 111"),
        ("redis+sentinel://127.0.0.1:1/m", "/m: No master found for 'm'; nothing was put there"),
        ("redis+cluster://127.0.0.1:1", "; nothing was put there"),
    ],
)
def test_without_a_store_nothing_is_there(submit: Submit, url: str, said: str) -> None:
    told = submit("--id", "a", *BUY, url=url)
    assert told.exit_code == 3
    assert said in told.stderr
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("exit_", [False, True], ids=["entry", "exit"])
def test_what_the_store_refuses_is_not_there(desk: Desk, submit: Submit, exit_: bool) -> None:
    desk.client.config_set("min-replicas-to-write", 2)
    try:
        told = submit("--id", "a", "--symbol", "BTCUSDT", "--side", "CLOSE") if exit_ else submit("--id", "a", *BUY)
    finally:
        desk.client.config_set("min-replicas-to-write", 0)
    assert told.exit_code == 3
    assert "; nothing was put there" in told.stderr
    assert ("gate flatten closes what is open without the store" in told.stderr) is exit_
    assert not desk.client.exists(STREAM)


def test_a_stream_that_is_half_read_from_its_file_is_not_taken_for_another(desk: Desk, submit: Submit) -> None:
    told = submit("--id", "a", *BUY, config='[service]\nstream = "mine"\nconcurrency = eight\n')
    assert (told.exit_code, "is not TOML" in told.stderr) == (2, True)
    assert not desk.client.exists(STREAM)


def test_a_prefix_that_no_service_takes_is_refused(desk: Desk, submit: Submit) -> None:
    assert submit("--id", "a", *BUY, config='prefix = "a b"\n').exit_code == 2
    assert not desk.client.keys("a b:*")


def test_a_producers_rights_are_enough_and_with_two_more_it_waits(harmed: Desk, bare: Callable[..., Result]) -> None:  # noqa: F811
    line = subprocess.run([ACL, "producer"], input=PASSWORD, capture_output=True, text=True, check=True).stdout
    _, name, *rules = shlex.split(line) if "(" not in line else re.findall(r"\([^)]*\)|\S+", line)
    harmed.client.execute_command("ACL", "SETUSER", name, *rules)
    url = re.sub("//", f"//{name}:{PASSWORD}@", harmed.url)
    told = bare("--url", url, "submit", "--id", "a", *BUY)
    assert told.exit_code == 0, told.stderr
    assert harmed.client.xlen(STREAM) == 1
    page = (ACL.parent / "producer.acl").read_text("utf-8").replace("PREFIX", "quantum")
    [more] = re.findall(r"^# gate submit --wait .*: (\(.*\))$", page, re.MULTILINE)
    harmed.client.execute_command("ACL", "SETUSER", name, more)
    told = bare("--url", url, "submit", "--id", "b", *BUY, "--wait", "1")
    assert "A gate run may hold it" in told.stderr
    [where] = re.findall(r"^# With these it also says where .*: (\(.*\))$", page, re.MULTILINE)
    harmed.client.execute_command("ACL", "SETUSER", name, where)
    told = bare("--url", url, "submit", "--id", "b", *BUY, "--wait", "1")
    assert "Nobody has read it" in told.stderr
    harmed.worker().consumes()
    told = bare("--url", url, "submit", "--id", "c", "--symbol", "ETHUSDT", *BUY[2:], "--wait", "30")
    assert told.exit_code == 0, told.stderr
    assert re.search(r"^state +FILLED$", told.stdout, re.MULTILINE)


@pytest.mark.outside_roles("it makes a user of its own")
@pytest.mark.parametrize("missing", ["xread", "xrevrange", "the key"])
def test_who_may_not_read_results_puts_nothing_there_by_wait(
    harmed: Desk,
    bare: Callable[..., Result],  # noqa: F811
    missing: str,
) -> None:
    harmed.worker().consumes()
    key, lacks = ("~other", "+@all") if missing == "the key" else ("~*", f"-{missing}")
    rules = (f"~{STREAM}", "~quantum:stream:answered:*", "+@all", f"({key} -@all +xread +xrevrange {lacks})")
    harmed.client.execute_command("ACL", "SETUSER", "lame", "on", "nopass", *rules)
    words = ("--url", harmed.url.replace("//", "//lame:any@"), "submit", "--id", "a", *BUY)
    told = bare(*words, "--wait", "30")
    remedy = f": leave --wait out, or grant (+xread +xrevrange %R~{RESULTS})"
    assert told.exit_code == 3, told.stdout
    assert f"{remedy}; nothing was put there" in told.stderr
    assert "XADD" not in told.stderr, "that right it has"
    answer = json.loads(bare(*words, "--wait", "30", "--json").stdout)
    assert (answer["submitted"], answer["entry"], answer["detail"].endswith(remedy)) == (False, None, True)
    assert harmed.client.xlen(STREAM) == 0
    assert bare(*words).exit_code == 0, "it may put it there without"
    assert harmed.client.xlen(STREAM) == 1


async def test_an_update_of_an_order_is_not_taken_for_its_result(desk: Desk) -> None:
    """Of an order that had the same id before, and rests."""
    for state in ("ORDER_UPDATE", "FILLED"):
        desk.client.xadd(RESULTS, {"intent_id": "sig-1", "state": state})
    client = plain_client(desk.url, 5_000)
    try:
        settings = read_settings({}, {}, "quantum", host="h", pid=1)
        found = await Submission(client, settings).result("sig-1", "0-0", 5)
    finally:
        await client.aclose()
    assert found == {"intent_id": "sig-1", "state": "FILLED"}


async def test_a_stream_that_is_none_is_not_taken_for_one_that_nobody_reads(desk: Desk) -> None:
    desk.client.set(STREAM, "no stream")
    client = plain_client(desk.url, 2_000)
    settings = read_settings({}, {}, "quantum", host="h", pid=1, listen="none")
    try:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await Submission(client, settings).whereabouts("1-1")
    finally:
        await client.aclose()
