"""A proxy between a client and a Redis server that loses exactly what a test tells it to lose."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from redis import ConnectionPool

from gate.protocol.scripts import script
from tests.servers.ports import free_port
from tests.servers.resp import Frames, command_words, is_push

_CHUNK = 65536

# Commands that a client library itself sends when it connects.
HANDSHAKE = frozenset({"AUTH", "CLIENT", "COMMAND", "HELLO", "READONLY", "SELECT"})


class _Loss(Enum):
    REQUEST = auto()
    REPLY = auto()
    REPLY_IN_SILENCE = auto()


@dataclass(frozen=True)
class Fault:
    """One ordered loss. It happens once."""

    loss: _Loss
    command: str | None
    script: str | None = None
    _happened: threading.Event = field(default_factory=threading.Event)

    @property
    def happened(self) -> bool:
        return self._happened.is_set()

    def wait(self, timeout: float = 5.0) -> None:
        if not self._happened.wait(timeout):
            raise TimeoutError(f"no {self.command or 'command'} met this fault within {timeout} s")

    def matches(self, words: list[bytes]) -> bool:
        command = words[0].decode().upper()
        if self.script is not None and words[1:2] != [script(self.script).sha.encode()]:
            return False
        return command not in HANDSHAKE if self.command is None else command == self.command

    def strike(self) -> None:
        self._happened.set()


class Wire:
    """Listens at `url` and passes everything on to the server at `target`, which may be on TCP or on a unix socket.

    The three losses each apply to the next command of the given name, whatever connection it comes by; without a name,
    to the next one that isn't part of a connection's handshake. A reply may be lost of a call of one script alone.
    Several orders for one command are served in turn.
    """

    def __init__(self, target: str) -> None:
        self._target: dict[str, Any] = ConnectionPool.from_url(target).connection_kwargs
        if target.startswith("rediss://"):
            raise ValueError("a wire can't read through TLS")
        self._port = free_port()
        self.answers_after_s = 0.0
        """How far away the server is: each of its answers is as much later."""
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._counts: Counter[str] = Counter()
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self.accept()

    @property
    def url(self) -> str:
        username, password = self._target.get("username", ""), self._target.get("password")
        login = "" if password is None else f"{quote(username, safe='')}:{quote(password, safe='')}@"
        return f"redis://{login}127.0.0.1:{self._port}/{self._target.get('db', 0)}"

    def lose_next_request(self, command: str | None = None) -> Fault:
        """The connection breaks, and the server never hears of the command."""
        return self._order(_Loss.REQUEST, command)

    def lose_next_reply(self, command: str | None = None, script: str | None = None) -> Fault:
        """The server executes the command; the connection breaks before its reply."""
        return self._order(_Loss.REPLY, command, script)

    def withhold_next_reply(self, command: str | None = None) -> Fault:
        """The server executes the command; its reply and whatever follows never arrive, on an open connection."""
        return self._order(_Loss.REPLY_IN_SILENCE, command)

    @property
    def requests(self) -> Counter[str]:
        """Commands seen so far, by name in capitals, without those of handshakes."""
        return Counter({name: count for name, count in self._seen().items() if name not in HANDSHAKE})

    @property
    def handshakes(self) -> Counter[str]:
        """Commands of handshakes seen so far, by name."""
        return Counter({name: count for name, count in self._seen().items() if name in HANDSHAKE})

    def forget_requests(self) -> None:
        """Count from zero again."""
        with self._lock:
            self._counts.clear()

    def refuse(self) -> None:
        """New connections are refused from now on, as if the server had gone; open ones stay."""
        if self._listener is None or self._acceptor is None:
            return
        # Closing alone leaves the port open for as long as another thread waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        self._listener = self._acceptor = None

    def accept(self) -> None:
        """Undo `refuse`."""
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._acceptor = threading.Thread(target=self._accept_until_closed, args=(self._listener,), daemon=True)
        self._acceptor.start()

    def sever(self) -> None:
        """Break every open connection."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def close(self) -> None:
        self.refuse()
        self.sever()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def take_fault(self, words: list[bytes]) -> Fault | None:
        """Count the command, and hand out the fault that it meets, if any."""
        with self._lock:
            self._counts[words[0].decode().upper()] += 1
            fault = next((each for each in self._faults if each.matches(words)), None)
            if fault is not None:
                self._faults.remove(fault)
            return fault

    def forget_link(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)

    def _seen(self) -> Counter[str]:
        with self._lock:
            return self._counts.copy()

    def _order(self, loss: _Loss, command: str | None, script: str | None = None) -> Fault:
        fault = Fault(loss, command and command.upper(), script)
        with self._lock:
            self._faults.append(fault)
        return fault

    def _accept_until_closed(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            with self._lock:
                self._links.add(link)
            link.start()

    def _connect(self) -> socket.socket:
        if "path" in self._target:
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target["path"])
            return server
        return socket.create_connection((self._target.get("host", "127.0.0.1"), self._target.get("port", 6379)), 5)


class _Link:
    """One client connection and its counterpart to the server."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire = wire
        self._client = client
        self._server = server
        self._awaited: deque[Fault | None] = deque()

    def start(self) -> None:
        for end in (self._client, self._server):
            end.settimeout(None)
            if end.family == socket.AF_INET:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Shut down rather than closed: the other thread may be reading, and a closed descriptor may be reused."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _until_broken(self, carry: Callable[[], None]) -> None:
        try:
            with contextlib.suppress(OSError):
                carry()
        finally:
            self.close()

    def _run(self) -> None:
        replies = threading.Thread(target=self._until_broken, args=(self._carry_replies,), daemon=True)
        replies.start()
        self._until_broken(self._carry_requests)
        replies.join()
        self._client.close()
        self._server.close()
        self._wire.forget_link(self)

    def _carry_requests(self) -> None:
        frames = Frames()
        while data := self._client.recv(_CHUNK):
            for frame in frames.feed(data):
                fault = self._wire.take_fault(command_words(frame))
                if fault is not None and fault.loss is _Loss.REQUEST:
                    fault.strike()
                    return
                self._awaited.append(fault)
                self._server.sendall(frame)

    def _carry_replies(self) -> None:
        frames = Frames()
        silent = False
        while data := self._server.recv(_CHUNK):
            time.sleep(self._wire.answers_after_s)
            for frame in frames.feed(data):
                fault = None if is_push(frame) or not self._awaited else self._awaited.popleft()
                if fault is not None:
                    fault.strike()
                    if fault.loss is _Loss.REPLY:
                        return
                    silent = True
                if not silent:
                    self._client.sendall(frame)
