"""`gate doctor`: how an account and its store are."""

from __future__ import annotations

from typing import Final, NoReturn

import click

from gate.cli.screens.rows import Row
from gate.cli.screens.wording import one_line
from gate.cli.session import account_of, configured, json_option, open_gate, say_json, saying_how_many, store_of
from gate.config import Flags
from gate.values.diagnosis import Check, Diagnosis, Grade

_WRONG: Final = 1
_NOT_ASKED: Final = "The exchange isn't asked: gate run --check tries its keys, and gate status asks what rests there."
_STYLES: Final = {Grade.OK: "", Grade.WARNING: "yellow", Grade.WRONG: "bold red"}


@click.command()
@click.option("--no-proof", is_flag=True, help="Don't try the guards: then nothing at all is written.")
@json_option
@click.pass_obj
def doctor(flags: Flags, no_proof: bool, as_json: bool) -> NoReturn:
    """Whether all is well: server, eviction, disk, replicas, clock, rights, memory, policy, keys of a wrong
    type, locks and switches without a time to live; and a live proof that every guard denies, and that an exit passes.

    \b
      gate doctor
      gate --config gate.toml doctor --json | jq -e '.wrong == 0'

    Looks at each key of the account, by SCAN. The proof runs under a prefix of its own below the account's, in a trip
    for each guard, and leaves no key behind; no order can come of it. A worker's or operator's user may not write
    there, so it needs an administrator's. Run it before you begin, and after each change of the server. It is about
    the store: it doesn't ask the exchange. gate run --check tries the exchange's keys.

    Exit codes: 0 nothing is wrong, there may be warnings; 1 something is wrong; 3 the store gave no answer.
    """
    config = configured(flags, needs_policy=False)
    with open_gate(config, as_json, "whether all is well is unknown") as gate:
        found = gate.diagnose(saying_how_many("keys"), proof=not no_proof)
    refused = [Check("config", Grade.WRONG, f"{config.file}: {each}") for each in config.policy_faults]
    found = Diagnosis((*refused, *found.checks))
    if as_json:
        say_json({"prefix": config.prefix, "store": store_of(config), **diagnosis_json(found)})
    else:
        from gate.cli.screens.screen import screen

        to = screen()
        to.words(*headline(found, account_of(config)))
        to.say("")
        rows = (Row((each.grade.value, each.what, one_line(each.says)), _STYLES[each.grade]) for each in found.checks)
        to.table(("", "what", "how it is"), rows)
        to.say("")
        to.words(_NOT_ASKED, "dim")
    raise click.exceptions.Exit(0 if found else _WRONG)


def headline(found: Diagnosis, account: str) -> tuple[str, str]:
    """Whether all is well, with its style."""
    wrong, warnings = len(found.of_grade(Grade.WRONG)), len(found.of_grade(Grade.WARNING))
    beside = f", {_many(warnings, 'warning')}" if warnings else ""
    if wrong:
        return f"{_many(wrong, 'thing')} WRONG{beside}: {account}", _STYLES[Grade.WRONG]
    if warnings:
        return f"Nothing is wrong{beside}: {account}", _STYLES[Grade.WARNING]
    return f"All is well: {account}", "bold green"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def diagnosis_json(found: Diagnosis) -> dict[str, object]:
    """What was found, as JSON."""
    return {
        "wrong": len(found.of_grade(Grade.WRONG)),
        "warnings": len(found.of_grade(Grade.WARNING)),
        "checks": [{"what": each.what, "grade": each.grade.value, "says": each.says} for each in found.checks],
    }
