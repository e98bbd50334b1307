"""The store, the account and the policy: from flags, else from the environment, else from a TOML file.

The command line and services read the same file. A service does it by `Gate.from_config()`, or by `Config.read()`.

url = "redis://127.0.0.1:6379/0"      # any form that gate.store knows
prefix = "quantum"

[policy]                              # figures have the names of gate.Policy; missing ones keep their defaults.
rate_global_limit = 10                # Without this table the caller follows the policy in force

[service]                             # what only `gate run` reads; gate.service.settings has its names
concurrency = 32
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from os import PathLike, fspath
from pathlib import Path
from typing import Final

from gate.protocol.keyspace import DEFAULT_PREFIX
from gate.values.errors import GateError, InvalidPolicy, cut, shown
from gate.values.policy import Policy

KEYS: Final = ("url", "prefix", "policy", "service")
# ValueError: bad TOML, bad UTF-8, a NUL in the path. ArithmeticError: a number that Decimal can't hold.
# RecursionError: arrays nested too deeply.
_NOT_TOML: Final = (ValueError, ArithmeticError, RecursionError)
_LONGEST_NAME: Final = 40
_OBSERVES: Final = re.compile(r"""^[ \t]*mode[ \t]*=[ \t]*["']observe["']""", re.MULTILINE)
_PYTHONS: Final = re.compile(r"=[ \t]*(True|False)[ \t]*(#.*)?$", re.MULTILINE)
_HEADER: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)


class InvalidConfig(GateError, ValueError):
    """A configuration that can't be used. Names all its faults, not just the first."""

    def __init__(self, faults: tuple[str, ...], source: str = "") -> None:
        self.faults: Final = faults
        self.source: Final = source
        super().__init__((f"{source}: " if source else "") + "; ".join(faults))

    def __reduce__(self) -> tuple[type[InvalidConfig], tuple[tuple[str, ...], str]]:
        return type(self), (self.faults, self.source)


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of the command line; None for a flag that wasn't given."""

    url: str | None = field(default=None, repr=False)  # it may hold a password
    embedded: str | None = None
    prefix: str | None = None
    config: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The resolved configuration."""

    url: str | None = field(repr=False)
    prefix: str
    policy: Policy
    file: Path | None
    figures_from_file: frozenset[str]
    policy_faults: tuple[str, ...] = ()
    """What is wrong with the policy, where the caller doesn't need it. It has the defaults then, and pins nothing."""
    service: object = field(default_factory=dict, repr=False)
    """The table of the execution service, as it stands in the file: whoever runs the service checks it."""

    @classmethod
    def read(cls, file: str | PathLike[str] | None = None) -> Config:
        """What the command line would take: from the environment, and `file`, else that of GATE_CONFIG.

        For a service. Raises InvalidConfig, which names every fault.
        """
        return read_config(Flags(config=None if file is None else fspath(file)), os.environ)

    @property
    def pinned(self) -> Policy | None:
        """The policy that the file names; None without a figure in it: then the caller follows the one in force. One
        that observes has keys of its own, and with them a policy of its own."""
        return self.policy if self.figures_from_file - {"mode"} or self.policy.observes else None

    @property
    def store_url(self) -> str:
        """The URL of the store. Raises InvalidConfig if none was given: the gate never chooses a store by itself."""
        if self.url is None:
            raise InvalidConfig(
                ("no store is given: use --url URL or --embedded DIR, set GATE_URL, or put url into the --config file",)
            )
        return self.url


