"""The root of the command line: its options, the list of commands, and how every failure ends."""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import click

from gate.cli.failures import (
    BAD_INPUT,
    INTERRUPTED,
    NO_ANSWER,
    PIPE_CLOSED,
    UNWRITTEN,
    complain,
    confess,
    drop_output,
    end,
    refuse,
)
from gate.config import Flags, InvalidConfig
from gate.values.errors import GateError, InvalidField, InvalidPolicy
from gate.version import __version__

_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


class Listed(NamedTuple):
    """A command before it is loaded."""

    module: str
    attribute: str
    says: str


COMMANDS: Final = {
    "eval": Listed("gate.cli.commands.eval", "eval_", "What the gate says to an intent, guard by guard."),
    "status": Listed("gate.cli.commands.status", "status", "What is on for the account, and for how long."),
    "watch": Listed("gate.cli.commands.watch", "watch", "The same, live, until Ctrl-C."),
    "show": Listed("gate.cli.commands.show", "show", "What the gate remembers of an intent."),
    "intents": Listed("gate.cli.commands.intents", "intents", "The intents of late, with what became of each."),
    "audit": Listed("gate.cli.commands.audit", "audit", "What people and trips did: who, when, why."),
    "doctor": Listed("gate.cli.commands.doctor", "doctor", "Whether all is well, with a live proof of every guard."),
    "init": Listed("gate.cli.commands.init", "init", "Say once that the account is new, so that entries go at once."),
    "halt": Listed("gate.cli.commands.operate", "halt", "Stop entries, or everything, until somebody resumes."),
    "flatten": Listed(
        "gate.cli.commands.flatten", "flatten", "Halt, cancel every order, close every position, and confirm it."
    ),
    "resume": Listed("gate.cli.commands.operate", "resume", "End a halt."),
    "reset": Listed("gate.cli.commands.operate", "reset", "Switch off safe mode, cooldowns or the count of failures."),
    "leftovers": Listed(
        "gate.cli.commands.leftovers", "leftovers", "What the replaced system has left: name it, clear it."
    ),
    "policy": Listed("gate.cli.commands.policy", "policy", "Limits and times: show them, put them in force."),
    "reconcile": Listed(
        "gate.cli.commands.reconcile", "reconcile", "Ask the exchange about what is in doubt, and settle it."
    ),
    "run": Listed("gate.cli.commands.run", "run", "The execution service: intents from a stream to orders."),
    "submit": Listed("gate.cli.commands.submit", "submit", "Put an intent on the stream that `gate run` reads."),
    "paper": Listed("gate.cli.commands.paper", "paper", "The paper exchange: a Binance futures server on loopback."),
    "demo": Listed("gate.cli.commands.demo", "demo", "The whole story, on an embedded store and the paper exchange."),
}


class Program(click.Group):
    """A group that loads a command's module only when the command is invoked."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        listed = COMMANDS.get(cmd_name)
        if listed is None:
            return None
        command: click.Command = getattr(import_module(listed.module), listed.attribute)
        if not gc.isenabled():
            gc.freeze()  # the loaded modules stay to the end, and each collection of them takes 20 ms
            gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS)
            meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, listed.says) for name, listed in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Runs the program and ends the process. An expected failure shows no traceback."""
        arguments = sys.argv[1:] if args is None else args
        as_json = "--json" in arguments
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.Abort:
            sys.exit(INTERRUPTED)
        except click.ClickException as problem:
            end(problem, as_json, arguments)
        except InvalidField as problem:
            if as_json:
                refuse(problem.field, problem.value, problem.problem)
            complain(str(problem))
            sys.exit(BAD_INPUT)
        except (InvalidPolicy, InvalidConfig) as problem:
            if as_json:
                refuse("policy" if isinstance(problem, InvalidPolicy) else "config", None, str(problem))
            complain(str(problem))
            sys.exit(BAD_INPUT)
        except GateError as problem:
            complain(str(problem))
            sys.exit(NO_ANSWER)
        except Exception as error:
            confess(error)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Unwritable output gets an exit code of its own: click's would be 1, which means denied."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            drop_output()
            raise click.exceptions.Exit(PIPE_CLOSED) from None
        except OSError as problem:
            if problem.errno not in _UNWRITABLE:
                raise
            drop_output()
            complain(f"the answer can't be written: {problem.strerror}")
            raise click.exceptions.Exit(UNWRITTEN) from None


@click.group(cls=Program)
@click.option(
    "--url",
    metavar="URL",
    help="The store: redis://, rediss://, unix://, redis+sentinel://, redis+cluster:// or embedded:DIR.",
)
@click.option("--embedded", metavar="DIR", help="A store on this host only, with its data in DIR.")
@click.option("--prefix", metavar="P", help="Prefix of every key: the account.  [default: quantum]")
@click.option("--config", metavar="FILE", help="TOML with url, prefix and tables [policy], [service].")
@click.version_option(__version__, message="gate %(version)s")
@click.pass_context
def program(ctx: click.Context, url: str | None, embedded: str | None, prefix: str | None, config: str | None) -> None:
    """The pre-trade gate: every intent gets one verdict from one atomic Redis script.

    Name a store with --url or --embedded, with GATE_URL (or REDIS_URL), or in the config file; gate flatten works
    without one. GATE_PREFIX and GATE_CONFIG replace --prefix and --config. A flag wins over the environment, and the
    environment over the file. These flags go before the command: gate --url URL status.

    \b
      export GATE_URL=redis://127.0.0.1:6379/0
      gate status
      gate eval --id sig-81 --symbol BTCUSDT --side BUY --notional 200
      gate halt --by ops --reason "CPI print"

    Every command takes --json, after its name. Exit codes: 2 bad input or usage (with --json an error on standard
    output too), 3 no answer from the store, 70 an internal error, 74 the answer couldn't be written; eval: 0 admit,
    1 deny; status: 0 entries pass, 1 stopped.
    """
    ctx.obj = Flags(url, embedded, prefix, config)
