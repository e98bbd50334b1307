"""Reads a request's parameters, with the exchange's errors for missing and malformed ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl

from gate.paper.market.errors import Code, refuse

_Word = TypeVar("_Word", bound=StrEnum)

# The live exchange takes plain decimals only: a Python float in exponent form (`1e-05`) is malformed.
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
CLIENT_ID_RANGE = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]+")
_CLIENT_ID_LENGTH = 36


class Params:
    """Query and form parameters of one request. An empty text counts as not sent."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    @classmethod
    def from_raw(cls, query: str, body: str) -> Params:
        text = f"{query}&{body}" if query else body
        if "%" in text or "+" in text:
            return cls(dict(parse_qsl(text)))
        # Nearly every order has nothing to unquote, and parse_qsl would take a sixth of the order's time.
        return cls(dict(pair.split("=", 1) for pair in text.split("&") if "=" in pair))

    def text(self, name: str) -> str | None:
        return self._values.get(name) or None

    def need_text(self, name: str) -> str:
        """The text of a mandatory parameter; -1102 if it wasn't sent."""
        value = self.text(name)
        if value is None:
            raise refuse(Code.MANDATORY_PARAM, name)
        return value

    def decimal(self, name: str) -> Decimal | None:
        value = self.text(name)
        if value is None:
            return None
        if not _DECIMAL.fullmatch(value):
            raise refuse(Code.MANDATORY_PARAM, name)
        return Decimal(value)

    def need_decimal(self, name: str) -> Decimal:
        value = self.decimal(name)
        if value is None:
            raise refuse(Code.MANDATORY_PARAM, name)
        return value

    def integer(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not _INTEGER.fullmatch(value):
            raise refuse(Code.MANDATORY_PARAM, name)
        return int(value)

    def need_integer(self, name: str) -> int:
        value = self.integer(name)
        if value is None:
            raise refuse(Code.MANDATORY_PARAM, name)
        return value

    def flag(self, name: str) -> bool | None:
        """true or false in any case: python-binance sends Python's `True` as "True", and the exchange takes it."""
        value = self.text(name)
        if value is None:
            return None
        if value.lower() not in ("true", "false"):
            raise refuse(Code.MANDATORY_PARAM, name.lower())
        return value.lower() == "true"

    def need_flag(self, name: str) -> bool:
        value = self.flag(name)
        if value is None:
            raise refuse(Code.MANDATORY_PARAM, name)
        return value

    def word(self, name: str, words: type[_Word], unknown: Code) -> _Word | None:
        """One of the exchange's words. Refuses any other word with `unknown`."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return words(value.upper())
        except ValueError:
            raise refuse(unknown, name) from None

    def need_word(self, name: str, words: type[_Word], unknown: Code) -> _Word:
        value = self.word(name, words, unknown)
        if value is None:
            raise refuse(Code.MANDATORY_PARAM, name)
        return value

    def client_id(self, name: str) -> str | None:
        """A client order id: at most 36 characters (-4015) of the legal range (-1100)."""
        value = self.text(name)
        if value is None:
            return None
        if not _CLIENT_ID.fullmatch(value):
            raise refuse(Code.ILLEGAL_CHARS, name, CLIENT_ID_RANGE)
        if len(value) > _CLIENT_ID_LENGTH:
            raise refuse(Code.CLIENT_ID_LENGTH)
        return value
