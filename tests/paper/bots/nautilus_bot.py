"""A bot on NautilusTrader: buys and sells in turn, one order for every second quote, and counts what it is told.

`scripts/rehearse-bots` runs it in an environment of its own: nautilus_bot.py URL SOCKET_URL SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from decimal import Decimal

import nautilus_trader
from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceAccountType,
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceLiveDataClientFactory,
    BinanceLiveExecClientFactory,
)
from nautilus_trader.config import InstrumentProviderConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy

BTC = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")


class Bot(Strategy):  # type: ignore[misc]
    def on_start(self) -> None:
        self.told: Counter[str] = Counter()
        self.side = OrderSide.BUY
        self.subscribe_quote_ticks(BTC)
        self.subscribe_trade_ticks(BTC)
        self.subscribe_mark_prices(BTC)

    def on_quote_tick(self, tick: object) -> None:
        self.told["quotes"] += 1
        if self.told["quotes"] % 2:
            quantity = self.cache.instrument(BTC).make_qty(Decimal("0.002"))
            self.submit_order(self.order_factory.market(BTC, self.side, quantity))
            self.side = OrderSide.SELL if self.side == OrderSide.BUY else OrderSide.BUY

    def on_trade_tick(self, tick: object) -> None:
        self.told["trades"] += 1

    def on_mark_price(self, price: object) -> None:
        self.told["marks"] += 1

    def on_event(self, event: object) -> None:
        self.told["fills"] += type(event).__name__ == "OrderFilled"
        self.told["refusals"] += type(event).__name__ in ("OrderRejected", "OrderDenied")


def main(url: str, socket_url: str, seconds: int) -> None:
    common = {
        "api_key": "demo",
        "api_secret": "demo",
        "account_type": BinanceAccountType.USDT_FUTURES,
        "base_url_http": url,
        "instrument_provider": InstrumentProviderConfig(load_all=True),
    }
    node = TradingNode(
        config=TradingNodeConfig(
            trader_id=TraderId("PAPER-001"),
            logging=LoggingConfig(log_level="ERROR"),
            data_clients={BINANCE: BinanceDataClientConfig(**common, base_url_ws=socket_url)},
            exec_clients={
                BINANCE: BinanceExecClientConfig(
                    **common, base_url_ws=f"{socket_url}/ws-fapi/v1", base_url_ws_stream=socket_url
                )
            },
        )
    )
    bot = Bot(config=StrategyConfig())
    node.trader.add_strategy(bot)
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    node.add_exec_client_factory(BINANCE, BinanceLiveExecClientFactory)
    node.build()

    async def end() -> None:
        await asyncio.sleep(seconds)
        await node.stop_async()

    ending = node.get_event_loop().create_task(end())
    try:
        node.run()
    finally:
        node.dispose()
    assert ending.done()
    print(json.dumps({"bot": f"nautilus_trader {nautilus_trader.__version__}", **bot.told}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
