"""Gate and AsyncGate: what an execution service calls, and what each call says to the store."""

from gate.values.versions import insist_on

insist_on("redis", "hiredis", "msgspec")  # before a name that an older one hasn't is imported
