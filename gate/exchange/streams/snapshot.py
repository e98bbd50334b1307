"""The account as REST tells it, with what events need in order to go on from there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gate.exchange.answers import decode_account, figure, text, unreadable
from gate.exchange.port import AccountFigures
from gate.exchange.streams.events import Key


@dataclass(frozen=True, slots=True)
class Held:
    """A position, or a symbol with orders that rest, at the snapshot's moment."""

    amount: Decimal
    notional: Decimal
    unrealized: Decimal
    isolated: bool
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading of the account."""

    asked_ns: int
    from_ms: int
    """The exchange's clock before the account was asked for: what happened earlier is in it."""
    until_ms: int
    """The latest moment of the exchange's clock at which it can have been made: what happened later isn't in it."""
    figures: AccountFigures
    cross_wallets: Mapping[str, Decimal]
    wallets_ms: Mapping[str, int]
    """When each wallet last changed."""
    held: Mapping[Key, Held]


def decode_snapshot(answer: Any, asked_ns: int, from_ms: int, until_ms: int) -> Snapshot:
    """Raises ExchangeFailure for an account that can't be read."""
    figures = decode_account(answer, asked_ns)
    try:
        wallets = {
            text(each["asset"]): figure("crossWalletBalance", each["crossWalletBalance"], least=None)
            for each in answer["assets"]
        }
        wallets_ms = {
            text(each["asset"]): int(figure("updateTime", each["updateTime"], least=None)) for each in answer["assets"]
        }
        held = {(text(row["symbol"]), text(row["positionSide"])): _held(row) for row in answer["positions"]}
    except (KeyError, TypeError) as error:
        raise unreadable("account", error) from None
    return Snapshot(asked_ns, from_ms, until_ms, figures, wallets, wallets_ms, held)


def _held(row: Mapping[str, Any]) -> Held:
    return Held(
        amount=figure("positionAmt", row["positionAmt"], least=None),
        notional=figure("notional", row["notional"], least=None),
        unrealized=figure("unrealizedProfit", row["unrealizedProfit"], least=None),
        isolated=bool(figure("isolatedWallet", row["isolatedWallet"], least=None)),
        changed_ms=int(figure("updateTime", row["updateTime"], least=None)),
    )
