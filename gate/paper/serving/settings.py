"""The settings of a paper exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from msgspec import Struct

from gate.paper.books.ledger import KEPT_ORDERS
from gate.paper.market.decimals import SATOSHI, is_multiple
from gate.paper.market.fees import FeeSchedule
from gate.paper.market.symbols import Market
from gate.paper.rest.auth import KEY_FORMAT
from gate.paper.rest.limits import RateLimits
from gate.paper.serving.faults import Fault

LARGEST_BALANCE = Decimal(10) ** 15  # with eight decimals it has far fewer digits than the Decimal context


class Account(Struct, frozen=True):
    """One API key pair and the opening balances of its account.

    `balance` is in USDT; `assets` adds wallets in other assets. The ledger shows `name`, never the key; by default the
    names are `account-1`, `account-2` and so on. No repr shows the secret.
    """

    key: str = "paper-key"
    secret: str = "paper-secret"  # noqa: S105 - a paper account's well-known default, it opens nothing real
    balance: Decimal | str = "10000"
    name: str = ""
    assets: Mapping[str, Decimal | str] = {}

    def __repr__(self) -> str:
        return f"Account(name={self.name!r}, balance={self.balance!r})"

    def deposits(self) -> dict[str, Decimal]:
        return {"USDT": Decimal(self.balance), **{asset: Decimal(amount) for asset, amount in self.assets.items()}}

    def check(self) -> None:
        """Raises ValueError with the field's name for an unusable value. Never shows a key or a secret."""
        if not KEY_FORMAT.fullmatch(self.key):
            raise ValueError(f"key: {_flaw(self.key)}; it must be ASCII letters, digits, _ and -")
        if not (self.secret and self.secret.isascii() and self.secret.isprintable()):
            raise ValueError(f"secret: {_flaw(self.secret)}; it must be printable ASCII")
        _check_balance("balance", self.balance)
        for asset, amount in self.assets.items():
            _check_balance(f"assets: {asset}", amount)


def _flaw(text: str) -> str:
    return "has a character that can't be in it" if text else "'' is empty"


def _check_balance(field: str, value: Decimal | str) -> None:
    shown = f"{field}: {str(value)!r}"
    try:
        figure = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{shown} is not a figure") from None
    if not figure.is_finite() or figure < 0:
        raise ValueError(f"{shown} is not a figure of zero or more")
    if figure > LARGEST_BALANCE:
        raise ValueError(f"{shown} is more than {LARGEST_BALANCE}")
    if not is_multiple(figure, SATOSHI):
        raise ValueError(f"{shown} has more than eight decimals")


class WalkSettings(Struct, frozen=True):
    """A random walk of all prices: one step per interval of server time, repeatable by its seed."""

    seed: int
    interval_ms: int = 1_000


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of a venue. `limits` None switches the rate limits off; with `walk` None prices stand still.

    `kept_orders`: how many orders that are over, and trades, stay in memory. `old_answers`: the answer to an order has
    the fill's price, as before July 2026.
    """

    market: Market
    accounts: Sequence[Account]
    fees: FeeSchedule = FeeSchedule()
    limits: RateLimits | None = RateLimits()
    walk: WalkSettings | None = None
    faults: Sequence[Fault] = ()
    ledger_file: Path | None = None
    old_answers: bool = False
    kept_orders: int = KEPT_ORDERS

    def __post_init__(self) -> None:
        """Raises ValueError, with field and value, for a setting that can't be used."""
        for account in self.accounts:
            account.check()
        if self.kept_orders < 1:
            raise ValueError(f"kept_orders: {self.kept_orders} is not a positive number")
        if self.walk is not None and self.walk.interval_ms < 1:
            raise ValueError(f"walk: interval_ms: {self.walk.interval_ms} is not a positive time")
