"""The exchange's refusals: codes by their official names, with the text that the live exchange sends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Code(IntEnum):
    TOO_MANY_REQUESTS = -1003
    TIMEOUT = -1007
    TOO_MANY_ORDERS = -1015
    INVALID_TIMESTAMP = -1021
    INVALID_SIGNATURE = -1022
    ILLEGAL_CHARS = -1100
    MANDATORY_PARAM = -1102
    PARAM_NOT_REQUIRED = -1106
    BAD_PRECISION = -1111
    INVALID_TIF = -1115
    INVALID_ORDER_TYPE = -1116
    INVALID_SIDE = -1117
    BAD_INTERVAL = -1120
    BAD_SYMBOL = -1121
    INVALID_PARAMETER = -1130
    INVALID_RESPONSE_TYPE = -1136
    CANCEL_REJECTED = -2011
    NO_SUCH_ORDER = -2013
    BAD_API_KEY_FORMAT = -2014
    REJECTED_API_KEY = -2015
    MARGIN_NOT_SUFFICIENT = -2019
    WOULD_IMMEDIATELY_TRIGGER = -2021
    REDUCE_ONLY_REJECT = -2022
    MAX_OPEN_ORDERS = -2025
    MAX_LEVERAGE_RATIO = -2027
    MIN_LEVERAGE_RATIO = -2028
    PRICE_NOT_POSITIVE = -4001
    PRICE_ABOVE_MAX = -4002
    QUANTITY_NOT_POSITIVE = -4003
    QUANTITY_BELOW_MIN = -4004
    QUANTITY_ABOVE_MAX = -4005
    STOP_PRICE_NOT_POSITIVE = -4006
    PRICE_BELOW_MIN = -4013
    PRICE_OFF_TICK = -4014
    CLIENT_ID_LENGTH = -4015
    PRICE_ABOVE_MULTIPLIER = -4016
    BAD_DEPTH_LIMIT = -4021
    QUANTITY_OFF_STEP = -4023
    PRICE_BELOW_MULTIPLIER = -4024
    INVALID_LEVERAGE = -4028
    MAX_STOP_ORDERS = -4045
    SAME_MARGIN_TYPE = -4046
    MARGIN_TYPE_OPEN_ORDERS = -4047
    MARGIN_TYPE_POSITION = -4048
    SAME_POSITION_MODE = -4059
    POSITION_SIDE_MISMATCH = -4061
    POSITION_MODE_OPEN_ORDERS = -4067
    POSITION_MODE_POSITION = -4068
    DUPLICATE_CLIENT_ID = -4116
    CONDITIONAL_ELSEWHERE = -4120
    CLOSE_POSITION_EXISTS = -4130
    MARKET_ORDER_REJECT = -4131
    STRATEGY_INVALID = -4136
    QUANTITY_WITH_CLOSE = -4137
    SYMBOL_NOT_OPENING = -4140
    SYMBOL_CLOSED = -4141
    ISOLATED_LEVERAGE_REDUCTION = -4161
    MIN_NOTIONAL = -4164
    MULTI_ASSETS_WITH_ISOLATED = -4167
    ISOLATED_WITH_MULTI_ASSETS = -4168
    MULTI_ASSETS_MARGIN = -4169
    MULTI_ASSETS_OPEN_ORDERS = -4170
    SAME_MULTI_ASSETS = -4171
    MULTI_ASSETS_NEGATIVE_WALLET = -4172
    FOK_NOT_FILLED = -5021
    GTX_WOULD_TAKE = -5022


MESSAGES: Mapping[Code, str] = {
    Code.TOO_MANY_REQUESTS: "Too many requests; current limit of IP({}) is {} requests per minute. "
    "Please use the websocket for live updates to avoid polling the API.",
    Code.TIMEOUT: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    Code.TOO_MANY_ORDERS: "Too many new orders; current limit is {} orders per {}.",
    Code.INVALID_TIMESTAMP: "{}",
    Code.INVALID_SIGNATURE: "Signature for this request is not valid.",
    Code.ILLEGAL_CHARS: "Illegal characters found in parameter '{}'; legal range is '{}'.",
    Code.MANDATORY_PARAM: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    Code.PARAM_NOT_REQUIRED: "Parameter '{}' sent when not required.",
    Code.BAD_PRECISION: "Precision is over the maximum defined for this asset.",
    Code.INVALID_TIF: "Invalid timeInForce.",
    Code.INVALID_ORDER_TYPE: "Invalid orderType.",
    Code.INVALID_SIDE: "Invalid side.",
    Code.BAD_INTERVAL: "Invalid interval.",
    Code.BAD_SYMBOL: "Invalid symbol.",
    Code.INVALID_PARAMETER: "Data sent for parameter '{}' is not valid.",
    Code.INVALID_RESPONSE_TYPE: "Invalid newOrderRespType.",
    Code.CANCEL_REJECTED: "Unknown order sent.",
    Code.NO_SUCH_ORDER: "Order does not exist.",
    Code.BAD_API_KEY_FORMAT: "API-key format invalid.",
    Code.REJECTED_API_KEY: "Invalid API-key, IP, or permissions for action.",
    Code.MARGIN_NOT_SUFFICIENT: "Margin is insufficient.",
    Code.WOULD_IMMEDIATELY_TRIGGER: "Order would immediately trigger.",
    Code.REDUCE_ONLY_REJECT: "ReduceOnly Order is rejected.",
    Code.MAX_OPEN_ORDERS: "Reach max open order limit.",
    Code.MAX_LEVERAGE_RATIO: "Exceeded the maximum allowable position at current leverage.",
    Code.MIN_LEVERAGE_RATIO: "Leverage is smaller than permitted: insufficient margin balance.",
    Code.PRICE_NOT_POSITIVE: "Price less than or equal to zero.",
    Code.PRICE_ABOVE_MAX: "Price greater than max price.",
    Code.QUANTITY_NOT_POSITIVE: "Quantity less than or equal to zero.",
    Code.QUANTITY_BELOW_MIN: "Quantity less than min quantity.",
    Code.QUANTITY_ABOVE_MAX: "Quantity greater than max quantity.",
    Code.STOP_PRICE_NOT_POSITIVE: "Stop price less than or equal to zero.",
    Code.PRICE_BELOW_MIN: "Price less than min price.",
    Code.PRICE_OFF_TICK: "Price not increased by tick size.",
    Code.CLIENT_ID_LENGTH: "Client order id length should not be more than 36 chars",
    Code.PRICE_ABOVE_MULTIPLIER: "Limit price can't be higher than {}.",
    Code.BAD_DEPTH_LIMIT: "{} is not valid depth limit.",
    Code.QUANTITY_OFF_STEP: "Qty not increased by step size.",
    Code.PRICE_BELOW_MULTIPLIER: "Limit price can't be lower than {}.",
    Code.INVALID_LEVERAGE: "Leverage {} is not valid",
    Code.MAX_STOP_ORDERS: "Reach max stop order limit.",
    Code.SAME_MARGIN_TYPE: "No need to change margin type.",
    Code.MARGIN_TYPE_OPEN_ORDERS: "Margin type cannot be changed if there exists open orders.",
    Code.MARGIN_TYPE_POSITION: "Margin type cannot be changed if there exists position.",
    Code.SAME_POSITION_MODE: "No need to change position side.",
    Code.POSITION_SIDE_MISMATCH: "Order's position side does not match user's setting.",
    Code.POSITION_MODE_OPEN_ORDERS: "Position side cannot be changed if there exists open orders.",
    Code.POSITION_MODE_POSITION: "Position side cannot be changed if there exists position.",
    Code.DUPLICATE_CLIENT_ID: "ClientOrderId is duplicated.",
    Code.CONDITIONAL_ELSEWHERE: "Order type not supported for this endpoint. "
    "Please use the Algo Order API endpoints instead.",
    Code.CLOSE_POSITION_EXISTS: "An open stop or take profit order with GTE and closePosition "
    "in the direction is existing.",
    Code.MARKET_ORDER_REJECT: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    Code.STRATEGY_INVALID: "Target strategy invalid for orderType {},closePosition {}.",
    Code.QUANTITY_WITH_CLOSE: "Quantity must be zero with closePosition equals true.",
    Code.SYMBOL_NOT_OPENING: "Invalid symbol status for opening position.",
    Code.SYMBOL_CLOSED: "Symbol is closed.",
    Code.ISOLATED_LEVERAGE_REDUCTION: "Leverage reduction is not supported in Isolated Margin Mode "
    "with open positions.",
    Code.MIN_NOTIONAL: "Order's notional must be no smaller than {} (unless you choose reduce only).",
    Code.MULTI_ASSETS_WITH_ISOLATED: "Unable to adjust to Multi-Assets mode with symbols of "
    "USDⓈ-M Futures under isolated-margin mode.",
    Code.ISOLATED_WITH_MULTI_ASSETS: "Unable to adjust to isolated-margin mode under the Multi-Assets mode.",
    Code.MULTI_ASSETS_MARGIN: "Unable to adjust Multi-Assets Mode with insufficient margin balance in USDⓈ-M Futures",
    Code.MULTI_ASSETS_OPEN_ORDERS: "Unable to adjust Multi-Assets Mode with open orders in USDⓈ-M Futures",
    Code.SAME_MULTI_ASSETS: "Adjusted asset mode is currently set and does not need to be adjusted repeatedly",
    Code.MULTI_ASSETS_NEGATIVE_WALLET: "Unable to adjust Multi-Assets Mode with a negative wallet balance of margin "
    "available asset in USDⓈ-M Futures account.",
    Code.FOK_NOT_FILLED: "Due to the order could not be filled immediately, the FOK order has been rejected. "
    "The order will not be recorded in the order history",
    Code.GTX_WOULD_TAKE: "Due to the order could not be executed as maker, the Post Only order will be rejected. "
    "The order will not be recorded in the order history",
}

# The live exchange answers a key problem with 401 and its time-out with 408; every other refusal here is a 400.
STATUS: Mapping[Code, int] = {Code.BAD_API_KEY_FORMAT: 401, Code.REJECTED_API_KEY: 401, Code.TIMEOUT: 408}


class ExchangeError(Exception):
    """A refusal: the exchange accepted nothing.

    `code` and `message` are the body's `code` and `msg`; `status` is the HTTP status; `retry_after_s` becomes the
    `Retry-After` header, in whole seconds.
    """

    def __init__(self, code: int, message: str, *, status: int = 400, retry_after_s: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s


def refuse(code: Code, *details: object) -> ExchangeError:
    """The refusal for a code, with its text filled in."""
    return ExchangeError(int(code), MESSAGES[code].format(*details), status=STATUS.get(code, 400))
