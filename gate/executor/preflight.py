"""Checks an entry against the account's margin and leverage bracket before it is sent. Doubt counts as a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gate.exchange.consequences import penalty_of
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange, Filters, SymbolConfig
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.executor.leverage import agreed, assumed
from gate.executor.margin import MarginCheck, margin_need
from gate.executor.order_plan import OrderPlan, check_bracket
from gate.values.intent import Intent
from gate.values.log_words import log_of, names
from gate.values.outcome import Penalty
from gate.values.policy import Policy

_log: Final = log_of("gate.executor")

STALE_MS: Final = 3_000
"""An older reading of the account no longer shows the free margin. Then nothing is sent."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last reading of a symbol."""

    mark_price: Decimal
    config: SymbolConfig


class Preflight:
    """The checks of one account's entries. Exits skip them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._last_seen: dict[str, _Seen] = {}

    def reserve(self, intent: Intent, policy: Policy) -> Decimal | None:
        """The margin to reserve, from the symbol's last reading. None leaves it to the intent's own figures."""
        seen = self._last_seen.get(intent.symbol)
        if seen is None or intent.is_exit:
            return None
        own_price = intent.price if intent.order_type == "LIMIT" else intent.trigger_price
        reference = own_price or seen.mark_price
        quantity = intent.quantity if intent.quantity is not None else (intent.notional or Decimal(0)) / reference
        config = assumed(intent, policy, seen.config)
        return margin_need(intent, quantity, reference, seen.mark_price, config, policy.margin_buffer)

    async def cover(
        self, attempt: Attempt, plan: OrderPlan, filters: Filters, mark_price: Decimal
    ) -> MarginCheck | Execution:
        """The margin check that covers the order, or the execution that says why nothing is sent."""
        intent, permit, check = attempt.intent, attempt.permit, None
        try:
            config = await agreed(self._exchange, attempt, await self._exchange.symbol_config(intent.symbol))
            if isinstance(config, Execution):
                _log.warning("LEVERAGE %s", names(intent, detail=config.detail))
                return config
            seen = _Seen(mark_price, config)
            self._last_seen[intent.symbol] = seen
            buffer = attempt.policy.margin_buffer
            need = margin_need(intent, plan.quantity, plan.reference_price, mark_price, config, buffer)
            check = MarginCheck(need, None, permit.reserved_ahead)
            account = attempt.account = await self._exchange.account()
        except ExchangeFailure as failed:
            return _unreadable(attempt, check, str(failed), penalty_of(failed.failure, attempt.policy))
        available = account.available.get(filters.margin_asset, f"the account has no {filters.margin_asset}")
        if isinstance(available, str):
            return _unreadable(attempt, check, available)

        held = account.notional.get((intent.symbol, plan.position_side or "BOTH"), Decimal(0))
        too_large = check_bracket(intent, plan, held, seen.config)
        if too_large is not None:
            return attempt.unfit(too_large)
        check = MarginCheck(need, available, permit.reserved_ahead)
        _log.info("MARGIN CHECK %s", names(intent, detail=check, leverage=seen.config.leverage))
        if not check.covered:
            _log.warning("INSUFFICIENT MARGIN %s", names(intent, detail=check))
            return attempt.short_of_margin(check)
        if permit.reserved * (1 + attempt.policy.margin_buffer) < need and not permit.observed:
            # Only a lack larger than the buffer counts, so small moves of the price don't matter.
            return attempt.under_reserved(check)
        return check


def grown_stale(attempt: Attempt, check: MarginCheck | None) -> Execution | None:
    """The execution that ends an entry whose margin check is too old. None while it is fresh, and for an exit."""
    age_ms = attempt.account.age_ms if attempt.account else 0
    if age_ms <= STALE_MS:
        return None
    return attempt.margin_unknown("MARGIN_STALE", check, f"read {age_ms} ms ago, {STALE_MS} ms are allowed")


def _unreadable(attempt: Attempt, check: MarginCheck | None, why: str, penalty: Penalty | None = None) -> Execution:
    execution = attempt.margin_unknown("MARGIN_UNREADABLE", check, why, penalty)
    _log.warning("MARGIN CHECK %s", names(attempt.intent, detail=execution.detail))
    return execution
