"""`gate intents`: the intents of late, with what became of each."""

from __future__ import annotations

from typing import Final, NoReturn

import click

from gate.cli.screens.judgement import record_json
from gate.cli.screens.record_rows import became, exit_words, in_doubt
from gate.cli.screens.rows import Row
from gate.cli.screens.wording import ago, one_line
from gate.cli.session import account_of, configured, json_option, open_gate, say_json, saying_how_many, store_of, warn
from gate.config import Flags
from gate.values.recent import MOST, RecentIntents
from gate.values.record import Phase, Record

_INCOMPLETE: Final = 1
_STYLES: Final = {Phase.UNKNOWN: "bold yellow", Phase.REJECTED: "yellow", Phase.FOREIGN: "red"}


@click.command()
@click.option("--last", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many, at most.")
@click.option("--symbol", metavar="S", help="Only those of this symbol.")
@json_option
@click.pass_obj
def intents(flags: Flags, last: int, symbol: str | None, as_json: bool) -> NoReturn:
    """The intents that were admitted of late, with what became of each.

    \b
      gate intents
      gate intents --symbol BTCUSDT --last 100
      gate intents --json | jq -r '.intents[] | select(.in_doubt) | .id'

    The latest admission stands last. An intent is remembered for dedup_ttl_ms, an hour by default. A denial leaves no
    record, nor does an outcome after which the intent may come again: those are in the log of their caller, and with
    gate run on its stream of results. gate show ID tells all of one intent.

    Looks for the records by SCAN, so it takes a while on a server of many keys. Exit code 1 when a part can't be read:
    that is said, and the rest is shown.
    """
    config = configured(flags, needs_policy=False)
    symbol = symbol.upper() if symbol else None
    with open_gate(config, as_json, "what became of the intents is unknown") as gate:
        found = gate.recent_intents(last, symbol=symbol, looked=saying_how_many("records"))
        names = {each.intent_id: gate.client_order_id(each.intent_id) for each in found.records}
    if as_json:
        rows = [
            {
                **record_json(each),
                "client_order_id": names[each.intent_id],
                "in_doubt": in_doubt(each, found.now_ms),
            }
            for each in found.records
        ]
        answer = {"now_ms": found.now_ms, "more": found.more, "intents": rows, "unread": list(found.unread)}
        say_json({"prefix": config.prefix, "store": store_of(config), **answer})
    else:
        from gate.cli.screens.screen import screen

        to = screen()
        to.words(_headline(found, account_of(config), symbol))
        if found.records:
            headings = "admitted", "intent", "order", "what became of it"
            to.table(headings, (_row(each, found) for each in found.records))
    for key in found.unread:
        warn(f"{key} can't be read: permits without a record are missing here; gate doctor tells what clears it")
    raise click.exceptions.Exit(0 if found else _INCOMPLETE)


def _headline(found: RecentIntents, account: str, symbol: str | None) -> str:
    of_symbol = f" of {one_line(symbol)}" if symbol else ""
    if not found.records:
        return f"No intent{of_symbol} is remembered of {account}."
    if found.more:
        latest = "intent" if len(found.records) == 1 else f"{len(found.records)} intents"
        return f"The latest {latest}{of_symbol} of {account}:"
    return f"All intents{of_symbol} that are remembered of {account}:"


def _row(record: Record, found: RecentIntents) -> Row:
    foreign = record.phase is Phase.FOREIGN
    order = "?" if foreign else f"{record.side} {record.symbol}{exit_words(record)}"
    admitted = "?" if foreign else ago(record.admitted_ms, found.now_ms)
    style = _STYLES[Phase.UNKNOWN] if in_doubt(record, found.now_ms) else _STYLES.get(record.phase, "")
    return Row((admitted, one_line(record.intent_id), one_line(order), became(record, found.now_ms)), style)
