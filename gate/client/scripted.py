"""How a script is called: loaded where the server hasn't it, and called again where the reply is lost."""

from __future__ import annotations

from gate.protocol.scripts import Message, script
from gate.store.failures import ReplyLate, ReplyLost, ScriptMissing
from gate.store.wire import Dialogue, Reply
from gate.values.errors import StoreFailure


def scripted(name: str, command: Message, *, late_is_final: bool = False) -> Dialogue[tuple[Reply, bool]]:
    """Calls a script, the first command of a pipeline. Loads it when the server doesn't have it; repeats the call
    once when a reply is lost, unless it didn't come in time and `late_is_final`.

    The scripts recognise a repeated call by its token. Returns the reply, and whether it answers the repeated call.
    """
    replayed = loaded = False
    while True:
        try:
            return (yield command), replayed
        except StoreFailure as failure:
            missing, lost = isinstance(failure, ScriptMissing), isinstance(failure, ReplyLost)
            again = lost and not replayed and not (late_is_final and isinstance(failure, ReplyLate))
            if (missing and not loaded) or again:
                loaded, replayed = loaded or missing, replayed or lost
            else:
                failure.maybe_done = failure.maybe_done or replayed or lost
                raise
        if not missing:
            continue
        try:
            yield ("SCRIPT", "LOAD", script(name).source)
        except ReplyLost:
            pass  # the server may have loaded the script all the same; the next call shows whether it did
        except StoreFailure as failure:
            failure.maybe_done = replayed
            raise
