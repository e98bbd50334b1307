"""Store URLs as they may be shown: without their credentials."""

from __future__ import annotations

import re
from typing import Final

# A password may hold any character, even those that should be percent-encoded: all up to the last @ of a word goes.
_BEFORE_HOST: Final = re.compile(r"(\b(?:rediss?|unix|valkeys?)(?:\+\w+)?:/*|\w://)[^\s'\"]*@", re.IGNORECASE)
_QUERY: Final = re.compile(r"(?<=\?)[^\s'\"?]*=[^\s'\"]*")
_SHOWN: Final = re.compile(r"db=\d{1,5}", re.ASCII)  # which account's store it is
_NAME: Final = re.compile(r"\w+(?==)", re.ASCII)


def masked(text: str) -> str:
    """A text in which every URL has lost its user name and password. Of a query every value goes, for the name of one
    that holds a password may be misspelt; only the number of a database stays.
    """
    return _QUERY.sub(_without_values, _BEFORE_HOST.sub(r"\1***@", text))


def _without_values(query: re.Match[str]) -> str:
    return "&".join(_without_value(part) for part in query[0].split("&"))


def _without_value(part: str) -> str:
    if _SHOWN.fullmatch(part):
        return part
    name = _NAME.match(part)
    return f"{name[0]}=***" if name else "***"
