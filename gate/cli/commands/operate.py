"""`gate halt`, `gate resume`, `gate reset`: an operator's acts. The audit has the author and reason of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from gate.cli.commands.at_the_exchange import resting_at
from gate.cli.commands.halting import (
    Aftermath,
    Before,
    cancelled_at_hand,
    cancelled_json,
    confirmed_sentence,
    exit_code,
    follow,
    look,
    prefix_doubt,
    say_cancelled,
)
from gate.cli.exchange_keys import exchange_options, keys_at_hand, needed_keys
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
from gate.client.acts import RESETS, SCOPES
from gate.config import Config, Flags
from gate.values.reports import Act, Copies, Halt

if TYPE_CHECKING:
    from gate.client.gates import Gate


@click.command()
@by_option
@reason_option
@click.option("--scope", type=click.Choice(SCOPES), default="entries", show_default=True, help="`all` stops exits too.")
@click.option("--no-wait", is_flag=True, help="Don't wait; say what is still out.")
@click.option("--cancel", is_flag=True, help="Cancel every resting order of the account at the exchange.")
@exchange_options
@json_option
@click.pass_obj
def halt(
    flags: Flags,
    by: str,
    reason: str,
    scope: str,
    no_wait: bool,
    cancel: bool,
    base_url: str | None,
    demo_trading: bool,
    as_json: bool,
) -> None:
    """Stop entries, or everything, until somebody resumes. A halt never expires.

    \b
      gate halt --by ops --reason "CPI print"
      gate halt --by ops --reason "CPI print" --cancel
      gate halt --scope all --by ops --reason "exchange is down"

    It is in force at once. Then the command says how many replicas have it and whether it is on disk, and waits until
    no entry can reach the exchange any more: every permit that was out is settled, or has run out. That takes a
    permit's life at most, 30 s by default. Ctrl-C ends the waiting; the halt stays. Only the executor looks once more
    before it sends: what a service's own block sends at its permit's end may be accepted 12 s later.

    Orders that rest at the exchange stay there. With its keys in the environment (see gate reconcile --help) the
    command says how many there are; --cancel cancels all of them, stop losses too, of all symbols, and asks again.

    Exit codes: 0 confirmed, or in force with --no-wait; 1 in force, but not confirmed, or orders are left, or the
    gate has never run under this prefix and others are at work here; 2 usage; 3 the store gave no answer; 130
    interrupted, and says whether the halt is in force.
    """
    config = configured(flags, needs_policy=False)
    try:
        keys = needed_keys(base_url, demo_trading) if cancel else keys_at_hand(base_url, demo_trading)
    except click.UsageError as problem:
        without = "; without --cancel no keys are needed" if cancel else ""
        raise click.UsageError(f"{problem.message}; nothing was halted{without}") from None
    uncancelled = "; no order was cancelled" if cancel else ""
    uncancelled += "; gate flatten cancels and closes without the store, too"
    with acting(config, "halt", "halted", as_json, uncancelled) as gate:
        try:
            before = look(gate)
            act = gate.halt(by=by, reason=reason, scope=scope)
        except KeyboardInterrupt:
            said = "interrupted before the store has answered; gate status says whether the halt is in force"
            if as_json:
                say_json({"error": said})
            warn(said)
            raise
        observers = before.observers if before is not None else 0
        found, doubt, cancelled, resting = Aftermath(scope), None, None, None
        try:
            if not as_json:
                sentence = halt_sentence(act, scope, account_of(config), before)
                if observers:
                    sentence += f" It binds the {observers} that observe, too."
                told(act, by, reason, sentence, config, as_json)
            if doubt := prefix_doubt(gate, before):
                warn(doubt.warning)
            # Twice: what rests now must not wait, and what was out may have come since.
            cancelled = cancelled_at_hand(keys, None) if cancel and keys else None
            stopped = cancelled is not None and cancelled.interrupted
            found = follow(gate, scope, waits=not no_wait and not stopped)
            if cancel and keys and not (no_wait or stopped or found.interrupted):
                cancelled = cancelled_at_hand(keys, cancelled)
            resting = resting_at(keys) if keys and not cancel and not found.interrupted else None
        except KeyboardInterrupt:
            found.interrupted = True
    if as_json:
        more = {
            "observers": observers,
            "prefix_doubt": doubt.warning if doubt else None,
            **found.as_json,
            "resting": None if resting is None else resting.as_json,
            "cancelled": cancelled_json(cancelled, keys.venue) if cancelled and keys else None,
        }
        told(act, by, reason, "", config, as_json, **more)
    else:
        if found.confirmed:
            click.echo(confirmed_sentence(found, doubt, config.prefix))
        else:
            warn(str(found))
        if cancelled is not None and keys:
            say_cancelled(cancelled, keys.venue)
        elif resting is not None:
            click.echo(one_line(str(resting)))
    if code := exit_code(found, doubt, waits=not no_wait, cancelled=cancelled):
        raise click.exceptions.Exit(code)


@click.command()
@by_option
@reason_option
@json_option
@click.pass_obj
def resume(flags: Flags, by: str, reason: str, as_json: bool) -> None:
    """End a halt. Safe mode and cooldowns stay on; `gate reset` switches them off.

    \b
      gate resume --by ops --reason "CPI is out"

    Services hold the entries that come during a halt. They try them again within seconds of the resume, and may open
    positions, also after `gate flatten`. What is older than the policy's max_age_ms by then ends as STALE.
    """
    config = configured(flags, needs_policy=False)
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

    Services try again at once the fresh intents that they held: entries of minutes ago may go. A halt stays on;
    `gate resume` ends it. Records, locks and windows stay too, since they keep the limits exact.
    """
    config = configured(flags, needs_policy=False)
    with acting(config, "reset", "reset", as_json) as gate:
        act = gate.reset(what, by=by, reason=reason)
    told(act, by, reason, reset_sentence(act, what, account_of(config)), config, as_json)


