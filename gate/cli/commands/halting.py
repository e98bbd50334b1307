"""What follows a halt: waiting until no permit is out, and what rests at the exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from gate.cli.exchange_keys import ExchangeKeys
from gate.cli.failures import INTERRUPTED
from gate.cli.screens.wording import one_line, printable, span
from gate.cli.session import warn
from gate.values.errors import StoreFailure
from gate.values.reports import Halt, SeenServices, StillOut

if TYPE_CHECKING:
    from gate.client.gates import Gate
    from gate.executor.flatten import Flattened

NOT_CONFIRMED: Final = 1
_ABSENT_MS: Final = 600_000
"""An order that was settled as absent is watched for so long."""
_NAMED: Final = 5
_NAMED_PREFIXES: Final = 8


@dataclass(frozen=True, slots=True)
class Before:
    """The state of an account just before an act."""

    halt: Halt | None
    ever_run: bool
    observers: int = 0
    """How many callers observe; a halt binds them too."""


def look(gate: Gate) -> Before | None:
    """The state of the account; None when it can't be read. The act must not fail because of that."""
    try:
        return Before(gate.halt_in_force(), gate.ever_run(), len(gate.observers()))
    except StoreFailure:
        return None


class Aftermath:
    """What came of a halt after it was in force."""

    def __init__(self, scope: str) -> None:
        self.scope: Final = scope
        self.out: StillOut | None = None
        """The last look; None: the store gave no answer to it."""
        self.interrupted = False
        self.problem = ""
        self.absent: tuple[str, ...] | None = ()
        """Entries that were settled as absent of late; None: the audit can't be read."""

    @property
    def confirmed(self) -> bool:
        """Whether nothing that the halt holds can reach the exchange any more."""
        return self.out is not None and self.out.clear

    @property
    def as_json(self) -> dict[str, object]:
        """For --json. `still_out` is null where the store didn't say."""
        out = self.out
        return {
            "confirmed": self.confirmed,
            "absent": None if self.absent is None else list(self.absent),
            "still_out": None
            if out is None
            else {
                "count": out.count,
                "forgotten_ms": out.forgotten_ms,
                "wait_ms": out.wait_ms,
                "intents": [
                    {
                        "id": each.intent_id,
                        "symbol": each.symbol,
                        "side": each.side,
                        "deadline_ms": each.deadline_ms,
                    }
                    for each in out.permits[:100]
                ],
            },
        }

    def __str__(self) -> str:
        if self.out is None:
            if self.interrupted:
                return "Interrupted; the halt is in force"
            return f"Not confirmed: the store doesn't say what is still out: {self.problem}; repeat the halt"
        if self.confirmed:
            return f"Confirmed: no {_what(self.scope)} can reach the exchange any more."
        if self.out.halted is None:
            return "Not confirmed: the halt is no longer in force; somebody has resumed, or the store has forgotten it"
        known = "Interrupted; the halt is in force" if self.interrupted else "Not confirmed"
        return f"{known}: {still_out(self.out, self.scope)}"


def follow(gate: Gate, scope: str, *, waits: bool) -> Aftermath:
    """Waits until nothing is out, with its progress on standard error. Ctrl-C ends the waiting, not the halt."""
    found, said = Aftermath(scope), [-1]

    def told(out: StillOut) -> None:
        found.out = out
        if out and out.halted is not None and out.count != said[0]:
            first = said == [-1]
            hint = " (Ctrl-C ends the waiting, not the halt)" if first else ""
            click.echo(f"gate: waiting: {one_line(still_out(out, scope))}{hint}", err=True)
        said[0] = out.count

    try:
        if waits:
            gate.until_clear(scope, told=told)
        else:
            found.out = gate.still_out(scope)
        found.absent = _absent_of_late(gate)
    except StoreFailure as failure:
        found.out, found.problem = None, one_line(str(failure))
    except KeyboardInterrupt:
        found.interrupted = True
    return found


class PrefixDoubt(NamedTuple):
    """That the prefix may be a mistaken one."""

    warning: str
    mistaken: bool
    """Whether it is hardly the right one: the gate has never run under it, and others are at work here."""


def prefix_doubt(gate: Gate, before: Before | None) -> PrefixDoubt | None:
    """Whether the act was for the right account. `before`: the account just before it; None: it can't be read."""
    try:
        seen = gate.seen_services()
    except StoreFailure:
        seen = SeenServices(None, ())  # no right to read it
    if seen.own_lately or (before is not None and before.observers):
        return None
    ever_run = before is None or before.ever_run
    if not seen.others:
        return None if ever_run else PrefixDoubt(_never_run(gate.prefix), mistaken=False)
    last = "" if seen.own_ago_ms is None else f" (the last {span(seen.own_ago_ms)} ago)"
    named = ", ".join(f"{printable(each.prefix)} ({span(each.ago_ms)} ago)" for each in seen.others[:_NAMED_PREFIXES])
    more = f" and {len(seen.others) - _NAMED_PREFIXES} more" if len(seen.others) > _NAMED_PREFIXES else ""
    warning = (
        f"no service has been seen lately under the prefix {gate.prefix}{last}; seen here: {named}{more}; "
        "is this the right account?"
    )
    return PrefixDoubt(warning, mistaken=not ever_run)


