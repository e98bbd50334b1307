"""Binance's unmodified connector for USDⓈ-M futures works on the paper exchange by configuration alone."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gate.paper import PaperExchange

pytest.importorskip("binance_sdk_derivatives_trading_usds_futures", reason="the test group `clients` is not installed")
from binance_common.configuration import ConfigurationRestAPI
from binance_common.errors import BadRequestError
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import DerivativesTradingUsdsFutures
from binance_sdk_derivatives_trading_usds_futures.rest_api.models import (
    ModifyOrderSideEnum,
    NewAlgoOrderSideEnum,
    NewOrderNewOrderRespTypeEnum,
    NewOrderSideEnum,
    NewOrderTimeInForceEnum,
)


@pytest.fixture
def rest(paper_exchange: PaperExchange) -> Any:
    configuration = ConfigurationRestAPI(
        api_key=paper_exchange.key, api_secret=paper_exchange.secret, base_path=paper_exchange.url
    )
    return DerivativesTradingUsdsFutures(config_rest_api=configuration).rest_api


def test_a_day_s_work(rest: Any, paper_exchange: PaperExchange, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    symbols = rest.exchange_information().data().symbols
    assert "BTCUSDT" in [symbol.symbol for symbol in symbols]
    assert rest.account_information_v3().data().available_balance == "10000.00000000"
    balances = {row.asset: row.balance for row in rest.futures_account_balance_v3().data()}
    assert balances["USDT"] == "10000.00000000"
    assert rest.change_initial_leverage(symbol="BTCUSDT", leverage=5).data().leverage == 5

    bought = rest.new_order(
        symbol="BTCUSDT", side=NewOrderSideEnum.BUY, type="MARKET", quantity=0.01, new_client_order_id="sdk-1",
        new_order_resp_type=NewOrderNewOrderRespTypeEnum.RESULT,
    ).data()  # fmt: skip
    assert (bought.status, bought.executed_qty) == ("FILLED", "0.010")
    limit = rest.new_order(
        symbol="BTCUSDT", side=NewOrderSideEnum.SELL, type="LIMIT", quantity=0.01, price=105_000,
        time_in_force=NewOrderTimeInForceEnum.GTC, new_client_order_id="sdk-2",
    ).data()  # fmt: skip
    found = rest.query_order(symbol="BTCUSDT", orig_client_order_id="sdk-2").data()
    assert (found.order_id, found.status) == (limit.order_id, "NEW")
    assert rest.cancel_order(symbol="BTCUSDT", orig_client_order_id="sdk-2").data().status == "CANCELED"
    position = rest.position_information_v3(symbol="BTCUSDT").data()[0]
    assert (position.position_amt, position.entry_price) == ("0.010", "100000.1")
    rest.new_algo_order(
        algo_type="CONDITIONAL", symbol="BTCUSDT", side=NewAlgoOrderSideEnum.SELL, type="STOP_MARKET",
        trigger_price=95_000, close_position="true", client_algo_id="sdk-3",
    )  # fmt: skip
    assert rest.query_algo_order(client_algo_id="sdk-3").data().algo_status == "NEW"
    rest.cancel_algo_order(client_algo_id="sdk-3")

    paper_exchange.set_balance("0")
    with pytest.raises(BadRequestError) as error:
        rest.new_order(symbol="BTCUSDT", side=NewOrderSideEnum.BUY, type="MARKET", quantity=0.01)
    assert error.value.status_code == -2019
    assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["sdk-1", "sdk-2"]
    # The connector checks every answer against Binance's own schema and warns when a type differs.
    assert [record.getMessage() for record in caplog.records if "did not match" in record.getMessage()] == []
    assert [record.getMessage() for record in caplog.records if "Failed to parse" in record.getMessage()] == []


def test_every_account_answer_has_the_types_of_binance_s_schema(
    rest: Any, paper_exchange: PaperExchange, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    rest.new_order(symbol="BTCUSDT", side=NewOrderSideEnum.BUY, type="MARKET", quantity=0.01)
    rest.new_order(
        symbol="BTCUSDT", side=NewOrderSideEnum.BUY, type="LIMIT", quantity=0.01, price=95_000,
        time_in_force=NewOrderTimeInForceEnum.GTC, new_client_order_id="sdk-9",
    )  # fmt: skip
    rest.test_order(symbol="BTCUSDT", side=NewOrderSideEnum.BUY, type="MARKET", quantity=0.01)
    rest.new_algo_order(
        algo_type="CONDITIONAL", symbol="BTCUSDT", side=NewAlgoOrderSideEnum.SELL, type="STOP_MARKET",
        trigger_price=95_000, close_position="true", client_algo_id="sdk-10",
    )  # fmt: skip
    for answer in (
        rest.account_information_v2(),
        rest.account_information_v3(),
        rest.futures_account_balance_v2(),
        rest.futures_account_balance_v3(),
        rest.position_information_v2(),
        rest.position_information_v3(),
        rest.symbol_configuration(),
        rest.futures_account_configuration(),
        rest.notional_and_leverage_brackets(),
        rest.notional_and_leverage_brackets(symbol="BTCUSDT"),
        rest.account_trade_list(symbol="BTCUSDT"),
        rest.modify_order(
            symbol="BTCUSDT", side=ModifyOrderSideEnum.BUY, quantity=0.01, price=94_000, orig_client_order_id="sdk-9"
        ),
        rest.all_orders(symbol="BTCUSDT"),
        rest.current_all_open_orders(),
        rest.query_current_open_order(symbol="BTCUSDT", orig_client_order_id="sdk-9"),
        rest.current_all_algo_open_orders(),
        rest.query_all_algo_orders(symbol="BTCUSDT"),
        rest.query_user_rate_limit(),
        rest.get_current_multi_assets_mode(),
        rest.get_current_position_mode(),
        rest.user_commission_rate(symbol="BTCUSDT"),
        rest.auto_cancel_all_open_orders(symbol="BTCUSDT", countdown_time=0),
        rest.cancel_all_open_orders(symbol="BTCUSDT"),
        rest.cancel_all_algo_open_orders(symbol="BTCUSDT"),
        rest.mark_price(),
        rest.mark_price(symbol="BTCUSDT"),
        rest.symbol_price_ticker(),
        rest.symbol_price_ticker_v2(symbol="BTCUSDT"),
        rest.symbol_order_book_ticker(symbol="BTCUSDT"),
        rest.ticker24hr_price_change_statistics(symbol="BTCUSDT"),
        rest.order_book(symbol="BTCUSDT"),
        rest.kline_candlestick_data(symbol="BTCUSDT", interval="1m"),
        rest.continuous_contract_kline_candlestick_data(pair="BTCUSDT", contract_type="PERPETUAL", interval="1m"),
        rest.recent_trades_list(symbol="BTCUSDT"),
        rest.compressed_aggregate_trades_list(symbol="BTCUSDT"),
        rest.get_funding_rate_history(symbol="BTCUSDT"),
        rest.get_income_history(),
        rest.start_user_data_stream(),
        rest.keepalive_user_data_stream(),
        rest.check_server_time(),
        rest.exchange_information(),
    ):
        answer.data()
    complaints = [record.getMessage() for record in caplog.records if " response " in record.getMessage()]
    assert complaints == []
