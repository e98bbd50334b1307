"""`gate reconcile`: ask the exchange about what is in doubt, and settle it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from gate.cli.exchange_keys import ExchangeKeys, exchange_options, needed_keys
from gate.cli.session import configured, json_option, no_answer, reason_at, say_json, without_log
from gate.config import Config, Flags
from gate.values.errors import InvalidField, StoreFailure

if TYPE_CHECKING:
    from gate.executor.reconcile import Reconciled

_STILL_IN_DOUBT: Final = 1


@click.command()
@exchange_options
@json_option
@click.pass_obj
def reconcile(flags: Flags, base_url: str | None, demo_trading: bool, as_json: bool) -> None:
    """Ask the exchange about every intent in doubt, and settle it.

    An admitted intent is in doubt when nobody reported its outcome before its deadline: a worker died, or an answer
    was lost. If the exchange has its order, the gate records the intent as placed. If there is no order and none can
    come any more, the intent is settled as NOT_PLACED, and never admitted again. Several processes may reconcile at
    once. What was settled so within the last ten minutes is looked up again, for an order that is late.

    \b
      export BINANCE_API_KEY=… BINANCE_API_SECRET=…
      gate reconcile

    GATE_EXCHANGE_URL replaces --base-url. With --demo the keys are BINANCE_TESTNET_API_KEY and
    BINANCE_TESTNET_SECRET_KEY.

    Exit codes: 0 nothing is in doubt now, 1 something is still in doubt, or a late order can't be looked for, 2 usage,
    3 the store gave no answer.
    """
    config = configured(flags, needs_policy=False)
    keys = needed_keys(base_url, demo_trading)
    without_log("gate.store")
    try:
        found = asyncio.run(_reconcile(config, keys))
    except InvalidField as invalid:
        raise click.UsageError(str(invalid)) from None
    except StoreFailure as failure:
        raise no_answer(failure, reason_at(failure, config), as_json) from None
    if as_json:
        say_json([_json(each) for each in found])
    elif not found:
        click.echo("Nothing is in doubt.")
    else:
        from gate.cli.screens.rows import Row
        from gate.cli.screens.screen import screen

        rows = (Row((each.intent_id, each.finding.value, each.client_order_id, each.detail)) for each in found)
        screen().table(("intent", "found", "client order id", "detail"), rows)
    if not all(each.done for each in found):
        raise click.exceptions.Exit(_STILL_IN_DOUBT)


async def _reconcile(config: Config, keys: ExchangeKeys) -> list[Reconciled]:
    from gate.client.gates import AsyncGate
    from gate.exchange.binance import BinanceFutures
    from gate.executor.reconcile import reconcile_all

    async with (
        AsyncGate.from_url(config.store_url, prefix=config.prefix, policy=config.pinned) as gate,
        BinanceFutures(keys.key, keys.secret, base_url=keys.base_url, demo=keys.demo, streams=False) as exchange,
    ):
        return await reconcile_all(gate, exchange)


def _json(each: Reconciled) -> dict[str, object]:
    return {
        "id": each.intent_id,
        "client_order_id": each.client_order_id,
        "finding": each.finding.value,
        "detail": each.detail,
        "settled": None if each.settlement is None else each.settlement.status.value,
    }
