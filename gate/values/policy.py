"""The limits and times that the gate applies, with their defaults. docs/design.md tells what each is for."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Final

from gate.values.errors import InvalidPolicy, shown
from gate.values.fields import plain
from gate.values.verdict import Mode

LONGEST_MS: Final = 30 * 24 * 3600 * 1000
"""The longest time in the gate: 30 days."""
_MOST: Final = 100_000
_MOST_DECIMALS: Final = 28
_LONGEST_NAME: Final = 40
_NAMED: Final = 10
_FIGURE: Final = re.compile(r"\d{1,20}", re.ASCII)
# The recvWindow and the exchange's tolerance (6.5 s), the least time that a permit must have left (1.5 s), and spare.
_FOR_NEW_MEMORY_MS: Final = 10_000
_LEAST_FOR_AN_ORDER_MS: Final = 2_000
"""An executor needs 1.5 s of a permit, and what comes before the order takes some."""
_LONGEST_MEMORY_WAIT_MS: Final = 300_000
_MAY_BE_ZERO: Final = frozenset({"skew_ms"})
_SWITCHES: Final = frozenset({"exits_without_store", "cancel_conflicting_exits"})
MODES: Final = ("enforce", "observe")
_WORDS: Final = {
    "mode": MODES,
    "leverage": ("set", "match", "exchange"),
    "after_memory_loss": ("verify", "halt"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits and times. Limits are counts, `_ms` are milliseconds, `margin_buffer` is a share (0.25 is 25 %).

    Raises InvalidPolicy, which names all faults.
    """

    rate_symbol_limit: int = 1
    """The most entries admitted for one symbol in any `rate_symbol_window_ms`."""
    rate_symbol_window_ms: int = 30_000
    rate_global_limit: int = 5
    """The most entries admitted for the account in any `rate_global_window_ms`. Exits take places too, but always pass.
    One more entry trips the global cooldown."""
    rate_global_window_ms: int = 60_000
    lock_ttl_ms: int = 30_000
    """A permit's lifetime. It locks its symbol and side for this time; its holder sends nothing afterwards."""
    dedup_ttl_ms: int = 3_600_000
    """How long an intent is remembered. At least max_age_ms + lock_ttl_ms."""
    max_age_ms: int = 600_000
    """The gate denies an intent that is older."""
    skew_ms: int = 5_000
    """How far an intent's time may lie in the future."""
    failure_limit: int = 5
    """This many counted failures in any `failure_window_ms` trip safe mode."""
    failure_window_ms: int = 300_000
    safe_mode_ttl_ms: int = 900_000
    cooldown_symbol_ms: int = 300_000
    """Cooldown of a symbol after a margin rejection, and after the exchange's refusals that rest the symbol and have no
    time of their own. It doesn't rest the account: `failure_limit` margin rejections do."""
    cooldown_global_ms: int = 300_000
    """Cooldown of the account when an order exceeds the global rate, or when the exchange wants it to rest."""
    unknown_cooldown_ms: int = 300_000
    """Cooldown of a symbol after an order with an unknown outcome."""
    margin_buffer: Decimal = Decimal("0.25")
    """Margin to keep free beyond the margin of an order, as a share of that margin."""
    max_in_flight: int = 64
    """The most permits of entries that may be live at once. Exits don't count."""
    leverage: str = "set"
    """Where the exchange has another leverage than an entry names: `set` it before the order, `match` sends nothing,
    `exchange` takes what is there, unless it is higher. An entry that names none takes what is there."""
    after_memory_loss: str = "verify"
    """After Redis has lost memory, entries wait, then permits say verify. With `halt`, a person must resume first."""
    exits_without_store: bool = True
    """Whether an exit goes that the store can't judge, once the exchange says that it has no order of it."""
    cancel_conflicting_exits: bool = False
    """Where plain orders leave an exit nothing to reduce (-2022, -4118): cancel them, and send it once more."""
    mode: str = "enforce"
    """`enforce`, or `observe`: judge every intent beside other guards, under keys of its own, and deny none but for a
    person's halt. The caller's own choice: no part of the fingerprint, and nobody else's verdict changes by it."""

    def __post_init__(self) -> None:
        faults = tuple(self._faults())
        if faults:
            raise InvalidPolicy(faults)

    def _faults(self) -> list[str]:
        faults = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _WORDS:
                if value not in _WORDS[each.name]:
                    faults.append(f"{each.name}: {shown(value)} is not one of {', '.join(_WORDS[each.name])}")
            elif each.name in _SWITCHES:
                if not isinstance(value, bool):
                    faults.append(f"{each.name}: {shown(value)} is neither true nor false; write one, without quotes")
            elif each.name == "margin_buffer":
                if not isinstance(value, Decimal) or not value.is_finite() or not 0 <= value <= 10:
                    faults.append(
                        f"margin_buffer: {shown(value)} is not a Decimal between 0 and 10 (0.25 keeps 25 % free)"
                    )
                elif (value and value.adjusted() < -_MOST_DECIMALS) or len(value.as_tuple().digits) > _MOST_DECIMALS:
                    faults.append(f"margin_buffer: {shown(value)} has more than {_MOST_DECIMALS} decimals")
            else:
                most = LONGEST_MS if each.name.endswith("_ms") else _MOST
                least = 0 if each.name in _MAY_BE_ZERO else 1
                if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                    faults.append(f"{each.name}: {shown(value)} is not a whole number from {least} to {most}")
        whole = {each.partition(":")[0] for each in faults}.isdisjoint(("dedup_ttl_ms", "max_age_ms", "lock_ttl_ms"))
        if whole and self.dedup_ttl_ms < self.max_age_ms + self.lock_ttl_ms:
            faults.append(
                f"dedup_ttl_ms: {self.dedup_ttl_ms} is below max_age_ms + lock_ttl_ms = "
                f"{self.max_age_ms + self.lock_ttl_ms}: a record could lapse while its intent is still fresh"
            )
        return faults

    @property
    def order_timeout_ms(self) -> int:
        """How long one order request may take, in ms: at most 10 s (python-binance's own time-out), and at most half
        of a permit's lifetime. So an answer, or the look-up after a lost answer, still comes before the lock ends."""
        return max(1, min(10_000, self.lock_ttl_ms // 2))

    @property
    def memory_wait_ms(self) -> int:
        """How long entries wait after the store has lost memory, in ms: until no permit of before can be alive and no
        order of before be accepted any more, and until the windows, which are lost too, are empty; of a window, five
        minutes count. lua/include/guards.lua does the same."""
        windows_ms = max(self.rate_symbol_window_ms, self.rate_global_window_ms)
        return max(self.lock_ttl_ms + 6_500, min(windows_ms, _LONGEST_MEMORY_WAIT_MS))

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each pair of figures that are allowed but work against each other."""
        found = []
        if (
            self.rate_symbol_limit >= self.rate_global_limit
            and self.rate_symbol_window_ms <= self.rate_global_window_ms
        ):
            found.append(
                f"rate_symbol_limit {self.rate_symbol_limit} in {self.rate_symbol_window_ms} ms never binds: the "
                f"global limit of {self.rate_global_limit} in {self.rate_global_window_ms} ms is reached first"
            )
        if self.lock_ttl_ms < _LEAST_FOR_AN_ORDER_MS:
            found.append(
                f"lock_ttl_ms {self.lock_ttl_ms} is below {_LEAST_FOR_AN_ORDER_MS}: an executor sends no order by a "
                "permit that lives so shortly, and no exit either"
            )
        elif self.lock_ttl_ms < 5_000:
            found.append(
                f"lock_ttl_ms {self.lock_ttl_ms} leaves an order {self.order_timeout_ms} ms; below 5000 slow "
                "answers of the exchange end as unknown"
            )
        elif self.lock_ttl_ms < _FOR_NEW_MEMORY_MS:
            found.append(
                f"lock_ttl_ms {self.lock_ttl_ms} is below {_FOR_NEW_MEMORY_MS}: while a store's memory is new or "
                "damaged, an order waits longer than its permit lives, so that none goes, and no exit either"
            )
        ahead_ms = (self.dedup_ttl_ms - self.max_age_ms) // 2
        if self.dedup_ttl_ms < 3 * self.max_age_ms:
            found.append(
                f"dedup_ttl_ms {self.dedup_ttl_ms} is below three times max_age_ms {self.max_age_ms}: where the clock "
                "of the store steps ahead and back, an intent may be sent twice"
            )
        elif self.rate_global_window_ms > ahead_ms:
            found.append(
                f"rate_global_window_ms {self.rate_global_window_ms} is longer than half of dedup_ttl_ms - max_age_ms, "
                f"{ahead_ms}: where the clock of the store steps ahead and back, an intent may be sent twice"
            )
        window_ms = max(self.rate_symbol_window_ms, self.rate_global_window_ms)
        if window_ms > _LONGEST_MEMORY_WAIT_MS and self.after_memory_loss != "halt":
            found.append(
                f"a window of {window_ms} ms is longer than the {_LONGEST_MEMORY_WAIT_MS} that entries wait after a "
                "loss of memory, which empties it: it may hold more than its limit then; "
                "after_memory_loss halt waits for a person"
            )
        if self.mode == "observe":
            found.append(
                "mode observe: only a person's halt denies; of everything else the gate reports what it would have done"
            )
        return tuple(found)

    @property
    def fingerprint(self) -> str:
        """A hash of all figures. Two callers with equal fingerprints apply the same limits, in whichever mode."""
        return _fingerprint(self.texts())

    @property
    def observes(self) -> bool:
        """Whether this caller only observes."""
        return self.mode == Mode.OBSERVE

    def texts(self) -> dict[str, str]:
        """The canonical text of every figure, by its name. The mode is no figure."""
        return {
            each.name: plain(value) if isinstance(value := getattr(self, each.name), Decimal) else str(value)
            for each in fields(self)
            if each.name != "mode"
        }

    def written(self) -> dict[str, str]:
        """As `texts`, but as a person writes them in a config file: `true`, where the canonical text is `True`."""
        return {name: text.lower() if name in _SWITCHES else text for name, text in self.texts().items()}

    def differences(self, other: Policy) -> tuple[tuple[str, str, str], ...]:
        """The figures that differ: name, text here, text in the other policy."""
        theirs = other.written()
        return tuple((name, text, theirs[name]) for name, text in self.written().items() if text != theirs[name])

    @classmethod
    def from_mapping(cls, table: Mapping[str, object]) -> Policy:
        """A policy from a table, such as TOML gives. A figure that the table doesn't name keeps its default.

        `margin_buffer` may be a number or a text. Raises InvalidPolicy. An unknown name is a fault, since a misspelt
        limit would silently not apply.
        """
        names = {each.name for each in fields(cls)}
        faults = [f"{_name(name)}: is not a figure of the policy{_meant(name)}" for name in table if name not in names]
        figures = {name: value for name, value in table.items() if name in names}
        buffer = figures.get("margin_buffer")
        if isinstance(buffer, int | float | str) and not isinstance(buffer, bool):
            try:
                figures["margin_buffer"] = Decimal(str(buffer))
            except (InvalidOperation, ValueError):  # an int with more digits than Python prints
                faults.append(f"margin_buffer: {shown(buffer)} is not a number; 0.25 keeps 25 % free")
                del figures["margin_buffer"]
        try:
            policy = dataclasses.replace(cls(), **figures)  # type: ignore[arg-type]  # checked by __post_init__
        except InvalidPolicy as invalid:
            raise InvalidPolicy((*faults, *invalid.faults)) from None
        if faults:
            raise InvalidPolicy(tuple(faults))
        return policy


def _fingerprint(texts: Mapping[str, str]) -> str:
    canonical = " ".join(f"{name}={text}" for name, text in texts.items())
    digest = hashlib.blake2b(canonical.encode(), digest_size=9).digest()
    return urlsafe_b64encode(digest).decode()


def policy_of_figures(fingerprint: str, figures: str) -> Policy:
    """The policy in force, from its fingerprint and its figures as the state keeps them. Raises InvalidPolicy.

    A version before this one may not have known every figure; those keep their defaults. A figure that this version
    doesn't know is a fault, and so are figures to which the fingerprint doesn't belong: nobody may guess limits.
    """
    pairs = dict(word.partition("=")[::2] for word in figures.split())
    defaults = Policy().texts()
    if unknown := [name for name in pairs if name not in defaults]:
        raise InvalidPolicy(
            tuple(f"{_name(name)}: is unknown to this version of the gate" for name in unknown[:_NAMED])
        )
    texts = {name: pairs[name] for name in defaults if name in pairs}
    if _fingerprint(texts) != fingerprint:
        raise InvalidPolicy(("the store's figures of the policy in force are missing or damaged",))
    return Policy.from_mapping({name: _value(name, text) for name, text in texts.items()})


def _value(name: str, text: str) -> object:
    default = getattr(Policy(), name)
    if isinstance(default, bool):
        return {"True": True, "False": False}.get(text, text)
    return int(text) if isinstance(default, int) and _FIGURE.fullmatch(text) else text


def _name(name: object) -> str:
    """A name that isn't one of the gate's, as a message tells it."""
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= _LONGEST_NAME else shown(name)


def _meant(name: object) -> str:
    """What to write in place of a name that is a slip of one of the gate's."""
    from difflib import get_close_matches  # imported here, since only a slip needs it

    figures, said = [each.name for each in fields(Policy)], str(name)[:_LONGEST_NAME]
    near = get_close_matches(said, figures, 1, 0.8) or [each for each in figures if each.startswith(f"{said}_")]
    return f"; write {' or '.join(near)}" if near else "; `gate policy show` lists them all"


def read_setting(setting: str) -> tuple[str, object]:
    """A figure's name and value from `name=value`, as the command line takes it. Raises InvalidPolicy."""
    name, equals, text = (part.strip() for part in setting.partition("="))
    if name not in Policy().texts():
        own = "; it is each caller's own, in its config file or Policy(mode=...)" if name == "mode" else _meant(name)
        raise InvalidPolicy((f"{_name(name)}: is not a figure of the policy{own}",))
    if not equals or not text:
        raise InvalidPolicy((f"{name}: has no value; write {name}=VALUE",))
    default = getattr(Policy(), name)
    if isinstance(default, bool):
        return name, {"true": True, "false": False}.get(text.lower(), text)
    return name, _value(name, text.replace("_", "") if isinstance(default, int) else text)


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The policy that the store applies to the account, and who has put it in force."""

    fingerprint: str
    policy: Policy | None
    """None where its figures can't be read: `problem` says why."""
    problem: str = ""
    at_ms: int | None = None
    """When it was put in force; None where that isn't known, as under a version that didn't write it down."""
    by: str = ""
    """Who did: `gate` for the first admitted entry, which puts its caller's policy in force."""
    reason: str = ""
    applied: bool = False
    """Whether it stands in a key of its own, as a person's act leaves it, which the role of a worker only reads. False
    for what the first admitted entry or an earlier version has put in force."""
