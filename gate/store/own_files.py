"""Directories and files that are this user's alone: nobody else can put anything into them, or in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40  # the kernel's own limit
_PRIVATE_DIRECTORY: Final = 0o700
_PRIVATE_FILE: Final = 0o600


class NotOurs(OSError):
    """Somebody else could put something of theirs in the place of what is used. The message says where."""


def own_directory(path: Path) -> Path:
    """The directory, without symbolic links, made if it isn't there. Raises NotOurs, OSError.

    It belongs to this user, and to nobody else a right to write. Each directory above it belongs to this user or to
    root; others may write only where the sticky bit keeps them from replacing what isn't theirs, as in /tmp.
    """
    wanted = path.expanduser().absolute()
    real = _without_links(wanted)
    missing = [each for each in (real, *real.parents) if not os.path.lexists(each)]
    for each in reversed(missing):
        try:
            each.mkdir(mode=_PRIVATE_DIRECTORY)
        except FileExistsError:
            continue  # another process of this user was faster, or the check below finds whose it is
    real = _without_links(wanted)
    found = real.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{real} is not a directory")
    if found.st_uid != os.getuid():
        raise NotOurs(f"{real} belongs to user {found.st_uid}, not to user {os.getuid()} who runs this")
    if found.st_mode & _OTHERS_WRITE:
        raise NotOurs(f"others may write into {real}: chmod go-w {real}, and look what is in it")
    return real


def _without_links(path: Path) -> Path:
    """The path that symbolic links lead to, up to the first part that isn't there. Raises NotOurs for a way on which
    somebody else could turn it elsewhere."""
    at, rest, links = Path(path.anchor), list(path.parts[1:]), 0
    while rest:
        _check_above(at)
        name = rest.pop(0)
        if name == "..":
            at = at.parent
            continue
        step = at / name
        try:
            found = step.lstat()
        except FileNotFoundError:
            return step.joinpath(*rest)
        if not stat.S_ISLNK(found.st_mode):
            at = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise NotOurs(f"{path} leads through too many symbolic links")
        if found.st_uid not in (0, os.getuid()):
            raise NotOurs(f"{step} is a symbolic link of user {found.st_uid}")
        target = step.readlink()
        if target.is_absolute():
            at = Path(target.anchor)
        rest[:0] = target.parts[1:] if target.is_absolute() else target.parts
    return at


def _check_above(directory: Path) -> None:
    found = directory.lstat()
    if found.st_uid not in (0, os.getuid()):
        raise NotOurs(
            f"{directory} belongs to user {found.st_uid}, who could put another directory in the place of ours"
        )
    if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
        raise NotOurs(f"others may write into {directory}, and replace what is in it: chmod go-w {directory}")


def check_own(path: Path) -> None:
    """Refuses what stands in an own directory, but is a symbolic link or somebody else's. Takes from others the right
    to read a file. Raises NotOurs, OSError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise NotOurs(f"{path} is a symbolic link; remove it")
    if found.st_uid != os.getuid():
        raise NotOurs(f"{path} belongs to user {found.st_uid}, not to user {os.getuid()} who runs this")
    if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & ~_PRIVATE_FILE:
        path.chmod(_PRIVATE_FILE)


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a file, which is made if it isn't there, and which only this user may read. Never follows a link,
    never empties a file. Raises NotOurs, OSError."""
    check_own(path)
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE_FILE)
