"""Shows an account's state to a person: whether entries pass, what is on, and what is in flight."""

from __future__ import annotations

from typing import Final

from gate.cli.screens.rows import Row, Screen
from gate.cli.screens.screen import screen
from gate.cli.screens.wording import ago, moment, printable, span
from gate.values.fields import plain
from gate.values.keys import KEYS
from gate.values.reports import ACCOUNT_WIDE, EXITS_KEPT, POLICY_FORGOTTEN, Standing, Status, verifying_until_ms

_WINDOWS = frozenset(key.shown_as for key in KEYS.values() if key.holds == "list")
_NO_PERMIT = "without a TTL, so no permit of the gate made it: it denies entries until somebody deletes it"
_SOME_SYMBOLS = "Symbols: those with a permit in the last 90 days, 1,000 at most"
_BY_HAND = "a cooldown that a hand has set for another symbol isn't shown"
_SOME_KEYS = "Symbols: 4,000 of their locks, windows and cooldowns are shown; there are more."


_TRIPS: Final = ("safe_mode", "cooldown_global", "cooldown_symbol")


def show_status(found: Status, store: str, to: Screen | None = None, *, exits_refused: str = "") -> None:
    """Prints it, on the terminal or as plain text unless told where. `exits_refused`: that the exchange lets no exit
    through, and its answer."""
    to = to or screen()
    text, style = headline(found, exits_refused)
    to.words(text, style)
    to.words(f"Account {found.prefix} at {store}", "dim")
    to.say("")
    if found.standing:
        to.table(("what", "state", "time left", "key"), standing_rows(found))
    else:
        nothing = "Nothing" if found.halt is None else "Nothing else"
        to.say(f"{nothing} is on: no cooldown, no lock, no window with an entry in it.")
    to.say("")
    for line, style in facts(found):
        to.words(line, style)


def headline(found: Status, exits_refused: str = "") -> tuple[str, str]:
    """Whether the gate would admit entries and exits now, and what a person must know first. With its style. Where the
    exchange lets no exit through, that comes first, and nothing says that exits pass."""
    text, style = _by_the_gate(found, "" if exits_refused else "exits pass")
    if not exits_refused:
        return text, style
    return f"{exits_refused}. The gate: {text}", "bold red"


def _by_the_gate(found: Status, passing: str) -> tuple[str, str]:
    """As headline, by what the store knows. `passing`: what to say of exits that no guard stops."""
    broken = found.damaged
    if "halt" in broken:
        text = f"STOPPED, exits too: {broken['halt'].key} is damaged; `gate resume` clears it"
        style = "bold red"
    elif found.halt is not None:
        since = "" if found.halt.at_ms is None else f", since {ago(found.halt.at_ms, found.now_ms)}"
        what = "HALTED, exits too" if found.stops_exits else ", ".join(filter(None, ("HALTED for entries", passing)))
        text, style = f"{what}. By {found.halt.by}: {found.halt.reason}{since}", "bold red"
    elif found.refuses_writes and found.ever_seen:
        goes = found.policy.exits_without_store
        exits = "Exits are held too: exits_without_store is off"
        if goes:
            exits = passing and "An executor sends exits without it"
        text, style = ". ".join(filter(None, (f"STOPPED for entries: {found.refuses_writes}", exits))), "bold red"
    elif found.stopped:
        stops = [each for each in found.standing if each.on and each.name in ACCOUNT_WIDE]
        names = ", ".join(f"{each.name} (damaged)" if each.damage else each.name for each in stops)
        text, style = "; ".join(filter(None, (f"STOPPED for entries by {names}", passing))), "bold red"
        if names == "memory" and not found.ever_seen:
            waits = f"NOTHING IS KNOWN of the prefix {found.prefix} here; entries wait"
            text = ", ".join(filter(None, (waits, passing)))
    elif not found.policy_agrees:
        text = "STOPPED for entries from here by POLICY_MISMATCH; those of callers with the policy in force pass"
        style = "bold red"
    elif found.in_doubt:
        where = ", but not for every symbol" if any(each.on for each in found.standing) else ""
        many = "an intent" if found.in_doubt == 1 else f"{found.in_doubt} intents"
        text = f"IN DOUBT: {many} may have an order that nobody has heard of; entries pass{where}"
        style = "bold yellow"
    elif any(each.on for each in found.standing):
        text, style = "OPEN, but not for every symbol", "bold yellow"
    else:
        text, style = "OPEN", "bold green"
    if found.observing and not found.refuses_writes:
        denies = "only what is damaged" if any(each.damage and each.on for each in found.standing) else "nothing"
        binds = "the halt binds, but for it " if found.halt is not None else ""
        return f"{text}. Observe mode: {binds}{denies} is really denied", "bold red" if binds else "bold yellow"
    return text, style


def standing_rows(found: Status) -> list[Row]:
    """Keys that deny come first, then keys that only count; both in the order of the guards."""
    return [_standing_row(each) for each in sorted(found.standing, key=lambda each: not each.on)]


