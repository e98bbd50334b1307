"""The exceptions of gate. Every message names the field or key, the value, and what to do."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from typing import Any, Final

_LONGEST_NAME: Final = 64
_PLAIN: Final = re.compile(r"[\w@%+=:./{}-]+")


NOT_SEEN: Final = "?"
"""In place of the id of an intent that shows none."""


def shown(value: object) -> str:
    """A value as a message quotes it: at most 80 characters, and no error whatever it is."""
    try:
        text = str(value) if isinstance(value, Decimal) else repr(value)  # a figure of TOML is one
    except Exception:  # an int with more digits than Python prints, a nest of a thousand lists, a service's own object
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def cut(text: str, most: int = 400) -> str:
    """A text of the store or the exchange, as an answer holds it: no longer than that."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def pasted(text: str) -> str:
    """A key or an id in a command that a person may paste into a shell or into redis-cli: quoted where that matters."""
    return text if _PLAIN.fullmatch(text) and ".." not in text else shlex.quote(text)


class GateError(Exception):
    """Base of what gate raises on purpose, but for an exchange's failures: ExchangeFailure, OrderNotFound."""


class InvalidField(GateError, ValueError):
    """A value that can't be accepted: `field`, `value`, `problem`. `missing`: a required field wasn't given."""

    def __init__(self, field: str, value: object, problem: str, missing: bool = False) -> None:
        self.field: Final = field
        self.value: Final = value
        self.problem: Final = problem
        self.missing: Final = missing
        # A stream names its fields as it likes.
        name = field if len(field) <= _LONGEST_NAME and field.isprintable() else shown(field)
        super().__init__(f"{name}: {problem}" if missing and value is None else f"{name}: {shown(value)} {problem}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.problem, self.missing)


class InvalidIntent(InvalidField):
    """An intent that can't be judged."""

    intent_id: str = NOT_SEEN
    """The intent's id, as far as one is to be seen in what was handed in."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), {"intent_id": self.intent_id})


class InvalidPolicy(GateError, ValueError):
    """A policy that can't be accepted. Names all its faults, not just the first."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults: Final = faults
        super().__init__("; ".join(faults))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults,)


class StoreFailure(GateError):
    """The store gave no usable answer. Both kinds deny."""

    maybe_done = False
    """Whether the store may have carried out the call."""


class StoreUnavailable(StoreFailure):
    """The store wasn't reached, is too slow, loads its data or fails over. This may pass by itself."""


class StoreError(StoreFailure):
    """The store answered with an error: a key of the wrong type, no rights, out of memory. A person has to look."""


class AccountTaken(GateError):
    """The API key's account is kept under another prefix of this store. Two prefixes would have limits of their own,
    and each would spend the other's margin."""

    def __init__(self, prefix: str, holder: str) -> None:
        self.prefix: Final = prefix
        self.holder: Final = holder
        super().__init__(
            f"the account of this API key is kept under the prefix {holder!r} on this store, not under {prefix!r}: use "
            "that prefix, or stop what runs under it. The account is free 70 s after a clean stop, else after five "
            "minutes"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.prefix, self.holder)


class PrefixTaken(GateError):
    """Another account is kept under this prefix of the store. Each would look for the other's orders in vain, settle
    them as absent, and be denied what the other has sent under the same id, exits too."""

    def __init__(self, prefix: str) -> None:
        self.prefix: Final = prefix
        super().__init__(
            f"another account, of this or another exchange, is kept under the prefix {prefix!r} on this store: give "
            "each account a prefix of its own, or stop what runs under this one. The prefix is free 70 s after a clean "
            "stop, else after five minutes. A proxy given as base_url counts as another exchange"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.prefix,)
