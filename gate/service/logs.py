"""One handler, to standard output, one line for each event: plain, or JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Final

from gate.store.masking import masked

_BETWEEN: Final = re.compile(
    "(\n\n(?:The above exception was the direct cause|During handling of the above exception)[^\n]*\n\n)"
)
_CHAINED_AT_MOST: Final = 20
"""Exceptions of a traceback that are masked, and cut, each by itself."""
_LINES: Final = str.maketrans({"\n": "\\n", "\r": "\\r"})


class _OneLine(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        record.message, record.asctime = record.getMessage(), self.formatTime(record, self.datefmt)
        said = [masked(self.formatMessage(record)), self.trace(record)]
        if record.stack_info:
            said.append(masked(self.formatStack(record.stack_info)))
        return "\n".join(filter(None, said)).translate(_LINES)

    def trace(self, record: logging.LogRecord) -> str:
        """The traceback; empty where there is none. Each exception of a chain is masked by itself, so that a URL in one
        takes nothing of another."""
        if not record.exc_info:
            return ""
        whole = record.exc_text or self.formatException(record.exc_info)
        return "".join(masked(each) for each in _BETWEEN.split(whole, _CHAINED_AT_MOST))


class _Json(_OneLine):
    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if trace := self.trace(record):
            told["trace"] = trace
        return json.dumps(told, ensure_ascii=False)


def log_to_output(form: str) -> None:
    """Every line goes out once, whoever configured logging before: two handlers would double each line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Json() if form == "json" else _OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("aiohttp.access", "binance", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
