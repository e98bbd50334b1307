"""A store that answers as it likes: a RESP server of which the test chooses every byte."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from gate.protocol.scripts import SCRIPTS, script
from tests.servers.resp import Frames, command_words

Answer = bytes | Callable[[list[bytes]], bytes]
RUN_ID = b"a" * 40
_SCRIPTS = {script(name).sha: name for name in SCRIPTS}


def bulk(text: bytes | str) -> bytes:
    """A text in RESP."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return b"$%d\r\n%s\r\n" % (len(data), data)


def many(*items: bytes) -> bytes:
    """A list in RESP."""
    return b"*%d\r\n%s" % (len(items), b"".join(items))


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                for frame in frames.feed(data):
                    reply = self.server.answer(command_words(frame))
                    for piece in self.server.pieces(reply):
                        self.request.sendall(piece)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    answer: Callable[[list[bytes]], bytes]
    pieces: Callable[[bytes], Iterable[bytes]]


class HostileStore:
    """Serves at `url` while the block runs. It lets connections be made as a Redis does, and then gives `answers`: by a
    command's first word, or a script's name; else that of `*`."""

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers: dict[str, Answer] = {"identify": bulk(RUN_ID), "*": b"+OK\r\n", **(answers or {})}
        self.asked: list[str] = []
        """The words and scripts that were called, in order."""
        self.drips_s = 0.0
        """How long after one byte of a text the next one comes; 0: all at once."""

    def pieces(self, reply: bytes) -> Iterator[bytes]:
        """What is sent at once."""
        if not self.drips_s or not reply.startswith(b"$"):
            yield reply
            return
        for number in range(len(reply)):
            yield reply[number : number + 1]
            time.sleep(self.drips_s)  # a byte now and then is what is tried

    def answer(self, words: list[bytes]) -> bytes:
        """The reply to one command."""
        name = words[0].decode().upper()
        if name in ("CLIENT", "SELECT"):
            return b"+OK\r\n"
        if name.startswith("EVALSHA"):
            name = _SCRIPTS[words[1].decode()]
        self.asked.append(name)
        return self._given(self.answers.get(name, self.answers["*"]), words)

    @staticmethod
    def _given(answer: Answer, words: list[bytes]) -> bytes:
        return answer if isinstance(answer, bytes) else answer(words)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.answer = self.answer
        self._server.pieces = self.pieces
        self.url = f"redis://127.0.0.1:{self._server.server_address[1]}/0"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
