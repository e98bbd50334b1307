"""A faithful, small Binance USDⓈ-M futures REST server on loopback, with its own books.

It imports nothing of the gate.
"""

from gate.paper.control import ControlError
from gate.paper.errors import ExchangeError
from gate.paper.faults import Fault, FaultError, FaultKind
from gate.paper.fees import FeeSchedule
from gate.paper.limits import RateLimits
from gate.paper.market_data import MarketDataError
from gate.paper.server import PaperExchange
from gate.paper.settings import Account, WalkSettings

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
