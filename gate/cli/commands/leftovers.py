"""`gate leftovers`: what the replaced system has left under the gate's names."""

from __future__ import annotations

from typing import Final

import click

from gate.cli.commands.operate import act_json, acting
from gate.cli.screens.wording import printable, span
from gate.cli.session import account_of, configured, json_option, open_gate, say_json, saying_how_many, store_of, warn
from gate.config import Flags
from gate.values.leftovers import Leftover, Leftovers, Remedy

_SHOWN: Final = 50
_SAYS: Final = {
    Remedy.DELETE: "deletes it",
    Remedy.LAPSE: "has it lapse after dedup_ttl_ms: until then its intent could still be fresh",
    Remedy.WAIT: "leaves it: it lapses by itself",
    Remedy.COMMAND: "leaves it",
    Remedy.OTHER: "leaves it, without --others",
}


@click.command()
@click.option("--clear", is_flag=True, help="Clear what is found. Needs --by and --reason.")
@click.option("--others", is_flag=True, help="With --clear: delete keys of names that the gate doesn't have, too.")
@click.option("--by", metavar="WHO", help="Who does it; it is audited.")
@click.option("--reason", metavar="WHY", help="Why; it is audited.")
@json_option
@click.pass_obj
def leftovers(flags: Flags, clear: bool, others: bool, by: str | None, reason: str | None, as_json: bool) -> None:
    """Keys under the gate's names that the gate didn't write: `1` for a record or a lock, a counter for a window.

    \b
      gate leftovers
      gate leftovers --clear --by ops --reason "the old service has stopped"

    Looks at P:exec:… and P:safety:… only, by SCAN, and names each with what clearing does to it. Clear when the
    replaced system has stopped: it would miss its locks and counters. A record of it that has no TTL isn't deleted but
    lapses later, for its order was sent. What is the gate's own by then stays.
    """
    if clear and not (by and reason):
        raise click.UsageError("--clear needs --by and --reason")
    config = configured(flags, needs_policy=False)
    looked = saying_how_many("keys")
    if not clear:
        with open_gate(config, as_json) as gate:
            found = gate.leftovers(looked)
        if as_json:
            say_json({"prefix": config.prefix, "store": store_of(config), **leftovers_json(found)})
        else:
            click.echo("\n".join(leftover_lines(found, account_of(config))))
        return
    with acting(config, "leftovers", "cleared", as_json) as gate:
        found = gate.leftovers(looked)
        act = gate.clear_leftovers(found, by=by or "", reason=reason or "", others=others)
    if as_json:
        answer = {**act_json(act, by or "", reason or ""), **leftovers_json(found)}
        say_json({**answer, "prefix": config.prefix, "store": store_of(config)})
    else:
        more = [f"and {len(act.changed) - _SHOWN} more"] if len(act.changed) > _SHOWN else []
        done = f"Cleared {len(act.changed)} of {len(found.found)} leftovers of {account_of(config)}."
        click.echo("\n".join([*map(printable, act.changed[:_SHOWN]), *more, done]))
    if not act.audited:
        warn("they are cleared, but that couldn't be written to the audit stream; look at the type of its key")


def leftovers_json(found: Leftovers) -> dict[str, object]:
    """What was found, as JSON."""
    return {
        "looked_at": found.looked_at,
        "complete": found.complete,
        "found": [
            {"key": each.key, "problem": each.problem, "remedy": each.remedy, "ttl_ms": each.ttl_ms}
            for each in found.found
        ],
    }


def leftover_lines(found: Leftovers, account: str) -> list[str]:
    """What was found, in words."""
    if not found:
        return [f"No leftovers under {account}: {found.looked_at} keys looked at."]
    more = [f"and {len(found.found) - _SHOWN} more; --json names them all"] if len(found.found) > _SHOWN else []
    if not found.complete:
        more.append("there are still more: clear these, then look again")
    head = f"{len(found.found)} leftovers under {account}, {found.looked_at} keys looked at. What --clear does to each:"
    return [head, *(_line(each) for each in found.found[:_SHOWN]), *more]


def _line(each: Leftover) -> str:
    left = "no TTL" if each.ttl_ms is None else f"{span(each.ttl_ms)} left"
    return f"{printable(each.key)} ({left}): {printable(each.problem)}; {_SAYS[each.remedy]}"
