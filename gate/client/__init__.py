"""Gate and AsyncGate: what an execution service calls, and what each call says to the store.

Every operation is a generator: a function that takes the caller. It yields a command, and is sent the reply, or the
failure is thrown into it. Gate and AsyncGate only carry commands and replies over a wire. Retries, replays and
decisions are written once, in the modules beside them, so the two gates can't differ.
"""

from gate.values.versions import insist_on

insist_on("redis", "hiredis", "msgspec")  # before a name that an older one hasn't is imported
