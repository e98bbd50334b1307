"""Server time of a script: pipelines of raw calls, with a call of an empty script after each. The server times both.

The empty script is called with EVALSHA_RO, which commandstats counts separately. So both run in the same batch,
alternately.

After every 50th script call the server lets Lua collect garbage for a moment, and adds that time to the script's. In
strict alternation the same script would pay every time. One more empty call after every 48 pairs shares the cost: two
times in a row the one pays, then the other. (After every 24 pairs they would pay in turn; but Lua marks and sweeps in
turn, too, and by how many calls there were before, one of them would always pay for the dearer half.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import redis

from benchmarks.workload import Step
from gate.protocol.scripts import script

EMPTY: Final = "#!lua flags=no-writes\nreturn 1"
SCRIPTS: Final = ("evaluate", "settle")
_PAIRS_IN_STEP: Final = 48


class UnexpectedReply(Exception):
    """The reply shows that a call didn't do what the benchmark measures."""


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Server time per call, in microseconds."""

    script_us: float
    empty_us: float


def load_scripts(client: redis.Redis) -> str:
    """Loads the scripts, and returns the SHA of the empty one."""
    for name in SCRIPTS:
        client.script_load(script(name).source)
    return str(client.script_load(EMPTY))


def run(client: redis.Redis, empty_sha: str, steps: Sequence[Step]) -> BatchTime:
    """Runs one batch. Raises UnexpectedReply."""
    pipeline: Any = client.pipeline(transaction=False)
    answers = []
    for number, step in enumerate(steps, start=1):
        answers.append(len(pipeline))
        pipeline.execute_command(*step.call)
        for _ in range(2 if number % _PAIRS_IN_STEP == 0 else 1):
            pipeline.execute_command("EVALSHA_RO", empty_sha, 0)
        for command in step.clean_up:
            pipeline.execute_command(*command)
    client.config_resetstat()
    replies = pipeline.execute(raise_on_error=False)
    spent: Any = client.info("commandstats")
    for step, answer in zip(steps, answers, strict=True):
        reply = replies[answer]
        if not isinstance(reply, bytes) or not reply.startswith(step.expected):
            raise UnexpectedReply(f"{step.expected!r} was to be measured, but the reply is {reply!r}")
    return BatchTime(spent["cmdstat_evalsha"]["usec_per_call"], spent["cmdstat_evalsha_ro"]["usec_per_call"])


Batch = Callable[[], BatchTime]
K = TypeVar("K")


def alternate(batches: dict[K, Batch], rounds: int) -> dict[K, list[BatchTime]]:
    """Runs every batch once in each round, in a different order each time. The first round only warms up."""
    times: dict[K, list[BatchTime]] = {name: [] for name in batches}
    names = list(batches)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            took = batches[name]()
            if number > 0:
                times[name].append(took)
    return times
