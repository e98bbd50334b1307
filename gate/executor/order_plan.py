"""Plans an intent's order, within the intent and the exchange's filters. Pure, in Decimal."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from msgspec import Struct

from gate.exchange.port import Filters, LotSize, OrderRequest, PriceRange, SymbolConfig
from gate.values.fields import plain
from gate.values.intent import Intent

_FINEST: Final = Decimal("1e-15")  # no intent has more decimals


class OrderPlan(Struct, frozen=True):
    """An order ready to send but for its client order id, with its reference price."""

    quantity: Decimal
    price: Decimal | None
    """A limit order's price, on the tick; None for a market order."""
    trigger_price: Decimal | None
    reference_price: Decimal
    """The price that sizes the order: its own, or the mark price for a market order. 0 if no price is needed."""
    position_side: str | None
    reduce_only: bool
    close_position: bool = False
    """A conditional order that closes what is open when it fires; its quantity is 0."""
    cut_from: Decimal | None = None
    """What an exit asks for, where that is more than one order may have: its quantity is the largest then."""

    @property
    def notional(self) -> Decimal:
        """Quantity at the reference price, in quote asset."""
        return self.quantity * self.reference_price

    def request(self, intent: Intent, client_order_id: str) -> OrderRequest:
        """The request to send."""
        return OrderRequest(
            symbol=intent.symbol,
            side=intent.side,
            quantity=self.quantity,
            client_order_id=client_order_id,
            reduce_only=self.reduce_only,
            position_side=self.position_side,
            order_type=intent.order_type,
            price=self.price,
            time_in_force=intent.time_in_force,
            trigger_price=self.trigger_price,
            working_type=intent.working_type,
            close_position=self.close_position,
        )


class PlanRefusal(Struct, frozen=True):
    """Why an intent gives no order: a code of one word, and the figures."""

    code: str
    detail: str
    retryable: bool = False
    """Whether what is in the way may be gone soon, so that the same intent may come again."""


class _Refused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        self.refusal = PlanRefusal(code, detail)


def needs_mark_price(intent: Intent) -> bool:
    """Whether planning the order needs the mark price.

    An exit needs it only to size a market order by its notional. The exchange checks the rest.
    """
    return not intent.is_exit or (intent.quantity is None and intent.order_type == "MARKET")


def sized_by_mark_price(intent: Intent) -> bool:
    """Whether the mark price bounds the quantity of a limit order. A sell limit below the market fills at the market
    price; sized by its own price alone, it would exceed the intent."""
    return intent.order_type == "LIMIT" and intent.side == "SELL" and intent.quantity is None


def unfiltered(symbol: str) -> Filters:
    """Filters without bounds, for an exit when the exchange's filters can't be read."""
    lot = LotSize(_FINEST, _FINEST, None)
    return Filters(symbol, "", True, lot, lot, PriceRange(None, Decimal(0), None, None, None), None)


def plan_order(intent: Intent, filters: Filters, mark_price: Decimal, *, hedge_mode: bool) -> OrderPlan | PlanRefusal:
    """The order for an intent at a mark price. The mark price may be 0 if none is needed (see needs_mark_price).

    Rounds the quantity down to the lot size, and prices to the tick: a buyer never pays more and a seller never gets
    less than the intent says, and a stop never triggers later. An exit may be below the minimum notional: the exchange
    closes positions of any size. One above the largest quantity that the exchange takes at once becomes that one: to
    close a part is more than nothing.
    """
    try:
        return _plan(intent, filters, mark_price, hedge_mode)
    except _Refused as refused:
        return refused.refusal


def _plan(intent: Intent, filters: Filters, mark: Decimal, hedge_mode: bool) -> OrderPlan:
    if intent.wants_position:
        raise _Refused("POSITION_UNREAD", f"which order closes {intent.symbol} isn't known")  # never to be guessed
    if not intent.is_exit:
        _check_symbol(intent, filters)
    price = trigger = None
    if intent.order_type == "LIMIT" and intent.price is not None:
        price = _on_tick("price", intent, intent.price, filters.prices)
        if mark and not intent.is_exit:
            _check_percent_price(intent, price, mark, filters.prices)
    if intent.trigger_price is not None:
        trigger = _on_tick("trigger price", intent, intent.trigger_price, filters.prices)
    reference = _reference_price(intent, price, trigger, mark)
    if intent.close_position:
        position_side, _ = _position(intent, hedge_mode)
        return OrderPlan(Decimal(0), price, trigger, reference, position_side, reduce_only=False, close_position=True)
    wanted = intent.quantity if intent.quantity is not None else (intent.notional or Decimal(0)) / reference
    lot = filters.lot if intent.order_type == "LIMIT" else filters.market_lot
    cut_from = None
    if intent.is_exit and lot.max_quantity is not None and wanted > lot.max_quantity:
        cut_from, wanted = wanted, lot.max_quantity
    quantity = _in_lots(intent, wanted, lot)
    notional = quantity * reference
    if filters.min_notional is not None and notional < filters.min_notional and not intent.is_exit:
        raise _Refused(
            "MIN_NOTIONAL",
            f"{plain(quantity)} at {plain(reference)} is {plain(notional)}, below the least notional "
            f"{plain(filters.min_notional)} of {intent.symbol}",
        )
    position_side, reduce_only = _position(intent, hedge_mode)
    return OrderPlan(quantity, price, trigger, reference, position_side, reduce_only, cut_from=cut_from)


