"""`gate policy show` and `gate policy apply`: the limits and times in force, and those of this configuration."""

from __future__ import annotations

import dataclasses
import sys
from typing import Final

import click

from gate.cli.commands.operate import acting, told
from gate.cli.failures import NoAnswer
from gate.cli.screens.wording import moment, one_line, span
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
from gate.client.gates import Gate
from gate.config import Config, Flags
from gate.protocol.keyspace import Keyspace
from gate.values.errors import StoreError, StoreFailure
from gate.values.policy import Policy, PolicyInForce, read_setting

_NOT_DONE: Final = 1
_WINDOWS: Final = ("rate_symbol_window_ms", "rate_global_window_ms")
"""Where one gets longer, entries rest for as long: lua/control.lua."""


@click.group()
def policy() -> None:
    """Limits and times: show them, put them in force.

    One policy is in force for an account, and its figures decide, whoever calls. The first admitted entry puts its
    caller's policy in force; `gate policy apply` replaces it. A caller without a policy of its own follows it. Of a
    caller with other figures in its config file or its code, entries are denied (POLICY_MISMATCH), since it expects
    other limits. Its exits pass.
    """


@policy.command()
@json_option
@click.pass_obj
def show(flags: Flags, as_json: bool) -> None:
    """Every figure in force, since when and by whom, beside the one of this configuration and its origin.

    \b
      gate policy show
      gate --config gate.toml policy show

    Warns of figures that work against each other. Refuses a faulty file, with all its faults. Without a store, shows
    only the figures. When a named store doesn't answer, shows the figures and ends with exit code 3.
    """
    config = configured(flags)
    found, failure, unknown = None, None, ""
    if config.url is None:
        unknown = "no store is given"
    else:
        try:
            with open_gate(config, as_json) as gate:
                try:
                    found = gate.policy_in_force()
                except StoreError:
                    unknown = f"{Keyspace(config.prefix).state} is damaged, and entries are denied"
        except NoAnswer as no_answer:
            failure, unknown = no_answer, "the store gave no answer"
    if as_json:
        say_json({**policy_json(config, found, not unknown), **((failure and failure.answer) or {})})
        if failure is not None:
            raise click.exceptions.Exit(failure.exit_code)
        return
    from gate.cli.screens.rows import Row
    from gate.cli.screens.screen import screen

    to, own = screen(), own_policy(config, found)
    to.table(
        ("figure", "in force", "here", "from"),
        (Row(cells, "bold" if cells[1] not in (cells[2], "-", "?") else "") for cells in figure_rows(config, found)),
    )
    to.say("")
    to.say(f"Fingerprint: {own_fingerprint(config, found)}")
    to.words(in_force_sentence(config, found, unknown))
    for warning in own.warnings:
        to.words(f"Warning: {warning}", "yellow")
    if failure is not None:
        raise failure


@policy.command()
@by_option
@reason_option
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change this figure; may be given more than once."
)
@click.option("--defaults", is_flag=True, help="Start from the built-in defaults.")
@click.option("--yes", is_flag=True, help="Don't ask, also at a terminal.")
@json_option
@click.pass_obj
def apply(
    flags: Flags, by: str, reason: str, settings: tuple[str, ...], defaults: bool, yes: bool, as_json: bool
) -> None:
    """Put a policy in force for the account. Shows first what changes.

    \b
      gate --config gate.toml policy apply --by ops --reason "wider limits"
      gate policy apply --set rate_global_limit=8 --by ops --reason listing
      gate policy apply --defaults --by ops --reason "as built"

    Starts from the [policy] of --config, from the built-in --defaults, or, with --set alone, from the policy in force;
    one of them must be named. GATE_CONFIG counts as --config where neither --set nor --defaults is given.

    At a terminal it asks before it acts; in a script it doesn't. It changes nothing if another policy has come between
    the look and the act. Exit code 1: the answer was no.

    Where rate_symbol_window_ms or rate_global_window_ms gets longer, all entries rest for that long (COOLDOWN_GLOBAL):
    the lists know of the shorter one alone.

    Callers without a policy of their own follow at once. Those with other figures are denied (POLICY_MISMATCH) until
    they have read the new ones.
    """
    config = configured(flags)
    changes = _read(settings)
    own_figures = bool(config.figures_from_file - {"mode"})
    # A file that only names the store names no policy to start from.
    from_file = not (settings or defaults) or (flags.config is not None and own_figures)
    if defaults and flags.config is not None and own_figures:
        raise click.UsageError("--defaults and --config both name a policy; give one of them.")
    if from_file and not own_figures:
        raise click.UsageError(f"{nothing_chosen(config)} Name one: --config FILE, --set NAME=VALUE or --defaults.")
    with acting(config, "policy", "switched", as_json) as gate:
        found = gate.policy_in_force()
        if from_file:
            start, source = config.policy, str(config.file)
        elif defaults:
            start, source = Policy(), "the built-in defaults"
        else:
            start, source = _in_force(found), "the policy in force"
        wanted = _with(start, changes)
        differ = None if found is None or found.policy is None else found.policy.differences(wanted)
        more: dict[str, object] = {
            "changes": changes_json(wanted, differ),
            "mode": config.policy.mode,
            "source": source,
            "defaults": defaults,
        }
        same = found is not None and found.policy is not None and found.fingerprint == wanted.fingerprint
        if same and found is not None and found.applied:
            _say_nothing_changes(config, wanted, by, reason, as_json, more)
            return
        if not as_json:
            _show_changes(config, wanted, found, differ, source)
            if not yes and sys.stdin is not None and sys.stdin.isatty() and not click.confirm("Put it in force?"):
                click.echo("Nothing was changed.")
                raise click.exceptions.Exit(_NOT_DONE)
        act = gate.apply_policy(wanted, by=by, reason=reason, expected=found.fingerprint if found else "-")
        rests = "" if as_json else _rest_that_goes_on(gate)
    told(act, by, reason, apply_sentence(config, wanted, act.before), config, as_json, **more)
    if rests:
        click.echo(rests)
    if config.pinned is not None and config.pinned.fingerprint != wanted.fingerprint:
        warn(f"{config.file} has other figures: entries of callers that read it are denied POLICY_MISMATCH")


