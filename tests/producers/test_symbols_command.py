"""Invariant: what `symbols list` shows is what Silver accepts, and `symbols check` fails where two markets mix."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cli.symbols import app
from config.registry import RegistryError, SymbolRegistry
from config.settings import DEFAULT_SYMBOLS_FILE

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
    rows = SymbolRegistry.load(DEFAULT_SYMBOLS_FILE).lookup.to_pylist()
    assert json.loads(shown.stdout) == [row for row in rows if row["exchange"] == "kraken"] != []


def test_check_accepts_the_file_in_use_and_refuses_a_collision(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["check"]).exit_code == 0
    path = tmp_path / "symbols.yaml"
    path.write_text(TWICE)
    refused = CliRunner().invoke(app, ["check", "--file", str(path)])
    assert isinstance(refused.exception, RegistryError)
    assert "both map to 'BTCUSD'" in str(refused.exception)
