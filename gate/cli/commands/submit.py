"""`gate submit`: puts an intent on the stream that `gate run` reads."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from gate.cli.commands.described import intent_options, name_of, object_in, read_text
from gate.cli.commands.halting import prefix_doubt
from gate.cli.failures import NO_ANSWER, NoAnswer, complain
from gate.cli.screens.wording import one_line, span
from gate.cli.session import configured, json_option, say_json, store_of, warn, without_log
from gate.config import Config, Flags
from gate.protocol.keyspace import Keyspace
from gate.store.masking import masked
from gate.values.errors import InvalidField, StoreFailure, pasted
from gate.values.fields import read_time_ms
from gate.values.guards import Reason

if TYPE_CHECKING:
    from gate.service.intake import Entry
    from gate.service.settings import Settings
    from gate.service.submission import Submission

_NOT_PLACED: Final = 1
_PLACED: Final = ("FILLED", "PLACED")
_NEEDED: Final = {"intent_id": "--id", "symbol": "--symbol", "side": "--side"}
_LONGEST_WAIT_S: Final = 3_600


@dataclass
class _Done:
    """How far it came."""

    entry: Entry
    """As the service reads it."""
    entry_id: str = ""
    may_wait: bool = True
    """Whether the store's user may read the results, so far as is known."""
    sent: bool = False
    """Whether it was sent, so that it may stand there."""
    waits: str = ""
    """Where it is, when its result doesn't come in the time."""


@click.command()
@intent_options
@click.option(
    "--intent",
    "file",
    metavar="FILE",
    help="Put the JSON object of a file there as it is, as streams carry it; - is stdin. Without a time it has that of "
    "its entry.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(1, _LONGEST_WAIT_S),
    metavar="SECONDS",
    help="Wait for its result, at most so long, and show it.",
)
@json_option
@click.pass_obj
def submit(
    flags: Flags,
    /,
    file: str | None,
    wait_s: int | None,
    timestamp: str | None,
    as_json: bool,
    **described: str | int | bool | None,
) -> None:
    """Put an intent on the stream that gate run reads: by hand, as a strategy would.

    \b
      gate submit --id sig-81 --symbol BTCUSDT --side BUY --notional 200
      gate submit --id out-81 --symbol BTCUSDT --side CLOSE --wait 30
      gate --config gate.toml submit --intent intent.json --wait 30

    It is a real intent: a service that reads it places a real order. To see only what the gate would say, take gate
    eval. What the service couldn't read is refused here, and isn't put there. The stream and how ids are made come from
    the table [service] of the config file, as for gate run: give both the same file.

    It says the id of its entry. With --wait it shows the result that the service writes. An intent whose result tells
    of an order gets no second one: give another --id. With --wait it is refused; without, it is put there for nothing.
    After a result without an order it may come again.

    Exit codes: 0 it stands on the stream; 1 no order was placed, or it isn't known (only with --wait); 2 bad input or
    usage; 3 no answer of the store, or no result in the time: it may be there, and may still be executed. Where it says
    that nothing was put there, nothing was.
    """
    config = configured(flags)  # of a file that is half read, the stream would be another
    now_ms = time.time_ns() // 1_000_000
    payload = _payload(described, file, timestamp, now_ms)
    from gate.service.settings import read_settings
    from gate.service.submission import as_the_service_reads, entry_fields

    settings = read_settings(
        config.service,
        os.environ,
        config.prefix,
        host=platform.node() or "host",
        pid=os.getpid(),
        listen="none",
        file=config.file,
    )
    fields = entry_fields(payload, now_ms)
    done = _Done(as_the_service_reads(fields, settings, f"{now_ms}-0"))
    try:
        result = asyncio.run(_submitted(config, settings, fields, wait_s, done, as_json))
    except KeyboardInterrupt:
        _say_where(done, settings, as_json)
        raise
    entry = done.entry
    doubt = None if result is not None else _prefix_doubt(config)
    if doubt:
        warn(doubt)
    told = {
        "submitted": True,
        "entry": done.entry_id,
        "stream": settings.stream,
        "intent_id": entry.intent.id,
        "symbol": entry.intent.symbol,
        "side": entry.intent.side,
        "exit": entry.intent.is_exit,
        "prefix_doubt": doubt,
    }
    if as_json:
        say_json(told if wait_s is None else {**told, "result": result, "detail": done.waits})
    elif result is not None:
        _show(result)
    if wait_s is None:
        return
    if result is None:
        if not as_json:
            complain(f"no result within {wait_s} s. {done.waits}", "gate submit")
        raise click.exceptions.Exit(NO_ANSWER)
    if result.get("state") not in _PLACED:
        raise click.exceptions.Exit(_NOT_PLACED)


