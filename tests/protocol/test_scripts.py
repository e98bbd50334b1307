"""The scripts are complete, their headers list all that they use, and they touch no other key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hiredis import pack_command

from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import (
    SCRIPTS,
    SERVER,
    Call,
    EncodedCall,
    Entries,
    ScriptError,
    packed_for,
    resolve,
    script,
)
from gate.values.guards import GUARDS
from gate.values.keys import KEYS

LUA = Path(__file__).parents[2] / "lua"
NAMES = SCRIPTS
FLAGS = {
    "evaluate": "",
    "settle": "allow-oom",
    "inspect": "no-writes",
    "last_look": "no-writes",
    "still_out": "no-writes",
    "control": "allow-oom",
    "identify": "no-writes",
    "leftovers": "allow-oom",
    "takes_writes": "",
    "answer": "allow-oom",
    "order_update": "allow-oom",
    "mark_told": "allow-oom",
}


def files(**texts: str) -> Callable[[str], str]:
    """A reader of made-up files: `main` is main.lua, others are includes."""
    paths = {("main.lua" if name == "main" else f"include/{name}.lua"): text for name, text in texts.items()}

    def read(path: str) -> str:
        if path not in paths:
            raise FileNotFoundError(path)
        return paths[path]

    return read


def test_includes_are_pasted_where_they_stand() -> None:
    read = files(main="#!lua\n--@include one\nreturn two()\n", one="--@include two\n-- one\n", two="local two = 2\n")
    assert resolve("main", read).source == "#!lua\nlocal two = 2\n-- one\nreturn two()\n"


def test_the_sha_is_that_of_the_text() -> None:
    assert resolve("main", files(main="return 1")).sha == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "there is no lua/main.lua"),
        ({"main": "--@include one"}, "there is no lua/include/one.lua"),
        ({"main": "--@include one", "one": "--@include two"}, "there is no lua/include/two.lua"),
        ({"main": "--@include one\n--@include one", "one": "x"}, "include/one.lua is included twice in main"),
        (
            {"main": "--@include one\n--@include two", "one": "--@include two", "two": "x"},
            "include/two.lua is included twice in main",
        ),
        ({"main": "--@include one", "one": "--@include one"}, "includes itself by way of include/one.lua"),
        (
            {"main": "--@include one", "one": "--@include two", "two": "--@include one"},
            "includes itself by way of include/one.lua",
        ),
        ({"main": "--@include"}, "there is no lua/include/.lua"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_missing_double_and_circular_includes_are_errors(texts: dict[str, str], message: str) -> None:
    with pytest.raises(ScriptError, match=re.escape(message)):
        resolve("main", files(**texts))


def header(name: str) -> str:
    """The comment that opens a script."""
    lines = (LUA / f"{name}.lua").read_text("utf-8").splitlines()
    end = next(number for number, line in enumerate(lines[1:], 1) if not line.startswith("--") or "@include" in line)
    return "\n".join(lines[1:end])


def code(name: str) -> str:
    return re.sub(r"--[^\n]*", "", script(name).source.partition("\n")[2])


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_with_its_flags(name: str) -> None:
    assert script(name).source.startswith(f"#!lua flags={FLAGS[name]}\n")


# Clients in other languages rely on the positions of keys and arguments.
OF_AN_INTENT = (
    "record lock rate_symbol cooldown_symbol rate_global failures inflight state halt safe_mode cooldown_global audit "
    "reasons applied journal trip"
)
OF_A_SETTLEMENT = f"{OF_AN_INTENT} exits placed"
OF_A_VERDICT = "asked figures server"
CALLED_WITH = {
    "evaluate": (OF_AN_INTENT, OF_A_VERDICT),
    "inspect": (OF_AN_INTENT, OF_A_VERDICT),
    "settle": (
        OF_A_SETTLEMENT,
        "intent_id token outcome retryable note counts_failure rest_symbol_ms rest_global_ms trips_safe_mode "
        "failure_limit failure_window_ms safe_mode_ttl_ms dedup_ttl_ms penalty_reason "
        "admission",
    ),
    "control": (
        "halt safe_mode cooldown_global failures state audit reasons applied",
        "act by reason token what figures expected user server",
    ),
    "last_look": (
        "record lock halt safe_mode reasons placed",
        "intent_id token is_exit needed_ms observes placed_after",
    ),
    "still_out": ("inflight state halt applied exits", "since_ms exits_too server"),
    "identify": (OF_A_SETTLEMENT, "halts"),
    "leftovers": ("audit state applied", "by reason belongs lapse_ms"),
    "takes_writes": ("state", ""),
    "answer": (
        "entries answers answered order open_orders",
        "group entry keep_ms most no_order told told_ms client_order_id open now_ms retryable",
    ),
    "order_update": ("answers order open_orders", "before told told_ms client_order_id open now_ms most"),
    "mark_told": ("mark", "turn keep_ms"),
}


OPEN_LISTS = {"control": "cooldowns", "leftovers": "leftovers", "evaluate": "placed", "inspect": "placed"}


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_arguments_stand_where_the_header_says(name: str) -> None:
    keys, arguments = CALLED_WITH[name]
    assert script(name).keys.names == tuple(keys.split())
    assert script(name).arguments.names == tuple(arguments.split())
    assert script(name).keys.open_list == OPEN_LISTS.get(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_server_gets_numbers_and_every_one_is_listed(name: str) -> None:
    assert not re.search(r"\b(KEYS|ARGV|GUARDS)\.", script(name).source)
    for word, entries in (("KEYS", script(name).keys), ("ARGV", script(name).arguments)):
        used = {int(number) for number in re.findall(rf"{word}\[(\d+)\]", code(name))}
        assert used <= set(range(1, len(entries.names) + (2 if entries.open_list else 1)))
        if word == "ARGV" and name != "inspect":  # it takes the same arguments as evaluate, and claims nothing
            assert used == set(range(1, len(entries.names) + 1))


@pytest.mark.parametrize("path", [*LUA.rglob("*.lua")], ids=lambda path: path.stem)
def test_no_line_of_ours_speaks_in_numbers(path: Path) -> None:
    assert not re.search(r"(KEYS|ARGV)\[\d", path.read_text("utf-8"))


def test_the_keyspace_makes_the_keys_that_the_headers_say() -> None:
    keyspace = Keyspace("P")
    made = keyspace.of_account() | keyspace.of_intent("{intent_id}", "{symbol}", "{side}")
    for name in ("evaluate", "control"):
        patterns = dict(re.findall(r"\d+…? (\w+) +(P:\S+)", header(name)))
        open_list = script(name).keys.open_list or ""
        assert patterns.pop(open_list) == made[{"cooldowns": "cooldown_symbol"}.get(open_list, open_list)]
        assert patterns == {key: made[key] for key in script(name).keys.names}


def test_the_table_of_keys_says_what_the_header_says() -> None:
    rows = re.findall(r"^-- .*?\d+ (\w+) +P:(\S+) +(\w+)", header("settle"), re.MULTILINE)
    assert rows == [(key.name, key.pattern, key.holds) for key in KEYS.values()]
    assert {guard.key for guard in GUARDS if guard.key} <= set(KEYS)


def test_each_shortcut_names_every_key_that_the_guards_behind_it_read() -> None:
    """A key that is left out would never deny, as long as the others are missing."""
    text = re.sub(r"--[^\n]*", "", (LUA / "include" / "guards.lua").read_text("utf-8"))
    text = text.replace("halted(is_exit)", "KEYS.halt")
    text = re.sub(
        r"if not nothing_known then global_entry = .* end\n", "", text
    )  # where it holds, this was read before
    behind_a_lock, all_of_them, without_window, of_another_type = (
        set(re.findall(r"KEYS\.(\w+)", keys)) for keys in re.findall(r"redis\.call\('EXISTS', ([^)]*)\)", text)
    )
    claimed = re.sub(r"--[^\n]*", "", (LUA / "include" / "claimed.lua").read_text("utf-8"))
    texts = set(re.findall(r"KEYS\.(\w+)", claimed))
    stops = set(re.findall(r"KEYS\.(\w+)", "".join(_blocks_that_ask("not nothing_on and not is_exit", text))))
    stops |= {"halt"}
    assert behind_a_lock == stops
    assert without_window == stops | texts
    assert all_of_them == stops | texts | {"rate_symbol"}
    assert of_another_type == texts - {"lock"}, "the lock is read by its guard"


def _blocks_that_ask(question: str, text: str) -> list[str]:
    """From an `if`, or a `local`, with the question to its `end` at the same depth, or to its line's."""
    blocks = re.finditer(rf"^( *)if [^\n]*{question}.*?^\1end$", text, re.MULTILINE | re.DOTALL)
    return [*(block[0] for block in blocks), *re.findall(rf"^ *local [^\n]*{question}[^\n]*$", text, re.MULTILINE)]