@contextmanager
def acting(config: Config, act: str, done: str, as_json: bool, advice: str = "") -> Iterator[Gate]:
    """Opens the gate for an act. A failure's message says that the act may be done: its answer may be lost."""
    try:
        with open_gate(config, as_json, names_store=False) as gate:
            yield gate
    except NoAnswer as failed:
        answer = failed.answer
        if answer is not None:
            answer = {**answer, "act": act, "done": None, "prefix": config.prefix, "store": store_of(config)}
        advice = f"look with gate status, and repeat it{advice}"
        raise NoAnswer(f"NOT known to be {done}, {account_of(config)}: {failed.message}; {advice}", answer) from None


def told(act: Act, by: str, reason: str, sentence: str, config: Config, as_json: bool, **more: object) -> None:
    """Prints what was changed and where it is kept. Warns when it could get lost, or couldn't be audited."""
    if as_json:
        say_json({**act_json(act, by, reason), "prefix": config.prefix, "store": store_of(config), **more})
    else:
        click.echo(one_line(sentence))
        click.echo(copies_sentence(act.copies))
        if warning := copies_warning(act):
            warn(warning)
    if not act.audited:
        warn(
            "it is done, but not in the audit: look at the key's type (safety:audit), and at this user's right to XADD"
        )


def act_json(act: Act, by: str, reason: str) -> dict[str, object]:
    """An act as JSON. `before` and `changed` are those of gate.Act; `kept` is its Copies, with the warning."""
    return {
        "act": act.act,
        "by": by,
        "reason": reason,
        "before": act.before,
        "changed": list(act.changed),
        "audited": act.audited,
        "kept": {
            "replicas": act.copies.replicas,
            "on_replicas": act.copies.on_replicas,
            "append_only": act.copies.append_only,
            "on_disk": act.copies.on_disk,
            "replayed": act.copies.replayed,
            "survives_failover": act.copies.survives_failover,
            "survives_restart": act.copies.survives_restart,
            "warning": copies_warning(act) or None,
        },
    }


