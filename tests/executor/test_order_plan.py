"""The order plan, for any intent and any filters."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gate import Intent
from gate.exchange.order_plan import OrderPlan, plan_order
from gate.exchange.orders import Filters

_STEPS = st.sampled_from([Decimal(text) for text in ("0.001", "0.01", "0.1", "1", "10", "0.5", "0.003")])
_FIGURES = st.decimals(min_value="0.0001", max_value="1000000", places=4)


@given(step=_STEPS, least=st.integers(1, 50), size=_FIGURES, price=_FIGURES, by_notional=st.booleans())
def test_a_planned_quantity_fits_the_lot_and_never_exceeds_the_intent(
    step: Decimal, least: int, size: Decimal, price: Decimal, by_notional: bool
) -> None:
    filters = Filters("XUSDT", "USDT", True, step, step * least, Decimal(500_000), Decimal(5))
    sized = {"notional": size} if by_notional else {"quantity": size}
    intent = Intent(id="x", symbol="XUSDT", side="BUY", timestamp=1_700_000_000_000, **sized)  # type: ignore[arg-type]

    plan = plan_order(intent, filters, price)

    if isinstance(plan, OrderPlan):
        wanted = size / price if by_notional else size
        assert filters.min_quantity <= plan.quantity <= min(wanted, Decimal(500_000))
        assert (plan.quantity - filters.min_quantity) % step == 0
        assert wanted - plan.quantity < step, "not smaller than it has to be"
        assert plan.notional == plan.quantity * price >= 5
