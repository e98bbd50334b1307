"""Money, prices and quantities are Decimal: no float is made anywhere in the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from binance import Client

import gate.paper
from gate.paper import PaperExchange

MODULES = sorted(Path(gate.paper.__file__).parent.rglob("*.py"))
WAITS = {"_TICK_S"}  # a pause of the event loop, no figure


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_float_is_written_or_made(module: Path) -> None:
    tree = ast.parse(module.read_text())
    waits = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in WAITS
    ]
    found = [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float) and node not in waits)
        or (isinstance(node, ast.Name) and node.id == "float")
    ]
    assert found == []


def test_figures_leave_as_strings_but_for_the_brackets(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    answers = [
        client.futures_account(),
        client.futures_account(version=3),
        client.futures_account_balance(),
        client.futures_position_information(),
        client.futures_account_trades(symbol="BTCUSDT"),
        client.futures_get_all_orders(symbol="BTCUSDT"),
        client.futures_mark_price(),
        client.futures_order_book(symbol="BTCUSDT"),
        paper_exchange.ledger(),
    ]
    assert not any(isinstance(leaf, float) for answer in answers for leaf in leaves(answer))


def test_a_price_of_absurd_length_is_refused_like_any_other(client: Client, paper_exchange: PaperExchange) -> None:
    for price in ("99999999999999999999", "0.00000000000000000001"):
        with pytest.raises(Exception, match="code=-"):
            client.futures_create_order(
                symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price=price
            )
    assert paper_exchange.ledger() == []


def leaves(node: object) -> list[object]:
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in leaves(value)]
    if isinstance(node, list):
        return [leaf for value in node for leaf in leaves(value)]
    return [node]
