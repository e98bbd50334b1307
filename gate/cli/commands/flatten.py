"""`gate flatten`: halt, cancel what rests, close what is open, and ask again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import click

from gate.cli.commands.at_the_exchange import interrupted, opened
from gate.cli.commands.halting import Aftermath, PrefixDoubt, confirmed_sentence, follow, look, prefix_doubt
from gate.cli.commands.operate import halt_sentence
from gate.cli.exchange_keys import ExchangeKeys, exchange_options, needed_keys
from gate.cli.screens.wording import one_line
from gate.cli.session import account_of, by_option, configured, json_option, reason_option, say_json, warn, without_log
from gate.config import Config, Flags, InvalidConfig
from gate.exchange.address import exchange_address
from gate.values.errors import InvalidField, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gate.client.gates import Gate
    from gate.exchange.holdings import Holder, OpenPosition
    from gate.exchange.port import RestingOrder
    from gate.executor.flatten import Flattened

_T = TypeVar("_T")

_LEFT: Final = 1
_NOT_HALTED: Final = 3
_NAMED: Final = 20


@dataclass
class _Done:
    """What came of it, at the exchange of that name."""

    venue: str
    halted: bool = False
    doubt: PrefixDoubt | None = None
    store_problem: str = ""
    followed: Aftermath | None = None
    exchange: Flattened | None = None
    unaudited: str = ""
    """Why the audit doesn't have what was cancelled and closed."""

    def interrupt(self) -> None:
        """A person has ended it, somewhere."""
        before = self.exchange
        self.exchange = interrupted("orders were cancelled and positions closed")
        if before is not None:
            self.exchange.cancelled, self.exchange.closed = before.cancelled, before.closed
        if not self.halted:
            self.store_problem = self.store_problem or "interrupted before the store has answered; gate status tells"

    @property
    def flat(self) -> bool:
        return self.exchange is not None and self.exchange.flat

    @property
    def confirmed(self) -> bool:
        """Whether no entry can come any more."""
        return self.followed is not None and self.followed.confirmed

    @property
    def code(self) -> int:
        if not self.flat or (self.halted and not self.confirmed) or (self.doubt is not None and self.doubt.mistaken):
            return _LEFT
        return 0 if self.halted else _NOT_HALTED


@click.command()
@by_option
@reason_option
@click.option("--yes", is_flag=True, help="Don't ask before it acts.")
@exchange_options
@json_option
@click.pass_obj
def flatten(
    flags: Flags, by: str, reason: str, yes: bool, base_url: str | None, demo_trading: bool, as_json: bool
) -> None:
    """Halt entries, cancel every order, close every position of the account, and ask again until it is so.

    \b
      export BINANCE_API_KEY=… BINANCE_API_SECRET=…
      gate flatten --by ops --reason "the strategy runs wild"

    Everything of the account: all symbols, stop losses too, and what others than the gate have opened. It shows what
    there is, and asks before it acts. Positions are closed at market by orders that only reduce. Then it waits until no
    entry can reach the exchange any more (see gate halt --help), and looks once more. A symbol that fails doesn't hold
    up the others.

    The halt stays. After gate resume, services try again the entries that they have held meanwhile, while these are
    fresh: to drop them, resume later than the policy's max_age_ms.

    It works without the store, too: then nothing is halted, and it says so. Stop every gate run then, and start them
    only after gate halt: a halt may come too late for an entry that one of them holds.

    Exit codes: 0 halted and flat, both confirmed; 1 something is left or unknown, or nothing was done, or the gate has
    never run under this prefix and others are at work here, or it was interrupted while it cancelled and closed; 2
    usage; 3 flat, but not halted: the store gave no answer; 130 interrupted at the question, nothing was done.
    """
    if as_json and not yes:
        raise click.UsageError("--json doesn't ask; give --yes too")
    config = configured(flags, needs_policy=False)
    keys = needed_keys(base_url, demo_trading)
    if keys.base_url is not None:
        exchange_address(keys.base_url)  # refused before anything is done
    if not yes and not _agreed(config, keys):
        click.echo("Nothing was done.")
        raise click.exceptions.Exit(_LEFT)
    done = _Done(keys.venue)
    without_log("gate.store")
    try:
        _halt_and_clear(config, keys, by, reason, done, as_json)
    except KeyboardInterrupt:
        done.interrupt()
    if as_json:
        say_json(_json(done, config, by, reason))
    else:
        _say(done, config.prefix)
    if done.code:
        raise click.exceptions.Exit(done.code)


