"""Other people's programs against the service, unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import requests
import schemathesis
from binance.client import Client
from binance.exceptions import BinanceAPIException
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, candles, read_tape, silver_rows
from tests.serving.running import running

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = json.loads((ROOT / "serving" / "openapi.json").read_text(encoding="utf-8"))
CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def trades(tape: Path) -> pl.DataFrame:
    return read_tape(tape).tail(3_000)


@pytest.fixture(scope="module")
def url(http_port: int, trades: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tables = HotTables(new_settings(http_port, tmp_path_factory.mktemp("clients")))
    tables.insert("silver_trades", silver_rows(trades))
    with running(tables.settings.model_copy(update={"serving_raw": True})) as address:
        yield address
    tables.give_back()


def test_python_binance_reads_candles_and_gets_binances_errors(url: str, trades: pl.DataFrame) -> None:
    client = Client(ping=False)
    client.API_URL = f"{url}/api"
    expected = candles(trades.filter(pl.col("symbol") == "BTCUSDT"), timedelta(minutes=1))
    got = client.get_klines(symbol="BTCUSDT", interval=Client.KLINE_INTERVAL_1MINUTE)
    columns = ("open", "high", "low", "close", "volume")
    assert [[pl.Series([row[at]]).str.to_decimal(scale=18)[0] for at in range(1, 6)] for row in got] == [
        [row[name] for name in columns] for row in expected.iter_rows(named=True)
    ]
    assert [row[8] for row in got] == expected["trade_count"].to_list()
    assert client.get_symbol_ticker(symbol="BTCUSDT")["price"] == got[-1][4]
    assert len(client.get_recent_trades(symbol="BTCUSDT", limit=7)) == 7
    with pytest.raises(BinanceAPIException) as refused:
        client.get_klines(symbol="NOSUCH", interval="1m")
    assert refused.value.code == -1121


schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.parametrize()
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
          suppress_health_check=[*HealthCheck])  # fmt: skip
def test_whatever_is_asked_the_answer_is_as_the_document_says(url: str, case: schemathesis.Case) -> None:
    if "exchange" in case.path_parameters:
        case.path_parameters["exchange"] = "okx"  # paths of others are not found
    case.call_and_validate(base_url=url, checks=CHECKS, timeout=60)


def test_the_document_is_served(url: str) -> None:
    assert requests.get(f"{url}/openapi.json", timeout=10).json() == DOCUMENT
