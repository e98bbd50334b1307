"""One line for each event, without a secret, and with all of a traceback that isn't one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from gate.service.logs import log_to_output

LOG = logging.getLogger("tests.service.logs")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("caused", [True, False], ids=["direct cause", "during handling"])
@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_traceback_is_one_line_that_keeps_every_exception_and_no_password(
    form: str, caused: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_output(form)
    try:
        try:
            raise ValueError("redis://worker:s3cret@10.0.0.5:6379/0 refused")
        except ValueError as first:
            second = RuntimeError("second, ask ops@example.com")
            if caused:
                raise second from first
            raise second  # noqa: B904  # what is tried here
    except RuntimeError:
        LOG.exception("SERVICE BROKEN %s", "redis://worker:s3\ncret@10.0.0.5")
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "s3" not in said
    assert "***@10.0.0.5:6379/0 refused" in said
    assert "RuntimeError: second, ask ops@example.com" in said
    if form == "json":
        assert set(json.loads(said)) == {"time", "level", "logger", "message", "trace"}


def test_a_password_that_reaches_over_lines_is_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_output("plain")
    try:
        raise ValueError("refused redis://:s3cret\n@host/0")
    except ValueError:
        LOG.exception("broken", stack_info=True)
    said = capsys.readouterr().out
    assert ("s3cret" in said, "host/0" in said, said.count("\n")) == (False, True, 1)
    assert "Stack (most recent call last)" in said


def test_no_traceback_is_longer_than_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_output("plain")
    try:
        raise ValueError("x" * 1_000_000)
    except ValueError:
        LOG.exception("broken")
    assert len(capsys.readouterr().out) < 25_000


def test_what_another_has_told_of_an_exception_is_what_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As log_of's own records do: bounded, and without control characters."""
    log_to_output("plain")
    record = LOG.makeRecord(LOG.name, logging.ERROR, __file__, 1, "broken", (), (ValueError, ValueError("raw"), None))
    record.exc_text = "told"
    LOG.handle(record)
    assert capsys.readouterr().out.endswith(" tests.service.logs broken\\ntold\n")
