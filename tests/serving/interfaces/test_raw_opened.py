"""A stack whose operator has opened raw messages: the analyst's service shows them, from the wire to the page."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.recorded import OURS
from tests.serving.conftest import Service

pytestmark = [pytest.mark.stack, pytest.mark.nightly]
KRAKEN = OURS["kraken_v2_btcusd"]
EARLIER = "INSERT INTO trades_raw SELECT * REPLACE (ingested_at - INTERVAL 2 HOUR AS ingested_at) FROM trades_raw"
# The day of the recording, 2026-09-26, ms.
DAY_MS = 1_790_380_800_000


def test_what_was_replayed_comes_back_hot_and_at_a_pin(tmp_path: Path) -> None:
    settings = {"MEDALLION_SERVING_PORT": "0", "MEDALLION_SERVING_RAW": "true"}
    service = Service("", tmp_path / "stack", tmp_path, KRAKEN.trades(), settings)
    up = json.loads(service.run("up", "--detach", "--serve", "--json"))
    try:
        url = f"http://127.0.0.1:{up['environment']['MEDALLION_SERVING_PORT']}"
        now = datetime.now(UTC)
        service.run("replay", KRAKEN.path, "--exchange", "kraken")
        service.run("drain")
        trades = [one for line in KRAKEN.text().splitlines() for one in elements(line)]
        hour = {"exchange": "kraken", "from": now.isoformat(), "to": (now + timedelta(hours=1)).isoformat()}
        assert messages(url, hour) == trades
        # An hour leaves for Iceberg when it is over: the messages as if they had also come two hours ago.
        service.run("query", EARLIER)
        service.run("offload", "run")
        service.run("pin", "create", "backtest")
        service.run("pin", "show", "backtest", "--views")
        assert messages(url, hour) == messages(url, hour | {"pin": "backtest"}) == trades
        window = ("--from", hour["from"], "--to", hour["to"], "--pin", "backtest")
        again = json.loads(service.run("replay", "--exchange", "kraken", *window, "--json"))
        assert (again["published"], again["trades"]) == (len(trades), len(trades))
        service.run("drain")
        assert service.run("query", "SELECT count() FROM silver_trades").strip() == str(len(trades))
        candle = {"exchange": "kraken", "symbol": "BTCUSD", "interval": "1d", "openTime": DAY_MS}
        first = service_get(url, "/v1/origin", candle)["trades"][0]
        place = {"topic": first["raw_topic"], "partition": first["raw_partition"], "offset": first["raw_offset"]}
        shown = service_get(url, "/v1/payload", {"exchange": "kraken", "ingested": first["ingested"], **place})
        assert json.loads(shown["payload"])["payload"] in trades
        assert clicked_payload(url) in trades
    finally:
        service.run("down", "--timeout", "0")


def clicked_payload(url: str) -> str:
    """The exchange's own text that the page shows of the first trade of the day's candle, clicked to in Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/#/chart/kraken/BTCUSD/1d")
        sync_api.expect(page.locator("#quote")).to_contain_text("trades", timeout=20_000)
        page.locator("#canvas").focus()
        page.keyboard.press("Enter")
        row = page.locator("#origin tr.trade").first
        row.get_by_role("button", name="Show").click()
        message = page.locator("#origin pre").first
        sync_api.expect(message).to_contain_text("trade_id", timeout=20_000)
        found = str(message.text_content())
        browser.close()
    return found


def service_get(url: str, path: str, parameters: dict[str, object]) -> dict[str, Any]:
    answer = requests.get(url + path, params=parameters, timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def elements(frame: str) -> list[str]:
    """The trades of a frame, cut out of its text."""
    if json.loads(frame).get("channel") != "trade":
        return []
    found, at = [], frame.index('"data":[') + len('"data":[')
    while frame[at] != "]":
        _, end = json.JSONDecoder().raw_decode(frame, at)
        found.append(frame[at:end])
        at = end + (frame[end] == ",")
    return found


def messages(url: str, options: dict[str, str]) -> list[str]:
    """The exchange's own text of each line."""
    answer = requests.get(f"{url}/replay", params={"options": json.dumps(options)}, timeout=60)
    assert answer.status_code == 200, answer.text
    return [line.partition(',"message":')[2][:-1] for line in answer.text.splitlines()]
