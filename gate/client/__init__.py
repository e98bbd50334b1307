"""Gate and AsyncGate: what an execution service calls, and what each call says to the store."""
