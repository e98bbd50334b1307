"""Finds the ends of RESP frames: just enough of the protocol to count commands and replies."""

from __future__ import annotations

_LINE_ENDING = b"\r\n"
_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}
_BULKS = frozenset(b"$=!")
_ATTRIBUTE = ord("|")
_PUSH = ord(">")


class Frames:
    """Cuts a stream of bytes, as it arrives, into whole top-level frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        while (end := _frame_end(self._buffer, start)) is not None:
            frames.append(bytes(self._buffer[start:end]))
            start = end
        del self._buffer[:start]
        return frames


def is_push(frame: bytes) -> bool:
    """A message that the server sends unasked (RESP3): it answers no command."""
    return frame[0] == _PUSH


def command_words(frame: bytes) -> list[bytes]:
    """The words of a command, which clients send as one array of bulk strings."""
    if frame[:1] != b"*":
        raise ValueError(f"not a command in RESP: {frame[:40]!r}")
    words: list[bytes] = []
    position = frame.index(_LINE_ENDING) + 2
    while position < len(frame):
        begin = frame.index(_LINE_ENDING, position) + 2
        end = begin + int(frame[position + 1 : begin - 2])
        words.append(frame[begin:end])
        position = end + 2
    return words


def _frame_end(buffer: bytearray, start: int) -> int | None:
    """The index after the frame that begins at `start`; None while part of it is still to come."""
    position = start
    awaited = 1
    while awaited:
        line_end = buffer.find(_LINE_ENDING, position)
        if line_end < 0:
            return None
        kind = buffer[position]
        if kind in _BULKS:
            size = int(buffer[position + 1 : line_end])
            position = line_end + 2 + (size + 2 if size >= 0 else 0)
        else:
            if kind in _AGGREGATES:
                awaited += max(0, int(buffer[position + 1 : line_end])) * _AGGREGATES[kind]
            elif kind == _ATTRIBUTE:
                # An attribute's pairs come before the value that they describe, which is still to come.
                awaited += int(buffer[position + 1 : line_end]) * 2 + 1
            position = line_end + 2
        awaited -= 1
    return position if position <= len(buffer) else None
