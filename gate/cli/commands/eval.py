"""`gate eval`: the verdict on one intent, guard by guard."""

from __future__ import annotations

import time
from typing import Final, NoReturn

import click

from gate.cli.commands.described import intent_options, name_of, object_in, read_text
from gate.cli.failures import NoAnswer
from gate.cli.screens.judgement import Judgement, claimed, judgement_json, looked, unanswered
from gate.cli.screens.wording import one_line
from gate.cli.session import configured, json_option, open_gate, reason_at, reason_of, say_json
from gate.client.gates import Gate
from gate.config import Config, Flags
from gate.store.masking import masked
from gate.values.errors import InvalidIntent, StoreError, StoreFailure, StoreUnavailable, pasted
from gate.values.fields import read_time_ms
from gate.values.guards import Reason
from gate.values.intent import Intent

_DENIED: Final = 1


@click.command("eval")
@intent_options
@click.option(
    "--intent",
    "file",
    metavar="FILE",
    help="Read the intent from a JSON object, as streams carry it; - is stdin. Without a time it needs --timestamp.",
)
@click.option("--commit", is_flag=True, help="Really claim: an admission's answer is the permit.")
@json_option
@click.pass_obj
def eval_(
    flags: Flags,
    intent_id: str | None,
    symbol: str | None,
    side: str | None,
    notional: str | None,
    quantity: str | None,
    price: str | None,
    leverage: int | None,
    reduce_only: bool,
    close_position: bool,
    position_side: str | None,
    order_type: str | None,
    time_in_force: str | None,
    trigger_price: str | None,
    working_type: str | None,
    timestamp: str | None,
    file: str | None,
    commit: bool,
    as_json: bool,
) -> NoReturn:
    """What the gate says to an intent, guard by guard. Without --commit it only looks.

    \b
      gate eval --id sig-81 --symbol BTCUSDT --side BUY --notional 200
      gate eval --id sig-82 --symbol BTCUSDT --side BUY --quantity 0.01 \\
        --order-type LIMIT --price 60000 --leverage 5
      gate eval --id sig-83 --symbol BTCUSDT --side CLOSE
      cat intent.json | gate eval --intent - --json

    Below the verdict it says what the intent was read as: entry or exit, side, type, size, prices; what reading has
    decided; and which fields were put aside, so that they change nothing.

    With --commit an admission claims what a worker's does: record, lock, rate slots, margin. Settle it; otherwise its
    permit runs out and the intent stays in doubt. The verdict comes from that one call, and the guards from a look just
    before it. If another worker changes something in between, the verdict is right, and the guards are shown to agree.

    The gate doesn't know the exchange's symbols: it admits a symbol that the exchange doesn't have.

    Exit codes: 0 admit, 1 deny, 2 bad input or usage, 3 no verdict, since the store didn't answer.
    """
    described = {
        "--id": intent_id,
        "--symbol": symbol,
        "--side": side,
        "--notional": notional,
        "--quantity": quantity,
        "--price": price,
        "--leverage": leverage,
        "--reduce-only": reduce_only or None,
        "--close-position": close_position or None,
        "--position-side": position_side,
        "--order-type": order_type,
        "--time-in-force": time_in_force,
        "--trigger-price": trigger_price,
        "--working-type": working_type,
    }
    if file is not None:
        beside = [option for option, value in described.items() if value is not None]
        if beside:
            raise click.UsageError(f"--intent describes the whole intent; leave out {', '.join(beside)}.")
        intent = _from_file(file, timestamp)
    else:
        if intent_id is None or symbol is None or side is None:
            missing = [option for option in ("--id", "--symbol", "--side") if described[option] is None]
            raise click.UsageError(f"Missing {', '.join(missing)}; or give --intent FILE.")
        intent = Intent(
            id=intent_id,
            symbol=symbol,
            side=side,
            notional=notional,
            quantity=quantity,
            price=price,
            leverage=leverage,
            reduce_only=reduce_only,
            close_position=close_position,
            position_side=position_side,
            order_type="MARKET" if order_type is None else order_type,
            time_in_force=time_in_force,
            trigger_price=trigger_price,
            working_type=working_type,
            timestamp=_now_ms() if timestamp is None else timestamp,
        )
    config = configured(flags)
    with open_gate(config, as_json) as gate:
        judgement = _judge(gate, config, intent, commit, as_json)
    if as_json:
        say_json(judgement_json(judgement))
    else:
        from gate.cli.screens.judgement_screen import show_judgement

        show_judgement(judgement, asked_to_commit=commit)
    raise click.exceptions.Exit(0 if judgement.verdict.admitted else _DENIED)


def _judge(gate: Gate, config: Config, intent: Intent, commit: bool, as_json: bool) -> Judgement:
    committed: bool | None = False
    try:
        inspection = gate.inspect(intent)
        if not commit:
            known = inspection.reason in (Reason.DUPLICATE, Reason.CONFLICT)
            return looked(intent, inspection, gate.lookup(intent.id) if known else None)
        verdict = gate.evaluate(intent)
        if verdict.reason is Reason.STORE_UNAVAILABLE:
            committed = None
            raise StoreUnavailable(verdict.detail)
        if verdict.reason is Reason.STORE_ERROR:
            raise StoreError(verdict.detail)
        return claimed(intent, inspection, verdict)
    except StoreFailure as failure:
        detail = str(failure)
        if committed is None:
            detail += f"; the store may have claimed it even so: look with gate show {_argument(intent.id)}"
        reason = reason_of(failure)
        answer = unanswered(intent, reason, masked(one_line(detail)), config.policy.mode, committed)
        raise NoAnswer(f"no verdict, {reason_at(failure, config)}: {detail}", answer if as_json else None) from None


def _argument(intent_id: str) -> str:
    """An id as an argument that may be pasted, and isn't taken for an option."""
    return f"{'-- ' if intent_id.startswith('-') else ''}{pasted(intent_id)}"


def _now_ms() -> int:
    return int(time.time() * 1000)


def _from_file(name: str, timestamp: str | None) -> Intent:
    """The intent as a worker reads it. `timestamp` replaces a missing time.

    The current time must not replace it: the gate denies an intent without a time as INVALID, and eval must show that.
    """
    mapping = object_in(read_text(name), name_of(name))
    received_ms = None if timestamp is None else read_time_ms("timestamp", timestamp, naive_is_utc=False)
    try:
        intent = Intent.from_mapping(mapping, received_ms=received_ms)
    except InvalidIntent as invalid:
        if received_ms is None and invalid.field == "timestamp" and invalid.missing:
            remedy = f"is missing in {name_of(name)}, and the gate calls that INVALID: put one in, or pass --timestamp"
            raise InvalidIntent("timestamp", None, remedy, missing=True) from None
        raise
    if received_ms is not None and intent.timestamp_ms != received_ms:
        raise click.UsageError("--timestamp is for an intent without a time; this one has its own.")
    return intent
