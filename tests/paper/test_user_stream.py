"""The user stream tells what the books do, at once, in the exchange's shapes, and never anything else than REST."""

from __future__ import annotations

from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]  # its stub hides it
from decimal import Decimal
from typing import Any

import pytest
from binance import Client

from gate.paper import Account, PaperExchange
from tests.paper.conftest import futures_client
from tests.paper.sockets import connected, listen_key, new_key, user_stream

HOUR_MS = 60 * 60_000
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002", "newClientOrderId": "mine"}
LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.002", "price": "90000",
    "newClientOrderId": "rests",
}  # fmt: skip
STOP = {
    "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "triggerPrice": "95000", "closePosition": "true",
    "clientAlgoId": "stop",
}  # fmt: skip


async def test_a_market_order_is_told_new_then_the_balance_then_filled(
    client: Client, paper_exchange: PaperExchange
) -> None:
    async with user_stream(paper_exchange) as line:
        answer = client.futures_create_order(**MARKET)
        new, account, filled = await line.next(), await line.next(), await line.next()
    assert (new["e"], new["o"]["x"], new["o"]["X"], new["o"]["z"]) == ("ORDER_TRADE_UPDATE", "NEW", "NEW", "0.000")
    order, trade = client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine"), filled["o"]
    assert (trade["x"], trade["X"], trade["c"], trade["i"]) == ("TRADE", "FILLED", "mine", answer["orderId"])
    assert (trade["z"], trade["ap"], trade["q"], filled["T"]) == (
        order["executedQty"], order["avgPrice"], order["origQty"], order["updateTime"],
    )  # fmt: skip
    fill = client.futures_account_trades(symbol="BTCUSDT")[0]
    assert (trade["t"], trade["L"], trade["l"], trade["n"], trade["N"], trade["m"], trade["rp"]) == (
        fill["id"], fill["price"], fill["qty"], fill["commission"], "USDT", False, "0.00000000",
    )  # fmt: skip
    usdt = next(row for row in client.futures_account_balance() if row["asset"] == "USDT")
    assert account["a"]["m"] == "ORDER"
    assert account["a"]["B"] == [
        {"a": "USDT", "wb": usdt["balance"], "cw": usdt["crossWalletBalance"], "bc": "0.00000000"}
    ]
    held = client.futures_position_information(symbol="BTCUSDT")[0]
    told = account["a"]["P"][0]
    assert (told["s"], told["pa"], told["ep"], told["up"], told["mt"], told["ps"]) == (
        "BTCUSDT", held["positionAmt"], held["entryPrice"], held["unRealizedProfit"], "cross", "BOTH",
    )  # fmt: skip


