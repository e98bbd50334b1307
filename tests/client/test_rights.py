"""A user of the store that lacks a right: entries are denied by the right's name, exits pass, nothing is half done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from gate import Outcome, Policy, Reason, Settled
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.store import Store

ROOMY = Policy(rate_symbol_limit=2, rate_global_limit=2)
LUA = Path(__file__).parents[2] / "lua"
_CALL = re.compile(r"(?:redis\.p?call|read|attempt)\('([A-Z]+)'")


def commands_of(*names: str) -> set[str]:
    """The commands that scripts and the includes which they name use."""
    found: set[str] = set()
    for name in names:
        text = (LUA / f"{name}.lua").read_text("utf-8")
        found |= set(_CALL.findall(text))
        found |= commands_of(*(f"include/{each}" for each in re.findall(r"--@include (\w+)", text)))
    return found


COMMANDS = sorted(commands_of("evaluate", "settle", "inspect", "last_look"))
# Without these an exit can't be told from one that was sent before, or its record can't be written.
NEEDED_BY_EXITS = {"GET", "SET", "TIME", "EXISTS"}
# Who may SET a switch needs no other way to trip it.
IN_PLACE_OF_SET = {"RENAMENX", "INCR"}


@pytest.fixture
def lacking(store: Store, redis_client: redis.Redis) -> Iterator[Callable[[str], str]]:
    """Takes one right from a user, and gives that user's URL."""

    def take(command: str) -> str:
        redis_client.acl_setuser(
            "worker", enabled=True, reset=True, passwords=["+of-the-test"], keys=["*"], categories=["+@all"]
        )
        redis_client.execute_command("ACL", "SETUSER", "worker", f"-{command.lower()}")
        parts = urlsplit(store.url)
        return urlunsplit(parts._replace(netloc=f"worker:of-the-test@{parts.hostname}:{parts.port}"))

    yield take
    redis_client.acl_deluser("worker")


def full(gate: AnyGate, client: redis.Redis) -> None:
    """Fills the account's window, so that the next exit trims it."""
    for number in (1, 2, 3):
        assert gate.settle(at.admitted(gate.evaluate(at.exit_(f"before-{number}"))), Outcome.placed(1))


def test_every_command_of_the_scripts_is_among_the_rights_that_are_asked_for() -> None:
    asked = set(re.findall(r"\{'([A-Z]+)'", (LUA / "identify.lua").read_text("utf-8")))
    assert set(COMMANDS) <= asked
    assert asked - set(COMMANDS) == {"INFO"}


@pytest.mark.parametrize("command", [*sorted(set(COMMANDS) - IN_PLACE_OF_SET), "INFO"])
def test_a_missing_right_denies_entries_by_its_name_and_leaves_no_trace(
    command: str, lacking: Callable[[str], str], redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    full(open_sync_gate(ROOMY), redis_client)
    gate = open_sync_gate(ROOMY, url=lacking(command))
    held = at.contents(redis_client)
    verdict = gate.evaluate(at.entry())
    assert verdict.reason is Reason.STORE_ERROR
    assert command.lower() in verdict.detail.lower()
    assert "clears it" not in verdict.detail, "no advice to delete what isn't damaged"
    assert at.contents(redis_client) == held


def test_a_right_for_the_list_of_admissions_alone_is_asked_for_too(
    lacking: Callable[[str], str], redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    """The memory asks whether that list is there. Where it may not, it would take every memory for whole."""
    full(open_sync_gate(ROOMY), redis_client)
    url = lacking("EXISTS")
    others = ("exec:processed:*", "exec:lock:*", "exec:rate:symbol:*", "exec:state", "exec:failures", "safety:*")
    selector = f"(+exists {' '.join(f'~quantum:{each}' for each in others)})"
    redis_client.execute_command("ACL", "SETUSER", "worker", selector)
    verdict = open_sync_gate(ROOMY, url=url).evaluate(at.entry())
    assert verdict.reason is Reason.STORE_ERROR
    assert f"lacks EXISTS {at.RATE_GLOBAL}" in verdict.detail


@pytest.mark.parametrize("command", [*sorted(set(COMMANDS) - NEEDED_BY_EXITS - IN_PLACE_OF_SET), "INFO"])
def test_a_missing_right_does_not_stop_an_exit(
    command: str, lacking: Callable[[str], str], redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    full(open_sync_gate(ROOMY), redis_client)
    gate = open_sync_gate(ROOMY, url=lacking(command))
    permit = at.admitted(gate.evaluate(at.exit_()))
    assert permit.verify, "the memory of such a store isn't trusted"
    assert gate.evaluate(at.exit_()).reason is Reason.DUPLICATE


@pytest.mark.parametrize("command", COMMANDS)
def test_a_right_that_is_taken_away_while_connected_ends_in_no_second_order(
    command: str, lacking: Callable[[str], str], redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    """A script may then break off half way. What it has written must not let the intent in again."""
    url = lacking("ping")
    gate = open_sync_gate(ROOMY, url=url)
    assert gate.settle(at.admitted(gate.evaluate(at.entry("before", "ETHUSDT"))), Outcome.placed(1))
    lacking(command)
    verdict = gate.evaluate(at.entry())
    assert verdict.admitted or verdict.reason is Reason.STORE_ERROR
    later = gate.evaluate(at.entry("later", "SOLUSDT"))
    assert not later.admitted or verdict.admitted, "the rights are asked for anew"
    whole = open_sync_gate(ROOMY)
    again = whole.evaluate(at.entry())
    assert not again.admitted or again.permit is not None
    if verdict.admitted:
        assert again.reason is Reason.DUPLICATE


def test_a_right_that_only_keeps_a_list_short_breaks_no_settlement_off(
    lacking: Callable[[str], str], redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    permit = at.admitted(open_sync_gate(ROOMY).evaluate(at.entry()))
    redis_client.rpush(at.PLACED, *(f"{number} 1 1 before-{number}" for number in range(39)))
    assert open_sync_gate(ROOMY, url=lacking("ltrim")).settle(permit, Outcome.placed(1)).status is Settled.SETTLED
    assert redis_client.exists(at.LOCK) == 0


def test_a_right_that_is_given_back_is_noticed(
    lacking: Callable[[str], str], redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY, url=lacking("rpop"))
    assert gate.evaluate(at.entry()).reason is Reason.STORE_ERROR
    redis_client.execute_command("ACL", "SETUSER", "worker", "+rpop")
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED


def test_a_user_that_may_run_no_script_is_denied_in_words(lacking: Callable[[str], str], open_gate: OpenGate) -> None:
    verdict = open_gate(ROOMY, url=lacking("@scripting")).evaluate(at.entry())
    assert verdict.reason is Reason.STORE_ERROR
    assert "evalsha" in verdict.detail


def test_a_right_on_other_keys_is_no_right(
    lacking: Callable[[str], str], redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    url = lacking("ping")
    redis_client.execute_command("ACL", "SETUSER", "worker", "resetkeys", "~quantum:exec:*")
    verdict = open_gate(ROOMY, url=url).evaluate(at.entry())
    assert verdict.reason is Reason.STORE_ERROR
    assert "all keys of the prefix" in verdict.detail