def test_the_guards_are_asked_in_the_order_of_the_table() -> None:
    first, text = ((LUA / "include" / f"{name}.lua").read_text("utf-8") for name in ("claimed", "guards"))
    asked = re.findall(r"reason, wait, detail, place = '([A-Z_]+)', .*, GUARDS\.([A-Z_]+)\n", first)
    asked += re.findall(r"reason, wait, detail, place = '([A-Z_]+)', .*, GUARDS\.([A-Z_]+)\n +break\n", text)
    assert len(asked) == 2 + text.count(" break\n")
    assert all(reason == place for reason, place in asked)
    order = list(dict.fromkeys(reason for reason, _ in asked))  # STALE is asked for too old and too early
    assert order == [guard.reason.value for guard in GUARDS]


@pytest.mark.parametrize("path", [*(LUA / "include").glob("*.lua")], ids=lambda path: path.stem)
def test_an_include_says_which_question_it_answers_and_what_it_needs_of_its_caller(path: Path) -> None:
    text = path.read_text("utf-8")
    assert re.match(r"-- [A-Z][^?\n]*\?", text), "its first line is the question that it answers"
    needs = " ".join(re.findall(r"^-- Needs .*(?:\n--    .*)*", text, re.MULTILINE)).replace("\n--", "")
    in_code = re.sub(r"--[^\n]*", "", text)
    for word in ("KEYS", "ARGV"):
        used = set(re.findall(rf"\b{word}\.(\w+)", in_code))
        if path.stem == "guards":
            assert used <= set(CALLED_WITH["evaluate"][word == "ARGV"].split())
        else:
            said = re.search(rf"{word}\.([\w, ]+)", needs)
            assert used == (set(re.split(r",\s+", said[1])) if said else set())
    assert needs or not re.search(r"\b(KEYS|ARGV)\.", in_code)


