"""Fixtures for every test: the shared store, private stores, and a wire that loses chosen commands and replies."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import pytest
import redis

from tests.servers.choice import skipping_is_off
from tests.servers.session import Servers, declare_whole, empty
from tests.servers.store import PrivateStore, Store, StoreUnavailableError
from tests.servers.users import IN_ROLES
from tests.servers.wire import Wire

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)
_SERVERS = pytest.StashKey[Servers]()
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


_LEAKS = (
    "error::ResourceWarning",
    "error::RuntimeWarning",
    # python-binance's blocking client makes an event loop for a thread that has none, and nobody closes it.
    "ignore:unclosed event loop <_UnixSelectorEventLoop running=False closed=False:ResourceWarning",
    "ignore:unclosed <socket.socket fd=[0-9]+, family=1, type=1, proto=0>:ResourceWarning",  # a pair of each loop
)
"""With GATE_TEST_LEAKS=1: what is left open, and what is never awaited. Whoever collects it tells, which is often a
later test, and one that ends while a connection is just being accepted may leave it: so a person looks, and not CI."""


def pytest_configure(config: pytest.Config) -> None:
    for line in _LEAKS if os.environ.get("GATE_TEST_LEAKS") else ():
        config.addinivalue_line("filterwarnings", line)
    config.stash[_SERVERS] = Servers(os.environ)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_SERVERS].close()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Ends the run with one line when there is no store, instead of an error at every test."""
    if os.environ.get("GATE_TEST_URL") and getattr(session.config.option, "numprocesses", None):
        raise pytest.UsageError("GATE_TEST_URL is one server, and tests side by side would empty it: leave out -n")
    try:
        session.config.stash[_SERVERS].open()
    except StoreUnavailableError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under the rights of roles, leaves out what no role may do, and what asks no store: it would be the same again."""
    left_out = [item for item in items if IN_ROLES and (item.get_closest_marker("outside_roles") or not _asks(item))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Takes what ten thousand tests are made of out of the collector's sight. With it, a full collection stopped the
    process for half a second, longer than some tests let a store be silent."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """With `-n auto`, tests share a server that is given one after the other; else each worker starts its own. Two for
    each core: most tests wait for servers and clocks, and take a third of a core."""
    return 0 if os.environ.get("GATE_TEST_URL") else 2 * (os.cpu_count() or 1)


def pytest_report_header(config: pytest.Config) -> list[str]:
    return config.stash[_SERVERS].header()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _failed_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _failed_if_skipped(report)


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """Fails the test that leaves logging off or a signal's handler behind, and not those that come after it."""
    handlers = {each: signal.getsignal(each) for each in _SIGNALS}
    yield
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    left = [each.name for each, handler in handlers.items() if signal.getsignal(each) is not handler]
    for each in _SIGNALS:
        signal.signal(each, handlers[each])
    assert not disabled, "the test leaves logging switched off for all tests of this process"
    assert not left, f"the test leaves a handler of its own: {left}"


@pytest.fixture(scope="session")
def store(pytestconfig: pytest.Config) -> Store:
    """The server that the tests share, at `store.url`. Stop or freeze only a `private_store`."""
    return pytestconfig.stash[_SERVERS].shared


@pytest.fixture
def redis_client(store: Store) -> Iterator[redis.Redis]:
    """A client of the shared store. When the test begins it holds no scripts, and of the account only the word that
    its memory is whole."""
    empty(store)
    with store.client() as client:
        declare_whole(client)
        yield client


@pytest.fixture
def new_private_store(pytestconfig: pytest.Config) -> Iterator[Callable[..., PrivateStore]]:
    """Starts private stores with arguments for the server: `new_private_store("--maxmemory", "3mb")`."""
    started: list[PrivateStore] = []

    def new(*arguments: str) -> PrivateStore:
        started.append(pytestconfig.stash[_SERVERS].private(*arguments))
        return started[-1]

    yield new
    for each in started:
        each.close()


@pytest.fixture
def private_store(new_private_store: Callable[..., PrivateStore]) -> PrivateStore:
    """A private server, which the test may stop, start, freeze and resume."""
    return new_private_store()


@pytest.fixture
def wire(store: Store) -> Iterator[Wire]:
    """A proxy to the shared store, at `wire.url`, that loses chosen commands and replies."""
    with Wire(store.url) as wire:
        yield wire


def _asks(item: pytest.Item) -> bool:
    """Whether a test asks one of the stores that are here: `store` stands behind every fixture of the shared one."""
    return not {"store", "new_private_store"}.isdisjoint(getattr(item, "fixturenames", ()))


def _failed_if_skipped(report: _Report) -> _Report:
    if report.skipped and not hasattr(report, "wasxfail") and skipping_is_off(os.environ):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"GATE_TEST_CONTAINERS=require switches skipping off: {reason.removeprefix('Skipped: ')}"
    return report
