"""`gate audit`: what people and trips did."""

from __future__ import annotations

from typing import Final, NoReturn

import click

from gate.cli.screens.rows import Row
from gate.cli.screens.wording import ago, one_line
from gate.cli.session import account_of, configured, finite, json_option, open_gate, say_json, store_of, warn
from gate.config import Flags
from gate.values.audit import KEPT, Audit, AuditEntry

_INCOMPLETE: Final = 1
_MOST_HOURS: Final = 100_000
_HOUR_MS: Final = 3_600_000
_EVERYBODY: Final = "default"
"""The user of a store that has no others."""


@click.command()
@click.option("--last", type=click.IntRange(1, KEPT), default=20, show_default=True, help="How many entries, at most.")
@click.option(
    "--hours",
    type=click.FloatRange(0, _MOST_HOURS, min_open=True),
    callback=finite,
    metavar="H",
    help="Only those of the last H hours.",
)
@json_option
@click.pass_obj
def audit(flags: Flags, last: int, hours: float | None, as_json: bool) -> NoReturn:
    """What people and trips did: halts, flattens, resets, policies, trips, losses of memory, orders that came late.

    \b
      gate audit
      gate audit --hours 12 --last 500
      gate audit --json | jq '.entries[] | select(.what == "resume")'

    The latest stands last. About 10,000 entries are kept. Behind a name stands, in brackets, the user that the server
    knows; or `noted by a worker`: whoever has a worker's rights could have written that entry. `(observe)` behind an
    act tells of callers that only observe.

    Exit code 1 when a part of the audit can't be read: that is said, and the rest is shown.
    """
    config = configured(flags, needs_policy=False)
    within_ms = None if hours is None else max(1, int(hours * _HOUR_MS))
    with open_gate(config, as_json, "what was done is unknown") as gate:
        found = gate.audit(last, within_ms=within_ms)
    if as_json:
        say_json({"prefix": config.prefix, "store": store_of(config), **audit_json(found)})
    else:
        from gate.cli.screens.screen import screen

        to = screen()
        to.words(_headline(found, account_of(config), hours))
        if found.entries:
            to.table(("when", "what", "by", "reason"), audit_rows(found))
    for each in found.unread:
        warn(f"{each.key} can't be read, so its entries are missing here: {each.problem}")
    raise click.exceptions.Exit(0 if found else _INCOMPLETE)


def _headline(found: Audit, account: str, hours: float | None) -> str:
    within = "" if hours is None else f" in the last {hours:g} h"
    if found.unread:
        return f"What can be read{within} of the audit of {account}, a part of which can't:"
    if not found.entries:
        return f"Nothing was done to {account}{within}, as far as the audit goes."
    some = "All entries"
    if found.more:
        some = "The latest entry" if len(found.entries) == 1 else f"The latest {len(found.entries)} entries"
    return f"{some}{within} of the audit of {account}:"


def audit_rows(found: Audit) -> list[Row]:
    """The entries, as rows of a table."""
    return [
        Row(
            (ago(each.at_ms, found.now_ms), one_line(_what(each)), one_line(_who(each)), one_line(each.reason)),
            "" if each.by == "gate" else "bold",
        )
        for each in found.entries
    ]


def _what(entry: AuditEntry) -> str:
    return f"{entry.what} (observe)" if entry.observing else entry.what


def _who(entry: AuditEntry) -> str:
    if entry.by_worker:
        return f"{entry.by} (noted by a worker)"
    return f"{entry.by} ({entry.user})" if entry.user not in ("", _EVERYBODY) else entry.by


def audit_json(found: Audit) -> dict[str, object]:
    """The entries as JSON, the oldest first. Times are epoch ms."""
    return {
        "now_ms": found.now_ms,
        "more": found.more,
        "entries": [
            {
                "at_ms": each.at_ms,
                "what": each.what,
                "by": each.by,
                "reason": each.reason,
                "user": each.user or None,
                "by_worker": each.by_worker,
                "observing": each.observing,
                "key": each.key,
                "entry": each.entry,
            }
            for each in found.entries
        ],
        "unread": [{"key": each.key, "problem": each.problem} for each in found.unread],
    }
