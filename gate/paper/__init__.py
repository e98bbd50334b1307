"""A faithful, small Binance USDⓈ-M futures server on loopback, REST and WebSocket, with its own books.

It imports nothing of the gate.
"""

from gate.paper.market.errors import ExchangeError
from gate.paper.market.fees import FeeSchedule
from gate.paper.market.market_data import MarketDataError
from gate.paper.rest.limits import RateLimits
from gate.paper.serving.control import ControlError
from gate.paper.serving.faults import Fault, FaultError, FaultKind
from gate.paper.serving.server import PaperExchange
from gate.paper.serving.settings import Account, WalkSettings

__all__ = [
    "Account",
    "ControlError",
    "ExchangeError",
    "Fault",
    "FaultError",
    "FaultKind",
    "FeeSchedule",
    "MarketDataError",
    "PaperExchange",
    "RateLimits",
    "WalkSettings",
]
