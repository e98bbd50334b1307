"""Reads a line of the log back, as docs/security.md says that a program may."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

_WORD = re.compile(r'(?:([^\s"=\\]+)=)?("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?: |$|(?=[:;,]))|([:;,])(?: |$)')


def read_back(line: str) -> tuple[list[str], dict[str, str]]:
    """The words of a line, and its pairs. Raises ValueError for a line that isn't made of these."""
    words, pairs, at = [], dict[str, str](), 0
    while at < len(line):
        if line[at] == " ":
            at += 1  # a part of the line that was empty
            continue
        found = _WORD.match(line, at)
        if found is None or found.end() == at:
            raise ValueError(f"no word at {at} of {line!r}")
        at, (name, value, mark) = found.end(), found.groups()
        text = mark or (json.loads(value) if value.startswith('"') else value)
        if name is None:
            words.append(text)
        elif name in pairs:
            raise ValueError(f"{name} stands twice in {line!r}")
        else:
            pairs[name] = text
    return words, pairs


@contextmanager
def written() -> Iterator[list[str]]:
    """The lines that a service's log file has of the gate when the block ends, in a usual format."""
    lines: list[str] = []
    file = io.StringIO()
    handler, logger = logging.StreamHandler(file), logging.getLogger("gate")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        lines.extend(file.getvalue().split("\n"))
