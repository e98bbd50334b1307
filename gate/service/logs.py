"""One handler, to standard output, one line for each event: plain, or JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final

from gate.store.masking import masked, masked_lines

_LINES: Final = str.maketrans({"\n": "\\n", "\r": "\\r"})


class _OneLine(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        record.message, record.asctime = record.getMessage(), self.formatTime(record, self.datefmt)
        said, trace = masked(self.formatMessage(record)), self.trace(record)
        return (f"{said}\n{trace}" if trace else said).translate(_LINES)

    def trace(self, record: logging.LogRecord) -> str:
        """The traceback; empty where there is none. Masked by lines: its words of other exceptions stay."""
        if not record.exc_info:
            return ""
        return masked_lines(record.exc_text or self.formatException(record.exc_info))


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
