"""Takes the credentials out of text that somebody else has made, for messages and logs.

A store's own URL is never shown by masking: `StoreAddress.shown` builds what is shown from its parsed parts. This is
the net below that, for an error's text that may quote a URL. It can't know where an odd URL ends, so it drops too much
rather than too little.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 20_000
"""How much of a text is shown. What is longer is no message."""

# Each repetition has a bound, so a search takes a time in proportion to the text.
_BEGINS: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,24}:?//|\b(?:rediss?|unix|valkeys?)(?:\+[a-z]{1,16})?[:/]", re.IGNORECASE
)
_QUERY: Final = re.compile(r"\?[^\s=?@]{0,100}=")


def masked(text: str) -> str:
    """The text without the user name, the password and the options of any URL.

    From the first URL on, all text up to the last @ goes: a password may hold a space or a quote. So does all that
    follows a URL's `?name=`.
    """
    begun = _BEGINS.search(text)
    if begun is not None:
        head, rest = text[: begun.end()], text[begun.end() :]
        before, at, after = rest.rpartition("@")
        rest = f"***@{after}" if at else before or after
        query = _QUERY.search(rest)
        text = head + (rest if query is None else f"{rest[: query.start()]}?***")
    left_out = len(text) - LONGEST
    return text if left_out <= 0 else f"{text[:LONGEST]}… ({left_out} more characters)"


def masked_lines(text: str) -> str:
    """masked, for each line by itself: of a traceback, where a URL doesn't reach over lines."""
    return "\n".join(masked(line) for line in text.split("\n"))
