"""One intent, from verdict to settled outcome: plan, margin, last look, order, look-up; and what is left in doubt."""

from gate.executor.execution import Execution, Terminal
from gate.executor.executor import Executor

__all__ = ["Execution", "Executor", "Terminal"]