async def test_an_order_is_answered_before_its_events_are_told(
    client: Client, paper_exchange: PaperExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for an answer for as long as it takes to tell others: an exchange has other machines for that."""
    write: Any = _SelectorSocketTransport.write
    left = list[str]()

    def noting(self: object, data: bytes) -> None:
        left.extend(
            word for word in ("HTTP/1.1 200", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE") if word.encode() in bytes(data)
        )
        write(self, data)

    async with user_stream(paper_exchange) as line:
        monkeypatch.setattr(_SelectorSocketTransport, "write", noting)
        client.futures_create_order(**MARKET)
        await line.names(3)

    assert left == ["HTTP/1.1 200", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]


async def test_what_comes_of_a_resting_order_is_told(client: Client, paper_exchange: PaperExchange) -> None:
    async with user_stream(paper_exchange) as line:
        client.futures_create_order(**LIMIT)
        assert (await line.next())["o"]["X"] == "NEW"
        client.futures_cancel_order(symbol="BTCUSDT", origClientOrderId="rests")
        told = (await line.next())["o"]
        assert (told["x"], told["X"], told["c"]) == ("CANCELED", "CANCELED", "rests")
        client.futures_create_order(**LIMIT)
        assert (await line.next())["o"]["X"] == "NEW"
        paper_exchange.set_price("BTCUSDT", "89999.9", depth="0.001")
        account, told = await line.next(), (await line.next())["o"]
        assert (account["e"], told["x"], told["X"], told["z"], told["m"]) == (
            "ACCOUNT_UPDATE", "TRADE", "PARTIALLY_FILLED", "0.001", True,
        )  # fmt: skip
        client.futures_create_order(**{**LIMIT, "timeInForce": "IOC", "newClientOrderId": "ioc"})
        assert [(await line.next())["o"]["x"] for _ in range(2)] == ["NEW", "EXPIRED"]


async def test_a_conditional_order_is_told_until_its_order_is_over(
    client: Client, paper_exchange: PaperExchange
) -> None:
    client.futures_create_order(**MARKET)
    async with user_stream(paper_exchange) as line:
        client.futures_create_order(**STOP)
        told = (await line.next())["o"]
        assert (told["X"], told["caid"], told["tp"], told["ai"], told["cp"]) == ("NEW", "stop", "95000.00", "", True)
        paper_exchange.set_price("BTCUSDT", "94000")
        events = [await line.next() for _ in range(6)]
    steps = [(event["e"], event["o"]["X"] if "o" in event else event["a"]["m"]) for event in events]
    assert steps == [
        ("ALGO_UPDATE", "TRIGGERING"),
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ACCOUNT_UPDATE", "ORDER"),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ALGO_UPDATE", "FINISHED"),
    ]
    algo = client.futures_get_algo_order(clientAlgoId="stop")
    last = events[-1]["o"]
    assert (last["X"], last["ai"], last["ap"], last["aq"]) == (
        algo["algoStatus"], algo["actualOrderId"], algo["actualPrice"], "0.002",
    )  # fmt: skip
    assert (events[3]["o"]["ot"], events[3]["o"]["c"]) == ("STOP_MARKET", "stop")


async def test_a_stop_limit_is_finished_only_when_its_order_is_over(
    client: Client, paper_exchange: PaperExchange
) -> None:
    client.futures_create_order(**MARKET)
    async with user_stream(paper_exchange) as line:
        client.futures_create_order(
            symbol="BTCUSDT", side="SELL", type="STOP", triggerPrice="95000", price="99000", quantity="0.002",
            clientAlgoId="limit", timeInForce="GTC",
        )  # fmt: skip
        paper_exchange.set_price("BTCUSDT", "94000")
        told = [await line.next() for _ in range(4)]
        assert [event["o"]["X"] for event in told] == ["NEW", "TRIGGERING", "NEW", "TRIGGERED"]
        client.futures_cancel_order(symbol="BTCUSDT", origClientOrderId="limit")
        assert [(await line.next())["o"]["X"] for _ in range(2)] == ["CANCELED", "FINISHED"]


async def test_a_stop_that_is_refused_at_its_trigger_is_told_with_the_reason(
    client: Client, paper_exchange: PaperExchange
) -> None:
    async with user_stream(paper_exchange) as line:
        client.futures_create_order(**{**STOP, "triggerPrice": "99000", "closePosition": "false", "quantity": "20"})
        paper_exchange.set_price("BTCUSDT", "98000")
        told = [(await line.next())["o"] for _ in range(3)]
    assert [(each["X"], each["rm"]) for each in told] == [
        ("NEW", ""), ("TRIGGERING", ""), ("REJECTED", "Margin is insufficient."),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "arguments", "told"),
    [
        ("futures_change_leverage", {"symbol": "BTCUSDT", "leverage": 7}, {"ac": {"s": "BTCUSDT", "l": 7}}),
        ("futures_change_multi_assets_mode", {"multiAssetsMargin": "true"}, {"ai": {"j": True}}),
    ],
)
async def test_a_changed_setting_is_told(
    client: Client, paper_exchange: PaperExchange, call: str, arguments: Any, told: Any
) -> None:
    async with user_stream(paper_exchange) as line:
        getattr(client, call)(**arguments)
        event = await line.next()
    assert event["e"] == "ACCOUNT_CONFIG_UPDATE"
    assert event.items() >= told.items()


async def test_deposits_and_the_margin_type_are_told(client: Client, paper_exchange: PaperExchange) -> None:
    async with user_stream(paper_exchange) as line:
        paper_exchange.set_balance("12000")
        deposit = (await line.next())["a"]
        assert (deposit["m"], deposit["B"][0]["bc"], deposit["B"][0]["wb"], deposit["P"]) == (
            "DEPOSIT", "2000.00000000", "12000.00000000", [],
        )  # fmt: skip
        paper_exchange.set_balance("500")
        assert (await line.next())["a"]["m"] == "WITHDRAW"
        client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
        changed = (await line.next())["a"]
        assert (changed["m"], changed["P"][0]["s"], changed["P"][0]["mt"]) == (
            "MARGIN_TYPE_CHANGE", "BTCUSDT", "isolated",
        )  # fmt: skip


@pytest.mark.paper(accounts=[Account(assets={"USDC": "2000"})])
async def test_what_isolated_positions_hold_is_not_in_the_cross_wallet(
    client: Client, paper_exchange: PaperExchange
) -> None:
    for symbol in ("ETHUSDT", "BTCUSDC"):
        client.futures_change_margin_type(symbol=symbol, marginType="ISOLATED")
        client.futures_create_order(symbol=symbol, side="BUY", type="MARKET", quantity="0.01")
    async with user_stream(paper_exchange) as line:
        client.futures_create_order(**MARKET)
        (told,) = (await line.until("ACCOUNT_UPDATE"))["a"]["B"]
        client.futures_create_order(symbol="BTCUSDC", side="BUY", type="MARKET", quantity="0.01")
        (of_usdc,) = (await line.until("ACCOUNT_UPDATE"))["a"]["B"]
    rest = {row["asset"]: row for row in client.futures_account_balance()}
    for each in (told, of_usdc):
        assert (each["wb"], each["cw"]) == (rest[each["a"]]["balance"], rest[each["a"]]["crossWalletBalance"])
        assert Decimal(each["cw"]) < Decimal(each["wb"])
    assert (told["a"], of_usdc["a"]) == ("USDT", "USDC")


@pytest.mark.parametrize("path", ["/private/ws?listenKey={}", "/ws/{}", "/private/ws/{}", "/ws?listenKey={}"])
async def test_every_path_of_the_key_leads_to_the_stream(
    client: Client, paper_exchange: PaperExchange, path: str
) -> None:
    async with connected(paper_exchange, path.format(new_key(paper_exchange))) as line:
        client.futures_create_order(**LIMIT)
        assert (await line.next())["o"]["c"] == "rests"


@pytest.mark.parametrize("path", ["/stream?streams={}", "/private/stream?listenKey={}"])
async def test_a_combined_stream_wraps_the_event(client: Client, paper_exchange: PaperExchange, path: str) -> None:
    key = new_key(paper_exchange)
    async with connected(paper_exchange, path.format(key)) as line:
        client.futures_create_order(**LIMIT)
        event = await line.next()
    assert (event["stream"], event["data"]["o"]["c"]) == (key, "rests")


async def test_a_connection_gets_only_the_events_that_its_address_names(
    client: Client, paper_exchange: PaperExchange
) -> None:
    key = new_key(paper_exchange)
    async with connected(paper_exchange, f"/private/ws?listenKey={key}&events=ACCOUNT_UPDATE/ALGO_UPDATE") as line:
        client.futures_create_order(**MARKET)
        client.futures_create_order(**STOP)
        assert await line.names(2) == ["ACCOUNT_UPDATE", "ALGO_UPDATE"]


@pytest.mark.paper(accounts=[Account(), Account("other", "other")])
async def test_a_stream_tells_of_its_own_account_only(paper_exchange: PaperExchange) -> None:
    async with user_stream(paper_exchange, 1) as line:
        futures_client(paper_exchange, 0).futures_create_order(**LIMIT)
        futures_client(paper_exchange, 1).futures_create_order(**{**LIMIT, "newClientOrderId": "own"})
        assert (await line.next())["o"]["c"] == "own"


async def test_a_key_lasts_sixty_minutes_from_when_it_was_last_asked_for(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.hold_clock()
    async with user_stream(paper_exchange) as line:
        key = new_key(paper_exchange)
        paper_exchange.move_clock(HOUR_MS - 1)
        assert listen_key(paper_exchange, "PUT").json() == {"listenKey": key}
        assert new_key(paper_exchange) == key
        paper_exchange.move_clock(HOUR_MS - 1)
        paper_exchange.move_clock(1)
        expired = await line.next()
        assert (expired["e"], expired["listenKey"], expired["E"]) == (
            "listenKeyExpired", key, paper_exchange.now_ms(),
        )  # fmt: skip
        refused = listen_key(paper_exchange, "PUT")
        assert (refused.status_code, refused.json()["code"]) == (400, -1125)
        # The old key's stream is silent, and the new key's isn't.
        fresh = new_key(paper_exchange)
        assert fresh != key
        async with connected(paper_exchange, f"/private/ws?listenKey={fresh}") as other:
            paper_exchange.set_balance("1")
            assert (await other.next())["e"] == "ACCOUNT_UPDATE"
        assert await line.alive()


async def test_a_deleted_key_ends_its_stream(client: Client, paper_exchange: PaperExchange) -> None:
    async with user_stream(paper_exchange) as line:
        assert listen_key(paper_exchange, "DELETE").json() == {}
        assert listen_key(paper_exchange, "PUT").json()["code"] == -1125
        client.futures_create_order(**LIMIT)
        key = new_key(paper_exchange)
        assert (await line.ask("SUBSCRIBE", key))["result"] is None  # and no event came before this answer
        paper_exchange.set_balance("1")
        assert (await line.next())["e"] == "ACCOUNT_UPDATE"


def test_a_key_needs_a_known_api_key(paper_exchange: PaperExchange) -> None:
    paper_exchange.accounts = (Account("unknown", "x"),)
    refused = listen_key(paper_exchange)
    assert (refused.status_code, refused.json()["code"]) == (401, -2015)


async def test_the_stream_adds_up_to_what_rest_says(client: Client, paper_exchange: PaperExchange) -> None:
    """Fills, fees and profits of a day, summed over the events, end where REST's figures are."""
    async with user_stream(paper_exchange) as line:
        for step, (side, price) in enumerate(
            [("BUY", "100500"), ("SELL", "101000"), ("SELL", "99000"), ("BUY", "98000")]
        ):
            client.futures_create_order(**{**MARKET, "side": side, "newClientOrderId": f"n{step}"})
            paper_exchange.set_price("BTCUSDT", price)
        told = [await line.next() for _ in range(12)]
    fills = [event["o"] for event in told if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["x"] == "TRADE"]
    change = sum((Decimal(fill["rp"]) - Decimal(fill["n"]) for fill in fills), Decimal(0))
    wallet = Decimal(client.futures_account(version=3)["totalWalletBalance"])
    assert Decimal(10_000) + change == wallet
    last = [event["a"] for event in told if event["e"] == "ACCOUNT_UPDATE"][-1]
    assert (Decimal(last["B"][0]["wb"]), last["P"][0]["pa"]) == (wallet, "0.000")
    assert Decimal(last["P"][0]["cr"]) == sum((Decimal(fill["rp"]) for fill in fills), Decimal(0))