def _payload(
    described: dict[str, str | int | bool | None], file: str | None, timestamp: str | None, now_ms: int
) -> str:
    given = {name: value for name, value in described.items() if value is not None and value is not False}
    if file is not None:
        beside = ["--" + ("id" if name == "intent_id" else name.replace("_", "-")) for name in given]
        beside += [] if timestamp is None else ["--timestamp"]
        if beside:
            raise click.UsageError(f"--intent describes the whole intent; leave out {', '.join(beside)}.")
        text = read_text(file)
        object_in(text, name_of(file))
        return text.strip()
    missing = [option for name, option in _NEEDED.items() if name not in given]
    if missing:
        raise click.UsageError(f"Missing {', '.join(missing)}; or give --intent FILE.")
    if "notional" in given and "quantity" in given:  # of a stream's fields, the quantity would count
        raise InvalidField("quantity", given["quantity"], "is given beside notional; give one of them")
    from gate.service.submission import payload_of

    at_ms = now_ms if timestamp is None else read_time_ms("timestamp", timestamp, naive_is_utc=False)
    return payload_of({**given, "timestamp": at_ms})


async def _submitted(
    config: Config,
    settings: Settings,
    fields: dict[str, str],
    wait_s: int | None,
    done: _Done,
    as_json: bool,
) -> dict[str, str] | None:
    from redis.exceptions import NoPermissionError

    from gate.service.process import STREAM_TIMEOUT_MS
    from gate.service.streams import STORE_FAILURES
    from gate.service.submission import Submission, as_the_service_reads
    from gate.store.connect import plain_client

    Keyspace(config.prefix)  # refused where the service would refuse it
    client = plain_client(config.store_url, STREAM_TIMEOUT_MS)
    submission = Submission(client, settings)
    try:
        if wait_s is not None and await submission.already_answered(done.entry):
            raise InvalidField(
                "id", done.entry.intent.id, "has its result already, and gets no second one; gate show tells of it"
            )
        try:
            after = "" if wait_s is None else await submission.newest_result()
        except NoPermissionError:
            done.may_wait = False
            raise
        await client.ping()  # a store that isn't there shows before it may have the entry
        done.sent = True
        done.entry_id = await submission.add(fields)
        done.entry = as_the_service_reads(fields, settings, done.entry_id)  # its id may be made of the entry's
        _say_where(done, settings, as_json)
        if wait_s is None:
            return None
        result = await submission.result(done.entry.intent.id, after, wait_s)
        if result is None:
            done.waits = await _waits(config, settings, submission, done)
        return result
    except STORE_FAILURES as failure:
        raise _no_answer(failure, done, config, settings, as_json) from None
    finally:
        await client.aclose()


def _prefix_doubt(config: Config) -> str | None:
    """That others are at work here, and nobody under this prefix. None also where that can't be read."""
    from gate.client.gates import Gate

    without_log("gate")
    try:
        with Gate.from_url(config.store_url, prefix=config.prefix) as gate:
            doubt = prefix_doubt(gate, None)
    except StoreFailure:
        return None
    return doubt.warning if doubt else None


def _say_where(done: _Done, settings: Settings, as_json: bool) -> None:
    if done.entry_id and not as_json:
        click.echo(f"{done.entry_id} on {settings.stream}")


