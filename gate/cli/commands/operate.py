"""`gate halt`, `gate resume`, `gate reset`: what an operator switches, each audited with its author and reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gate.cli.failures import NoAnswer
from gate.cli.screens.wording import moment, one_line
from gate.cli.session import (
    account_of,
    by_option,
    configured,
    json_option,
    open_gate,
    reason_option,
    say_json,
    store_of,
    warn,
)
from gate.client.dialogues import RESETS, SCOPES
from gate.config import Config, Flags
from gate.protocol.keyspace import Keyspace
from gate.values.errors import StoreFailure
from gate.values.reports import Act, Halt

if TYPE_CHECKING:
    from gate.client.gates import Gate


@click.command()
@by_option
@reason_option
@click.option("--scope", type=click.Choice(SCOPES), default="entries", show_default=True, help="`all` stops exits too.")
@json_option
@click.pass_obj
def halt(flags: Flags, by: str, reason: str, scope: str, as_json: bool) -> None:
    """Stop entries, or everything, until somebody resumes. It never expires by itself.

    \b
      gate halt --by ops --reason "CPI print"
      gate halt --scope all --by ops --reason "exchange is down"
    """
    config = configured(flags)
    with acting(config, "halt", "halted", as_json) as gate:
        before = look(gate)
        act = gate.halt(by=by, reason=reason, scope=scope)
    told(act, by, reason, halt_sentence(act, scope, account_of(config), before), config, as_json)
    if before is not None and not before.ever_run:
        key = Keyspace(config.prefix).state
        warn(
            f"the gate has never run under the prefix {config.prefix} here (no {key}); is it the account that you mean?"
        )


@click.command()
@by_option
@reason_option
@json_option
@click.pass_obj
def resume(flags: Flags, by: str, reason: str, as_json: bool) -> None:
    """End a halt. What has tripped by itself, safe mode or a cooldown, stays on: that is what reset is for.

    \b
      gate resume --by ops --reason "CPI is out"
    """
    config = configured(flags)
    with acting(config, "resume", "resumed", as_json) as gate:
        before = look(gate)
        act = gate.resume(by=by, reason=reason)
    told(act, by, reason, resume_sentence(act, account_of(config), before), config, as_json)


@click.command()
@click.argument("what", type=click.Choice(RESETS), metavar="WHAT")
@by_option
@reason_option
@json_option
@click.pass_obj
def reset(flags: Flags, what: str, by: str, reason: str, as_json: bool) -> None:
    """Switch off WHAT: safe_mode, cooldowns (of the account and of every symbol), failures (their count), or all.

    \b
      gate reset safe_mode --by ops --reason "balance topped up"

    A halt stays: resume ends it. Records, locks and windows stay too, they keep the limits exact.
    """
    config = configured(flags)
    with acting(config, "reset", "reset", as_json) as gate:
        act = gate.reset(what, by=by, reason=reason)
    told(act, by, reason, reset_sentence(act, what, account_of(config)), config, as_json)


@dataclass(frozen=True, slots=True)
class Before:
    """How an account stood a moment before an act."""

    halt: Halt | None
    ever_run: bool


def look(gate: Gate) -> Before | None:
    """How the account stands; None when that can't be had. The act itself must not wait for it, nor fail by it."""
    try:
        return Before(ever_run=gate.ever_run(), halt=gate.halt_in_force())
    except StoreFailure:
        return None


@contextmanager
def acting(config: Config, act: str, done: str, as_json: bool) -> Iterator[Gate]:
    """The gate, for an act. A failure says that nobody knows whether it was done: its answer may be what was lost."""
    try:
        with open_gate(config, as_json) as gate:
            yield gate
    except NoAnswer as failed:
        answer = failed.answer
        if answer is not None:
            answer = {**answer, "act": act, "done": None, "prefix": config.prefix, "store": store_of(config)}
        advice = "look with gate status, and repeat it"
        raise NoAnswer(f"NOT known to be {done}, {account_of(config)}: {failed.message}; {advice}", answer) from None


def told(act: Act, by: str, reason: str, sentence: str, config: Config, as_json: bool, **more: object) -> None:
    """Says what was changed, and that it couldn't be audited where it couldn't."""
    if as_json:
        say_json({**act_json(act, by, reason), "prefix": config.prefix, "store": store_of(config), **more})
    else:
        click.echo(one_line(sentence))
    if not act.audited:
        warn("it is done, but could not be written to the audit stream; look at the type of its key (safety:audit)")


def act_json(act: Act, by: str, reason: str) -> dict[str, object]:
    """An act that was done. `before` and `changed` as in gate.Act."""
    return {
        "act": act.act,
        "by": by,
        "reason": reason,
        "before": act.before,
        "changed": list(act.changed),
        "audited": act.audited,
    }


def halt_sentence(act: Act, scope: str, account: str, before: Before | None) -> str:
    """What a halt has come to."""
    in_force = act.changed[0] if act.changed else scope
    if in_force != scope:
        said = f"Halted {account}, exits too: an earlier halt had scope all, and only resume narrows it."
    else:
        said = f"Halted {account}, exits too." if in_force == "all" else f"Halted {account} for entries; exits pass."
    if before is None or before.halt is None:
        return said
    return f"{said} It was halted already, {_halted(before.halt)}; now in this name, for this reason, since now."


def resume_sentence(act: Act, account: str, before: Before | None) -> str:
    """What a resume has come to."""
    if before is not None and before.halt is not None:
        return f"Resumed {account}: the halt ({_halted(before.halt)}) is off."
    if act.before is None:
        return f"There was no halt of {account}; nothing was changed."
    return f"Resumed {account}: the halt ({act.before}) is off."


def _halted(halt: Halt) -> str:
    since = "" if halt.at_ms is None else f", since {moment(halt.at_ms)}"
    return f"{halt.scope} by {halt.by}: {halt.reason}{since}"


def reset_sentence(act: Act, what: str, account: str) -> str:
    """What a reset has come to."""
    if not act.changed:
        return f"Reset {what} of {account}: nothing was on."
    return f"Reset {what} of {account}: {', '.join(act.changed)} off."
