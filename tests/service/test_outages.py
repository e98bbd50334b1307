"""What the service does while the store, the exchange or its own host fails, and what it says of it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path

from gate import Gate
from gate.paper import Fault, FaultKind, PaperExchange
from gate.service.process import keep_telling
from gate.service.pulse import Pulse
from gate.service.systemd import Systemd
from tests.servers.session import declare_whole
from tests.servers.store import PrivateStore
from tests.service.desk import DEAD, RESULTS, Desk, Worker, payload, until


def test_a_cluster_that_is_away_is_waited_for(paper: PaperExchange, tmp_path: Path) -> None:
    worker = Worker(tmp_path, "redis+cluster://127.0.0.1:1", paper.url, 'prefix = "{quantum}"\n')
    try:
        worker.said("STORE AWAY nothing read")
        assert worker.stop() == 0, worker.log
    finally:
        if worker.process.poll() is None:
            worker.kill()


def test_a_store_that_hangs_is_told_and_nothing_is_lost(harmed: Desk, private_store: PrivateStore) -> None:
    worker = harmed.worker().consumes()
    private_store.pause()
    worker.said("STORE AWAY")
    assert "Timeout" in worker.health()["store"]
    private_store.resume()
    until(lambda: worker.health()["store"] == "ok")
    harmed.send(payload())
    assert harmed.result()["status"] == "filled"
    assert worker.log.count("STORE AWAY") == worker.log.count("STORE BACK") == 1


def test_a_result_waits_for_the_store_and_comes(harmed: Desk, private_store: PrivateStore) -> None:
    """Hung between the order and its result."""
    harmed.paper.inject(Fault(kind=FaultKind.DELAY))
    worker = harmed.worker()
    harmed.send(payload(side="SELL", reduce_only=True, quantity="0.002", position_size_usd=None))
    harmed.paper.wait_held()
    private_store.pause()
    harmed.paper.release_held()
    worker.said("NOT REPORTED")
    private_store.resume()
    assert harmed.result()["intent_id"]
    harmed.idle()


def test_a_store_that_has_lost_its_memory_gets_its_group_and_the_owed_result(
    harmed: Desk, private_store: PrivateStore
) -> None:
    harmed.paper.inject(Fault(kind=FaultKind.DELAY))
    worker = harmed.worker()
    harmed.send(payload(id="sig-1"))
    harmed.paper.wait_held()
    private_store.stop()
    private_store.start()
    declare_whole(harmed.client)
    harmed.paper.release_held()
    result = harmed.result()
    assert (result["intent_id"], result["status"]) == ("sig-1", "filled")
    with Gate.from_url(harmed.url) as gate:  # a minute of waiting belongs to other tests
        gate.init(by="ops", reason="looked at the exchange")
    harmed.send(payload("ETHUSDT", id="sig-2"))
    assert [row["intent_id"] for row in harmed.wait_results(2)] == ["sig-1", "sig-2"]
    assert len(harmed.paper.ledger()) == 2, worker.log


def test_it_starts_before_its_store_does(harmed: Desk, private_store: PrivateStore) -> None:
    private_store.stop()
    worker = harmed.worker()
    worker.said("STORE AWAY")
    private_store.start()
    declare_whole(harmed.client)
    worker.consumes()
    harmed.send(payload())
    assert harmed.result()["status"] == "filled"


def test_keys_that_the_exchange_refuses_show_before_the_first_intent(desk: Desk) -> None:
    worker = desk.worker(BINANCE_API_SECRET="another")  # noqa: S106  # of a test
    until(lambda: "-1022" in str(worker.health()["exchange"]), told=lambda: worker.log)
    worker.said('EXCHANGE AWAY "-1022')


def test_while_the_exchange_is_away_entries_are_held_and_health_is_true(desk: Desk) -> None:
    for path in ("/fapi/v1/exchangeInfo", "/fapi/v1/premiumIndex"):
        desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=path, times=1_000))
    worker = desk.worker()
    desk.send(payload())
    until(lambda: worker.health()["held"] == 1, told=lambda: worker.log)
    until(lambda: worker.health()["exchange"] not in ("ok", "not asked yet"))
    assert worker.get("/healthz")[0] == 200
    desk.paper.clear_faults()
    assert desk.result()["status"] == "filled"


def test_results_that_cant_be_written_make_it_unwell_and_are_written_in_the_end(desk: Desk) -> None:
    desk.client.set(RESULTS, "not a stream")
    worker = desk.worker()
    desk.send(payload(id="sig-1"))
    told = until(lambda: said if (said := worker.get("/healthz"))[0] == 503 and "WRONGTYPE" in said[1] else None)
    assert json.loads(told[1])["unwritten"] == 1
    desk.send(data="{")  # goes its own way
    until(lambda: desk.results(DEAD))
    desk.client.delete(RESULTS)
    assert desk.result()["intent_id"] == "sig-1"
    worker.consumes()


def test_a_worker_that_stood_still_writes_no_second_result(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    config = "[policy]\nlock_ttl_ms = 5000\n"
    still = desk.worker(config)
    entry = desk.send(payload(id="sig-1"))
    desk.paper.wait_held()
    consumer = still.consumer
    still.process.send_signal(signal.SIGSTOP)
    desk.rest(entry, consumer)
    other = desk.worker(config)
    desk.paper.release_held()
    assert desk.result()["by"] == other.consumer
    still.process.send_signal(signal.SIGCONT)
    still.said("TERMINAL STATE")
    until(lambda: still.health()["in_hand"] == 0, told=lambda: still.log)
    assert len(desk.results()) == 1
    assert len(desk.paper.ledger()) == 1
    assert still.stop() == 0


def test_systemd_hears_ready_alive_and_stopping(desk: Desk, tmp_path: Path) -> None:
    for form, address in (("file", str(tmp_path / "s")), ("abstract", f"@gate-test-{tmp_path.name}-{id(desk)}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind("\0" + address[1:] if form == "abstract" else address)
            systemd.settimeout(30)
            worker = desk.worker(NOTIFY_SOCKET=address, WATCHDOG_USEC="3000000")
            heard = ""
            while not all(word in heard for word in ("READY=1", "WATCHDOG=1", "STATUS=consuming")):
                heard += systemd.recv(4096).decode() + "\n"
            worker.process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard:
                heard += systemd.recv(4096).decode() + "\n"
            assert worker.process.wait(30) == 0


async def test_systemd_hears_nothing_of_a_service_that_hangs(tmp_path: Path) -> None:
    """Its loop of reading stands still, while its other tasks go on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "s"))
        systemd.setblocking(False)
        pulse = Pulse("me", "quantum", "s", "g", phase="consuming")
        pulse.turned_s -= 60
        telling = asyncio.create_task(
            keep_telling(Systemd({"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "30000"}), pulse)
        )
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            for _ in range(3):
                assert b"WATCHDOG" not in await loop.sock_recv(systemd, 4096)
            pulse.turned_s += 60
            while b"WATCHDOG=1" not in await loop.sock_recv(systemd, 4096):
                pass
        telling.cancel()


def test_systemd_isnt_told_ready_before_it_reads(harmed: Desk, private_store: PrivateStore, tmp_path: Path) -> None:
    private_store.stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "s"))
        systemd.settimeout(30)
        harmed.worker(NOTIFY_SOCKET=str(tmp_path / "s")).said("STORE AWAY")
        assert "READY" not in systemd.recv(4096).decode()
        private_store.start()
        heard = ""
        while "READY=1" not in heard:
            heard += systemd.recv(4096).decode() + "\n"
