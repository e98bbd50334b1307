"""Which server a run of the tests gets, and what a run does that gets none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import redis

from tests.servers.choice import choose, without_password
from tests.servers.process import ProcessStore
from tests.servers.store import PrivateStore, StoreUnavailableError, connect

ROOT = Path(__file__).parents[2]
# Nothing listens on port 1, so that asking there fails at once and nobody is asked.
NO_ENGINE = "tcp://127.0.0.1:1"
ABSENT_IMAGE = "127.0.0.1:1/absent:none"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)


def test_a_given_url_comes_first(new_private_store: Callable[..., PrivateStore]) -> None:
    given = new_private_store()
    assert choose({"GATE_TEST_URL": given.url}).given_url == given.url


def test_a_given_server_that_holds_keys_is_left_alone(new_private_store: Callable[..., PrivateStore]) -> None:
    given = new_private_store()
    with given.client() as client:
        client.set("precious", "1")
        with pytest.raises(StoreUnavailableError, match="holds keys"):
            choose({"GATE_TEST_URL": given.url})
        assert client.get("precious") == b"1"


def test_a_given_server_that_does_not_answer_is_no_reason_to_take_another() -> None:
    with pytest.raises(StoreUnavailableError, match=re.escape("redis://:***@127.0.0.1:1")):
        choose({"GATE_TEST_URL": "redis://:secret@127.0.0.1:1/0"})


def test_without_an_engine_the_embedded_server_is_used_and_the_header_says_why(no_engine: None) -> None:
    supply = choose({})
    assert supply.start is ProcessStore
    assert supply.notice is not None
    assert "no Docker engine answers" in supply.notice


def test_without_an_image_the_embedded_server_is_used_and_the_header_says_why() -> None:
    supply = choose({"GATE_TEST_IMAGE": ABSENT_IMAGE})
    assert supply.start is ProcessStore
    assert supply.notice is not None
    assert "\n" not in supply.notice


def test_a_required_container_is_not_replaced(no_engine: None) -> None:
    with pytest.raises(StoreUnavailableError, match=r"require.*no Docker engine answers"):
        choose({"GATE_TEST_CONTAINERS": "require"})


def test_required_containers_and_a_given_url_contradict_each_other() -> None:
    with pytest.raises(StoreUnavailableError, match="contradict"):
        choose({"GATE_TEST_CONTAINERS": "require", "GATE_TEST_URL": "redis://127.0.0.1:1"})


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(StoreUnavailableError, match="must be 'require' or 'never'"):
        choose({"GATE_TEST_CONTAINERS": "yes"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://user:p%40ss@host:6379/2", "redis://user:***@host:6379/2"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_run_without_the_required_container_ends_in_one_line(tmp_path: Path) -> None:
    run = _pytest(
        tmp_path, "def test_never_reached(): pass", {"GATE_TEST_CONTAINERS": "require", "DOCKER_HOST": NO_ENGINE}
    )
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert [line for line in run.stderr.splitlines() if line.startswith("ERROR: GATE_TEST_CONTAINERS=require")]
    assert "test_never_reached" not in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


def test_where_containers_are_required_a_skipped_test_is_a_failed_one(tmp_path: Path) -> None:
    # Required only once the store is chosen: the rule needs no container, and has to hold on a machine without one.
    body = """
        import os, pytest

        os.environ["GATE_TEST_CONTAINERS"] = "require"

        @pytest.mark.skip(reason="inconvenient")
        def test_skipped_at_set_up(): pass

        def test_skips_itself(): pytest.skip("inconvenient")

        @pytest.mark.xfail
        def test_expected_to_fail(): assert False
    """
    run = _pytest(tmp_path, body, {"GATE_TEST_CONTAINERS": "never"})
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 xfailed, 1 error" in run.stdout
    assert "switches skipping off: inconvenient" in run.stdout


def test_where_containers_are_required_a_module_can_not_skip_itself(tmp_path: Path) -> None:
    body = """
        import os, pytest

        os.environ["GATE_TEST_CONTAINERS"] = "require"
        pytest.importorskip("no_such_module")
    """
    run = _pytest(tmp_path, body, {"GATE_TEST_CONTAINERS": "never"})
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert "switches skipping off: could not import 'no_such_module'" in run.stdout


def test_a_killed_run_leaves_no_server_behind(tmp_path: Path) -> None:
    body = """
        import os, pathlib, signal

        def test_killed(store, private_store):
            pathlib.Path("urls").write_text(f"{store.url} {private_store.url}")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    _pytest(tmp_path, body, {"GATE_TEST_URL": ""})
    urls = (tmp_path / "urls").read_text().split()
    assert len(urls) == 2
    for url in urls:
        _wait_until_refused(url)


def test_tests_side_by_side_do_not_share_the_given_server(
    new_private_store: Callable[..., PrivateStore], tmp_path: Path
) -> None:
    given = {"GATE_TEST_URL": new_private_store().url, "GATE_TEST_CONTAINERS": ""}
    body = "def test_alone(worker_id): assert worker_id == 'master'"

    refused = _pytest(tmp_path, body, given, "--numprocesses", "2")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert [line for line in refused.stderr.splitlines() if line.startswith("ERROR: GATE_TEST_URL is one server")]

    assert _pytest(tmp_path, body, given, "--numprocesses", "auto").returncode == pytest.ExitCode.OK


def test_tests_side_by_side_have_a_server_each(tmp_path: Path) -> None:
    body = """
        import pathlib, pytest

        @pytest.mark.parametrize("number", range(2))
        def test_it(number, store, worker_id):
            pathlib.Path(worker_id).write_text(store.url)
    """
    never = {"GATE_TEST_URL": "", "GATE_TEST_CONTAINERS": "never"}
    run = _pytest(tmp_path, body, never, "--numprocesses", "2", "--dist", "each")
    assert run.returncode == pytest.ExitCode.OK
    assert (tmp_path / "gw0").read_text() != (tmp_path / "gw1").read_text()


def _pytest(
    directory: Path, body: str, environment: Mapping[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    """A run of its own, with the fixtures and rules of this one."""
    (directory / "test_it.py").write_text(textwrap.dedent(body))
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir=."),
            *(*options, "test_it.py"),
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _wait_until_refused(url: str) -> None:
    deadline = time.monotonic() + 20
    with connect(url) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                return
            assert time.monotonic() < deadline, f"{url} still answers"
            time.sleep(0.02)
