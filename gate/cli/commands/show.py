"""`gate show`: the record of an intent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import click

from gate.cli.screens.judgement import record_json
from gate.cli.screens.record_rows import record_rows
from gate.cli.screens.wording import ago
from gate.cli.session import configured, json_option, open_gate, say_json
from gate.config import Flags
from gate.values.errors import InvalidField
from gate.values.fields import plain
from gate.values.record import Phase

if TYPE_CHECKING:
    from gate.service.told import ToldOrder

_NONE: Final = 1


@click.command()
@click.argument("intent_id", metavar="ID")
@json_option
@click.pass_obj
def show(flags: Flags, intent_id: str, as_json: bool) -> None:
    """What the gate remembers of an intent: its outcome, its order, its times.

    \b
      gate show sig-81

    What its order has come to since, it tells as far as a service (gate run) has told of it: "heard of it".

    Exit code 1, and `null` with --json, when there is no record: the intent was never admitted, its outcome removed the
    record, or dedup_ttl_ms has passed. A denial leaves no record; its reason is in the log of its caller.
    """
    if not 1 <= len(intent_id) <= 128 or " " in intent_id or not intent_id.isprintable():
        problem = "is not an intent's id: 1 to 128 characters, no spaces or control characters"
        raise InvalidField("id", intent_id, problem)
    config = configured(flags, needs_policy=False)
    with open_gate(config, as_json, "whether there is a record is unknown") as gate:
        record = gate.lookup(intent_id)
        client_order_id = gate.client_order_id(intent_id)
    told = None
    if record is not None and record.phase in (Phase.PLACED, Phase.UNKNOWN):
        from gate.service.last_told import last_told

        told = asyncio.run(last_told(config.store_url, config.prefix, client_order_id))
    if as_json:
        beside = {"client_order_id": client_order_id, "heard": _heard_json(told)}
        say_json(None if record is None else {**record_json(record), **beside})
    elif record is None:
        click.echo(
            f"gate show: there is no record of {intent_id} under the prefix {config.prefix}. A denial leaves none; "
            "the reason of a past denial is in the log of its caller.",
            err=True,
        )
    else:
        from gate.cli.screens.rows import Row
        from gate.cli.screens.screen import screen

        now_ms = int(time.time() * 1000)
        rows = record_rows(record, client_order_id, now_ms)
        if told is not None and told.state:
            rows.insert(-1, ("heard of it", _heard(told, now_ms)))
        screen().table(("intent", intent_id), (Row(cells) for cells in rows))
    if record is None:
        raise click.exceptions.Exit(_NONE)


def _heard(told: ToldOrder, now_ms: int) -> str:
    at = f" at {plain(told.price)}" if told.price is not None else ""
    of = f", {plain(told.filled)} filled{at}" if told.filled else ""
    return f"{told.state}{of}, {ago(told.at_ms, now_ms) if told.at_ms else 'by its result'}"


def _heard_json(told: ToldOrder | None) -> dict[str, object] | None:
    if told is None or not told.state:
        return None
    return {
        "state": told.state,
        "filled_quantity": plain(told.filled),
        "average_price": None if told.price is None else plain(told.price),
        "order_time_ms": told.at_ms or None,
        "update": told.updates,
    }
