"""Which account of the exchange a command asks: its keys from the environment, its server from options."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
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


def exchange_options(command: _F) -> _F:
    """The options --base-url and --demo, as `base_url` and `demo_trading`."""
    demo = click.option("--demo", "demo_trading", is_flag=True, help="Binance's demo trading, not the real exchange.")
    base_url = click.option(
        "--base-url", envvar="GATE_EXCHANGE_URL", metavar="URL", help="Another exchange, such as `gate paper`."
    )
    return base_url(demo(command))


def keys_at_hand(base_url: str | None, demo: bool) -> ExchangeKeys | None:
    """The keys in the environment; None where there are none. Raises UsageError for two exchanges at once."""
    if demo and base_url is not None:
        if click.get_current_context().get_parameter_source("base_url") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--demo and --base-url both name an exchange; give one of them")
        base_url = None  # a flag wins over the environment
    key, secret = (os.environ.get(name, "") for name in _names(demo))
    return ExchangeKeys(key, secret, base_url or None, demo) if key and secret else None


def needed_keys(base_url: str | None, demo: bool) -> ExchangeKeys:
    """As keys_at_hand. Raises UsageError where there are none."""
    keys = keys_at_hand(base_url, demo)
    if keys is None:
        missing = [name for name in _names(demo) if not os.environ.get(name)]
        raise click.UsageError(f"{' and '.join(missing)} must be set in the environment")
    return keys


def _names(demo: bool) -> tuple[str, str]:
    return _DEMO_KEYS if demo else _KEYS
