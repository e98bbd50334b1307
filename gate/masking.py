"""Store URLs as they may be shown: without their credentials."""

from __future__ import annotations

import re
from typing import Final

# A password may hold any character, even those that should be percent-encoded: all up to the last @ of a word goes.
_BEFORE_HOST: Final = re.compile(r"(\b(?:rediss?|unix|valkeys?)(?:\+\w+)?:/*|\w://)[^\s'\"]*@", re.IGNORECASE)
_IN_QUERY: Final = re.compile(r"([?&](?:username|password)=)[^&\s'\"]*", re.IGNORECASE)


def masked(text: str) -> str:
    """A text in which every URL has lost its user name and password."""
    return _IN_QUERY.sub(r"\1***", _BEFORE_HOST.sub(r"\1***@", text))
