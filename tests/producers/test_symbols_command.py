"""Invariants: `list` shows what Silver accepts; `check` fails where trades would mix; `build` removes nothing."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.messages.symbols import app
from config.registry import RegistryError, SymbolRegistry
from config.settings import DEFAULT_SYMBOLS_FILE
from config.symbols.markets import MarketsFileError

TWICE = """
version: 1
exchanges:
  kraken:
    BTC/USD: {canonical: BTCUSD, base: BTC, quote: USD}
    XBT/USD: {canonical: BTCUSD, base: BTC, quote: USD}
"""


def test_list_shows_the_registry() -> None:
    shown = CliRunner().invoke(app, ["list", "--exchange", "kraken", "--json"])
    assert shown.exit_code == 0, shown.output
    rows = SymbolRegistry.load(DEFAULT_SYMBOLS_FILE).lookup
    got = [{name: row[name] for name in rows[0]} for row in json.loads(shown.stdout)]
    assert got == [row for row in rows if row["exchange"] == "kraken"] != []


def test_check_accepts_the_file_in_use_and_refuses_a_collision(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["check"]).exit_code == 0
    path = tmp_path / "symbols.yaml"
    path.write_text(TWICE)
    refused = CliRunner().invoke(app, ["check", "--file", str(path)])
    assert isinstance(refused.exception, RegistryError)
    assert "both map to 'BTCUSD'" in str(refused.exception)


def market(symbol: str, **more: Any) -> dict[str, Any]:
    base, quote = symbol.split("/")
    steps = {"precision": {"price": "0.01", "amount": "0.00001"}}
    return {"id": base + quote, "symbol": symbol, "base": base, "quote": quote, "type": "spot", **steps, **more}


def save(path: Path, *markets: dict[str, Any]) -> str:
    path.write_text(json.dumps({one["symbol"]: one for one in markets}))
    return f"binance={path}"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_build_writes_what_it_said_and_then_has_nothing_to_say(tmp_path: Path) -> None:
    file, lists = tmp_path / "symbols.yaml", tmp_path / "markets.json"
    both = save(lists, market("BTC/USDT"), market("OLD/USDT"))
    said = invoke("build", "--fresh", "--markets", both, "--output", file, "--dry-run", "--json")
    assert said.exit_code == 0, said.output
    assert [change["what"] for change in json.loads(said.stdout)["changes"]] == ["new", "new"]
    assert not file.exists()
    assert invoke("build", "--fresh", "--markets", both, "--output", file).exit_code == 0
    said = invoke("build", "--file", file, "--markets", both, "--output", file, "--json")
    assert json.loads(said.stdout)["changes"] == []

    one = save(lists, market("BTC/USDT", precision={"price": "0.1", "amount": "0.00001"}))
    before = SymbolRegistry.load(file)
    said = invoke("build", "--file", file, "--markets", one, "--output", file, "--json")
    assert said.exit_code == 0, said.output
    changes = {change["symbol"]: change for change in json.loads(said.stdout)["changes"]}
    assert changes["BTCUSDT"]["fields"] == {"tick": ["0.01", "0.1"]}
    assert changes["OLDUSDT"]["what"] == "delisted"
    after = SymbolRegistry.load(file)
    assert after.rules_version == before.rules_version, "a delisted market is validated as before"
    listed = invoke("list", "--file", file, "--status", "delisted", "--json")
    assert [row["exchange_symbol"] for row in json.loads(listed.stdout)] == ["OLDUSDT"]
    checked = json.loads(invoke("check", "--file", file, "--json").stdout)
    assert (checked["markets"], checked["findings"]) == ({"active": 1, "delisted": 1}, [])


def test_build_prints_the_file_and_takes_the_one_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "symbols.yaml"
    file.write_text(TWICE.replace("XBT/USD: {canonical: BTCUSD", "XBT/USD: {canonical: BTCUSD-OLD"))
    monkeypatch.setenv("MEDALLION_SYMBOLS_FILE", str(file))
    built = invoke("build", "--markets", save(tmp_path / "m.json", market("BTC/USDT")))
    assert built.exit_code == 0, built.output
    out = tmp_path / "out.yaml"
    out.write_text(built.stdout)
    content = SymbolRegistry.load(out).content.exchanges
    assert ([*content["kraken"]], [*content["binance"]]) == (["BTC/USD", "XBT/USD"], ["BTCUSDT"])


def test_check_fails_where_no_trade_can_pass(tmp_path: Path) -> None:
    path = tmp_path / "symbols.yaml"
    path.write_text(
        "version: 1\nexchanges:\n  binance:\n    A: {canonical: ABTC, base: A, quote: BTC, lot: 5, quantity_max: 1}\n"
    )
    checked = invoke("check", "--file", path)
    assert checked.exit_code == 1
    assert "no trade can pass: lot 5 is above quantity_max 1" in checked.stdout


def test_build_leaves_a_bad_market_out_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "symbols.yaml"
    lists = save(tmp_path / "m.json", market("BTC/USDT"), market("A-B/USDT"), market("E\u202eVIL/USDT"))
    said = invoke("build", "--fresh", "--markets", lists, "--output", file, "--json")
    assert said.exit_code == 0, said.output
    answer = json.loads(said.stdout)
    assert [change["symbol"] for change in answer["changes"]] == ["BTCUSDT"]
    assert [one["symbol"] for one in answer["left_out"]] == ["A-BUSDT", "E\u202eVILUSDT"]
    assert [*SymbolRegistry.load(file).content.exchanges["binance"]] == ["BTCUSDT"]
    told = invoke("build", "--fresh", "--markets", lists, "--output", file)
    assert "warning: binance A-BUSDT is left out: the asset 'A-B' has a character" in " ".join(told.output.split())
    assert r"'E\u202eVILUSDT'" in told.output
    assert "\u202e" not in told.output


def test_a_list_with_a_byte_order_mark_is_read_and_a_deep_one_refused(tmp_path: Path) -> None:
    lists = tmp_path / "markets.json"
    given = save(lists, market("BTC/USDT"))
    lists.write_bytes(codecs.BOM_UTF8 + lists.read_bytes())
    said = invoke("build", "--fresh", "--markets", given, "--dry-run", "--json")
    assert [change["symbol"] for change in json.loads(said.stdout)["changes"]] == ["BTCUSDT"]
    for deep in ("[" * 200_000, '{"a":' * 200_000):
        lists.write_text(deep)
        refused = invoke("build", "--fresh", "--markets", given, "--dry-run")
        assert isinstance(refused.exception, MarketsFileError)
        assert "not JSON" in str(refused.exception)
    for empty in ("[]", "{}"):
        lists.write_text(empty)
        refused = invoke("build", "--fresh", "--markets", given, "--dry-run")
        assert "has no market at all" in str(refused.exception)
