"""Without an answer from Redis, the gate admits nothing and raises nothing; when Redis is back, it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gate import Gate, Outcome, Policy, Reason, Settled, StoreUnavailable
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.session import declare_whole
from tests.servers.store import PrivateStore

# The default time-outs: connect and read 250 ms, once more for the replay. The bound leaves a loaded machine its time.
DEFAULT_MS, BOUND_S = 250, 5.0

HARMS: dict[str, tuple[Callable[[PrivateStore], None], Callable[[PrivateStore], None]]] = {
    "stopped": (lambda store: store.stop(), lambda store: store.start()),
    "paused": (lambda store: store.pause(), lambda store: store.resume()),
}
each_harm = pytest.mark.parametrize("harm", HARMS)


def admitted_soon(gate: AnyGate, store: PrivateStore, id: str, symbol: str, *, exits: bool = False) -> int:
    """Its fence. A server that has just come back may still be too slow for the first time-out."""
    deadline = time.monotonic() + 20
    while True:
        verdict = gate.evaluate(at.intent(exits, id, symbol=symbol))
        if verdict.admitted or time.monotonic() > deadline:
            return at.admitted(verdict).fence
        assert verdict.reason is Reason.STORE_UNAVAILABLE, verdict


@each_harm
@pytest.mark.parametrize("warm", [False, True], ids=["never connected", "connected"])
def test_it_denies_in_time_raises_nothing_and_works_again(
    harm: str, warm: bool, private_store: PrivateStore, open_gate: OpenGate
) -> None:
    break_it, mend_it = HARMS[harm]
    gate = open_gate(url=private_store.url, timeout_ms=DEFAULT_MS)
    with private_store.client() as client:
        declare_whole(client)
    if warm:
        admitted_soon(gate, private_store, "sig-0", "ADAUSDT")
    break_it(private_store)
    for exits in (False, True):
        started = time.monotonic()
        verdict = gate.evaluate(at.intent(exits, f"sig-{exits}"))
        assert time.monotonic() - started < BOUND_S
        assert (verdict.admitted, verdict.reason) == (False, Reason.STORE_UNAVAILABLE)
        assert verdict.permit is None
        assert verdict.retryable
        assert verdict.detail
        assert "\n" not in verdict.detail
    mend_it(private_store)
    if harm == "stopped":  # it has forgotten everything
        admitted_soon(gate, private_store, "sig-3", "SOLUSDT", exits=True)
        assert gate.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.MEMORY_YOUNG
        with private_store.client() as client:
            at.wait_out(client)
    admitted_soon(gate, private_store, "sig-2", "ETHUSDT")


@each_harm
def test_what_can_not_be_settled_says_so_and_can_be_repeated(
    harm: str, private_store: PrivateStore, open_gate: OpenGate
) -> None:
    break_it, mend_it = HARMS[harm]
    gate = open_gate(url=private_store.url, timeout_ms=DEFAULT_MS)
    with private_store.client() as client:
        declare_whole(client)
    admitted_soon(gate, private_store, "sig-0", "ADAUSDT")
    permit = at.admitted(gate.evaluate(at.entry()))
    break_it(private_store)
    started = time.monotonic()
    settlement = gate.settle(permit, Outcome.placed(1))
    assert time.monotonic() - started < BOUND_S
    assert settlement.status is Settled.STORE_UNAVAILABLE
    assert not settlement
    mend_it(private_store)
    admitted_soon(gate, private_store, "sig-2", "ETHUSDT", exits=True)
    again = gate.settle(permit, Outcome.placed(1))
    # A server that was paused may have carried out what it was sent. One that was stopped has lost the record.
    assert again.status in ({Settled.SETTLED} if harm == "stopped" else {Settled.ALREADY, Settled.SETTLED})
    assert again.memory_lost is (harm == "stopped")


@each_harm
def test_looking_and_acting_raise_store_unavailable(
    harm: str, private_store: PrivateStore, open_gate: OpenGate
) -> None:
    gate = open_gate(url=private_store.url, timeout_ms=DEFAULT_MS)
    HARMS[harm][0](private_store)
    for ask in (
        lambda: gate.inspect(at.entry()),
        lambda: gate.lookup("sig-1"),
        lambda: gate.status(),
        lambda: gate.halt(by="ops", reason="CPI print"),
        lambda: gate.reset("all", by="ops", reason="start over"),
    ):
        with pytest.raises(StoreUnavailable):
            ask()
    HARMS[harm][1](private_store)


def test_the_memory_that_a_stopped_server_lost_is_noticed(private_store: PrivateStore, open_gate: OpenGate) -> None:
    gate = open_gate(url=private_store.url, timeout_ms=DEFAULT_MS)
    with private_store.client() as client:
        declare_whole(client)
        fence = admitted_soon(gate, private_store, "sig-0", "ADAUSDT")
        assert not at.admitted(gate.evaluate(at.entry("sig-1", "BTCUSDT"))).verify
    private_store.stop()
    private_store.start()
    gate.inspect(at.entry())
    assert gate.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.MEMORY_YOUNG
    permit = at.admitted(gate.evaluate(at.exit_("sig-2", "ETHUSDT")))
    assert permit.fence > fence + 1
    assert permit.verify


def test_connections_that_a_restart_broke_cost_no_verdict(private_store: PrivateStore) -> None:
    callers = 8
    with (
        Gate.from_url(private_store.url, timeout_ms=5_000) as gate,
        ThreadPoolExecutor(callers) as pool,
    ):
        together = threading.Barrier(callers)

        def look(number: int) -> bool:
            together.wait()
            return gate.inspect(at.exit_(f"sig-{number}")).admitted

        assert all(pool.map(look, range(callers)))
        private_store.stop()
        private_store.start()
        at.admitted(gate.evaluate(at.exit_()))


def test_a_server_out_of_memory_refuses_admissions_and_still_takes_outcomes(
    new_private_store: Callable[..., PrivateStore], open_gate: OpenGate
) -> None:
    store = new_private_store()
    gate = open_gate(Policy(rate_symbol_limit=9), url=store.url)
    gate.init(by="ops", reason="a new account")
    permit = at.admitted(gate.evaluate(at.entry()))
    with store.client() as client:
        client.config_set("maxmemory", 1)
        held = at.contents(client)
        verdict = gate.evaluate(at.exit_("sig-2", "ETHUSDT"))
        assert verdict.reason is Reason.STORE_ERROR
        assert "maxmemory" in verdict.detail
        assert at.contents(client) == held
        assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED
        assert gate.halt(by="ops", reason="out of memory").audited
        assert gate.inspect(at.entry("sig-2")).reason is Reason.HALTED


def test_a_replica_admits_nothing(new_private_store: Callable[..., PrivateStore], open_gate: OpenGate) -> None:
    store = new_private_store()
    with store.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        verdict = open_gate(url=store.url).evaluate(at.entry())
        assert not verdict.admitted
        assert verdict.reason is Reason.STORE_UNAVAILABLE


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/valkey.sock"])
def test_an_address_where_nobody_listens_denies(url: str, open_gate: OpenGate) -> None:
    verdict = open_gate(url=url).evaluate(at.entry())
    assert verdict.reason is Reason.STORE_UNAVAILABLE


def test_a_wrong_password_denies_and_says_so(
    new_private_store: Callable[..., PrivateStore], open_gate: OpenGate
) -> None:
    store = new_private_store()
    with store.client() as client:
        client.config_set("requirepass", "right")
        for credentials in ("", ":wrong@"):
            verdict = open_gate(url=store.url.replace("redis://", f"redis://{credentials}")).evaluate(at.entry())
            assert not verdict.admitted
            assert verdict.reason is Reason.STORE_ERROR
            assert "wrong" not in verdict.detail.lower().replace("wrongpass", "")
            remedy = "password of its URL (--url, GATE_URL" if credentials else "put it into the URL"
            assert remedy in verdict.detail
        assert open_gate(url=store.url.replace("redis://", "redis://:right@")).evaluate(at.exit_()).admitted
