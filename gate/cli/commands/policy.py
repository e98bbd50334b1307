"""`gate policy show` and `gate policy apply`: the limits and times of this configuration, and those in force."""

from __future__ import annotations

import click

from gate.cli.commands.operate import acting, told
from gate.cli.failures import NoAnswer
from gate.cli.session import (
    account_of,
    by_option,
    configured,
    json_option,
    open_gate,
    reason_option,
    say_json,
)
from gate.config import Config, Flags


@click.group()
def policy() -> None:
    """Limits and times: show them, put them in force.

    One policy is in force for an account. The gate denies a caller with another policy (POLICY_MISMATCH), since callers
    with different limits would spoil each other's counts. The first admission puts its caller's policy in force;
    `gate policy apply` replaces it.
    """


@policy.command()
@json_option
@click.pass_obj
def show(flags: Flags, as_json: bool) -> None:
    """Every figure and its origin, and the policy in force.

    \b
      gate --config gate.toml policy show

    Warns of figures that work against each other. Refuses a faulty file, with all its faults. Without a store, shows
    only the figures. When a named store doesn't answer, shows the figures and ends with exit code 3.
    """
    config = configured(flags)
    in_force, failure, unknown = None, None, ""
    if config.url is None:
        unknown = "no store is given"
    else:
        try:
            with open_gate(config, as_json) as gate:
                found = gate.status()
        except NoAnswer as no_answer:
            failure, unknown = no_answer, "the store gave no answer"
        else:
            in_force = found.policy_in_force
            if "state" in found.damaged and found.policy_in_force is None:
                unknown = f"{found.damaged['state'].key} is damaged, and entries are denied"
    if as_json:
        say_json({**policy_json(config, in_force, not unknown), **((failure and failure.answer) or {})})
        if failure is not None:
            raise click.exceptions.Exit(failure.exit_code)
        return
    from gate.cli.screens.rows import Row
    from gate.cli.screens.screen import screen

    to = screen()
    rows = (Row(cells, "" if cells[2] == "default" else "bold") for cells in figure_rows(config))
    to.table(("figure", "value", "from"), rows)
    to.say("")
    to.say(f"Fingerprint: {config.policy.fingerprint}")
    to.say(in_force_sentence(config, in_force, unknown))
    for warning in config.policy.warnings:
        to.say(f"Warning: {warning}", "yellow")
    if failure is not None:
        raise failure


@policy.command()
@by_option
@reason_option
@json_option
@click.pass_obj
def apply(flags: Flags, by: str, reason: str, as_json: bool) -> None:
    """Put this policy in force for the account.

    \b
      gate --config gate.toml policy apply --by ops --reason "wider limits for the listing"

    From then on the gate denies callers with another policy, until they read the new one. Without a [policy] in a
    config file this policy has the built-in defaults, and the answer says so.
    """
    config = configured(flags)
    with acting(config, "policy", "switched", as_json) as gate:
        act = gate.apply_policy(by=by, reason=reason)
    sentence = apply_sentence(config, account_of(config), act.before)
    told(act, by, reason, sentence, config, as_json, mode=config.policy.mode, defaults=not config.figures_from_file)


def figure_rows(config: Config) -> list[tuple[str, str, str]]:
    """Name, value and origin of every figure."""
    return [(name, text, _origin(config, name)) for name, text in texts_with_mode(config).items()]


def texts_with_mode(config: Config) -> dict[str, str]:
    """Every figure, and the caller's mode."""
    return {**config.policy.texts(), "mode": config.policy.mode}


def _origin(config: Config, name: str) -> str:
    return str(config.file) if name in config.figures_from_file else "default"


def policy_json(config: Config, in_force: str | None, known: bool) -> dict[str, object]:
    """The policy of this configuration as JSON. `agrees` is null when the policy in force is unknown."""
    values = {name: getattr(config.policy, name) for name in texts_with_mode(config)}
    return {
        "figures": {
            name: {"value": values[name] if isinstance(values[name], int) else text, "from": _origin(config, name)}
            for name, text in texts_with_mode(config).items()
        },
        "fingerprint": config.policy.fingerprint,
        "in_force": in_force,
        "agrees": in_force in (None, config.policy.fingerprint) if known else None,
        "warnings": list(config.policy.warnings),
    }


def in_force_sentence(config: Config, in_force: str | None, unknown: str) -> str:
    """How this policy relates to the policy in force. `unknown`: why the policy in force is unknown."""
    if unknown:
        return f"In force: unknown, since {unknown}."
    if in_force is None:
        return "In force: none yet; the first admission puts its caller's policy in force."
    if in_force == config.policy.fingerprint:
        return "In force: this one."
    return (
        f"In force: {in_force}, not this one. Its figures aren't stored, only this fingerprint: compare the config "
        f"files of the callers. `gate policy apply` would change {change(config, in_force)}, and deny every caller "
        f"that hasn't read these figures.{defaults_note(config)}"
    )


def change(config: Config, before: str | None) -> str:
    """The fingerprint, before and after."""
    return f"{before or 'none'} -> {config.policy.fingerprint}"


def defaults_note(config: Config) -> str:
    """Says that the figures are the defaults, if nobody has chosen any."""
    if config.figures_from_file:
        return ""
    why = "no config file was given" if config.file is None else f"{config.file} has no figure in a table [policy]"
    return f" These are the BUILT-IN DEFAULTS: {why}."


def apply_sentence(config: Config, account: str, before: str | None) -> str:
    """The result of an apply, in words."""
    own = config.policy.fingerprint
    said = f"{before} was in force already." if before == own else f"{change(config, before)}."
    observe = ""
    if config.policy.observes:
        observe = " Observe mode: it is in force for callers that observe, and for no others."
    return f"Policy of {account}: {said}{observe}{defaults_note(config)}"
