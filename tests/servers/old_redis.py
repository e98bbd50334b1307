"""A server that answers as Redis 6.2 does, to what the gate asks of it. Its texts are those of Redis 6.2.14."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from types import TracebackType
from typing import Self

from tests.servers.resp import Frames, command_words

INFO = b"# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\nrun_id:" + b"6" * 40 + b"\r\n"


def answer(words: list[bytes]) -> bytes:
    """The reply to one command."""
    match words[0].upper():
        case b"INFO":
            return b"$%d\r\n%s\r\n" % (len(INFO), INFO)
        case b"EVALSHA":
            return b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
        case b"SCRIPT" | b"EVAL":
            why = b"Error compiling script (new function): user_script:1: unexpected symbol near '#'"
            return b"-ERR %s\r\n" % why
        case b"CLIENT" | b"SELECT":
            return b"+OK\r\n"
        case b"TIME":
            return b"*2\r\n$10\r\n1795644802\r\n$1\r\n0\r\n"
        case b"GET":
            return b"$-1\r\n"
        case name:
            args = b" ".join(b"`%s`," % word for word in words[1:])
            return b"-ERR unknown command `%s`, with args beginning with: %s \r\n" % (name, args)


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                for frame in frames.feed(data):
                    self.request.sendall(answer(command_words(frame)))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class OldRedis:
    """Serves at `url` while the block runs."""

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self.url = f"redis://127.0.0.1:{self._server.server_address[1]}/0"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
