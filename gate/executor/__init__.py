"""Executes one intent, from its verdict to a settled outcome, and reconciles the intents in doubt."""

from gate.exchange.streams.order_updates import OrderState, OrderUpdate
from gate.executor.execution import Execution, Terminal
from gate.executor.executor import Executor

__all__ = ["Execution", "Executor", "OrderState", "OrderUpdate", "Terminal"]
