"""`gate halt` waits until nothing is out, `--cancel` clears the exchange, and `gate flatten` closes everything."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from binance import Client
from click.testing import Result

from gate import Gate, Intent, Outcome, Penalty, Policy, StoreUnavailable
from gate.client.gates import Gate as GateClass
from gate.paper import Fault, FaultKind, PaperExchange
from tests.cli.conftest import EVAL, held, some_trade
from tests.cli.test_operate import CLEAR, WHO
from tests.client import account as at
from tests.client.account import server_ms
from tests.servers.store import Store

Run = Callable[..., Result]


def test_a_halt_is_confirmed_when_the_entry_that_was_out_has_run_out(
    gate: Run, redis_client: redis.Redis, short: tuple[str, str]
) -> None:
    gate(*short, *EVAL)

    done = gate(*short, "halt", *WHO)

    assert (done.exit_code, done.stdout.splitlines(keepends=True)[-1]) == (0, CLEAR)
    waited = "gate: waiting: 1 entry may still reach the exchange (sig-81 BTCUSDT BUY); over in "
    assert [line for line in done.stderr.splitlines() if line.startswith(waited)]
    assert "(Ctrl-C ends the waiting, not the halt)" in done.stderr
    permits: Any = redis_client.zrange("quantum:exec:inflight", 0, -1, withscores=True)
    assert server_ms(redis_client) >= permits[0][1]


def test_a_settlement_ends_the_wait_at_once(gate: Run, store: Store) -> None:
    with Gate.from_url(store.url) as other:
        verdict = other.evaluate(Intent(id="sig-81", symbol="BTCUSDT", side="BUY", notional="200", timestamp=now_ms()))
        assert verdict.permit is not None
        permit = verdict.permit
        settled = threading.Thread(target=_settles, args=(store.url, permit))
        settled.start()
        done = gate("halt", *WHO)
        settled.join()
    assert (done.exit_code, CLEAR in done.stdout) == (0, True)
    assert permit.remaining_ms > 0


def _settles(url: str, permit: Any) -> None:
    """As soon as there is a halt."""
    with Gate.from_url(url) as gate:
        while gate.halt_in_force() is None:
            pass
        gate.settle(permit, Outcome.placed("81"))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_without_waiting_it_says_what_is_still_out(gate: Run) -> None:
    gate(*EVAL)
    done = gate("halt", "--no-wait", *WHO)
    assert (done.exit_code, CLEAR in done.stdout) == (0, False)
    assert "Not confirmed: 1 entry may still reach the exchange (sig-81 BTCUSDT BUY); over in " in done.stderr
    answer = json.loads(gate("halt", "--no-wait", *WHO, "--json").stdout)
    assert answer["confirmed"] is False
    assert [each["id"] for each in answer["still_out"]["intents"]] == ["sig-81"]
    assert 0 < answer["still_out"]["wait_ms"] <= Policy().lock_ttl_ms


def test_a_store_that_has_forgotten_is_waited_for(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.flushall()
    done = gate("halt", "--no-wait", *WHO)
    assert "Not confirmed: the store may have forgotten permits that live for 30 s more" in done.stderr


def test_a_resume_during_the_wait_is_said(gate: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gate(*EVAL)
    whole = GateClass.halt

    def halt(self: GateClass, **words: str) -> Any:
        act = whole(self, **words)
        self.resume(by="desk", reason="a mistake")
        return act

    monkeypatch.setattr(GateClass, "halt", halt)
    done = gate("halt", *WHO)
    assert done.exit_code == 1
    assert "Not confirmed: the halt is no longer in force; somebody has resumed" in done.stderr


def test_a_halt_under_a_mistaken_prefix_names_those_at_work(gate: Run, store: Store, redis_client: redis.Redis) -> None:
    for prefix in "quantum", "acct7":
        with Gate.from_url(store.url, prefix=prefix) as service:
            service.leave_trace()
    said = gate("--prefix", "qantum", "halt", "--no-wait", *WHO).stderr
    assert "no service has been seen lately under the prefix qantum; seen here: " in said
    assert "quantum (" in said
    assert "acct7 (" in said
    assert "is this the right account?" in said
    assert "seen lately" not in gate("halt", "--no-wait", *WHO).stderr
    redis_client.zadd("{gate}:services", {"quantum": now_ms() - 86_400_000 * 2})
    assert "under the prefix quantum (the last 2d " in gate("halt", *WHO).stderr


def test_acts_under_a_prefix_that_never_ran_beside_one_that_does_exit_1(
    gate: Run, short: tuple[str, str], gate_json: Callable[..., Any], at_hand: Client, store: Store
) -> None:
    with Gate.from_url(store.url) as service:
        service.leave_trace()
    some_trade(at_hand)
    for number, act in enumerate((("halt",), ("flatten", "--yes"))):
        done = gate(*short, "--prefix", f"qantum{number}", *act, *WHO)
        assert (done.exit_code, "is this the right account?" in done.stderr) == (1, True)
        assert f"But only under the prefix qantum{number}: see the warning." in done.stdout
        answer = gate(*short, "--prefix", f"qantm{number}", *act, *WHO, "--json")
        assert "is this the right account?" in json.loads(answer.stdout)["prefix_doubt"]
    assert gate_json("halt", "--no-wait", *WHO)["prefix_doubt"] is None


def test_a_halt_of_those_that_observe_doubts_no_prefix(gate: Run, store: Store) -> None:
    with Gate.from_url(store.url, prefix="acct7") as other:
        other.leave_trace()
    with Gate.from_url(store.url, policy=Policy(mode="observe")) as observer:
        observer.evaluate(Intent(id="sig-1", symbol="BTCUSDT", side="BUY", notional="200", timestamp=now_ms()))
    assert "right account" not in gate("halt", "--no-wait", *WHO).stderr


def test_a_confirmed_halt_names_what_failed_of_late_and_may_be_accepted_yet(
    gate: Run, gate_json: Callable[..., Any], store: Store, redis_client: redis.Redis
) -> None:
    with Gate.from_url(store.url, policy=Policy(rate_symbol_limit=9)) as service:
        service.apply_policy(by="ops", reason="test")
        for intent in at.entry("sig-1"), at.exit_("sig-2"), at.entry("sig-3", "ETHUSDT"):
            placed = Outcome.placed("1") if intent.id == "sig-3" else Outcome.not_placed("the request failed")
            assert service.settle(at.admitted(service.evaluate(intent)), placed)
    said = gate("halt", *WHO)
    assert said.exit_code == 0
    assert "any more. But sig-1 failed within the last 10 minutes, and the exchange had no order then" in said.stdout
    assert gate_json("halt", *WHO)["absent"] == ["sig-1"]


def test_a_confirmed_halt_says_where_nobody_knows_what_failed_of_late(gate: Run, redis_client: redis.Redis) -> None:
    redis_client.set("quantum:safety:audit", "not a stream")
    said = gate("halt", *WHO)
    assert said.exit_code == 0
    assert "any more. But " in said.stdout
    assert "the audit, which would say, can't be read." in said.stdout
    assert json.loads(gate("halt", *WHO, "--json").stdout)["absent"] is None


def test_a_halt_that_can_not_be_told_cancels_nothing_and_says_so(gate: Run, at_hand: Client) -> None:
    some_trade(at_hand)
    done = gate("--url", "redis://127.0.0.1:1/0", "halt", "--cancel", *WHO)
    assert done.exit_code == 3
    assert done.stderr.endswith("; no order was cancelled; gate flatten cancels and closes without the store, too\n")
    assert len(at_hand.futures_get_open_orders()) == 1


def test_flattening_under_a_halt_of_all_says_that_exits_are_stopped_too(gate: Run, at_hand: Client) -> None:
    gate("halt", "--no-wait", "--scope", "all", *WHO)
    assert "exits too" in gate("flatten", "--yes", *WHO).stdout.splitlines()[0]


def test_a_halt_and_the_status_say_what_rests_and_where(
    gate: Run, gate_json: Callable[..., Any], at_hand: Client, paper_exchange: PaperExchange
) -> None:
    gate(*EVAL, "--reduce-only")
    some_trade(at_hand)
    rests = f"3 orders rest at {paper_exchange.url} (1 plain and 2 conditional) of BTCUSDT, ETHUSDT.\n"
    assert gate("halt", *WHO).stdout.endswith(CLEAR + rests)
    assert gate("status").stdout.endswith(rests)
    counts = {"exchange": paper_exchange.url, "plain": 1, "conditional": 2, "problem": None}
    assert gate_json("status")["resting"] == counts
    assert gate_json("halt", *WHO)["resting"] == counts
    assert len(at_hand.futures_get_open_orders()) == 1


def test_an_exchange_that_does_not_answer_takes_nothing_from_the_halt(
    gate: Run, at_hand: Client, paper_exchange: PaperExchange
) -> None:
    gate(*EVAL, "--reduce-only")
    paper_exchange.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/openOrders", times=10))
    done = gate("halt", *WHO)
    assert (done.exit_code, CLEAR in done.stdout) == (0, True)
    assert f"How many orders rest at {paper_exchange.url} is unknown: " in done.stdout


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        ({"kind": FaultKind.ERROR, "status": 401, "code": -2015}, "EXITS DON'T GET THROUGH from here: {} -2015"),
        ({"kind": FaultKind.BANNED_418}, "EXITS DON'T GET THROUGH from here: {} -1003"),
        ({"kind": FaultKind.INTERNAL_503}, "EXITS MAY NOT GET THROUGH from here: {} HTTP_503"),
        ({"kind": FaultKind.RESET}, "EXITS MAY NOT GET THROUGH from here: the exchange gives no usable answer ("),
    ],
)
def test_the_first_line_of_the_status_says_that_exits_do_not_get_through_where_the_exchange_has_just_refused(
    gate: Run, at_hand: Client, paper_exchange: PaperExchange, fault: dict[str, Any], first: str
) -> None:
    gate("halt", "--no-wait", *WHO)
    paper_exchange.inject(Fault(method="GET", path="/fapi/v1/openOrders", times=10, **fault))
    said = gate("status").stdout.splitlines()[0]
    assert said.startswith(first.format("the exchange answers"))
    assert "The gate: HALTED for entries. By ops: " in said
    assert "exits pass" not in said


def test_an_overloaded_exchange_takes_exits(gate: Run, at_hand: Client, paper_exchange: PaperExchange) -> None:
    overloaded = Fault(kind=FaultKind.ERROR, status=503, code=-1008, method="GET", path="/fapi/v1/openOrders", times=10)
    paper_exchange.inject(overloaded)
    assert gate("status").stdout.startswith("OPEN\n")


@pytest.mark.parametrize(
    ("banned", "answer", "first"),
    [
        (True, "-1003 too many", "EXITS DON'T"),
        (False, "-1003 too many", "EXITS MAY NOT"),
        (False, "-1003 IP banned until 2026-11-27T12:00:00Z", "EXITS DON'T"),  # a person has reset safe mode
        (False, "HTTP_418 teapot", "EXITS DON'T"),
    ],
)
def test_while_the_exchange_wants_no_requests_the_status_sends_none(
    gate: Run, at_hand: Client, store: Store, monkeypatch: pytest.MonkeyPatch, banned: bool, answer: str, first: str
) -> None:
    """Whoever goes on asking during a ban is banned for longer."""
    with Gate.from_url(store.url) as other:
        verdict = other.evaluate(Intent(id="sig-81", symbol="BTCUSDT", side="BUY", notional="200", timestamp=now_ms()))
        assert verdict.permit is not None
        penalty = Penalty(cooldown_global_ms=240_000, safe_mode=banned)
        assert other.settle(verdict.permit, Outcome.rejected(*answer.split(" ", 1), penalty=penalty))
    asked: list[object] = []
    monkeypatch.setattr("gate.cli.commands.at_the_exchange.opened", asked.append)
    out = gate("status").stdout
    assert asked == []
    code = answer.partition(" ")[0]
    assert out.startswith(f"{first} GET THROUGH: the exchange answers {code}, for ")
    assert f" is unknown: not asked, since the exchange answers {code}" in out


def test_a_halt_that_cancels_leaves_no_order_and_every_position(
    gate: Run, gate_json: Callable[..., Any], at_hand: Client, paper_exchange: PaperExchange
) -> None:
    gate(*EVAL, "--reduce-only")
    some_trade(at_hand)
    done = gate("halt", "--cancel", *WHO)
    said = f"Cancelled 3 orders at {paper_exchange.url}, which says that none rests any more.\n"
    assert (done.exit_code, done.stdout.endswith(CLEAR + said)) == (0, True)
    assert at_hand.futures_get_open_orders() == at_hand.futures_get_open_algo_orders() == []
    assert held(at_hand) == ["BTCUSDT", "ETHUSDT"]
    assert gate_json("halt", "--cancel", *WHO)["cancelled"] == {
        "exchange": paper_exchange.url,
        "cancelled": 0,
        "confirmed": True,
        "left": [],
        "problems": [],
    }


def test_an_order_that_comes_while_the_halt_waits_is_cancelled_too(
    gate: Run, at_hand: Client, short: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(*short, *EVAL)
    whole = GateClass.until_clear

    def until_clear(self: GateClass, *words: Any, **more: Any) -> Any:
        some_trade(at_hand)
        return whole(self, *words, **more)

    monkeypatch.setattr(GateClass, "until_clear", until_clear)
    done = gate(*short, "halt", "--cancel", *WHO)
    assert (done.exit_code, "Cancelled 3 orders" in done.stdout) == (0, True)
    assert at_hand.futures_get_open_orders() == []


def test_an_order_that_cannot_be_cancelled_is_named(gate: Run, at_hand: Client, paper_exchange: PaperExchange) -> None:
    some_trade(at_hand)
    broken = Fault(kind=FaultKind.ERROR, method="DELETE", path="/fapi/v1/allOpenOrders", code=-4131, times=100)
    paper_exchange.inject(broken)
    done = gate("halt", "--cancel", *WHO)
    assert (done.exit_code, f"Cancelled 2 orders at {paper_exchange.url}; 1 rest.\n" in done.stdout) == (1, True)
    assert "still rests: BTCUSDT BUY LIMIT " in done.stderr
    assert "BTCUSDT: its plain orders aren't cancelled: -4131" in done.stderr


def test_cancelling_takes_keys(gate: Run, redis_client: redis.Redis) -> None:
    done = gate("halt", "--cancel", *WHO)
    assert (done.exit_code, "BINANCE_API_KEY and BINANCE_API_SECRET must be set" in done.stderr) == (2, True)
    assert "nothing was halted; without --cancel no keys are needed" in done.stderr
    assert not redis_client.exists("quantum:safety:halt")


def test_flattening_halts_cancels_and_closes(
    gate: Run, redis_client: redis.Redis, at_hand: Client, store: Store, paper_exchange: PaperExchange
) -> None:
    gate(*EVAL, "--reduce-only")
    some_trade(at_hand)
    done = gate("flatten", "--yes", *WHO)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"Halted quantum at {store.url} for entries; exits pass.",
        "closed BTCUSDT +0.010",
        "closed ETHUSDT -0.100",
        "cancelled 3 orders",
        f"Flat at {paper_exchange.url}: asked again, it has no order and no position of the account.",
        CLEAR.rstrip(),
    ]
    assert held(at_hand) == []
    assert redis_client.hget("quantum:safety:halt", "by") == b"ops"
    assert audited(redis_client) == [("halt entries", "ops"), ("flatten: cancelled 3, closed 2, flat", "ops")]
    assert ("flatten: cancelled 3, closed 2, flat" in gate("audit").stdout, "CPI print" in gate("audit").stdout) == (
        True,
        True,
    )


def audited(redis_client: redis.Redis) -> list[tuple[str, str]]:
    return [(each["what"], each["by"]) for each in at.audit(redis_client)]


@pytest.mark.parametrize("policy", ['mode = "observe"', 'mode = "enforce"'])
def test_what_was_flattened_stands_in_the_accounts_own_audit(
    policy: str, gate: Run, redis_client: redis.Redis, at_hand: Client, tmp_path: Path
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(f"[policy]\n{policy}\n", "utf-8")
    assert gate("--config", str(file), "flatten", "--yes", *WHO).exit_code == 0
    assert audited(redis_client)[-1] == ("flatten: cancelled 0, closed 0, flat", "ops")


def test_a_flatten_whose_end_the_store_does_not_take_is_done_all_the_same(
    gate: Run, redis_client: redis.Redis, at_hand: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("Connection refused.")

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    for number, (ends, why) in enumerate(((away, "Connection refused"), (stopped, "interrupted"))):
        some_trade(at_hand)
        monkeypatch.setattr(GateClass, "note_flatten", ends)
        done = gate("flatten", "--yes", *WHO, *(("--json",) if number else ()))
        assert (done.exit_code, held(at_hand)) == (0, [])
        if number:
            assert json.loads(done.stdout)["unaudited"] == why
        else:
            assert f"what was cancelled and closed may not be in the audit: {why}\n" in done.stderr
    monkeypatch.undo()


def test_a_damaged_audit_is_said_behind_a_flatten(gate: Run, redis_client: redis.Redis, at_hand: Client) -> None:
    redis_client.set(at.AUDIT, "no stream")
    done = gate("flatten", "--yes", *WHO)
    assert (done.exit_code, "may not be in the audit: look at the key's type" in done.stderr) == (0, True)


def test_flattening_asks_before_it_acts(gate: Run, redis_client: redis.Redis, at_hand: Client) -> None:
    some_trade(at_hand)
    for answer in "n\n", "":
        refused = gate("flatten", *WHO, input=answer)
        assert (refused.exit_code, "Nothing was done." in refused.stdout) == (1, True)
        assert "open   BTCUSDT +0.010\n" in refused.stdout
        assert "rests  BTCUSDT BUY LIMIT " in refused.stdout
    assert (len(held(at_hand)), redis_client.exists("quantum:safety:halt")) == (2, 0)
    assert gate("flatten", *WHO, input="y\n").exit_code == 0
    assert held(at_hand) == []


@pytest.mark.parametrize("empty", ["--by", "--reason"])
def test_flattening_refuses_an_empty_name_or_reason_before_it_asks(gate: Run, at_hand: Client, empty: str) -> None:
    some_trade(at_hand)
    words = {"--by": "ops", "--reason": "test", empty: " "}
    refused = gate("flatten", *(word for pair in words.items() for word in pair), input="y\n")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{empty[2:]}: ' ' is empty; it is needed for the audit" in refused.stderr
    assert len(held(at_hand)) == 2


@pytest.mark.parametrize("words", [("flatten", "--yes", *WHO), ("reconcile",)], ids=["flatten", "reconcile"])
def test_no_line_of_the_log_stands_between_the_answers(store: Store, at_hand: Client, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "gate", "--url", store.url, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "STORE " not in done.stderr


def test_flattening_works_without_the_store_and_says_so(
    bare: Run, at_hand: Client, paper_exchange: PaperExchange, tmp_path: Path
) -> None:
    (tmp_path / "appendonlydir").write_text("")  # no folder: the server doesn't start
    slips = ("--url", "redis://u:s3cret@127.0.0.1:1/0?socket_timeot=1"), ("--url", "redis+cluster://127.0.0.1:1")
    for store in ("--url", "redis://127.0.0.1:1/0"), (), *slips, ("--embedded", str(tmp_path)):
        some_trade(at_hand)
        done = bare(*store, "flatten", "--yes", *WHO)
        assert "s3cret" not in done.output
        assert done.exit_code == 3
        assert f"Flat at {paper_exchange.url}: asked again, it has no order" in done.stdout
        assert "NOT halted: " in done.stderr
        assert "; stop every gate run now, and start them only after gate halt: an entry may come" in done.stderr
        assert ".;" not in done.stderr
        assert held(at_hand) == []
    answer = json.loads(bare("--url", "redis://127.0.0.1:1/0", "flatten", "--yes", *WHO, "--json").stdout)
    assert (answer["flat"], answer["halted"], answer["confirmed"]) == (True, False, False)
    assert answer["unaudited"] is None, "it isn't asked once more"


def test_a_position_that_stays_open_is_named_and_the_others_are_closed(
    gate: Run, at_hand: Client, paper_exchange: PaperExchange
) -> None:
    some_trade(at_hand)
    broken = Fault(kind=FaultKind.ERROR, symbol="BTCUSDT", code=-4131, msg="no book", times=100)
    paper_exchange.inject(broken)
    done = gate("flatten", "--yes", *WHO)
    assert (done.exit_code, held(at_hand)) == (1, ["BTCUSDT"])
    assert "closed ETHUSDT -0.100\n" in done.stdout
    assert "still open: BTCUSDT +0.010\n" in done.stderr
    assert "BTCUSDT +0.010 isn't closed: -4131: no book" in done.stderr
    assert "NOT flat" in done.stderr
    answer = json.loads(gate("flatten", "--yes", *WHO, "--json").stdout)
    assert (answer["flat"], answer["open"], answer["resting"]) == (False, ["BTCUSDT +0.010"], [])


def test_what_an_entry_opens_while_the_halt_waits_is_closed_too(
    gate: Run, at_hand: Client, short: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(*short, *EVAL)
    whole = GateClass.until_clear

    def until_clear(self: GateClass, *words: Any, **more: Any) -> Any:
        some_trade(at_hand)
        return whole(self, *words, **more)

    monkeypatch.setattr(GateClass, "until_clear", until_clear)
    done = gate(*short, "flatten", "--yes", *WHO)
    assert (done.exit_code, held(at_hand)) == (0, [])


@pytest.mark.parametrize("command", [("halt", "--cancel"), ("flatten", "--yes")], ids=" ".join)
def test_what_is_settled_while_the_exchange_is_cleared_is_cleared_too(
    command: tuple[str, ...], gate: Run, at_hand: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was out at the halt, and isn't any more when the first look comes."""
    whole = GateClass.until_clear

    def until_clear(self: GateClass, *words: Any, **more: Any) -> Any:
        out = whole(self, *words, **more)
        some_trade(at_hand)
        return out

    monkeypatch.setattr(GateClass, "until_clear", until_clear)
    assert gate(*command, *WHO).exit_code == 0
    assert at_hand.futures_get_open_orders() == at_hand.futures_get_open_algo_orders() == []


def test_json_does_not_ask(gate: Run, at_hand: Client) -> None:
    assert "--json doesn't ask; give --yes too" in gate("flatten", *WHO, "--json").stderr


def test_two_exchanges_at_once_are_refused_and_a_flag_wins_over_the_environment(
    gate: Run, at_hand: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("status",), ("reconcile",), ("halt", *WHO), ("flatten", *WHO):
        refused = gate(*command, "--demo", "--base-url", "http://127.0.0.1:1")
        assert (refused.exit_code, "both name an exchange" in refused.stderr) == (2, True)
    assert "BINANCE_TESTNET_API_KEY" in gate("reconcile", "--demo").stderr


def test_reconciling_asks_the_exchange_of_the_environment(gate: Run, at_hand: Client, store: Store) -> None:
    """GATE_EXCHANGE_URL, which points away from the real exchange."""
    assert gate("reconcile").stdout == "Nothing is in doubt.\n"