def _agreed(config: Config, keys: ExchangeKeys) -> bool:
    """Shows what there is, and asks."""
    from gate.exchange.failures import ExchangeFailure

    async def look(exchange: Holder) -> tuple[tuple[RestingOrder, ...], tuple[OpenPosition, ...]]:
        return await exchange.resting_orders(), await exchange.holdings()

    try:
        orders, positions = asyncio.run(_at(keys, look))
    except ExchangeFailure as failed:
        warn(f"what there is at {keys.venue} can't be read: {failed}")
    else:
        for each in positions[:_NAMED]:
            click.echo(f"open   {one_line(str(each))}")
        for order in orders[:_NAMED]:
            click.echo(f"rests  {one_line(str(order))}")
        more = max(0, len(positions) - _NAMED) + max(0, len(orders) - _NAMED)
        if more:
            click.echo(f"and {more} more")
        if not positions and not orders:
            click.echo(f"No order rests at {keys.venue}, and no position is open.")
    store = account_of(config) if config.url else f"{config.prefix} (no store is given)"
    asked = f"Halt {store}, cancel all orders and close all positions at {keys.venue}?"
    try:
        return click.confirm(asked, default=False)
    except click.Abort as abort:
        click.echo("")
        if isinstance(abort.__context__, KeyboardInterrupt):
            click.echo("Nothing was done.")
            raise
        return False


def _halt_and_clear(config: Config, keys: ExchangeKeys, by: str, reason: str, done: _Done, as_json: bool) -> None:
    from gate.client.gates import Gate

    try:
        opened_gate = Gate.from_url(config.store_url, prefix=config.prefix, policy=config.pinned)
    except (InvalidConfig, InvalidField, StoreFailure) as refused:  # an address with a slip in it traps no position
        done.store_problem = one_line(str(refused)).rstrip(".")
        done.exchange = _flattened(keys, None, as_json)
        return
    with opened_gate as gate:
        try:
            _halt_and_clear_by(gate, config, keys, by, reason, done, as_json)
        except KeyboardInterrupt:
            done.interrupt()
        _note(gate, by, reason, done)


def _halt_and_clear_by(
    gate: Gate, config: Config, keys: ExchangeKeys, by: str, reason: str, done: _Done, as_json: bool
) -> None:
    said = _halt(gate, by, reason, account_of(config), done)
    if done.doubt is not None:
        warn(done.doubt.warning)
    if not as_json:
        if done.halted:
            click.echo(one_line(said))
        else:
            warn(f"NOT halted, {account_of(config)}: {done.store_problem}; goes on without the store")
    # At once, and again when nothing can come any more: what was out may have opened something meanwhile.
    done.exchange = _flattened(keys, None, as_json)
    if not done.halted:
        return
    done.followed = follow(gate, "entries", waits=True)
    if done.followed.interrupted:
        if done.confirmed:  # right before the second look
            done.interrupt()
    else:
        done.exchange = _flattened(keys, done.exchange, as_json)


