"""TLS in front of a server that has none, and an attacker that takes a sentinel's place."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.servers.resp import Frames, command_words

_TLS_BEGINS = b"\x16"
_CHUNK = 65536


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Hands every connection to a loopback port to `serve`, in a thread of its own. Gives the port."""
    open_ones: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                open_ones.append(connection)
                threading.Thread(target=_quietly, args=(serve, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for each in open_ones:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def _quietly(serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        serve(connection)


@contextmanager
def tls_front(target_port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port that speaks TLS to whoever begins with it, and passes all else on as it is: a sentinel watches its server
    through the same address that it names to clients."""

    def serve(connection: socket.socket) -> None:
        if connection.recv(1, socket.MSG_PEEK) == _TLS_BEGINS:
            connection = context.wrap_socket(connection, server_side=True)
        with connection, socket.create_connection(("127.0.0.1", target_port)) as server:
            back = threading.Thread(target=_pass_on, args=(server, connection), daemon=True)
            back.start()
            _pass_on(connection, server)
            back.join()

    with listening(serve) as port:
        yield port


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class Heard:
    """What an attacker's server has heard, byte for byte and command by command."""

    def __init__(self) -> None:
        self.first_bytes: list[bytes] = []
        self.commands: list[list[bytes]] = []

    def has(self, text: bytes) -> bool:
        """Whether it has read this, in the clear."""
        return any(text in word for words in self.commands for word in words)


@contextmanager
def attacker(
    heard: Heard, reply: Callable[[list[bytes]], bytes], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A server of the attacker's: over TLS, with whatever certificate it has got, or in plain text."""

    def serve(connection: socket.socket) -> None:
        heard.first_bytes.append(connection.recv(1, socket.MSG_PEEK))
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            frames = Frames()
            while data := connection.recv(_CHUNK):
                for frame in frames.feed(data):
                    heard.commands.append(command_words(frame))
                    connection.sendall(reply(heard.commands[-1]))

    with listening(serve) as port:
        yield port


def names_master(service: str, port: int) -> Callable[[list[bytes]], bytes]:
    """A sentinel's replies, which name a master on loopback."""
    fields = {
        "name": service,
        "ip": "127.0.0.1",
        "port": str(port),
        "flags": "master",
        "num-other-sentinels": "2",
        "quorum": "2",
    }
    master = b"*%d\r\n" % (2 * len(fields)) + b"".join(
        b"$%d\r\n%s\r\n" % (len(word), word.encode()) for pair in fields.items() for word in pair
    )

    def reply(words: list[bytes]) -> bytes:
        return b"*1\r\n" + master if [word.upper() for word in words[:2]] == [b"SENTINEL", b"MASTERS"] else b"+OK\r\n"

    return reply