def _check_symbol(intent: Intent, filters: Filters) -> None:
    if not filters.trading:
        raise _Refused("SYMBOL_OFF", f"{intent.symbol} isn't trading")
    # An intent's size in dollars would be one in bitcoin, and permits reserve margin as one sum for the account.
    if "USD" not in filters.margin_asset:
        raise _Refused(
            "MARGIN_ASSET",
            f"{intent.symbol} is quoted and margined in {filters.margin_asset}; the gate sizes and reserves in dollar "
            "coins (USDT, USDC), so it sends exits of this symbol, and no entries",
        )


def _reference_price(intent: Intent, price: Decimal | None, trigger: Decimal | None, mark: Decimal) -> Decimal:
    """The price of an order's notional: its limit, its trigger price, or the mark price for a market order."""
    if price is not None:
        return max(price, mark) if sized_by_mark_price(intent) else price
    return mark if trigger is None else trigger


def _on_tick(name: str, intent: Intent, asked: Decimal, prices: PriceRange) -> Decimal:
    toward = ROUND_FLOOR if intent.side == "BUY" else ROUND_CEILING
    price, word = asked, name.upper().replace(" ", "_")
    if prices.tick is not None:
        price = prices.lowest + ((asked - prices.lowest) / prices.tick).to_integral_value(toward) * prices.tick
    if price <= 0 or price < prices.lowest:
        least = max(prices.lowest, prices.tick or Decimal(0))
        raise _Refused(
            f"MIN_{word}", f"{name} {plain(asked)} is below the least price {plain(least)} of {intent.symbol}"
        )
    if prices.highest is not None and price > prices.highest:
        raise _Refused(
            f"MAX_{word}",
            f"{name} {plain(asked)} is above the highest price {plain(prices.highest)} of {intent.symbol}",
        )
    return price


def _check_percent_price(intent: Intent, price: Decimal, mark: Decimal, prices: PriceRange) -> None:
    buys = intent.side == "BUY"
    multiplier = prices.multiplier_up if buys else prices.multiplier_down
    if multiplier is None:
        return
    bound = mark * multiplier
    if price > bound if buys else price < bound:
        raise _Refused(
            "PERCENT_PRICE",
            f"price {plain(price)} is {'above' if buys else 'below'} {plain(bound)}, which is {plain(multiplier)} "
            f"times the mark price {plain(mark)} of {intent.symbol}",
        )


def _in_lots(intent: Intent, wanted: Decimal, lot: LotSize) -> Decimal:
    steps = ((wanted - lot.min_quantity) / lot.step).to_integral_value(ROUND_FLOOR)
    quantity = lot.min_quantity + steps * lot.step
    if wanted < lot.min_quantity or quantity <= 0:
        raise _Refused(
            "MIN_QUANTITY",
            f"{plain(wanted)} is below the least quantity {plain(lot.min_quantity)} of {intent.symbol}",
        )
    if lot.max_quantity is not None and quantity > lot.max_quantity:
        kind = "limit" if intent.order_type == "LIMIT" else "market"
        raise _Refused(
            "MAX_QUANTITY",
            f"{plain(quantity)} is above the largest {kind} quantity {plain(lot.max_quantity)} of {intent.symbol}",
        )
    return quantity


def _position(intent: Intent, hedge_mode: bool) -> tuple[str | None, bool]:
    """Position side and reduce-only for the account's position mode.

    Hedge mode requires a position side (-4061) and forbids reduce-only (-1106). In one-way mode, an exit is reduce-only
    and no order has a position side. Without a position side in the intent, the side decides: a buy opens LONG or
    closes SHORT, a sell opens SHORT or closes LONG.
    """
    if not hedge_mode:
        return None, intent.is_exit
    if intent.position_side is not None:
        return intent.position_side, False
    long = (intent.side == "BUY") != intent.reduce_only
    return "LONG" if long else "SHORT", False


def check_position_side(intent: Intent, plan: OrderPlan, held: Decimal) -> PlanRefusal | None:
    """Why an entry must not go: in one-way mode, one that names a position side would close the other side's position.

    `held`: the signed notional of the symbol's position.
    """
    opens = 1 if intent.side == "BUY" else -1
    if intent.position_side not in ("LONG", "SHORT") or plan.position_side is not None or held * opens >= 0:
        return None
    there = "LONG" if held > 0 else "SHORT"
    return PlanRefusal(
        "POSITION_SIDE",
        f"the account is in one-way mode and holds {plain(abs(held))} {there} of {intent.symbol}, which an entry of "
        f"{intent.position_side} would close. Close it by an exit, or switch the account to hedge mode; to reverse it, "
        "leave position_side out",
        retryable=True,  # an exit that was sent beside the entry may close what is there
    )


def check_bracket(intent: Intent, plan: OrderPlan, held: Decimal, config: SymbolConfig) -> PlanRefusal | None:
    """Why an entry exceeds the bracket of the symbol's leverage; None when it fits.

    `held`: the signed notional of the entry's position. Open orders aren't counted: the exchange decides (-2027).
    """
    after = held + (plan.notional if intent.side == "BUY" else -plan.notional)
    if config.max_notional is None or abs(after) <= config.max_notional or abs(after) <= abs(held):
        return None
    return PlanRefusal(
        "MAX_NOTIONAL",
        f"a position of {plain(abs(after))} would exceed {plain(config.max_notional)}, the most that leverage "
        f"{config.leverage} allows for {intent.symbol}",
    )
