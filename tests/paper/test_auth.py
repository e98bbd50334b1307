"""Signed requests are believed only with the right key, signature and time."""

from __future__ import annotations

import hashlib
import hmac

import pytest
import requests
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import Account, PaperExchange
from tests.paper.conftest import futures_client

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}


def sign(text: str, secret: str) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def account(paper: PaperExchange, query: str, key: str | None = None) -> tuple[int, int]:
    headers = {} if key == "" else {"X-MBX-APIKEY": key or paper.key}
    answer = requests.get(f"{paper.url}/fapi/v3/account?{query}", headers=headers, timeout=5)
    return answer.status_code, answer.json().get("code", 0)


@pytest.fixture
def paper(paper_exchange: PaperExchange) -> PaperExchange:
    paper_exchange.hold_clock()
    return paper_exchange


def at(paper: PaperExchange, offset_ms: int = 0, more: str = "") -> str:
    text = f"timestamp={paper.now_ms() + offset_ms}{more}"
    return f"{text}&signature={sign(text, paper.secret)}"


@pytest.mark.parametrize(
    ("offset_ms", "more", "code"),
    [
        pytest.param(0, "", 0, id="now"),
        pytest.param(-5_000, "", 0, id="at the edge of the default window"),
        pytest.param(-5_001, "", -1021, id="beyond it"),
        pytest.param(999, "", 0, id="just under a second ahead"),
        pytest.param(1_000, "", -1021, id="a second ahead"),
        pytest.param(-9_000, "&recvWindow=9000", 0, id="at the edge of a wider window"),
        pytest.param(-101, "&recvWindow=100", -1021, id="beyond a narrow one"),
        pytest.param(0, "&recvWindow=60001", -1130, id="window too wide"),
    ],
)
def test_the_timestamp_rule(paper: PaperExchange, offset_ms: int, more: str, code: int) -> None:
    assert account(paper, at(paper, offset_ms, more))[1] == code


def test_a_wrong_signature_is_refused(paper: PaperExchange) -> None:
    text = f"timestamp={paper.now_ms()}"
    assert account(paper, f"{text}&signature={sign(text, 'another secret')}") == (400, -1022)
    assert account(paper, f"{text}0&signature={sign(text, paper.secret)}") == (400, -1022)


def test_the_signature_comes_last(paper: PaperExchange) -> None:
    text = f"timestamp={paper.now_ms()}"
    assert account(paper, f"signature={sign(text, paper.secret)}&{text}") == (400, -1022)


def test_a_signed_request_needs_its_timestamp_and_signature(paper: PaperExchange) -> None:
    assert account(paper, f"signature={sign('', paper.secret)}") == (400, -1102)
    assert account(paper, f"timestamp={paper.now_ms()}") == (400, -1102)


def test_the_key_must_be_there_and_known(paper: PaperExchange) -> None:
    assert account(paper, at(paper), key="") == (401, -2014)
    assert account(paper, at(paper), key="no key!") == (401, -2014)
    assert account(paper, at(paper), key="unknown-key") == (401, -2015)


def test_query_and_body_are_signed_together(paper: PaperExchange) -> None:
    query, body = "symbol=BTCUSDT&side=BUY", f"type=MARKET&quantity=0.001&timestamp={paper.now_ms()}"
    answer = requests.post(
        f"{paper.url}/fapi/v1/order?{query}",
        data=f"{body}&signature={sign(query + body, paper.secret)}",
        headers={"X-MBX-APIKEY": paper.key, "Content-Type": "application/x-www-form-urlencoded"},
        timeout=5,
    )
    assert answer.json()["symbol"] == "BTCUSDT"


def test_an_id_that_the_client_signs_raw_and_sends_encoded_fails_as_it_does_live(client: Client) -> None:
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**ORDER, newClientOrderId="a:b")
    assert error.value.code == -1022


@pytest.mark.paper(accounts=[Account("k1", "s1", "1000"), Account("k2", "s2", "50", name="small")])
def test_each_key_is_an_account_of_its_own(paper_exchange: PaperExchange) -> None:
    first, second = (futures_client(paper_exchange, number) for number in range(2))
    first.futures_create_order(**ORDER, newClientOrderId="same")
    assert second.futures_account(version=3)["totalWalletBalance"] == "50.00000000"
    assert second.futures_position_information() == []
    with pytest.raises(BinanceAPIException) as error:
        second.futures_get_order(symbol="BTCUSDT", origClientOrderId="same")
    assert error.value.code == -2013
    second.futures_create_order(**ORDER, newClientOrderId="same")
    assert [row["account"] for row in paper_exchange.ledger()] == ["account-1", "small"]


def test_secrets_show_nowhere(paper_exchange: PaperExchange, client: Client) -> None:
    client.futures_create_order(**ORDER)
    shown = [
        repr(paper_exchange.accounts),
        str(paper_exchange.ledger()),
        requests.get(f"{paper_exchange.url}/paper/ledger", timeout=5).text,
        requests.get(f"{paper_exchange.url}/paper/nothing", timeout=5).text,
    ]
    assert not any(paper_exchange.secret in text or paper_exchange.key in text for text in shown)