def _rest_that_goes_on(gate: Gate) -> str:
    """A cooldown of the account outlasts the limit that has tripped it."""
    try:
        standing = gate.status().standing
    except StoreFailure:
        return ""  # the policy is applied, and that is to be told
    cooldown = next((each for each in standing if each.name == "cooldown_global" and each.on), None)
    if cooldown is None:
        return ""
    rest = "without an end" if cooldown.ttl_ms is None else f"for {span(cooldown.ttl_ms)}"
    return f"The account's cooldown goes on {rest}: gate reset cooldowns ends it."


def _read(settings: tuple[str, ...]) -> dict[str, object]:
    changes: dict[str, object] = {}
    for setting in settings:
        name, value = read_setting(setting)
        if name in changes:
            raise click.UsageError(f"--set names {name} twice.")
        changes[name] = value
    return changes


def _with(start: Policy, changes: dict[str, object]) -> Policy:
    table = {each.name: getattr(start, each.name) for each in dataclasses.fields(start)}
    return Policy.from_mapping({**table, **changes})


def _in_force(found: PolicyInForce | None) -> Policy:
    if found is None:
        raise click.UsageError("No policy is in force yet, so --set has nothing to change; add --defaults or --config.")
    if found.policy is None:
        raise click.UsageError(
            f"The figures in force can't be read ({found.problem}), so --set has nothing to change; add --defaults or "
            "--config."
        )
    return found.policy


def nothing_chosen(config: Config) -> str:
    """Why there is no policy to apply."""
    if config.file is None:
        return "No policy is named."
    return f"{config.file} has no figure in a table [policy]."


def _say_nothing_changes(
    config: Config, wanted: Policy, by: str, reason: str, as_json: bool, more: dict[str, object]
) -> None:
    if not as_json:
        click.echo(one_line(f"Nothing changes: {wanted.fingerprint} is in force already, {account_of(config)}."))
        return
    done: dict[str, object] = {"act": "policy", "by": by, "reason": reason, "before": wanted.fingerprint}
    account = {"prefix": config.prefix, "store": store_of(config)}
    say_json({**done, "changed": [], "audited": None, "kept": None, **account, **more})


def _show_changes(
    config: Config,
    wanted: Policy,
    found: PolicyInForce | None,
    differ: tuple[tuple[str, str, str], ...] | None,
    source: str,
) -> None:
    from gate.cli.screens.rows import Row
    from gate.cli.screens.screen import screen

    to = screen()
    to.say(f"Policy of {account_of(config)}, from {source}:")
    if found is not None and found.policy is None:
        to.say(f"The figures in force can't be read: {found.problem}.", "bold yellow")
    now = "none" if found is None else "?"
    rows = [(name, now, text) for name, text in wanted.written().items()] if differ is None else differ
    to.table(("figure", "now", "then"), (Row(cells) for cells in rows or [("no figure changes", "", "")]))
    for warning in wanted.warnings:
        to.say(f"Warning: {warning}", "yellow")
    longer = [int(then) for name, was, then in differ or () if name in _WINDOWS and int(then) > int(was)]
    if longer:
        rest = span(max(longer))
        to.say(f"A window gets longer: all entries rest for {rest} then, until the lists know enough.", "yellow")


