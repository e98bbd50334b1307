"""Frames are cut where they end, whatever the pieces in which they arrive."""

from __future__ import annotations

import pytest

from tests.servers.resp import Frames, command_words, is_push

FRAMES = [
    b"+OK\r\n",
    b":-1\r\n",
    b"_\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$7\r\na\r\n+b\r\n\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
    b"%1\r\n+key\r\n~2\r\n#t\r\n,1.5\r\n",
    b"|1\r\n+ttl\r\n:9\r\n$1\r\nx\r\n",
    b">2\r\n+message\r\n=6\r\ntxt:hi\r\n",
]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 10_000])
def test_every_kind_of_frame_is_cut_where_it_ends(piece: int) -> None:
    stream = b"".join(FRAMES)
    frames = Frames()
    cut = [frame for start in range(0, len(stream), piece) for frame in frames.feed(stream[start : start + piece])]
    assert cut == FRAMES


def test_only_what_the_server_sends_unasked_is_a_push() -> None:
    assert [frame for frame in FRAMES if is_push(frame)] == [FRAMES[-1]]


def test_the_words_of_a_command_may_hold_anything() -> None:
    assert command_words(b"*3\r\n$3\r\nSET\r\n$4\r\n\r\n$1\r\n$0\r\n\r\n") == [b"SET", b"\r\n$1", b""]


def test_what_is_not_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="not a command"):
        command_words(b"PING\r\n")