MAIN = "#!lua\n-- KEYS   1 halt   P:halt\n--        2… more   P:more\n--\n-- ARGV   1 what\n--\n"


def test_names_become_the_numbers_of_the_header() -> None:
    read = files(main=MAIN + "--@include one\nreturn KEYS.halt .. ARGV.what", one="local x = KEYS.from.more")
    resolved = resolve("main", read)
    assert resolved.source == MAIN + "local x = 2\nreturn KEYS[1] .. ARGV[1]"
    assert resolved.keys == Entries(("halt",), "more")
    assert resolved.arguments == Entries(("what",))
    assert resolve("other", lambda path: read(path) if path != "other.lua" else OTHER).source.endswith("KEYS[1]")


OTHER = "#!lua\n-- KEYS, ARGV   as in main.lua\n--\nreturn KEYS.halt"


def test_a_guard_becomes_its_place() -> None:
    assert resolve("main", files(main="return GUARDS.STALE")).source == "return 3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MAIN + "return KEYS.hat", "KEYS.hat isn't listed in the header of main.lua"),
        (MAIN + "return ARGV.halt", "ARGV.halt isn't listed in the header of main.lua"),
        (MAIN + "return KEYS.more", "KEYS.more isn't listed"),
        (MAIN + "return KEYS.from.halt", "KEYS.from.halt isn't listed"),
        (MAIN + "return GUARDS.LATE", "GUARDS.LATE isn't listed in gate.values.guards"),
        ("-- KEYS   1 a\n--        3 b\n--\n", "KEYS 3 b is out of order, or named twice"),
        ("-- KEYS   1 a\n--        2 a\n--\n", "KEYS 2 a is out of order, or named twice"),
        ("-- KEYS   1… a\n--        2 b\n--\n", "KEYS 2 b is out of order, or named twice"),
        ("-- KEYS   1 a\n--\n-- ARGV   1 a\n--\n", "a key and an argument have the same name: a"),
    ],
)
def test_a_name_that_the_header_does_not_give_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ScriptError, match=re.escape(message)):
        resolve("main", files(main=text))


