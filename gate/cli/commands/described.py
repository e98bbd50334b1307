"""An intent on the command line: described by options, or an object in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gate.values.errors import InvalidField, InvalidIntent

_F = TypeVar("_F", bound=Callable[..., Any])


def intent_options(command: _F) -> _F:
    """The options that describe an intent."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: Final = (
    click.option("--id", "intent_id", metavar="ID", help="The intent's id: the same for every delivery of it."),
    click.option(
        "--symbol", metavar="S", help="The exchange's symbol, such as BTCUSDT; whether it exists isn't checked."
    ),
    click.option("--side", metavar="BUY|SELL|CLOSE", help="The order's side. CLOSE: the one that closes what is open."),
    click.option("--notional", metavar="N", help="Size in the quote asset."),
    click.option("--quantity", metavar="Q", help="Size in the base asset, instead of --notional."),
    click.option(
        "--price",
        metavar="P",
        help="The limit of a LIMIT order; else the expected price, which gives the margin of a --quantity.",
    ),
    click.option("--leverage", type=int, metavar="L", help="Leverage, 1 to 125."),
    click.option("--reduce-only", is_flag=True, help="An exit: guards that stop entries let it pass."),
    click.option("--close-position", is_flag=True, help="An exit of all that is open, without a size."),
    click.option("--position-side", metavar="LONG|SHORT", help="In hedge mode."),
    click.option(
        "--order-type",
        metavar="TYPE",
        help="MARKET or LIMIT; STOP_MARKET or TAKE_PROFIT_MARKET to wait for a --trigger-price.  [default: MARKET]",
    ),
    click.option(
        "--time-in-force",
        metavar="GTC|IOC|FOK|GTX",
        help="For LIMIT: GTC waits until cancelled; IOC fills what it can at once; FOK fills all at once or nothing; "
        "GTX is placed only if it can wait.  [default: GTC]",
    ),
    click.option(
        "--trigger-price", metavar="P", help="The price at which the STOP_MARKET or TAKE_PROFIT_MARKET fires."
    ),
    click.option(
        "--working-type",
        metavar="TYPE",
        help="The price that triggers: CONTRACT_PRICE (the last trade) or MARK_PRICE.  [default: CONTRACT_PRICE]",
    ),
    click.option(
        "--timestamp",
        metavar="T",
        help="The time of the decision: ISO 8601 with a zone, or epoch ms.  [default: now; with --intent the intent's "
        "own]",
    ),
)


def name_of(file: str) -> str:
    """A file as messages name it."""
    return "stdin" if file == "-" else file


def read_text(name: str) -> str:
    """What a file holds; `-` is stdin. Raises InvalidField."""
    source = name_of(name)
    if name == "-" and sys.stdin is None:
        raise InvalidField("intent", source, "can't be read: it is closed")
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InvalidField("intent", source, f"can't be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        text = raw.decode("utf-8-sig")  # -sig: some editors write a byte order mark
    except UnicodeDecodeError:
        raise InvalidField("intent", source, "is not UTF-8 text") from None
    if not text.strip():
        raise InvalidField("intent", source, "is empty")
    return text


def object_in(text: str, source: str) -> dict[str, object]:
    """The JSON object that a text holds. Raises InvalidField."""
    from gate.values.stream_envelope import read_json

    try:
        mapping = read_json(text, float)
    except InvalidIntent:
        raise
    except RecursionError:
        raise InvalidField("intent", source, "is not JSON that can be read: it is nested too deeply") from None
    except (ValueError, ArithmeticError) as error:  # ArithmeticError: a number that Decimal can't hold
        raise InvalidField("intent", source, f"is not JSON: {error}") from None
    if not isinstance(mapping, dict):
        raise InvalidIntent("intent", source, "is not a JSON object")
    return mapping
