"""A bot on ccxt.pro: buys and sells in turn, one order for every second ticker, and counts what it is told.

`scripts/rehearse-bots` runs it: ccxt_bot.py URL SOCKET_URL SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import ccxt.pro

BTC = "BTC/USDT:USDT"


def exchange_at(url: str, socket_url: str) -> Any:
    futures = f"{url}/fapi"
    versions = {"": "v1", "V2": "v2", "V3": "v3"}
    rest = {
        f"fapi{kind}{name}": f"{futures}/{path}" for kind in ("Public", "Private") for name, path in versions.items()
    }
    sockets = {"linear": f"{socket_url}/ws", "ws-api": {"linear": f"{socket_url}/ws-fapi/v1"}}
    return ccxt.pro.binanceusdm(
        {
            "apiKey": "demo",
            "secret": "demo",
            "urls": {"api": {**rest, "ws": sockets}},
            "options": {"fetchCurrencies": False},
        }
    )


async def trade(exchange: Any, told: Counter[str]) -> None:
    side = "buy"
    while True:
        await exchange.watch_ticker(BTC)
        told["tickers"] += 1
        if told["tickers"] % 2:
            await exchange.create_order_ws(BTC, "market", side, 0.002)
            side = "sell" if side == "buy" else "buy"


async def count(exchange: Any, told: Counter[str]) -> None:
    while True:
        told["fills"] += len(await exchange.watch_my_trades(BTC))


async def candles(exchange: Any, told: Counter[str]) -> None:
    while True:
        await exchange.watch_ohlcv(BTC)
        told["candles"] += 1


async def main(url: str, socket_url: str, seconds: int) -> None:
    exchange, told = exchange_at(url, socket_url), Counter[str]()
    await exchange.load_markets()
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for work in (count, candles, trade):
                group.create_task(work(exchange, told))
    except TimeoutError:
        pass
    finally:
        await exchange.close()
    print(json.dumps({"bot": f"ccxt.pro {ccxt.__version__}", **told}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
