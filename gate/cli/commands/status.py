"""`gate status`: everything that is on for the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import click

from gate.cli.commands.at_the_exchange import resting_unless_silenced
from gate.cli.exchange_keys import exchange_options, keys_at_hand
from gate.cli.screens.wording import one_line, span
from gate.cli.session import configured, json_option, open_gate, say_json, store_of
from gate.config import Flags
from gate.values.errors import StoreFailure
from gate.values.reports import SeenService, Status, verifying_until_ms

if TYPE_CHECKING:
    from gate.client.gates import Gate

_STOPPED: Final = 1
_NAMED: Final = 8


@click.command()
@exchange_options
@json_option
@click.pass_obj
def status(flags: Flags, base_url: str | None, demo_trading: bool, as_json: bool) -> NoReturn:
    """What is on for the account, and for how long: halt, safe mode, cooldowns, windows, locks, permits in flight.

    \b
      gate status
      gate --prefix acct7 status --json

    Only reads, and reads each key by itself, so a damaged key shows as damaged and hides no other. Marks a key without
    a time to live, such as one set by hand: it stays on until somebody deletes it.

    With the exchange's keys in the environment (see gate reconcile --help) it also says how many orders rest there. If
    the exchange refuses that, the first line says that exits don't get through, or may not. While the account rests
    because the exchange wants no requests, it isn't asked.

    Exit codes: 0 entries pass, 1 they are stopped for the whole account, or for callers with this configuration, where
    another policy is in force, 2 usage, 3 nothing could be learnt. Entries pass while something is in doubt, and where
    only some symbols rest; the first line says so.
    """
    config = configured(flags, needs_policy=False)
    so = "nothing is known of the account; a service that can't ask the store either admits no entry"
    keys = keys_at_hand(base_url, demo_trading)
    with open_gate(config, as_json, so) as gate:
        found = gate.status()
        others = () if found.ever_seen else _others(gate)
    resting = resting_unless_silenced(keys, found) if keys else None
    if as_json:
        beside = {"resting": None if resting is None else resting.as_json, "others": [each.prefix for each in others]}
        say_json(status_json(found, store_of(config)) | beside)
    else:
        from gate.cli.screens.screen import screen
        from gate.cli.screens.status_screen import show_status

        to = screen()
        show_status(found, store_of(config), to, exits_refused=resting.exits if resting else "")
        if others:
            seen = ", ".join(f"{each.prefix} ({span(each.ago_ms)} ago)" for each in others[:_NAMED])
            to.words(one_line(f"Services were seen here under other prefixes: {seen}. Is this one right?"))
        if resting is not None:
            to.words(one_line(str(resting)))
    raise click.exceptions.Exit(0 if found.entries_pass else _STOPPED)


def _others(gate: Gate) -> tuple[SeenService, ...]:
    """Who is at work on this store, beside an account that nobody knows."""
    try:
        return gate.seen_services().others
    except StoreFailure:
        return ()


def status_json(found: Status, store: str) -> dict[str, object]:
    """The account's state as JSON. Times are epoch ms, spans are ms, sums are texts. `standing` is in the order of the
    guards. A figure under a damaged key is unknown, and null.
    """
    permits, state = "in_flight" not in found.damaged, "state" not in found.damaged
    return {
        "prefix": found.prefix,
        "store": store,
        "now_ms": found.now_ms,
        "entries_pass": found.entries_pass,
        "ever_seen": found.ever_seen,
        "stopped": found.stopped,
        "stops_exits": found.stops_exits,
        "halt": None
        if found.halt is None
        else {
            "scope": "all" if found.stops_exits else found.halt.scope,
            "by": found.halt.by,
            "reason": found.halt.reason,
            "at_ms": found.halt.at_ms,
        },
        "standing": [
            {
                "name": each.name,
                "key": each.key,
                "on": each.on,
                "ttl_ms": each.ttl_ms,
                "detail": each.detail,
                "damage": None
                if each.damage is None
                else {"problem": each.damage.problem, "belongs": each.damage.belongs, "holds": each.damage.holds},
            }
            for each in found.standing
        ],
        "in_flight": found.in_flight if permits else None,
        "exits": found.exits if "exits" not in found.damaged else None,
        "in_doubt": found.in_doubt if permits else None,
        "doubtful": found.doubtful,
        "reserved": f"{found.reserved:f}" if permits else None,
        "fence": found.fence if state else None,
        "memory_since_ms": found.memory_since_ms,
        "memory_lost_ms": found.memory_lost_ms,
        "memory_wait_ms": found.memory_wait_ms,
        "evicts": found.evicts,
        "refuses_writes": found.refuses_writes or None,
        "lacks": found.lacks or None,
        "all_symbols": found.all_symbols,
        "unseen": found.unseen or None,
        "server": {
            "name": found.server.name,
            "version": found.server.version,
            "eviction": found.server.eviction,
            "append_only": found.server.append_only,
            "warnings": list(found.server.complaints),
        },
        "verifying_until_ms": verifying_until_ms(found, found.policy.dedup_ttl_ms),
        "mode": found.mode,
        "observers": [{"name": each.name, "seen_ms": each.seen_ms} for each in found.observers],
        "policy": {
            "in_force": found.policy_in_force,
            "own": found.policy_own,
            "differs": {name: {"in_force": there, "own": own} for name, there, own in found.differing},
            "agrees": found.policy_agrees if state or found.policy_in_force is not None else None,
        },
    }
