"""The parts that commands share: the configuration, the gate, and the message when the store gives no answer."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from gate.cli.failures import NoAnswer
from gate.cli.screens.wording import one_line
from gate.config import Config, Flags, read_config
from gate.store.address import shown_url
from gate.store.masking import masked
from gate.values.errors import StoreFailure, StoreUnavailable
from gate.values.fields import check_sentence
from gate.values.guards import Reason

if TYPE_CHECKING:
    from gate.client.gates import Gate

_SAID_EVERY_S: Final = 2.0

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Answer in one line of JSON.")


def _audited(_: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refused before anything is asked or done."""
    check_sentence(str(parameter.name), value)
    return value


by_option: Final = click.option(
    "--by", required=True, callback=_audited, metavar="WHO", help="Who does it; it is audited."
)
reason_option: Final = click.option(
    "--reason", required=True, callback=_audited, metavar="WHY", help="Why; it is audited."
)


def finite(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """Refuses what is no number: a range of click's lets it pass."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number.")
    return value


def saying_how_many(what: str) -> Callable[[int], None]:
    """Says on standard error, every two seconds, how many have been looked at."""
    due_s = time.monotonic() + _SAID_EVERY_S

    def looked(count: int) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + _SAID_EVERY_S
            click.echo(f"gate: looked at {count} {what}", err=True)

    return looked


def reason_of(failure: StoreFailure) -> Reason:
    """The reason of a verdict without the store's answer."""
    return Reason.STORE_UNAVAILABLE if isinstance(failure, StoreUnavailable) else Reason.STORE_ERROR


def reason_at(failure: StoreFailure, config: Config) -> str:
    """The same, with the store that wasn't reached: a person may have meant another."""
    reason = reason_of(failure).value
    return f"{reason} at {store_of(config)}" if isinstance(failure, StoreUnavailable) else reason


def configured(flags: Flags, *, needs_policy: bool = True) -> Config:
    """The configuration of this call. Raises InvalidConfig.

    `needs_policy=False`: for what a person does at a bad moment. A slip in the policy mustn't stand in the way of it.
    """
    config = read_config(flags, os.environ, needs_policy=needs_policy)
    if config.policy_faults:
        warn(f"{config.file}: {'; '.join(config.policy_faults)}; this command goes on without that policy")
    return config


@contextmanager
def open_gate(config: Config, as_json: bool, so: str = "", *, names_store: bool = True) -> Iterator[Gate]:
    """Opens the gate of a configuration. The command ends when the store gives no answer. `so`: what follows then.
    `names_store`: whether that says which store; False where the caller does."""
    from gate.client.gates import Gate

    without_log("gate")
    url = config.store_url
    try:
        with Gate.from_url(url, prefix=config.prefix, policy=config.pinned) as gate:
            yield gate
    except StoreFailure as failure:
        raise no_answer(failure, reason_at(failure, config) if names_store else "", as_json, so) from None


def no_answer(failure: StoreFailure, reason: str, as_json: bool, so: str = "") -> NoAnswer:
    """The end of a command to which the store gave no answer. `reason`: as reason_at has it, or empty for the bare one.
    `so`: what follows from it."""
    bare = reason_of(failure).value
    answer: dict[str, object] = {"reason": bare, "detail": masked(one_line(str(failure)))}
    said = f"{reason or bare}: {str(failure).rstrip('.')}"
    return NoAnswer(f"{said}; {so}" if so else said, answer if as_json else None)


def without_log(name: str) -> None:
    """Keeps what is logged under that name off the terminal: the command's answer says what it would."""
    import logging

    logging.getLogger(name).addHandler(logging.NullHandler())


def store_of(config: Config) -> str:
    """The store's URL without credentials, which may be shown."""
    return one_line(shown_url(config.store_url))


def account_of(config: Config) -> str:
    """The account and its store. Every act prints it, so that a mistaken account shows at once."""
    return f"{config.prefix} at {store_of(config)}"


def say_json(answer: object) -> None:
    """Prints one line of JSON on standard output."""
    click.echo(json.dumps(answer))


def warn(text: str) -> None:
    """Prints one line on standard error."""
    click.echo(f"gate: warning: {one_line(text)}", err=True)
