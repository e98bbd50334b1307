"""The blocking executor in its own process: at the end of the process, and after a fork."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from gate import Gate, Phase
from gate.paper import Fault, FaultKind, PaperExchange
from tests.servers.session import declare_whole
from tests.servers.store import Store

_PREAMBLE = """
import atexit, logging, os, sys, threading, time
from gate.blocking import BlockingExecutor

logging.getLogger("gate.store").setLevel(logging.ERROR)  # the tests' server keeps nothing on disk
url, exchange_url, key, secret = sys.argv[1:]
executor = BlockingExecutor(url, key, secret, base_url=exchange_url, recv_window_ms=200, timeout_ms=2000)

def execute(symbol="BTCUSDT"):
    return executor.execute({
        "id": symbol, "symbol": symbol, "side": "BUY", "position_size_usd": "1000", "timestamp": time.time()
    })
"""


@pytest.fixture
def account(redis_client: redis.Redis) -> None:
    """An account whose memory has long been whole."""
    declare_whole(redis_client)


@contextmanager
def running(program: str, store: Store, paper: PaperExchange) -> Iterator[subprocess.Popen[str]]:
    """Runs a service as a process. Its store and exchange have host names, which must be looked up."""
    urls = [url.replace("127.0.0.1", "localhost") for url in (store.url, paper.url)]
    # Python 3.12 warns of a fork beside other threads, as it should.
    warnings = ["-W", "always::ResourceWarning", "-W", "ignore::DeprecationWarning"]
    python = [sys.executable, *warnings, "-c", _PREAMBLE + textwrap.dedent(program)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*python, *urls, paper.key, paper.secret], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as service:
        try:
            yield service
        finally:
            service.kill()


@pytest.mark.usefixtures("account")
def test_threads_go_on_trading_when_the_main_thread_has_ended(store: Store, paper: PaperExchange) -> None:
    program = """
        def trade():
            threading.main_thread().join()
            print(execute().state)

        threading.Thread(target=trade).start()
    """
    with running(program, store, paper) as service:
        said, complained = service.communicate(timeout=60)

    assert (said, complained, service.returncode) == ("FILLED\n", "", 0)


@pytest.mark.usefixtures("account")
def test_an_interpreter_that_exits_waits_for_what_is_under_way(store: Store, paper: PaperExchange) -> None:
    paper.inject(Fault(kind=FaultKind.DELAY, times=1))
    program = """
        print("open", flush=True)
        threading.Thread(target=execute, daemon=True).start()
        input()
        atexit.register(print, "leaving", flush=True)
    """
    with running(program, store, paper) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        assert service.stdout.readline() == "open\n"
        paper.wait_held()
        service.stdin.write("\n")
        service.stdin.flush()
        assert service.stdout.readline() == "leaving\n"
        paper.release_held()
        _, complained = service.communicate(timeout=60)

    with Gate.from_url(store.url, timeout_ms=2000) as gate:
        record = gate.lookup("BTCUSDT")
    assert (complained, service.returncode) == ("", 0)
    assert record is not None
    assert record.phase is Phase.PLACED


@pytest.mark.usefixtures("account")
def test_a_forked_child_is_refused_and_its_parent_goes_on(store: Store, paper: PaperExchange) -> None:
    program = """
        print(execute("ETHUSDT").state, flush=True)
        child = os.fork()
        if child == 0:
            with executor:
                try:
                    execute("SOLUSDT")
                except RuntimeError as refused:
                    print(refused)
            sys.exit()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(execute("BTCUSDT").state)
    """
    with running(program, store, paper) as service:
        said, complained = service.communicate(timeout=60)

    refusal = "this BlockingExecutor was made in another process; make one per process"
    assert said.splitlines() == ["FILLED", refusal, "0", "FILLED"]
    assert (complained, service.returncode) == ("", 0)