def test_a_call_takes_its_values_by_name_and_sends_them_by_place() -> None:
    called = resolve("main", files(main=MAIN))
    call = Call("EVALSHA", called, {"halt": "P:halt", "unheard": "of"}, open_list=("P:a", "P:b"))
    assert call(what="t") == ("EVALSHA", called.sha, 3, "P:halt", "P:a", "P:b", "t")
    assert call(what="u")[-1] == "u"


ASKING = "#!lua\n-- KEYS   1 halt   P:halt\n--        2 lock   P:lock\n--\n-- ARGV   1 what\n--        2 server\n--\n"


def test_an_encoded_call_is_what_a_client_library_would_send() -> None:
    called = resolve("main", files(main=ASKING))
    call = EncodedCall("EVALSHA", called, {"halt": "P:50%:%d:halt", "unheard": "of", "server": SERVER})
    for lock, what in (("lock", b"\0\r\n$1\xff"), ("schloß", 7), ("", "50%")):
        words = ("EVALSHA", called.sha, 2, "P:50%:%d:halt", lock, what, "run id")
        sent = call(lock=lock, what=what)
        assert packed_for(sent, "run id") == pack_command(words)  # type: ignore[arg-type]  # its stub has one-element tuples only
        assert pack_command(sent.words("run id")) == pack_command(words)  # type: ignore[arg-type]
    unasked = EncodedCall("EVALSHA", called, {"server": "of old"})(halt="h", lock="l", what="w")
    assert packed_for(unasked, "run id") == pack_command(("EVALSHA", called.sha, 2, "h", "l", "w", "of old"))  # type: ignore[arg-type]
    assert unasked.words("run id")[-1] == b"of old"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a call of main lacks what"),
        ({"what": "t", "halt": "h"}, "a call of main takes no halt"),
        ({"wat": "t"}, "a call of main takes no wat"),
    ],
)
@pytest.mark.parametrize("kind", [Call, EncodedCall])
def test_a_call_that_lacks_a_value_or_has_one_too_many_is_refused(
    kind: type[Call | EncodedCall], given: dict[str, str], message: str
) -> None:
    call = kind("EVALSHA", resolve("main", files(main=MAIN)), {"halt": "P:halt"})
    with pytest.raises(ScriptError, match=message):
        call(**given)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_that_a_script_replies_stands_in_its_header(name: str) -> None:
    replies = set(re.findall(r"return '([A-Z_]{4,})", code(name)))
    said = set(re.findall(r"[A-Z_]{4,}", header(name)))
    assert replies - (set() if name == "last_look" else {guard.reason.value for guard in GUARDS}) <= said
    assert "Reply" in header(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_asks_for_the_time_once_and_never_decodes_json(name: str) -> None:
    text = code(name)
    assert len(re.findall(r"redis\.p?call\('TIME'\)", text)) == (
        name not in ("identify", "takes_writes", "answer", "order_update", "mark_told")
    )
    assert "cjson" not in text
    assert "cmsgpack" not in text
    # MGET says nothing of a key of the wrong type: there is one, and the test of the shortcuts looks at it.
    assert text.count("'MGET'") == {"evaluate": 2, "inspect": 2, "identify": 1}.get(name, 0)
    assert not re.search(r"'(KEYS|SCAN|SMEMBERS|HGETALL)'", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_touches_no_key_that_it_was_not_given(name: str) -> None:
    assert "P:exec" not in code(name)
    assert "quantum" not in code(name)
    assert not re.search(r"'(exec|safety):", code(name))


def test_every_include_is_used() -> None:
    used = set(re.findall(r"--@include (\S+)", "\n".join(path.read_text("utf-8") for path in LUA.rglob("*.lua"))))
    assert used == {path.stem for path in (LUA / "include").glob("*.lua")}
