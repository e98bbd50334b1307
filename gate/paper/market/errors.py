"""The exchange's refusals: codes by their official names, with the text that the live exchange sends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Code(IntEnum):
    UNKNOWN = -1000
    DISCONNECTED = -1001
    TOO_MANY_REQUESTS = -1003
    UNEXPECTED_RESPONSE = -1006
    TIMEOUT = -1007
    REQUEST_THROTTLED = -1008
    TOO_MANY_ORDERS = -1015
    UNSUPPORTED_OPERATION = -1020
    INVALID_TIMESTAMP = -1021
    INVALID_SIGNATURE = -1022
    ILLEGAL_CHARS = -1100
    MANDATORY_PARAM = -1102
    PARAM_NOT_REQUIRED = -1106
    BAD_PRECISION = -1111
    NO_DEPTH = -1112
    INVALID_TIF = -1115
    INVALID_ORDER_TYPE = -1116
    INVALID_SIDE = -1117
    BAD_INTERVAL = -1120
    BAD_SYMBOL = -1121
    NO_LISTEN_KEY = -1125
    INVALID_PARAMETER = -1130
    ILLEGAL_REQUEST = -1135
    INVALID_RESPONSE_TYPE = -1136
    CANCEL_REJECTED = -2011
    NO_SUCH_ORDER = -2013
    BAD_API_KEY_FORMAT = -2014
    REJECTED_API_KEY = -2015
    API_KEYS_LOCKED = -2017
    BALANCE_NOT_SUFFICIENT = -2018
    MARGIN_NOT_SUFFICIENT = -2019
    UNABLE_TO_FILL = -2020
    WOULD_IMMEDIATELY_TRIGGER = -2021
    REDUCE_ONLY_REJECT = -2022
    USER_IN_LIQUIDATION = -2023
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
    BATCH_SIZE = -4082
    REDUCE_ONLY_PERMISSION = -4087
    NO_ORDER_PERMISSION = -4088
    SYMBOL_REDUCE_ONLY = -4105
    SYMBOL_REDUCE_ONLY_BUY = -4106
    SYMBOL_REDUCE_ONLY_SELL = -4107
    INACTIVE_ACCOUNT = -4109
    DUPLICATE_CLIENT_ID = -4116
    REDUCE_ONLY_MARGIN_CHECK = -4118
    CONDITIONAL_ELSEWHERE = -4120
    CLOSE_POSITION_EXISTS = -4130
    MARKET_ORDER_REJECT = -4131
    STRATEGY_INVALID = -4136
    QUANTITY_WITH_CLOSE = -4137
    SYMBOL_NOT_OPENING = -4140
    SYMBOL_CLOSED = -4141
    STRATEGY_INVALID_TRIGGER_PRICE = -4142
    ISOLATED_LEVERAGE_REDUCTION = -4161
    MIN_NOTIONAL = -4164
    MULTI_ASSETS_WITH_ISOLATED = -4167
    ISOLATED_WITH_MULTI_ASSETS = -4168
    MULTI_ASSETS_MARGIN = -4169
    MULTI_ASSETS_OPEN_ORDERS = -4170
    SAME_MULTI_ASSETS = -4171
    MULTI_ASSETS_NEGATIVE_WALLET = -4172
    PRICE_ABOVE_STOP_MULTIPLIER = -4183
    PRICE_BELOW_STOP_MULTIPLIER = -4184
    ACCOUNT_REDUCE_ONLY = -4189
    COOLING_OFF_PERIOD = -4192
    STOP_PRICE_ABOVE_MULTIPLIER = -4210
    STOP_PRICE_BELOW_MULTIPLIER = -4211
    TRADING_QUANTITATIVE_RULE = -4400
    LARGE_POSITION_RULE = -4401
    COMPLIANCE_BLACK_SYMBOL = -4402
    POSITION_MODE_SYNC = -4531
    FOK_NOT_FILLED = -5021
    GTX_WOULD_TAKE = -5022
    NO_NEED_TO_AMEND = -5027
    RECV_WINDOW_REJECT = -5028
    NO_BBO_MATCH = -5041


MESSAGES: Mapping[Code, str] = {
    Code.UNKNOWN: "An unknown error occured while processing the request.",
    Code.DISCONNECTED: "Internal error; unable to process your request. Please try again.",
    Code.TOO_MANY_REQUESTS: "Too many requests; current limit of IP({}) is {} requests per minute. "
    "Please use the websocket for live updates to avoid polling the API.",
    Code.UNEXPECTED_RESPONSE: "An unexpected response was received from the message bus. Execution status unknown.",
    Code.TIMEOUT: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    Code.REQUEST_THROTTLED: "Request throttled by system-level protection. "
    "Reduce-only/close-position orders are exempt. Please try again.",
    Code.TOO_MANY_ORDERS: "Too many new orders; current limit is {} orders per {}.",
    Code.UNSUPPORTED_OPERATION: "This operation is not supported.",
    Code.INVALID_TIMESTAMP: "{}",
    Code.INVALID_SIGNATURE: "Signature for this request is not valid.",
    Code.ILLEGAL_CHARS: "Illegal characters found in parameter '{}'; legal range is '{}'.",
    Code.ILLEGAL_REQUEST: "Invalid JSON Request.",
    Code.MANDATORY_PARAM: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    Code.PARAM_NOT_REQUIRED: "Parameter '{}' sent when not required.",
    Code.BAD_PRECISION: "Precision is over the maximum defined for this asset.",
    Code.NO_DEPTH: "No orders on book for symbol.",
    Code.INVALID_TIF: "Invalid timeInForce.",
    Code.INVALID_ORDER_TYPE: "Invalid orderType.",
    Code.INVALID_SIDE: "Invalid side.",
    Code.BAD_INTERVAL: "Invalid interval.",
    Code.BAD_SYMBOL: "Invalid symbol.",
    Code.NO_LISTEN_KEY: "This listenKey does not exist.",
    Code.INVALID_PARAMETER: "Data sent for parameter '{}' is not valid.",
    Code.INVALID_RESPONSE_TYPE: "Invalid newOrderRespType.",
    Code.CANCEL_REJECTED: "Unknown order sent.",
    Code.NO_SUCH_ORDER: "Order does not exist.",
    Code.BAD_API_KEY_FORMAT: "API-key format invalid.",
    Code.REJECTED_API_KEY: "Invalid API-key, IP, or permissions for action.",
    Code.API_KEYS_LOCKED: "API Keys are locked on this account.",
    Code.BALANCE_NOT_SUFFICIENT: "Balance is insufficient.",
    Code.MARGIN_NOT_SUFFICIENT: "Margin is insufficient.",
    Code.UNABLE_TO_FILL: "Unable to fill.",
    Code.WOULD_IMMEDIATELY_TRIGGER: "Order would immediately trigger.",
    Code.REDUCE_ONLY_REJECT: "ReduceOnly Order is rejected.",
    Code.USER_IN_LIQUIDATION: "User in liquidation mode now.",
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
    Code.BATCH_SIZE: "Invalid number of batch place orders.",
    Code.REDUCE_ONLY_PERMISSION: "User can only place reduce only order",
    Code.NO_ORDER_PERMISSION: "User can not place order currently",
    Code.SYMBOL_REDUCE_ONLY: "This symbol is in reduce only mode.",
    Code.SYMBOL_REDUCE_ONLY_BUY: "This symbol is in reduce only mode for buy orders.",
    Code.SYMBOL_REDUCE_ONLY_SELL: "This symbol is in reduce only mode for sell orders.",
    Code.INACTIVE_ACCOUNT: "Inactive account",
    Code.DUPLICATE_CLIENT_ID: "ClientOrderId is duplicated.",
    Code.REDUCE_ONLY_MARGIN_CHECK: "ReduceOnly Order Failed. Please check your existing position and open orders",
    Code.CONDITIONAL_ELSEWHERE: "Order type not supported for this endpoint. "
    "Please use the Algo Order API endpoints instead.",
    Code.CLOSE_POSITION_EXISTS: "An open stop or take profit order with GTE and closePosition "
    "in the direction is existing.",
    Code.MARKET_ORDER_REJECT: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    Code.STRATEGY_INVALID: "Target strategy invalid for orderType {},closePosition {}.",
    Code.QUANTITY_WITH_CLOSE: "Quantity must be zero with closePosition equals true.",
    Code.SYMBOL_NOT_OPENING: "Invalid symbol status for opening position.",
    Code.SYMBOL_CLOSED: "Symbol is closed.",
    Code.STRATEGY_INVALID_TRIGGER_PRICE: "REJECT: take profit or stop order will be triggered immediately.",
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
    Code.PRICE_ABOVE_STOP_MULTIPLIER: "Price is higher than stop price multiplier cap.",
    Code.PRICE_BELOW_STOP_MULTIPLIER: "Price is lower than stop price multiplier floor.",
    Code.ACCOUNT_REDUCE_ONLY: "The account is in reduce only mode.",
    Code.COOLING_OFF_PERIOD: "Trade forbidden due to Cooling-off Period.",
    Code.STOP_PRICE_ABOVE_MULTIPLIER: "Stop price is higher than price multiplier cap.",
    Code.STOP_PRICE_BELOW_MULTIPLIER: "Stop price is lower than price multiplier floor.",
    Code.TRADING_QUANTITATIVE_RULE: "Futures Trading Quantitative Rules violated, only reduceOnly order is allowed, "
    "please try again later.",
    Code.LARGE_POSITION_RULE: "Futures Trading Risk Control Rules of large position holding violated, "
    "only reduceOnly order is allowed, please reduce the position. .",
    Code.COMPLIANCE_BLACK_SYMBOL: "Dear user, as per our Terms of Use and compliance with local regulations, "
    "this feature is currently not available in your region.",
    Code.POSITION_MODE_SYNC: "The position mode doesn't match the account's other markets.",
    Code.FOK_NOT_FILLED: "Due to the order could not be filled immediately, the FOK order has been rejected. "
    "The order will not be recorded in the order history",
    Code.GTX_WOULD_TAKE: "Due to the order could not be executed as maker, the Post Only order will be rejected. "
    "The order will not be recorded in the order history",
    Code.NO_NEED_TO_AMEND: "No need to modify the order.",
    Code.RECV_WINDOW_REJECT: "Timestamp for this request is outside of the ME recvWindow",
    Code.NO_BBO_MATCH: "No depth matches this BBO order",
}

# The live exchange answers a key problem with 401, its time-out with 408 and overload with 503; every other refusal
# here is a 400.
STATUS: Mapping[Code, int] = {
    Code.BAD_API_KEY_FORMAT: 401,
    Code.REJECTED_API_KEY: 401,
    Code.TIMEOUT: 408,
    Code.REQUEST_THROTTLED: 503,
}


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


def error_of(code: int, text: str | None = None, status: int | None = None) -> ExchangeError:
    """The error of any code, as it comes: text and status are the exchange's own for the code unless given.

    Places for figures in the exchange's text show as `{}`.
    """
    known = Code(code) if code in Code.__members__.values() else None
    text = text if text is not None else MESSAGES[known] if known is not None else "An error without a text."
    return ExchangeError(code, text, status=status or (STATUS.get(known, 400) if known is not None else 400))
