"""The embedded store trusts nothing that somebody else could have put there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gate.store.embedded import EmbeddedStore
from gate.values.errors import StoreUnavailable
from tests.cli.conftest import Run
from tests.servers.store import connect

NOBODY = 65_534
AS_ROOT = os.geteuid() == 0  # only root can play another user


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory of this user's with a short path: the path of a socket in it must be short."""
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        yield Path(name)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@contextmanager
def stranger_at(path: Path, uid: int | None = None) -> Iterator[list[bytes]]:
    """A server on a unix socket that says yes to everything. Gives what it hears."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        if uid is not None:
            os.seteuid(uid)  # the kernel keeps who has begun to listen
        listener.listen()
        if uid is not None:
            os.seteuid(0)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        while data := connection.recv(65536):
                            heard.append(data)
                            connection.sendall(b"+PONG\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield heard
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def works(store: EmbeddedStore) -> bool:
    with connect(store.url) as client:
        return bool(client.set("key", "value"))


def test_what_it_makes_nobody_else_can_read(room: Path, open_umask: None) -> None:
    directory = room / "above" / "store"
    with EmbeddedStore.open(directory) as store:
        assert works(store)
        made = [directory.parent, directory, *directory.rglob("*")]
        assert {each.name for each in made} >= {"start.lock", "valkey.log", "valkey.sock", "appendonlydir"}
        assert {each.name: oct(mode(each) & 0o077) for each in made} == {each.name: "0o0" for each in made}


def test_what_an_earlier_version_has_made_is_closed(room: Path) -> None:
    with EmbeddedStore.open(room) as store:
        assert works(store)
    for each in (room / "start.lock", room / "valkey.log", *(room / "appendonlydir").iterdir()):
        each.chmod(0o666)

    with EmbeddedStore.open(room) as store:
        assert works(store)
        files = [each for each in room.rglob("*") if each.is_file()]
        assert {mode(each) for each in files} == {0o600}


def test_files_that_are_not_its_own_stay_as_they_are(room: Path) -> None:
    script = room / "deploy.sh"
    script.touch(mode=0o755)
    script.chmod(0o755)
    with EmbeddedStore.open(room) as store:
        assert works(store)
    assert mode(script) == 0o755


@pytest.mark.parametrize("name", ["start.lock", "valkey.log", "valkey.sock", "valkey.conf", "appendonlydir"])
def test_a_link_in_the_place_of_a_file_is_not_followed(name: str, room: Path) -> None:
    """A start.lock that pointed to a file of root's emptied it."""
    precious = room / "precious"
    precious.write_text("of root's")
    directory = room / "store"
    directory.mkdir(mode=0o700)
    (directory / name).symlink_to(precious)

    with pytest.raises(StoreUnavailable, match=rf"{name} is a symbolic link; remove it"):
        EmbeddedStore.open(directory)
    assert precious.read_text() == "of root's"


@pytest.mark.parametrize("rights", [0o777, 0o770, 0o1777])
def test_a_directory_into_which_others_may_write_is_refused(rights: int, room: Path) -> None:
    (room / "store").mkdir()
    (room / "store").chmod(rights)
    with pytest.raises(StoreUnavailable, match="others may write into"):
        EmbeddedStore.open(room / "store")
    assert list((room / "store").iterdir()) == []


def test_a_directory_above_into_which_others_may_write_is_refused_too(room: Path) -> None:
    """They could move the store away, and put their own in its place."""
    (room / "shared" / "deep" / "store").mkdir(parents=True)
    (room / "shared").chmod(0o777)
    with pytest.raises(
        StoreUnavailable, match=r"others may write into .*shared, and replace what is in it: chmod go-w"
    ):
        EmbeddedStore.open(room / "shared" / "deep" / "store")

    (room / "shared").chmod(0o1777)
    with EmbeddedStore.open(room / "shared" / "deep" / "store") as store:
        assert works(store), "with the sticky bit they can't, as in /tmp"


def test_a_link_to_the_directory_is_followed_and_what_is_behind_it_is_looked_at(room: Path) -> None:
    (room / "real").mkdir(mode=0o700)
    (room / "link").symlink_to("real")
    with EmbeddedStore.open(room / "link") as store:
        assert works(store)
        assert (room / "real" / "valkey.sock").exists()
    (room / "real").chmod(0o777)
    with pytest.raises(StoreUnavailable, match="others may write into"):
        EmbeddedStore.open(room / "link")


