"""Takes the credentials out of store URLs, for messages and logs."""

from __future__ import annotations

import re
from typing import Final

# A password may hold any character, even one that should be percent-encoded, so all text up to a word's last @ goes.
_BEFORE_HOST: Final = re.compile(r"(\b(?:rediss?|unix|valkeys?)(?:\+\w+)?:/*|\w://)[^\s'\"]*@", re.IGNORECASE)
_QUERY: Final = re.compile(r"(?<=\?)[^\s'\"?]*=[^\s'\"]*")
_SHOWN: Final = re.compile(r"db=\d{1,5}", re.ASCII)  # tells one account's store from another's
_NAME: Final = re.compile(r"\w+(?==)", re.ASCII)


def masked(text: str) -> str:
    """The text without the user name and password of any URL.

    Every value of a query goes too, since the name of a password option may be misspelt. Only a database number stays.
    """
    return _QUERY.sub(_without_values, _BEFORE_HOST.sub(r"\1***@", text))


def _without_values(query: re.Match[str]) -> str:
    return "&".join(_without_value(part) for part in query[0].split("&"))


def _without_value(part: str) -> str:
    if _SHOWN.fullmatch(part):
        return part
    name = _NAME.match(part)
    return f"{name[0]}=***" if name else "***"
