"""Decodes the exchange's answers. Pure. An answer that can't be read raises ExchangeFailure UNREADABLE; no guesses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from msgspec.structs import replace

from gate.exchange.failures import ExchangeFailure, Failure
from gate.exchange.port import AccountFigures, Filters, LeverageTerms, LotSize, OrderAnswer, Position, PriceRange
from gate.values.errors import cut, shown

_EXITS_OF_HEDGE_MODE: Final = frozenset({("LONG", "SELL"), ("SHORT", "BUY")})
_ZERO: Final = Decimal(0)
_ABOVE_ZERO: Final = Decimal("1e-18")
_ORDER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_LEAST: Final = Decimal("-1e20")
_MOST: Final = Decimal("1e20")  # a larger number is damaged, and one with a huge exponent would take for ever to print
_MOST_DECIMALS: Final = 30  # a smaller one would take as long
_LONGEST_WORD: Final = 64
FINISHED: Final = "FINISHED"
"""The status of a conditional order when what it became has ended, filled or not."""
_TOP_LEVEL_ASSET: Final = "USDT"
"""The asset of the account's totals; in multi-assets mode they are in USD."""


def decode_filters(symbol: Mapping[str, Any]) -> Filters:
    """One symbol of exchangeInfo."""
    name = text(symbol["symbol"])
    try:
        by_type = {each["filterType"]: each for each in symbol["filters"]}
        lot, market_lot = by_type["LOT_SIZE"], by_type.get("MARKET_LOT_SIZE", {})
        notional = by_type.get("MIN_NOTIONAL", {}).get("notional")
        return Filters(
            symbol=name,
            margin_asset=text(symbol.get("marginAsset", "USDT")),
            trading=symbol.get("status") == "TRADING",
            lot=_lot(lot),
            # A market order must satisfy both filters: the coarser step and the narrower bounds hold.
            market_lot=_lot(lot, market_lot),
            prices=_prices(by_type.get("PRICE_FILTER", {}), by_type.get("PERCENT_PRICE", {})),
            min_notional=None if notional is None else figure("notional", notional, least=None),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise unreadable(f"filters of {name}", error) from None
    except ExchangeFailure as failed:
        told = f"filters of {name}: {failed.failure.detail}"
        raise ExchangeFailure(replace(failed.failure, detail=told)) from None


def _lot(*filters: Mapping[str, Any]) -> LotSize:
    largest = [bound for each in filters if (bound := _bound(each, "maxQty")) is not None]
    return LotSize(
        step=figure("stepSize", str(max(_number(each, "stepSize") for each in filters))),
        min_quantity=max(_number(each, "minQty") for each in filters),
        max_quantity=min(largest, default=None),
    )


def _prices(range_: Mapping[str, Any], percent: Mapping[str, Any]) -> PriceRange:
    return PriceRange(
        tick=_bound(range_, "tickSize"),
        lowest=_number(range_, "minPrice"),
        highest=_bound(range_, "maxPrice"),
        multiplier_up=_bound(percent, "multiplierUp"),
        multiplier_down=_bound(percent, "multiplierDown"),
    )


def _bound(filter_: Mapping[str, Any], name: str) -> Decimal | None:
    """A bound of a filter. None for 0 and for a missing bound: both mean unbounded."""
    bound = _number(filter_, name)
    return bound if bound > 0 else None


def _number(filter_: Mapping[str, Any], name: str) -> Decimal:
    return figure(name, filter_.get(name, "0"), least=None)


def decode_account(answer: Any, asked_ns: int) -> AccountFigures:
    """The account, version 3. In place of a figure that can't be read it holds the reason."""
    if not isinstance(answer, Mapping):
        raise unreadable("account", type(answer).__name__)
    try:
        available = {each["asset"]: _available(each) for each in answer["assets"]}
        top = _available(answer)
        beside = available.get(_TOP_LEVEL_ASSET, top)
        # The answer has this figure twice. The smaller holds; if one can't be read, neither counts.
        if isinstance(top, Decimal) and isinstance(beside, Decimal):
            available[_TOP_LEVEL_ASSET] = min(top, beside)
        else:
            available[_TOP_LEVEL_ASSET] = top if isinstance(top, str) else beside
        notional = {
            (each["symbol"], each["positionSide"]): figure("notional", each["notional"], least=None)
            for each in answer.get("positions", [])
        }
        isolated = frozenset(
            (each["symbol"], each["positionSide"]) for each in answer.get("positions", []) if _has_own_margin(each)
        )
    except (KeyError, TypeError) as error:
        raise unreadable("account", error) from None
    return AccountFigures(available, notional, asked_ns, isolated)


def _has_own_margin(position: Mapping[str, Any]) -> bool:
    try:
        return figure("isolatedWallet", position.get("isolatedWallet"), least=None) != 0
    except ExchangeFailure:
        return True


def _available(line: Mapping[str, Any]) -> Decimal | str:
    try:
        return figure("availableBalance", line.get("availableBalance"), least=None)
    except ExchangeFailure as failed:
        return failed.failure.detail


def decode_account_code(answer: Any) -> str | None:
    """The exchange's own code of the account, from its balances. None where they don't tell one: none does harm."""
    rows = answer if isinstance(answer, list) else []
    told = [row.get("accountAlias") for row in rows if isinstance(row, Mapping)]
    code = told[0] if told else None
    return code if isinstance(code, str) and code and all(each == code for each in told) else None


def decode_positions(answer: Any, symbol: str) -> tuple[Position, ...]:
    """The open positions of a symbol. Whatever can't be read is an error: it may be a position that is open."""
    if not isinstance(answer, list):
        raise unreadable("positions", type(answer).__name__)
    found = []
    for each in answer:
        if not isinstance(each, Mapping) or each.get("positionSide") not in ("LONG", "SHORT", "BOTH"):
            raise unreadable("position", each)
        if each.get("symbol") == symbol:
            found.append(Position(each["positionSide"], figure("positionAmt", each.get("positionAmt"), least=None)))
    return tuple(each for each in found if each.amount != 0)


def decode_order(answer: Any) -> OrderAnswer:
    """An order. An empty body, a list or another kind of answer is unreadable."""
    if not isinstance(answer, Mapping) or "orderId" not in answer or "clientOrderId" not in answer:
        raise unreadable("order", type(answer).__name__)
    average = _fill(answer.get("avgPrice"))
    return OrderAnswer(
        order_id=_order_id("orderId", answer["orderId"]),
        client_order_id=text(answer["clientOrderId"]),
        status=text(answer.get("status", "")),
        filled_quantity=_fill(answer.get("executedQty")),
        average_price=average or None,
        time_ms=_time_ms(answer, "time"),
        side=str(answer.get("side", "")),
        reduces=only_reduces(answer),
    )


def only_reduces(row: Mapping[str, Any]) -> bool:
    """Whether an order can only reduce a position: by its flags, or by its position side in hedge mode."""
    return (
        row.get("reduceOnly") is True
        or row.get("closePosition") is True
        or (text(row.get("positionSide")), text(row.get("side"))) in _EXITS_OF_HEDGE_MODE
    )


def _order_id(name: str, value: object) -> str:
    """The exchange's id of an order. Without one, the answer doesn't tell of an order."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not _ORDER_ID.fullmatch(shown(value).strip("'")):
        raise unreadable(name, value)
    return str(value)


def _fill(value: object) -> Decimal:
    """A figure of a fill; 0 if it can't be read, since the order exists in any case."""
    with suppress(ExchangeFailure):
        return figure("fill", value or "0", least=Decimal(0))
    return Decimal(0)


def decode_conditional_order(answer: Any) -> OrderAnswer:
    """An order of the algo endpoint. After the trigger, the order that it became has the fills."""
    if not isinstance(answer, Mapping) or "algoId" not in answer or "clientAlgoId" not in answer:
        raise unreadable("conditional order", type(answer).__name__)
    actual = None
    with suppress(ExchangeFailure):  # an empty text until it fires; the order exists in any case
        actual = _order_id("actualOrderId", answer.get("actualOrderId") or "")
    filled = _fill(answer.get("actualQty")) if actual is not None else Decimal(0)
    status = text(answer.get("algoStatus", ""))
    # FINISHED tells only that what it became has ended. Of quantity 0, which closes the position however large, nothing
    # here tells whether that was filled.
    if status == FINISHED and 0 < _fill(answer.get("quantity")) <= filled:
        status = "FILLED"
    return OrderAnswer(
        order_id=_order_id("algoId", answer["algoId"]),
        client_order_id=text(answer["clientAlgoId"]),
        status=status,
        filled_quantity=filled,
        average_price=(_fill(answer.get("actualPrice")) or None) if filled else None,
        time_ms=_time_ms(answer, "createTime"),
        actual_order_id=actual,
        side=str(answer.get("side", "")),
        reduces=only_reduces(answer),
    )


def decode_own_order(answer: Any, client_order_id: str, *, conditional: bool) -> OrderAnswer:
    """The order of a client order id. An answer about another order is unreadable."""
    order = decode_conditional_order(answer) if conditional else decode_order(answer)
    if order.client_order_id != client_order_id:
        raise unreadable("client order id", order.client_order_id)
    return order


def _time_ms(answer: Mapping[str, Any], name: str) -> int:
    """When the exchange accepted the order. The answer to a new order has that only as the time of its last change."""
    with suppress(ExchangeFailure):
        return int(figure(name, answer.get(name) or answer.get("updateTime") or 0, least=Decimal(0)))
    return 0


def value_of(answer: Any, name: str) -> object:
    """A value of an answer that should be an object; None where it isn't."""
    return answer.get(name) if isinstance(answer, Mapping) else None


def text(value: object) -> str:
    """A word of an answer: symbol, side, id, status. None of the exchange's is as long as what is kept of it."""
    return cut(value, _LONGEST_WORD) if isinstance(value, str) else shown(value)


def figure(name: str, value: object, least: Decimal | None = _ABOVE_ZERO) -> Decimal:
    """A figure of the exchange. Raises ExchangeFailure unless it is a finite number, and at least `least` if given."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:  # every event and answer has a dozen of these
            read = Decimal(value)
            printable = read.is_finite() and (not read or read.adjusted() >= -_MOST_DECIMALS)
            if printable and _LEAST < read < _MOST and (least is None or read >= least):
                return read or _ZERO  # as text, 0.00000000 would be 0E-8
        except InvalidOperation:
            pass
    raise unreadable(name, value)


def whole(name: str, value: object) -> int:
    """A time or an id that the exchange writes as a number. Raises ExchangeFailure unless it is one, above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise unreadable(name, value)
    return value


def decode_leverage(said: object) -> tuple[int, Decimal | None]:
    """A symbol's leverage, and the largest notional that it allows; None where that isn't said."""
    of = said if isinstance(said, Mapping) else {}
    most = of.get("maxNotionalValue")
    bound = None if most is None else figure("maxNotionalValue", most)
    return int(figure("leverage", of.get("leverage"), least=Decimal(1))), bound


def decode_leverage_terms(config: object, brackets: object, symbol: str, leverage: int) -> LeverageTerms:
    """What another leverage would mean, by symbolConfig and leverageBracket. A margin type that isn't told counts as
    isolated, of which less is taken for granted."""
    isolated = value_of(_row_of(config, symbol), "marginType") != "CROSSED"
    rows = value_of(_row_of(brackets, symbol), "brackets")
    caps = []
    with suppress(ExchangeFailure):  # then the exchange says it after the leverage is set
        for each in rows if isinstance(rows, list) else []:
            if figure("initialLeverage", value_of(each, "initialLeverage")) >= leverage:
                caps.append(figure("notionalCap", value_of(each, "notionalCap")))
        return LeverageTerms(max(caps, default=None), isolated)
    return LeverageTerms(None, isolated)


def _row_of(answer: object, symbol: str) -> object:
    rows = answer if isinstance(answer, list) else [answer]
    return next((each for each in rows if value_of(each, "symbol") == symbol), None)


def unreadable(name: str, value: object) -> ExchangeFailure:
    """The failure for an answer without a usable value."""
    return ExchangeFailure(Failure(may_exist=True, code="UNREADABLE", detail=f"{name} is {shown(value)}"))