def copies_sentence(copies: Copies) -> str:
    """Where an act is kept, in words."""
    replicas, on_replicas = copies.replicas, copies.on_replicas
    if replicas == 0 and copies.append_only is False:
        return "In memory only: no replica, no append-only file."
    if replicas == 0:
        said = "No replica is connected"
    elif on_replicas is None or (replicas is None and on_replicas == 0):
        said = "Whether a replica has it is unknown"
    else:
        said = f"On {on_replicas} of {replicas or 'an unknown number of'} replica{'' if replicas == 1 else 's'}"
    if copies.replayed is False and copies.on_disk is not False:
        return f"{said}; in the append-only file, but not read back."
    if copies.on_disk:
        return f"{said}; on disk."
    if copies.append_only is False:
        return f"{said}; no append-only file."
    if copies.on_disk is False:
        return f"{said}; not on disk yet."
    return f"{said}; in the append-only file." if copies.append_only else f"{said}; whether it is on disk is unknown."


def copies_warning(act: Act) -> str:
    """What can still lose an act, and what to do about it; else empty."""
    copies, replicas = act.copies, act.copies.replicas
    if copies.replayed is False:
        return f"a restart loses this {act.act} all the same: see gate doctor"
    if replicas == 0 and copies.append_only is False:
        return f"a restart of this server can lose this {act.act}"
    if replicas == 0 and copies.on_disk is False:
        return f"a crash of its host can still lose this {act.act}: repeat it; with appendfsync no, set everysec first"
    if replicas != 0 and (warning := _failover_warning(act)):
        return warning
    if copies.append_only and copies.replayed is None:
        return f"unknown whether a restart keeps this {act.act}: see gate doctor"
    return ""


def _failover_warning(act: Act) -> str:
    copies, replicas, on_replicas = act.copies, act.copies.replicas, act.copies.on_replicas
    if on_replicas is None or (replicas is None and on_replicas == 0):
        return f"unknown whether a failover keeps this {act.act}: {copies.doubt}"
    if on_replicas == 0:
        return f"a failover now loses this {act.act}; repeat it"
    if replicas is not None and on_replicas < replicas:
        return f"a failover can still lose this {act.act}; repeat it"
    return ""


def halt_sentence(act: Act, scope: str, account: str, before: Before | None) -> str:
    """The result of a halt, in words."""
    in_force = act.changed[0] if act.changed else scope
    if in_force != scope:
        said = f"Halted {account}, exits too: an earlier halt had scope all, and only resume narrows it."
    else:
        said = f"Halted {account}, exits too." if in_force == "all" else f"Halted {account} for entries; exits pass."
    if before is None or before.halt is None:
        return said
    return f"{said} It was halted already, {_halted(before.halt)}; this halt replaces that author, reason and time."


_HELD: Final = "Services try again the fresh intents that they held."


def resume_sentence(act: Act, account: str, before: Before | None) -> str:
    """The result of a resume, in words."""
    if before is not None and before.halt is not None:
        return f"Resumed {account}: the halt ({_halted(before.halt)}) is off. {_HELD}"
    if act.before is None:
        return f"There was no halt of {account}; nothing was changed."
    return f"Resumed {account}: the halt ({act.before}) is off. {_HELD}"


def _halted(halt: Halt) -> str:
    since = "" if halt.at_ms is None else f", since {moment(halt.at_ms)}"
    return f"{halt.scope} by {halt.by}: {halt.reason}{since}"


def reset_sentence(act: Act, what: str, account: str) -> str:
    """The result of a reset, in words."""
    if not act.changed:
        return f"Reset {what} of {account}: nothing was on."
    return f"Reset {what} of {account}: {', '.join(act.changed)} off. {_HELD}"
