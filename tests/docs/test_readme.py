"""The README's commands and code work as it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from pathlib import Path

import redis
from binance import Client

from gate import Gate, Intent, Policy
from gate.paper import Fault, FaultKind, PaperExchange
from gate.values.guards import GUARDS
from tests.servers.store import Store

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DEFAULT_URL = "redis://127.0.0.1:6379/0"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_screen_has_the_two_commands_and_the_drop_in() -> None:
    first_screen = "\n".join(README.splitlines()[:40])
    assert "scripts/demo" in first_screen
    assert "scripts/test" in first_screen
    assert "gate.guard(" in first_screen


def _commands() -> list[str]:
    [block] = [block for block in _blocks("sh") if "gate eval" in block]
    return [line for line in block.splitlines() if line.startswith("gate ")]


def test_the_gate_commands_run_one_after_the_other_as_pasted(store: Store, redis_client: redis.Redis) -> None:
    redis_client.flushall()  # as a reader's store: only the first command lets entries go
    printed = {}
    for command in _commands():
        program, *arguments = shlex.split(command)
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            env={**os.environ, "GATE_URL": store.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert "Traceback" not in done.stderr
        printed[command] = done.stdout

    assert "client order id" in printed["gate show sig-81"]
    assert {line.split()[1] for line in printed} == {
        "init",
        "eval",
        "status",
        "show",
        "halt",
        "resume",
        "reset",
        "policy",
    }


def test_below_the_drop_in_a_bold_line_says_what_a_loss_of_memory_asks_of_the_caller() -> None:
    _, _, after = README.partition('return "PLACED", order["orderId"]\n```\n')
    bold = after.lstrip().partition("\n\n")[0]
    assert bold.startswith("**")
    assert bold.endswith("**")
    assert "`verify`" in bold
    assert "examples/drop_in.py" in bold


def test_the_drop_in_places_an_order_and_denies_its_duplicate(store: Store, redis_client: redis.Redis) -> None:
    drop_in = next(block for block in _blocks("python") if "on_intent" in block).replace(DEFAULT_URL, store.url)
    sent: list[str] = []

    def send_order(newClientOrderId: str) -> dict[str, str]:  # noqa: N803  # the exchange's name
        sent.append(newClientOrderId)
        return {"orderId": "8389765"}

    names: dict[str, object] = {"send_order": send_order}
    exec(compile(drop_in, "README.md", "exec"), names)  # noqa: S102  # our own README
    fields = {"symbol": "BTCUSDT", "side": "BUY", "position_size_usd": "200", "timestamp": str(time.time())}
    on_intent = names["on_intent"]
    assert callable(on_intent)

    assert on_intent(fields) == ("PLACED", "8389765")
    assert on_intent(fields) == ("DUPLICATE", None)
    assert len(sent) == 1


def test_the_example_of_an_own_placement_settles_what_an_exception_means(
    store: Store, redis_client: redis.Redis
) -> None:
    [example] = [block for block in _blocks("python") if "outcome_of(" in block]
    intent = Intent(id="readme", symbol="BTCUSDT", side="BUY", quantity="0.01", timestamp=time.time_ns() // 1_000_000)
    terms = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    refusal = Fault(kind=FaultKind.ERROR, code=-2019)
    with PaperExchange(faults=[refusal]) as paper, Gate.from_url(store.url) as gate:
        client = Client(paper.key, paper.secret, ping=False)
        client.FUTURES_URL = f"{paper.url}/fapi"
        with closing(client.session):
            names = {"gate": gate, "intent": intent, "client": client, "terms": terms}
            exec(compile(example, "README.md", "exec"), names)  # noqa: S102  # likewise
        on = {each.name for each in gate.status().standing}

    assert {"failures", "cooldown_global"} <= on


async def test_the_executor_example_fills_an_order(store: Store, redis_client: redis.Redis) -> None:
    [example] = [block for block in _blocks("python") if "with Executor(" in block]
    imports, _, example = example.partition("\n\n")
    body = "".join(f"    {line}\n" for line in example.splitlines())
    names: dict[str, object] = {}
    code = f"{imports}\n\nasync def example(url, key, secret, paper_url, intent, print):\n{body}"
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # likewise
    intent = Intent(id="readme", symbol="BTCUSDT", side="BUY", notional="500", timestamp=time.time_ns() // 1_000_000)
    printed: list[tuple[object, ...]] = []
    example_of_readme = names["example"]
    assert callable(example_of_readme)
    with PaperExchange() as paper:
        await example_of_readme(
            store.url, paper.key, paper.secret, paper.url, intent, lambda *said: printed.append(said)
        )

    assert printed[0][0] == "FILLED"


def test_the_example_without_an_event_loop_fills_an_order(store: Store, redis_client: redis.Redis) -> None:
    [example] = [block for block in _blocks("python") if "BlockingExecutor(" in block]
    intent = Intent(id="readme", symbol="BTCUSDT", side="BUY", notional="500", timestamp=time.time_ns() // 1_000_000)
    printed: list[tuple[object, ...]] = []
    with PaperExchange() as paper:
        names = {
            "url": store.url,
            "key": paper.key,
            "secret": paper.secret,
            "paper_url": paper.url,
            "intent": intent,
            "print": lambda *said: printed.append(said),
        }
        exec(compile(example, "README.md", "exec"), names)  # noqa: S102  # likewise

    assert printed[0][0] == "FILLED"


def test_the_table_of_guards_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| .* \| (.*) \|$", README, re.MULTILINE)
    assert rows == [(guard.reason, guard.exits) for guard in GUARDS]


def test_everything_that_the_examples_import_is_there() -> None:
    """The documented import paths stay, wherever the code behind them moves."""
    lines = [line for block in _blocks("python") for line in block.splitlines() if line.startswith("from gate")]
    assert {line.split()[1] for line in lines} >= {
        "gate",
        "gate.blocking",
        "gate.exchange.binance",
        "gate.exchange.consequences",
        "gate.executor",
    }
    for line in lines:
        exec(line, {})  # noqa: S102  # our own README


def test_the_config_example_is_a_policy() -> None:
    [example] = _blocks("toml")
    assert Policy.from_mapping(tomllib.loads(example)["policy"]) == Policy()