def _standing_row(each: Standing) -> Row:
    if each.damage is not None:
        state, left, style = "DAMAGED", "-", "bold red"
    elif each.name in _WINDOWS:
        state, style = ("full", "red") if each.on else ("counts", "")
        left = "" if each.ttl_ms is None else span(each.ttl_ms)
    else:
        state, style = ("on", "red") if each.on else ("off", "dim")
        left = span(each.ttl_ms) if each.ttl_ms is not None else "NO TTL"
        if each.ttl_ms is None and each.on:
            style = "bold red"
            if each.name == "lock":
                return Row((each.name, state, left, f"{each.key}\n{_NO_PERMIT}"), style)
    return Row((each.name, state, left, f"{each.key}\n{printable(each.detail)}"), style)


def facts(found: Status) -> list[tuple[str, str]]:
    """The remaining facts, each a line with its style. A figure under a damaged key is unknown: `?`."""
    broken = found.damaged
    live, reserved, doubt = ("?",) * 3
    if "in_flight" not in broken:
        live, reserved, doubt = str(found.in_flight), plain(found.reserved), str(found.in_doubt)
    fence = "?" if "state" in broken else str(found.fence)
    lines = _observers(found)
    if any(each.on and each.name in _TRIPS and each.damage is None for each in found.standing):
        lines.append(("`gate reset` ends safe mode and cooldowns before their time, once their cause is gone.", ""))
    if not found.ever_seen:
        never = "No gate has ever run under this prefix here, or the store has forgotten it"
        lines.append((f"{never}: is it the right account? If it is new, gate init says so.", "bold yellow"))
    lines.append((f"In flight: {live}, margin reserved {reserved}. Last fence {fence}.", ""))
    if found.exits > EXITS_KEPT:
        settles = "gate reconcile asks the exchange; the oldest beyond 1,000 are forgotten once their records lapse"
        lines.append((f"Exits without an outcome: {found.exits}. No exit is denied for it. {settles}.", "bold yellow"))
    if found.in_doubt:
        shown = ", ".join(printable(each) for each in found.doubtful[:5])
        more = f" and {found.in_doubt - 5} more" if found.in_doubt > 5 else ""
        lines.append((f"In doubt: {doubt}: {shown}{more}. gate reconcile asks the exchange.", "bold yellow"))
    else:
        lines.append((f"In doubt: {doubt}.", ""))
    if not found.all_symbols:
        known = f"{_SOME_SYMBOLS}, since {found.unseen}: {_BY_HAND}."
        lines.append((known if found.unseen else _SOME_KEYS, "dim"))
    if "state" in broken:
        unknown = f"unknown, {broken['state'].key} is damaged"
        policy = (f"Policy: in force is {unknown}; own {found.policy_own}.", "")
        policy = policy if found.policy_in_force is None else _policy(found)
        return [*lines, (f"Memory: {unknown}.", ""), policy, *_server(found)]
    return [*lines, _memory(found), _policy(found), *_server(found)]


def _observers(found: Status) -> list[tuple[str, str]]:
    if not found.observers:
        return []
    named = ", ".join(f"{printable(each.name)}, {ago(each.seen_ms, found.now_ms)}" for each in found.observers[:5])
    more = f"; and {len(found.observers) - 5} more" if len(found.observers) > 5 else ""
    return [(f"Observing: {len(found.observers)}, not held back but by a halt: {named}{more}.", "bold yellow")]


def _memory(found: Status) -> tuple[str, str]:
    if found.memory_wait_ms is not None:
        new, wait = "new", f"entries wait {span(found.memory_wait_ms)} from the next verdict on"
        if found.memory_lost_ms is not None:
            new = f"new since {ago(found.memory_lost_ms, found.now_ms)}"
            wait = f"entries wait {span(found.memory_wait_ms)} more"
        return f"Memory: {new}; {wait}; exits pass, once no order of before can arrive.", "bold yellow"
    if found.evicts:
        return "Memory: never whole, since the server may evict keys; every permit says verify.", "bold yellow"
    if not found.memory_since_ms:
        return "Memory: whole, by a person's word (gate init).", ""
    whole = f"Memory: whole since {ago(found.memory_since_ms, found.now_ms)}"
    until = verifying_until_ms(found, found.policy.dedup_ttl_ms)
    return f"{whole}." if until is None else f"{whole}; permits say verify until {moment(until)}.", ""


def _policy(found: Status) -> tuple[str, str]:
    if found.policy_in_force is None:
        verifies = verifying_until_ms(found, found.policy.dedup_ttl_ms) is not None
        style = "bold yellow" if found.memory_wait_ms is not None or verifies else ""
        return f"Policy: none in force yet; own {found.policy_own}; {POLICY_FORGOTTEN}.", style
    if found.policy_agrees:
        return f"Policy: {found.policy_in_force} in force, the same as here.", ""
    become = "would be denied" if found.observing else "are denied"
    differ = f"Policy: {found.policy_in_force} in force, but here {found.policy_own}"
    named = ", ".join(f"{name} {in_force}, here {own}" for name, in_force, own in found.differing)
    return f"{differ}: entries from here {become} POLICY_MISMATCH. {named}".rstrip(), "bold yellow"


def _server(found: Status) -> list[tuple[str, str]]:
    complaints = found.server.complaints
    refuses = found.refuses_writes
    if refuses:
        complaints = (refuses, *complaints)
    return [
        (f"Server: {printable(str(found.server))}.", "yellow" if complaints else ""),
        *((f"Warning: {each}.", "yellow") for each in complaints),
    ]
