"""Server time of a script: pipelines of raw calls, with an empty script after each, both counted by the server.

The empty one is called by EVALSHA_RO, which commandstats counts apart: so both run in the same batch, in alternation.

After every 50th call of any script the server lets Lua collect garbage for a moment, and counts that as the script's
time. In strict alternation it would always be the same of the two that pays, so one more empty call after every 24
pairs lets them take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from benchmarks.workload import Step
from gate.protocol.scripts import script

EMPTY: Final = "#!lua flags=no-writes\nreturn 1"
SCRIPTS: Final = ("evaluate", "settle")
_PAIRS_IN_STEP: Final = 24


class UnexpectedReply(Exception):
    """A call did something else than what was to be measured."""


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Server time per call, in microseconds."""

    script_us: float
    empty_us: float


def load_scripts(client: redis.Redis) -> str:
    """Loads what the batches call, and returns the SHA of the empty script."""
    for name in SCRIPTS:
        client.script_load(script(name).source)
    return str(client.script_load(EMPTY))


def run(client: redis.Redis, empty_sha: str, steps: Sequence[Step]) -> BatchTime:
    """One batch. Raises UnexpectedReply."""
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


def alternate(batches: dict[str, Batch], rounds: int) -> dict[str, list[BatchTime]]:
    """Every batch once a round, each round in another order; a first round warms up and isn't counted."""
    times: dict[str, list[BatchTime]] = {name: [] for name in batches}
    names = list(batches)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            took = batches[name]()
            if number > 0:
                times[name].append(took)
    return times
