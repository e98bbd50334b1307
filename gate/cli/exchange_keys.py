"""Which account of the exchange a command asks: its keys from the environment, its server from options."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

_F = TypeVar("_F", bound=Callable[..., Any])

_KEYS: Final = ("BINANCE_API_KEY", "BINANCE_API_SECRET")
_DEMO_KEYS: Final = ("BINANCE_TESTNET_API_KEY", "BINANCE_TESTNET_SECRET_KEY")


@dataclass(frozen=True, slots=True)
class ExchangeKeys:
    """An account of the exchange."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    base_url: str | None
    demo: bool

    @property
    def venue(self) -> str:
        """The exchange's name, as a person is told it."""
        return self.base_url or ("Binance's demo trading" if self.demo else "the real Binance")


def exchange_options(command: _F) -> _F:
    """The options --base-url and --demo, as `base_url` and `demo_trading`."""
    demo = click.option("--demo", "demo_trading", is_flag=True, help="Binance's demo trading, not the real exchange.")
    base_url = click.option(
        "--base-url", envvar="GATE_EXCHANGE_URL", metavar="URL", help="Another exchange, such as `gate paper`."
    )
    return base_url(demo(command))


def keys_at_hand(base_url: str | None, demo: bool) -> ExchangeKeys | None:
    """The keys in the environment, or in the files that it names; None where there are none, or the files can't be
    read: a halt doesn't fail for that. Raises UsageError for two exchanges at once."""
    try:
        return _keys(base_url, demo)
    except UnusableSetting:
        return None


def _keys(base_url: str | None, demo: bool) -> ExchangeKeys | None:
    if demo and base_url is not None:
        if click.get_current_context().get_parameter_source("base_url") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--demo and --base-url both name an exchange; give one of them")
        base_url = None  # a flag wins over the environment
    if base_url is not None and not base_url.strip():  # of an empty variable: it means no real exchange
        raise UnusableSetting("--base-url is empty; leave it out for the real exchange")
    key, secret = (_key(name) for name in _names(demo))
    return ExchangeKeys(key, secret, base_url, demo) if key and secret else None


def needed_keys(base_url: str | None, demo: bool) -> ExchangeKeys:
    """As keys_at_hand. Raises UsageError where there are none."""
    try:
        keys = _keys(base_url, demo)
    except UnusableSetting as problem:
        raise click.UsageError(str(problem)) from None
    if keys is None:
        missing = [name for name in _names(demo) if not secret_from_environment(name)]
        raise click.UsageError(
            f"{' and '.join(missing)} must be set in the environment, or {missing[0]}_FILE name a file"
        )
    return keys


def _key(name: str) -> str:
    value = secret_from_environment(name)
    if not value.isascii() or any(each.isspace() or not each.isprintable() for each in value):
        raise UnusableSetting(f"{name} has a space, a line's end or another character that no key has")
    return value


class UnusableSetting(Exception):
    """A secret, or the exchange's address, that is given and can't be used."""


def secret_from_environment(name: str) -> str:
    """A secret, or what the file of NAME_FILE holds: systemd and containers hand secrets over so.

    Raises UnusableSetting.
    """
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if value and file:
        raise UnusableSetting(f"{name} and {name}_FILE are both set; leave one of them out")
    if not file:
        return value
    try:
        held = Path(file).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UnusableSetting(f"{name}_FILE: {file} can't be read: {said}") from None
    if not held:
        raise UnusableSetting(f"{name}_FILE: {file} is empty")
    return held


def _names(demo: bool) -> tuple[str, str]:
    return _DEMO_KEYS if demo else _KEYS
