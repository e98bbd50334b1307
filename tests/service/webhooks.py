"""A server on loopback that takes alerts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What was posted, and with what it is answered."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        """The next answers; 200 when there are no more."""
        self.hangs = threading.Event()
        """Set: it takes posts and answers nothing."""
        self.ended = threading.Event()
        self.url = ""

    def texts(self) -> list[str]:
        return [str(each["text"]) for each in self.posted]


@contextmanager
def receiving() -> Iterator[Receiver]:
    of = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            of.posted.append(json.loads(body))
            of.paths.append(self.path)
            if of.hangs.is_set():
                of.ended.wait(30)
                return
            status, headers = of.answers.pop(0) if of.answers else (200, {})
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: it would go to the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    of.url = f"http://127.0.0.1:{server.server_port}/bot12:secret-token/send"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield of
    finally:
        of.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