def read_config(flags: Flags, environ: Mapping[str, str], *, needs_policy: bool = True) -> Config:
    """A flag wins over the environment, and the environment over the file. Raises InvalidConfig.

    A call that needs only store and account isn't stopped by a fault in the policy: Config.policy_faults tells it. Nor
    by a file that can't be read, where flags or the environment name both.
    """
    if flags.url is not None and flags.embedded is not None:
        raise InvalidConfig(("--url and --embedded both name a store; give one of them",))
    path = flags.config if flags.config is not None else environ.get("GATE_CONFIG") or None
    file = None if path is None else Path(path)
    policy_faults: list[str] = []
    named = (flags.url, flags.embedded, environ.get("GATE_URL"), environ.get("REDIS_URL"))
    does_without = any(named) and bool(flags.prefix or environ.get("GATE_PREFIX")) and not needs_policy
    table: dict[str, object] = {}
    if file is not None:
        try:
            table = _read_file(file, None if needs_policy else policy_faults)
        except InvalidConfig as unreadable:
            if needs_policy:
                raise
            if not does_without:
                remedy = "with --url and --prefix this command goes on without it"
                raise InvalidConfig((*unreadable.faults, remedy), str(file)) from None
            table, policy_faults = _mode_alone(file), list(unreadable.faults)
    faults = [
        f"{_name(name)}: is not a key of this file; it has {', '.join(KEYS)}" for name in table if name not in KEYS
    ]

    figures = table.get("policy", {})
    if not isinstance(figures, dict):
        policy_faults.append(f"policy: {shown(figures)} is not a table; write [policy]")
        figures = {}
    try:
        policy = Policy.from_mapping(figures)
    except InvalidPolicy as invalid:
        policy_faults.extend(f"policy.{fault}" for fault in invalid.faults)
        # The mode tells whose keys are meant, so it counts all the same.
        policy, figures = Policy(mode="observe" if figures.get("mode") == "observe" else "enforce"), {}
    url_in_file, prefix_in_file = (_text(table, name, faults) for name in ("url", "prefix"))
    if needs_policy:
        faults, policy_faults = [*faults, *policy_faults], []
    if faults:
        raise InvalidConfig(tuple(faults), str(file))

    if flags.embedded is not None and flags.embedded.startswith("embedded:"):
        raise InvalidConfig((f"--embedded {flags.embedded!r} is a URL; give the directory alone",))
    if flags.embedded is not None and Path(flags.embedded).is_file():
        raise InvalidConfig((f"--embedded {flags.embedded!r} is a file; give a directory",))
    if flags.embedded is not None:
        url: str | None = f"embedded:{flags.embedded}"
    elif flags.url is not None:
        url = flags.url
    else:
        url = environ.get("GATE_URL") or environ.get("REDIS_URL") or url_in_file
    prefix = flags.prefix if flags.prefix is not None else environ.get("GATE_PREFIX") or prefix_in_file
    account = DEFAULT_PREFIX if prefix is None else prefix
    return Config(url, account, policy, file, frozenset(figures), tuple(policy_faults), table.get("service", {}))


def _mode_alone(file: Path) -> dict[str, object]:
    """What a file that is no TOML says of the mode: it tells whose keys are meant."""
    try:
        text = file.read_text("utf-8", errors="replace")
    except OSError:
        return {}
    return {"policy": {"mode": "observe"}} if _OBSERVES.search(text) else {}


def _read_file(file: Path, policy_faults: list[str] | None) -> dict[str, object]:
    """The file's table. With a list for the policy's faults, bad TOML below the first table's header goes there: url
    and prefix stand above it."""
    text = ""
    try:
        text = file.read_bytes().decode("utf-8")
        try:
            return _read_toml(text)
        except _NOT_TOML as error:
            head = _HEADER.split(text, maxsplit=1)[0]
            if policy_faults is None or head == text:
                raise
            table = _read_toml(head)
            policy_faults.append(_not_toml(error, text))
            # The mode tells whose keys are meant, so it counts all the same.
            return {**table, "policy": {"mode": "observe"}} if _OBSERVES.search(text) else table
    except OSError as error:
        raise InvalidConfig((f"can't be read: {error.strerror}",), str(file)) from None
    except _NOT_TOML as error:
        raise InvalidConfig((_not_toml(error, text),), str(file)) from None


def _not_toml(error: Exception, text: str) -> str:
    """Why a text isn't TOML, and what to write in place of the words of Python."""
    hint = "; write true and false small" if _PYTHONS.search(text) else ""
    return f"is not TOML: {cut(str(error))}{hint}"


def _read_toml(text: str) -> dict[str, object]:
    import tomllib  # imported here, since it would slow the start of a caller without a file

    return tomllib.loads(text, parse_float=Decimal)


def _name(name: str) -> str:
    return name if name.isidentifier() and len(name) <= _LONGEST_NAME else shown(name)


def _text(table: Mapping[str, object], name: str, faults: list[str]) -> str | None:
    value = table.get(name)
    if value is None or (isinstance(value, str) and value):
        return value
    # Not quoted but for a number: a URL in a list has its password too.
    said = f" {shown(value)}" if value == "" or isinstance(value, int | float) else ""
    faults.append(f"{name}:{said} is not a text")
    return None