def _never_run(prefix: str) -> str:
    return f"the store knows of no admission under the prefix {prefix}; is this the right account?"


def _absent_of_late(gate: Gate) -> tuple[str, ...] | None:
    """The intents of entries that were settled as absent, and whose orders the exchange may have accepted since."""
    try:
        found = gate.absences(_ABSENT_MS)
    except StoreFailure:
        return None
    return tuple(each.permit.intent_id for each in found if each.permit is not None and not each.permit.is_exit)


def still_out(out: StillOut, scope: str) -> str:
    """What may still reach the exchange, and for how long."""
    parts = []
    if out.count:
        named = ", ".join(f"{each.intent_id} {each.symbol} {each.side}" for each in out.permits[:_NAMED])
        more = f" and {out.count - _NAMED} more" if out.count > _NAMED else ""
        parts.append(f"{out.count} {_what(scope, out.count)} may still reach the exchange ({named}{more})")
    if out.forgotten_ms:
        parts.append(f"the store may have forgotten permits that live for {span(out.forgotten_ms)} more")
    return f"{'; '.join(parts) or 'nothing'}; over in {span(out.wait_ms)} at most"


def _what(scope: str, count: int = 1) -> str:
    word = "order" if scope == "all" else "entry"
    return word if count == 1 else {"order": "orders", "entry": "entries"}[word]


def exit_code(found: Aftermath, doubt: PrefixDoubt | None, *, waits: bool, cancelled: Flattened | None) -> int:
    """0, or how a script learns that something is open."""
    if found.interrupted or (cancelled is not None and cancelled.interrupted):
        return INTERRUPTED
    if doubt is not None and doubt.mistaken:
        return NOT_CONFIRMED
    if cancelled is not None and not cancelled.nothing_rests:
        return NOT_CONFIRMED
    return NOT_CONFIRMED if waits and not found.confirmed else 0


def confirmed_sentence(found: Aftermath, doubt: PrefixDoubt | None, prefix: str) -> str:
    """What a confirmed halt says. Under a prefix that may be mistaken it is no word on the accounts at work. It is none
    either on an order that failed and may be accepted late."""
    said = f"{found} But only under the prefix {printable(prefix)}: see the warning." if doubt else str(found)
    if found.absent is None:
        return (
            f"{said} But an order that failed of late may be accepted yet: the audit, which would say, can't be read."
        )
    if not found.absent:
        return said
    named = ", ".join(printable(each) for each in found.absent[:_NAMED])
    more = f" and {len(found.absent) - _NAMED} more" if len(found.absent) > _NAMED else ""
    return (
        f"{said} But {named}{more} failed within the last 10 minutes, and the exchange had no order then: it has been "
        "seen to accept one 25 s later. Look there again."
    )


def cancelled_at_hand(keys: ExchangeKeys, before: Flattened | None) -> Flattened:
    """Cancels every resting order; with what an earlier call has cancelled."""
    from gate.cli.commands.at_the_exchange import cancelled_at

    done = cancelled_at(keys)
    if before is not None:
        done.cancelled = [*before.cancelled, *done.cancelled]
    return done


def say_cancelled(done: Flattened, venue: str) -> None:
    """Says what is gone, and warns of what isn't."""
    count = len(done.cancelled)
    orders = "1 order" if count == 1 else f"{count} orders"
    if done.interrupted:
        if count:
            click.echo(f"Cancelled {orders} at {venue} before that.")
        for problem in done.problems:
            warn(problem)
        return
    if done.nothing_rests:
        click.echo(f"Cancelled {orders} at {venue}, which says that none rests any more.")
        return
    left = "how many rest is unknown" if done.resting is None else f"{len(done.resting)} rest"
    click.echo(f"Cancelled {orders} at {venue}; {left}.")
    for each in done.resting or ():
        warn(f"still rests: {each}")
    for problem in done.problems:
        warn(problem)


def cancelled_json(done: Flattened, venue: str) -> dict[str, object]:
    """For --json."""
    return {
        "exchange": venue,
        "cancelled": None if done.interrupted else len(done.cancelled),
        "confirmed": done.nothing_rests,
        "left": None if done.resting is None else [str(each) for each in done.resting],
        "problems": done.problems,
    }
