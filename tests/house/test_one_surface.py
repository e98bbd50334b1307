"""Gate and AsyncGate, GuardedPermit and AsyncGuardedPermit: the same names, arguments and words."""

from __future__ import annotations

import inspect
import types
from typing import Any

import pytest

import gate
from gate import AsyncGate, AsyncGuardedPermit, Gate, GuardedPermit

PAIRS = [(Gate, AsyncGate), (GuardedPermit, AsyncGuardedPermit)]
pairs = pytest.mark.parametrize(("blocking", "awaited"), PAIRS, ids=["Gate", "GuardedPermit"])
# The with statement and async with call methods of different names.
BLOCKS = {"__enter__": "__aenter__", "__exit__": "__aexit__"}


def public(kind: type) -> dict[str, Any]:
    special = ("__init__", "__bool__", *BLOCKS, *BLOCKS.values())
    members = {name: value for base in reversed(kind.__mro__[:-1]) for name, value in vars(base).items()}
    return {name: value for name, value in members.items() if not name.startswith("_") or name in special}


def arguments(method: Any) -> list[tuple[str, Any, Any]]:
    function = method.__func__ if isinstance(method, classmethod) else method
    parameters = inspect.signature(inspect.unwrap(function)).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


@pairs
def test_both_have_the_same_names(blocking: type, awaited: type) -> None:
    assert {BLOCKS.get(name, name) for name in public(blocking)} == set(public(awaited))


@pairs
def test_both_take_the_same_arguments(blocking: type, awaited: type) -> None:
    for name, method in public(blocking).items():
        if isinstance(method, types.FunctionType | classmethod):
            assert arguments(method) == arguments(public(awaited)[BLOCKS.get(name, name)]), name


@pairs
def test_only_methods_that_talk_to_the_store_are_awaited(blocking: type, awaited: type) -> None:
    same = {"__init__", "__bool__", "from_url", "from_config", "guard", "client_order_id", "id_parameter"}
    same.add("permit_without_store")
    for name, method in public(blocking).items():
        if isinstance(method, types.FunctionType) and name not in same:
            assert inspect.iscoroutinefunction(public(awaited)[BLOCKS.get(name, name)]), name


def test_the_documented_words_are_public() -> None:
    for name in ("AsyncGate", "Gate", "Intent", "Outcome", "Policy", "Reason"):
        assert name in gate.__all__
    for name in gate.__all__:
        assert getattr(gate, name) is not None
    methods = {"evaluate", "settle", "inspect", "lookup", "status", "halt", "resume", "reset", "guard"}
    assert methods <= set(public(Gate))
    assert {"client_order_id", "in_doubt", "halt_in_force", "ever_run"} <= set(public(Gate))
    assert {"placed", "client_order_id"} <= set(public(GuardedPermit))


def test_every_public_method_says_what_it_does() -> None:
    for kind in (Gate, AsyncGate, GuardedPermit, AsyncGuardedPermit):
        for name, member in public(kind).items():
            if not name.startswith("__"):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
