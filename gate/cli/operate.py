"""`gate halt`, `gate resume`, `gate reset`: what an operator switches, each audited with its author and reason."""

from __future__ import annotations

import click

from gate.calls import RESETS, SCOPES, Act
from gate.cli.session import by_option, configured, json_option, open_gate, reason_option, say_json, warn
from gate.config import Flags


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
    with open_gate(configured(flags), as_json) as gate:
        act = gate.halt(by=by, reason=reason, scope=scope)
    told(act, by, reason, halt_sentence(act, scope), as_json)


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
    with open_gate(configured(flags), as_json) as gate:
        act = gate.resume(by=by, reason=reason)
    told(act, by, reason, resume_sentence(act), as_json)


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
    with open_gate(configured(flags), as_json) as gate:
        act = gate.reset(what, by=by, reason=reason)
    told(act, by, reason, reset_sentence(act, what), as_json)


def told(act: Act, by: str, reason: str, sentence: str, as_json: bool) -> None:
    """Says what was changed, and that it couldn't be audited where it couldn't."""
    if as_json:
        say_json(act_json(act, by, reason))
    else:
        click.echo(sentence)
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


def halt_sentence(act: Act, scope: str) -> str:
    """What a halt has come to."""
    in_force = act.changed[0] if act.changed else scope
    if in_force != scope:
        return "Halted, exits too: an earlier halt had scope all, and only resume narrows it."
    return "Halted, exits too." if in_force == "all" else "Halted for entries; exits pass."


def resume_sentence(act: Act) -> str:
    """What a resume has come to."""
    return (
        "There was no halt; nothing was changed." if act.before is None else f"Resumed: the halt ({act.before}) is off."
    )


def reset_sentence(act: Act, what: str) -> str:
    """What a reset has come to."""
    return f"Reset {what}: {', '.join(act.changed)} off." if act.changed else f"Reset {what}: nothing was on."
