"""The account's state as a person reads it: may entries pass, what is on, and what is under way."""

from __future__ import annotations

from gate.cli.screen import Row, screen
from gate.cli.status import verifying_until_ms
from gate.cli.wording import ago, moment, printable, span
from gate.fields import plain
from gate.inspection import ACCOUNT_WIDE, Standing, Status

_WINDOWS = frozenset({"failures", "rate_global", "rate_symbol"})


def show_status(found: Status, dedup_ttl_ms: int) -> None:
    """Prints it."""
    to = screen()
    text, style = headline(found)
    to.say(text, style)
    to.say("")
    if found.standing:
        to.table(("what", "state", "time left", "key"), standing_rows(found))
    else:
        to.say("Nothing is on: no cooldown, no lock, no window with an entry in it.")
    to.say("")
    for line, style in facts(found, dedup_ttl_ms):
        to.say(line, style)


def headline(found: Status) -> tuple[str, str]:
    """Whether entries pass, and what else a person must know first."""
    if found.halt is not None:
        since = "" if found.halt.at_ms is None else f", since {ago(found.halt.at_ms, found.now_ms)}"
        what = "HALTED, exits too" if found.halt.scope == "all" else "HALTED for entries, exits pass"
        text, style = f"{what}. By {found.halt.by}: {found.halt.reason}{since}", "bold red"
    elif found.stopped:
        names = ", ".join(each.name for each in found.standing if each.on and each.name in ACCOUNT_WIDE)
        exits = "and for exits" if found.stops_exits else "exits pass"
        text, style = f"STOPPED for entries by {names}; {exits}", "bold red"
    elif any(each.on for each in found.standing):
        text, style = "OPEN, but not for every symbol", "bold yellow"
    else:
        text, style = "OPEN", "bold green"
    if (found.policy_in_force or "").startswith("observe-"):
        return f"{text}. Observe mode: nothing is really denied", "bold yellow"
    return text, style


def standing_rows(found: Status) -> list[Row]:
    """What denies first, then what only counts; else in the order of the guards."""
    return [_standing_row(each) for each in sorted(found.standing, key=lambda each: not each.on)]


def _standing_row(each: Standing) -> Row:
    if each.detail.startswith("damaged"):
        state, left, style = "DAMAGED", "-", "bold red"
    elif each.name in _WINDOWS:
        state, style = ("full", "red") if each.on else ("counts", "")
        left = "" if each.ttl_ms is None else span(each.ttl_ms)
    else:
        state, style = ("on", "red") if each.on else ("off", "dim")
        left = span(each.ttl_ms) if each.ttl_ms is not None else "NO TTL"
        if each.ttl_ms is None and each.on:
            style = "bold red"
    return Row((each.name, state, left, f"{each.key}\n{printable(each.detail)}"), style)


def facts(found: Status, dedup_ttl_ms: int) -> list[tuple[str, str]]:
    """The rest, a line each, with its style."""
    lines = [(f"In flight: {found.in_flight}, margin reserved {plain(found.reserved)}. Last fence {found.fence}.", "")]
    if found.in_doubt:
        shown = ", ".join(printable(each) for each in found.doubtful[:5])
        more = f" and {found.in_doubt - 5} more" if found.in_doubt > 5 else ""
        lines.append((f"In doubt: {found.in_doubt}: {shown}{more}. Ask the exchange: gate show ID.", "bold yellow"))
    else:
        lines.append(("In doubt: 0.", ""))
    until = verifying_until_ms(found, dedup_ttl_ms)
    if found.memory_since_ms is None:
        lines.append(("Memory: empty, or lost; the next permits say verify.", ""))
    elif until is not None:
        whole = f"Memory: whole since {ago(found.memory_since_ms, found.now_ms)}"
        lines.append((f"{whole}; permits say verify until {moment(until)}.", ""))
    else:
        lines.append((f"Memory: whole since {ago(found.memory_since_ms, found.now_ms)}.", ""))
    if found.policy_in_force is None:
        lines.append((f"Policy: none in force yet; own {found.policy_own}.", ""))
    elif found.policy_agrees:
        lines.append((f"Policy: {found.policy_in_force} in force, the same as here.", ""))
    else:
        lines.append(
            (
                f"Policy: {found.policy_in_force} in force, but here {found.policy_own}: "
                "entries from here are denied POLICY_MISMATCH.",
                "bold yellow",
            )
        )
    return lines
