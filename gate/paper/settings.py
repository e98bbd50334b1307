"""How a paper exchange is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from gate.paper.faults import Fault
from gate.paper.fees import FeeSchedule
from gate.paper.limits import RateLimits
from gate.paper.symbols import Market


class Account(Struct, frozen=True):
    """One API key pair and what its account starts with.

    `balance` is in USDT; `assets` adds wallets in other assets. `name` shows in the ledger in place of the key, which
    shows nowhere; by default the accounts are `account-1`, `account-2` and so on. The secret shows in no repr.
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


class WalkSettings(Struct, frozen=True):
    """A random walk of all prices: one step per interval of server time, repeatable by its seed."""

    seed: int
    interval_ms: int = 1_000


class Settings(Struct, frozen=True, kw_only=True):
    """Everything a venue needs. `limits` None switches the rate limits off; `walk` None lets prices stand still."""

    market: Market
    accounts: Sequence[Account]
    fees: FeeSchedule = FeeSchedule()
    limits: RateLimits | None = RateLimits()
    walk: WalkSettings | None = None
    faults: Sequence[Fault] = ()
    ledger_file: Path | None = None