def changes_json(wanted: Policy, differ: tuple[tuple[str, str, str], ...] | None) -> dict[str, object]:
    """What changes, by figure. `now` is null where no policy is in force, or its figures can't be read."""
    if differ is None:
        return {name: {"now": None, "then": text} for name, text in wanted.written().items()}
    return {name: {"now": now, "then": then} for name, now, then in differ}


def own_policy(config: Config, found: PolicyInForce | None) -> Policy:
    """The figures by which a caller with this configuration goes."""
    if config.pinned is None and found is not None and found.policy is not None:
        return found.policy
    return config.policy


def own_fingerprint(config: Config, found: PolicyInForce | None) -> str:
    """The fingerprint that such a caller sends."""
    if config.pinned is None and found is not None and found.policy is not None:
        return found.fingerprint
    return config.policy.fingerprint


def figure_rows(config: Config, found: PolicyInForce | None) -> list[tuple[str, str, str, str]]:
    """Name, value in force (`-` none, `?` unknown), value here, and its origin, of every figure."""
    in_force = {} if found is None or found.policy is None else found.policy.written()
    missing = "-" if found is None else "?"
    own = own_policy(config, found).written()
    rows = [(name, in_force.get(name, missing), own[name], _origin(config, name, found)) for name in own]
    return [*rows, ("mode", "-", config.policy.mode, _origin(config, "mode", None))]


def _origin(config: Config, name: str, found: PolicyInForce | None) -> str:
    if name in config.figures_from_file:
        return str(config.file)
    follows = config.pinned is None and found is not None and found.policy is not None
    return "the policy in force" if follows else "default"


def policy_json(config: Config, found: PolicyInForce | None, known: bool) -> dict[str, object]:
    """The policy here and the one in force as JSON. `agrees` is null when the policy in force is unknown."""
    own, fingerprint = own_policy(config, found), own_fingerprint(config, found)
    in_force = None if found is None else found.policy
    return {
        "figures": {
            name: {
                "value": _plain(own, name),
                "from": _origin(config, name, found),
                "in_force": None if in_force is None else _plain(in_force, name),
            }
            for name in own.written()
        },
        "mode": {"value": config.policy.mode, "from": _origin(config, "mode", None)},
        "fingerprint": fingerprint,
        "follows": config.pinned is None,
        "in_force": found and found.fingerprint,
        "since_ms": found and found.at_ms,
        "by": found and found.by,
        "reason": found and found.reason,
        "differs": [] if in_force is None else [name for name, _, _ in in_force.differences(own)],
        "agrees": (found is None or found.fingerprint == fingerprint) if known else None,
        "warnings": list(own.warnings),
    }


def _plain(policy: Policy, name: str) -> object:
    value = getattr(policy, name)
    return value if isinstance(value, int) else policy.written()[name]


def in_force_sentence(config: Config, found: PolicyInForce | None, unknown: str) -> str:
    """How this policy relates to the policy in force. `unknown`: why the policy in force is unknown."""
    if unknown:
        return f"In force: unknown, since {unknown}."
    if found is None:
        return "In force: none yet; the first admitted entry puts its caller's policy in force."
    said = f"In force: {found.fingerprint}{_put_by(found)}"
    if found.policy is None:
        return f"{said}. Its figures can't be read: {found.problem}. `gate policy apply` puts a policy in force."
    if config.pinned is None:
        return f"{said}. This caller has no policy of its own, and follows it."
    if found.fingerprint == config.policy.fingerprint:
        return f"{said}. It is this one."
    differ = ", ".join(f"{name} {now} -> {then}" for name, now, then in found.policy.differences(config.policy))
    return (
        f"{said}, not this one: entries of callers with these figures are denied POLICY_MISMATCH. `gate policy apply` "
        f"would change {differ or 'no figure'}."
    )


def _put_by(found: PolicyInForce) -> str:
    since = "" if found.at_ms is None else f" since {moment(found.at_ms)}"
    return f"{since}, by {found.by}: {found.reason}" if found.by else since


def apply_sentence(config: Config, wanted: Policy, before: str | None) -> str:
    """The result of an apply, in words."""
    observe = ""
    if config.policy.observes:
        observe = " Observe mode: it is in force for callers that observe, and for no others."
    return f"Policy of {account_of(config)}: {before or 'none'} -> {wanted.fingerprint}.{observe}"