def _note(gate: Gate, by: str, reason: str, done: _Done) -> None:
    """Audits what was done at the exchange. Where the store wasn't there for the halt, it isn't asked once more."""
    exchange = done.exchange
    if exchange is None or not done.halted:
        return
    more = " or more" if exchange.interrupted else ""
    counts = f"cancelled {len(exchange.cancelled)}{more}, closed {len(exchange.closed)}{more}"
    try:
        flat = "flat" if done.flat and done.confirmed else "NOT known to be flat"
        noted = gate.note_flatten(f"{counts}, {flat}", by=by, reason=reason)
    except StoreFailure as failure:
        done.unaudited = one_line(str(failure)).rstrip(".")
    except KeyboardInterrupt:  # all that matters is done
        done.unaudited = "interrupted"
    else:
        done.unaudited = "" if noted.audited else "look at the key's type (safety:audit)"


def _halt(gate: Gate, by: str, reason: str, account: str, done: _Done) -> str:
    """Halts. Returns what to say of it."""
    before = look(gate)
    try:
        act = gate.halt(by=by, reason=reason)
    except StoreFailure as failure:
        done.store_problem = one_line(str(failure)).rstrip(".")
        return ""
    done.halted = True
    done.doubt = prefix_doubt(gate, before)
    return halt_sentence(act, "entries", account, before)


def _flattened(keys: ExchangeKeys, before: Flattened | None, as_json: bool) -> Flattened:
    """Cancels and closes, and says at once what is gone: the wait for the halt comes behind it."""
    from gate.executor.flatten import flatten as flatten_account

    done = asyncio.run(_at(keys, flatten_account))
    if not as_json:
        for each in done.closed:
            click.echo(one_line(f"closed {each}"))
        if done.cancelled:
            click.echo(f"cancelled {len(done.cancelled)} order{'' if len(done.cancelled) == 1 else 's'}")
    if before is not None:
        done.cancelled = [*before.cancelled, *done.cancelled]
        done.closed = [*before.closed, *done.closed]
    return done


async def _at(keys: ExchangeKeys, act: Callable[[Holder], Awaitable[_T]]) -> _T:
    async with opened(keys) as exchange:
        return await act(exchange)


def _say(done: _Done, prefix: str) -> None:
    exchange = done.exchange
    if exchange is not None:
        for position in exchange.open or ():
            warn(f"still open: {position}")
        for order in exchange.resting or ():
            warn(f"still rests: {order}")
        for problem in exchange.problems:
            warn(problem)
    if done.flat:
        click.echo(f"Flat at {done.venue}: asked again, it has no order and no position of the account.")
    else:
        warn(f"NOT flat at {done.venue}, or not known to be; repeat it, and look at the exchange")
    if done.followed is not None and done.confirmed:
        click.echo(confirmed_sentence(done.followed, done.doubt, prefix))
    elif done.followed is not None:
        warn(str(done.followed))
    elif done.halted:
        warn("the halt is in force; what was out when it came may still reach the exchange")
    if done.unaudited:
        warn(f"what was cancelled and closed may not be in the audit: {done.unaudited}")
    if not done.halted:
        # A halt that is said once the store is back comes too late for an entry that a service holds.
        stop = "stop every gate run now, and start them only after gate halt: an entry may come once the store is back"
        warn(f"NOT halted: {done.store_problem}; {stop}")


def _json(done: _Done, config: Config, by: str, reason: str) -> dict[str, object]:
    exchange = done.exchange
    at_the_exchange: dict[str, object] = {}
    if exchange is not None:
        at_the_exchange = {
            "closed": [str(each) for each in exchange.closed],
            "cancelled": None if exchange.interrupted else len(exchange.cancelled),
            "open": None if exchange.open is None else [str(each) for each in exchange.open],
            "resting": None if exchange.resting is None else [str(each) for each in exchange.resting],
            "problems": exchange.problems,
        }
    return {
        "act": "flatten",
        "by": by,
        "reason": reason,
        "prefix": config.prefix,
        "exchange": done.venue,
        "halted": done.halted,
        "store_problem": done.store_problem or None,
        "unaudited": done.unaudited or None,
        "prefix_doubt": done.doubt.warning if done.doubt else None,
        "confirmed": done.confirmed,
        "flat": done.flat,
        **at_the_exchange,
    }