async def _waits(config: Config, settings: Settings, submission: Submission, done: _Done) -> str:
    """Where an intent is that has no result in the time, and what stops it."""
    from gate.service.streams import LEFT
    from gate.service.submission import Where

    shown = f"gate show {pasted(done.entry.intent.id)}"
    where, consumer = await submission.whereabouts(done.entry_id)
    if where is Where.UNREAD:
        return f"Nobody has read it: start gate run for {settings.stream}, or look at the /healthz of the one that runs"
    if where is Where.DONE:
        if for_good := await _for_good(config, done.entry.intent.id):
            return f"An intent of this id is {for_good}. {shown} tells why"
        return f"It is done with, maybe without a result of its own, as what has one already: {shown}"
    if where is Where.UNKNOWN:
        return (
            f"A gate run may hold it, and still execute it, or none reads {settings.stream}: look at /healthz; {shown}"
        )
    if consumer == LEFT:
        return "A gate run that has ended left it: the next one takes it over"
    return f"{consumer} has it, and {await _held_by(config, done.entry)}: {shown}"


async def _for_good(config: Config, intent_id: str) -> str:
    """What follows where an intent of this id was refused for good; empty where it wasn't, or can't be read."""
    from gate.cli.screens.record_rows import for_good_words
    from gate.client.gates import AsyncGate

    without_log("gate")
    try:
        async with AsyncGate.from_url(config.store_url, prefix=config.prefix, policy=config.pinned) as gate:
            record = await gate.lookup(intent_id)
    except StoreFailure:
        return ""
    return "" if record is None else for_good_words(record)


async def _held_by(config: Config, entry: Entry) -> str:
    """What becomes of an intent that a service has in hand, by what the gate would say of it now."""
    from gate.client.gates import AsyncGate

    without_log("gate")
    try:
        async with AsyncGate.from_url(config.store_url, prefix=config.prefix, policy=config.pinned) as gate:
            denial = (await gate.inspect(entry.intent)).denial
    except StoreFailure:
        return "may still execute it. It is at work, or held"
    if denial is None or denial.reason is Reason.DUPLICATE:
        return "may still execute it. It is at work, or waits for its turn, or for the exchange"
    detail = denial.detail and f" ({denial.detail})"
    if denial.reason in (Reason.STALE, Reason.CONFLICT):
        return f"answers it without an order: {denial.reason}{detail}"
    left = "" if denial.retry_after_ms is None else f", for {span(denial.retry_after_ms)} more"
    return f"may still execute it. It is held by {denial.reason}{left}{detail}"


def _no_answer(failure: Exception, done: _Done, config: Config, settings: Settings, as_json: bool) -> NoAnswer:
    from redis.exceptions import NoPermissionError, ResponseError

    from gate.service.streams import said_of

    said = masked(one_line(said_of(failure)))
    if isinstance(failure, NoPermissionError):
        needs = f"it needs XADD on {settings.stream}, a producer's right"
        reads = f"for --wait it needs XREAD and XREVRANGE on {settings.results}"
        said = f"{said.rstrip('.')}; {f'{needs}, and {reads}' if done.may_wait else reads}"
    entry, may_stand = done.entry, done.sent and not isinstance(failure, ResponseError)  # else the server refused it
    if done.entry_id:
        so = f"it stands on {settings.stream} as {done.entry_id}, and its result isn't known"
    elif may_stand:
        so = f"it may stand on {settings.stream}: look with gate show {pasted(entry.intent.id)}"
    elif not done.may_wait:
        so = "nothing was put there"
        said = f"{said.rstrip('.')}: leave --wait out, or grant (+xread +xrevrange %R~{settings.results})"
    else:
        closes = "; gate flatten closes what is open without the store" if entry.intent.is_exit else ""
        so = f"nothing was put there{closes}"
    answer = {
        "submitted": True if done.entry_id else None if may_stand else False,
        "entry": done.entry_id or None,
        "intent_id": entry.intent.id,
        "detail": said,
    }
    return NoAnswer(f"{store_of(config)}: {said.rstrip('.')}; {so}", answer if as_json else None)


def _show(result: dict[str, str]) -> None:
    """The fields that say something, one a line, in the order in which they were written."""
    width = max(map(len, result))
    for name, value in result.items():
        if value not in ("", "0") or name in ("state", "reason"):
            click.echo(f"{one_line(name):<{width}}  {one_line(value)}")
