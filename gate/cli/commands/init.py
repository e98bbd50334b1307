"""`gate init`: a person's word that no order of an earlier memory can be on its way."""

from __future__ import annotations

from typing import Final

import click

from gate.cli.commands.operate import acting, told
from gate.cli.screens.wording import moment, printable, span
from gate.cli.session import account_of, by_option, configured, json_option, reason_option, store_of, warn
from gate.config import Flags
from gate.values.errors import StoreFailure
from gate.values.reports import POLICY_FORGOTTEN, Act, Status

_LONGEST_TIME: Final = 16  # digits


@click.command()
@by_option
@reason_option
@json_option
@click.pass_obj
def init(flags: Flags, by: str, reason: str, as_json: bool) -> None:
    """Say once that an account is new, or that you have looked at the exchange after a loss of memory.

    \b
      gate init --by ops --reason "a new account"

    The gate can't tell a store that is new from one that has forgotten, by a flush, a restart or a failover. So it
    denies entries MEMORY_YOUNG for a minute or more, and for an hour it asks the exchange before each order. This word
    ends both at once. You say by it:

    \b
      - no order of before can be on its way: what used the account has stopped;
      - no intent whose order was sent before comes again: it would be sent twice.

    On a new account both are true. After a loss, look at the exchange first, and wait until the intents of before are
    stale. When in doubt, don't say it: the gate finds out by itself, which only takes longer. No guard stops an exit
    meanwhile; in the first seconds it waits until no order of before can arrive any more.
    Windows, records, halts and switches stay as they are.
    """
    config = configured(flags, needs_policy=False)
    with acting(config, "init", "initialised", as_json) as gate:
        try:
            before = gate.status()
        except StoreFailure:
            before = None  # the act must not fail because of that
        act = gate.init(by=by, reason=reason)
    told(act, by, reason, init_sentence(act, account_of(config), before), config, as_json)
    if before is not None and before.policy_in_force is None and not as_json:
        click.echo(f"No policy is in force yet; {POLICY_FORGOTTEN}.")
    if store_of(config).startswith("embedded:"):
        warn("this holds until the process that started the embedded store ends; if this command did, it has ended")
    if before is not None and (before.in_flight or before.in_doubt):
        warn(
            f"permits are live ({before.in_flight}) or in doubt ({before.in_doubt}): their orders may be on their way; "
            "gate status names those in doubt, gate reconcile settles them"
        )
    if before is not None and before.halt is not None:
        warn(f"the halt by {printable(before.halt.by)} stays on; gate resume ends it")
    if before is not None and before.evicts:
        warn("the server may evict keys, so its memory is never whole; set maxmemory-policy noeviction")


def init_sentence(act: Act, account: str, before: Status | None) -> str:
    """The result of an init, in words."""
    said = f"The memory of {account} counts as whole: entries go at once, without a look-up."
    if before is not None and before.evicts:
        said = f"The memory of {account} is no longer new: entries go at once, each after a look at the exchange."
    if before is not None and before.memory_lost_ms is not None and before.memory_wait_ms is not None:
        was = f"new since {moment(before.memory_lost_ms)}, and entries had to wait {span(before.memory_wait_ms)} more"
        return f"{said} Before, it was {was}."
    if act.before is None:
        return f"{said} Before, nothing was known of it."
    if act.before == "0":
        was = "whole already, by a person's word"
    else:
        since_ms = int(act.before) if act.before.isdigit() and len(act.before) <= _LONGEST_TIME else None
        was = "damaged" if since_ms is None else f"whole since {moment(since_ms)}"
    if before is not None and before.memory_wait_ms is not None:
        was += ", but on another server, or before a restart"
    return f"{said} Before, it was {was}."