class TestOfAnotherUser:
    __test__ = AS_ROOT

    def test_a_directory_is_refused(self, room: Path) -> None:
        (room / "store").mkdir(mode=0o700)
        os.chown(room / "store", NOBODY, NOBODY)
        with pytest.raises(StoreUnavailable, match=f"belongs to user {NOBODY}, not to user 0"):
            EmbeddedStore.open(room / "store")

    def test_a_directory_above_is_refused(self, room: Path) -> None:
        (room / "theirs" / "store").mkdir(parents=True, mode=0o700)
        os.chown(room / "theirs", NOBODY, NOBODY)
        with pytest.raises(StoreUnavailable, match=f"belongs to user {NOBODY}, who could put another directory"):
            EmbeddedStore.open(room / "theirs" / "store")

    def test_a_link_is_not_followed(self, room: Path) -> None:
        """In /tmp they can lay one before we come; it may lead to another account's store of our own."""
        room.chmod(0o1777)
        (room / "real").mkdir(mode=0o700)
        (room / "link").symlink_to("real")
        os.chown(room / "link", NOBODY, NOBODY, follow_symlinks=False)
        with pytest.raises(StoreUnavailable, match=f"is a symbolic link of user {NOBODY}"):
            EmbeddedStore.open(room / "link")

    def test_a_file_is_refused(self, room: Path) -> None:
        (room / "start.lock").touch()
        os.chown(room / "start.lock", NOBODY, NOBODY)
        with pytest.raises(StoreUnavailable, match=f"start.lock belongs to user {NOBODY}"):
            EmbeddedStore.open(room)

    def test_a_server_on_the_socket_is_asked_nothing(self, room: Path) -> None:
        with (
            stranger_at(room / "valkey.sock", NOBODY) as heard,
            pytest.raises(StoreUnavailable, match=f"is run by user {NOBODY}, not by user 0"),
        ):
            EmbeddedStore.open(room)
        assert heard == []

    def test_a_halt_for_a_long_path_does_not_go_to_their_server(
        self, room: Path, monkeypatch: pytest.MonkeyPatch, bare: Run
    ) -> None:
        """The socket of a long path lay in a folder whose name anybody could make first. The halt said: Halted."""
        directory, theirs = room / ("long" * 30), room / "tmp" / "gate-0"
        theirs.mkdir(parents=True)
        (room / "tmp").chmod(0o1777)
        os.chown(theirs, NOBODY, NOBODY)
        monkeypatch.setattr(tempfile, "tempdir", str(room / "tmp"))

        done = bare("--embedded", str(directory), "halt", "--by", "ops", "--reason", "CPI print")

        assert done.exit_code == 3
        assert f"gate-0 belongs to user {NOBODY}, not to user 0" in " ".join(done.stderr.split())


def test_a_long_path_is_reached_through_a_link_in_a_folder_of_ones_own(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    directory = room / ("long" * 30)
    with EmbeddedStore.open(directory) as store:
        assert works(store)
        assert (directory / "valkey.sock").is_socket()
        links = room / f"gate-{os.getuid()}"
        assert mode(links) == 0o700
        (link,) = links.iterdir()
        link.unlink()
        link.symlink_to(room)  # a leftover that leads elsewhere

        other_folder = room / "other"
        other_folder.mkdir()
        for folder in (room, other_folder):
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
            with EmbeddedStore.open(directory) as shared, connect(shared.url) as client:
                assert client.get("key") == b"value", "one server, whatever TMPDIR each process has"


def test_a_lock_that_somebody_holds_ends_in_an_error(room: Path) -> None:
    """It hung `gate halt` for ever."""
    with (room / "start.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match=r"another process holds .*start\.lock, for 0\.1 s"):
            EmbeddedStore.open(room, patience_s=0.1)


def test_a_name_with_signs_that_mean_something_in_a_url_works(room: Path) -> None:
    with EmbeddedStore.open(room / "a?b#c%20:d@e f") as store:
        assert works(store)


def test_a_forked_child_does_not_stop_its_parents_server(room: Path) -> None:
    with EmbeddedStore.open(room) as store:
        child = os.fork()
        if child == 0:
            store.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert works(store)
