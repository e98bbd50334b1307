"""`gate paper`: the paper exchange in its own process."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import click


def _refuse_secret(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> None:
    if given:
        raise click.UsageError(
            "--secret would show the secret to whoever lists processes; put it into GATE_PAPER_SECRETS, or give a file "
            "with --secrets"
        )


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 takes a free one.")
@click.option("--key", "keys", multiple=True, default=("paper-key",), show_default=True, help="API key; repeatable.")
@click.option("--secret", "shown_in_ps", multiple=True, hidden=True, expose_value=False, callback=_refuse_secret)
@click.option(
    "--secrets",
    "secrets_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with an API secret for each key, one a line in the same order. Without it, those of GATE_PAPER_SECRETS, "
    "with spaces between them.  [default: paper-secret]",
)
@click.option(
    "--balance",
    "balances",
    multiple=True,
    default=("10000",),
    show_default=True,
    help="USDT in the account; give one for all keys, or one for each key.",
)
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append every accepted order to this file, as a JSON line, before the client gets its answer.",
)
@click.option(
    "--exchange-info",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Symbols and filters from a capture of the real exchange's exchangeInfo.",
)
@click.option(
    "--faults",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Faults from a JSON file, as POST /paper/faults takes them.",
)
@click.option("--walk", type=int, metavar="SEED", help="Let prices follow a random walk with this seed.")
@click.option("--walk-interval-ms", type=click.IntRange(1), default=1_000, show_default=True, help="Time per step.")
@click.option("--no-limits", is_flag=True, help="Switch the rate limits off.")
@click.option("--old-answers", is_flag=True, help="Answer orders with the price of their fill, as before July 2026.")
@click.option("--json", "as_json", is_flag=True, help="Announce the address as a JSON object.")
def paper(
    host: str,
    port: int,
    keys: tuple[str, ...],
    secrets_file: Path | None,
    balances: tuple[str, ...],
    ledger: Path | None,
    exchange_info: Path | None,
    faults: Path | None,
    walk: int | None,
    walk_interval_ms: int,
    no_limits: bool,
    old_answers: bool,
    as_json: bool,
) -> None:
    """Run a Binance USDⓈ-M futures server, REST and WebSocket, with its own books, for bots without a network.

    Each key has its own account. Point python-binance at it with client.FUTURES_URL = "http://127.0.0.1:PORT/fapi".
    Set prices, balances, the clock and faults under /paper; GET /paper/ledger lists the accepted orders.

    Exit codes: 1 the port is in use, or the ledger can't be written; 2 a setting or a file can't be used.
    """
    from gate.paper.market.market_data import load_market
    from gate.paper.serving.faults import parse_faults
    from gate.paper.serving.process import serve

    secrets = _secrets(secrets_file)
    if len(secrets) != len(keys):
        raise click.UsageError(f"{len(keys)} --key but {len(secrets)} secrets: each key needs its own")
    if len(balances) not in (1, len(keys)):
        raise click.UsageError(f"{len(keys)} --key but {len(balances)} --balance: give one for all, or one for each")
    for file, read in ((exchange_info, load_market), (faults, lambda path: parse_faults(path.read_bytes()))):
        if file is not None:
            _check_file(file, read)
    try:
        serve(
            host=host,
            port=port,
            keys=tuple(zip(keys, secrets, balances * len(keys) if len(balances) == 1 else balances, strict=True)),
            ledger=ledger,
            exchange_info=exchange_info,
            faults=faults,
            walk_seed=walk,
            walk_interval_ms=walk_interval_ms,
            limited=not no_limits,
            old_answers=old_answers,
            announce=lambda url: click.echo(json.dumps({"url": url}) if as_json else f"listening on {url}"),
        )
    except ValueError as problem:
        raise _BadSetting(str(problem)) from problem
    except BrokenPipeError:
        raise
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            raise click.ClickException(f"port {port} of {host}: address already in use; give another --port") from None
        where = "" if problem.filename is None else f"{problem.filename}: "
        raise click.ClickException(f"{where}{problem.strerror or problem}") from None


def _secrets(file: Path | None) -> tuple[str, ...]:
    """The API secrets, from a file, else from the environment, else the well-known one."""
    if file is None:
        return tuple(os.environ.get("GATE_PAPER_SECRETS", "paper-secret").split())
    try:
        return tuple(filter(None, file.read_text("utf-8").splitlines()))
    except UnicodeDecodeError:
        raise _BadSetting(f"{file}: is not UTF-8 text") from None
    except OSError as problem:
        raise _BadSetting(f"{file}: {problem.strerror}") from None


def _check_file(file: Path, read: Callable[[Path], object]) -> None:
    """Reads a file before the server does, so that an error about its content names the file."""
    try:
        read(file)
    except ValueError as problem:
        raise _BadSetting(f"{file}: {str(problem).removeprefix(f'{file}: ')}") from None
    except OSError as problem:
        raise _BadSetting(f"{file}: {problem.strerror}") from None


class _BadSetting(click.ClickException):
    """A setting that can't be used. The message has one line; click's own usage errors have three."""

    exit_code = 2
