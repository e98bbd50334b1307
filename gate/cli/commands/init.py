"""`gate init`: a person's word that no order of an earlier memory can be on its way."""

from __future__ import annotations

import click

from gate.cli.commands.operate import acting, told
from gate.cli.screens.wording import moment
from gate.cli.session import account_of, by_option, configured, json_option, reason_option, warn
from gate.config import Flags
from gate.values.errors import StoreFailure
from gate.values.reports import Act


@click.command()
@by_option
@reason_option
@json_option
@click.pass_obj
def init(flags: Flags, by: str, reason: str, as_json: bool) -> None:
    """Say once that an account is new, or that you have looked at the exchange after a loss of memory.

    \b
      gate init --by ops --reason "a new account"

    The gate can't tell a store that is new from one that has forgotten: after a restart, a failover or a flush. So it
    denies entries MEMORY_YOUNG for a minute or more, and then asks the exchange before each order, for an hour. With
    this word both end at once. You say by it: no order of an earlier memory is open or on its way, and no service
    that used the account before still runs. Exits pass without it. Windows, records and switches stay as they are.
    """
    config = configured(flags)
    with acting(config, "init", "initialised", as_json) as gate:
        act = gate.init(by=by, reason=reason)
        try:
            found = gate.status()
        except StoreFailure:
            found = None
    told(act, by, reason, init_sentence(act, account_of(config)), config, as_json)
    if found is not None and (found.in_flight or found.in_doubt):
        warn(
            f"{found.in_flight} permits are live and {found.in_doubt} in doubt: their orders may be on their way; "
            "gate status names those in doubt, gate reconcile asks the exchange"
        )


def init_sentence(act: Act, account: str) -> str:
    """The result of an init, in words."""
    before = "nothing was known of it"
    if act.before is not None and act.before.isdigit():
        before = "it was whole already" if act.before == "0" else f"it was whole since {moment(int(act.before))}"
    return f"The memory of {account} counts as whole: entries go at once, without a look-up. Before, {before}."
